//! Loops compiled once per instruction set and chosen at run time.
//!
//! The loops are plain Rust over slices; [`vectorized`] runs them inside a function that enables
//! AVX-512 or AVX2 + FMA, where the compiler turns them into vector code. Sums keep a fixed number
//! of partial sums, so a result does not depend on the vector width of the machine.

use pulp::Arch;

/// Partial sums per reduction: two AVX-512 registers, enough to hide the latency of an addition.
const LANES: usize = 32;

/// Runs `body` with the widest instruction set of this machine.
///
/// Write the argument as `#[inline(always)] || ..`: only what is inlined here is vectorized.
#[inline]
pub fn vectorized<R>(body: impl FnOnce() -> R) -> R {
    Arch::new().dispatch(body)
}

/// `sum_i f(a_i)`, in a fixed order.
#[inline(always)]
pub(crate) fn sum1(a: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut acc = [0.0f32; LANES];
    let (chunks, tail) = a.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            acc[lane] += f(chunk[lane]);
        }
    }
    for (acc, &x) in acc.iter_mut().zip(tail) {
        *acc += f(x);
    }
    fold(acc, |a, b| a + b)
}

/// `sum_i f(a_i, b_i)`, in a fixed order.
#[inline(always)]
pub(crate) fn sum2(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut acc = [0.0f32; LANES];
    let (a_chunks, a_tail) = a.as_chunks::<LANES>();
    let (b_chunks, b_tail) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            acc[lane] += f(a[lane], b[lane]);
        }
    }
    for ((acc, &a), &b) in acc.iter_mut().zip(a_tail).zip(b_tail) {
        *acc += f(a, b);
    }
    fold(acc, |a, b| a + b)
}

/// The largest entry; `-inf` for an empty slice. A NaN may be passed over.
#[inline(always)]
pub(crate) fn max(a: &[f32]) -> f32 {
    let mut acc = [f32::NEG_INFINITY; LANES];
    let (chunks, tail) = a.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            acc[lane] = larger(acc[lane], chunk[lane]);
        }
    }
    for (acc, &x) in acc.iter_mut().zip(tail) {
        *acc = larger(*acc, x);
    }
    fold(acc, larger)
}

/// One machine instruction, unlike `f32::max`, which has to look after NaN.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// Combines lanes pairwise: halves the vector until one entry is left.
#[inline(always)]
fn fold(mut acc: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            acc[lane] = f(acc[lane], acc[lane + width]);
        }
        width /= 2;
    }
    acc[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reductions_cover_tails_of_every_length() {
        for n in 0..100 {
            let a: Vec<f32> = (0..n).map(|i| i as f32 - 7.0).collect();
            let sum = a.iter().fold(0.0, |sum, x| sum + x); // exact: small integers
            let largest = a.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(
                vectorized(
                    #[inline(always)]
                    || sum1(&a, |x| x)
                )
                .to_bits(),
                sum.to_bits()
            );
            let twice = vectorized(
                #[inline(always)]
                || sum2(&a, &a, |x, y| x + y),
            );
            assert_eq!(twice.to_bits(), (2.0 * sum).to_bits());
            assert_eq!(
                vectorized(
                    #[inline(always)]
                    || max(&a)
                )
                .to_bits(),
                largest.to_bits()
            );
        }
    }
}
