//! Inner loops, compiled for several instruction sets and chosen at run time.
//!
//! Sums are kept in double precision in [`LANES`] fixed lanes. The product of two single-precision values is exact
//! in double precision, so fused and separate multiply-add agree and a sum is the same on every machine.

/// Independent partial sums of a reduction; part of the definition of its result.
pub(crate) const LANES: usize = 16;

/// Partial sums of a reduction.
pub(crate) type Lanes = [f64; LANES];

/// A value that is exact in double precision.
pub(crate) trait Wide: Copy + Into<f64> {}
impl<T: Copy + Into<f64>> Wide for T {}

/// Defines a function whose body is compiled once per instruction set; the widest of this processor runs.
///
/// The body must stand inside `with_simd`, which is always inlined: a closure that is called from there is not, and
/// would be compiled for the oldest processor.
macro_rules! kernel {
    ($(#[$doc:meta])* fn $name:ident $(<$g:ident: $bound:ident>)? ($($arg:ident: $ty:ty),* $(,)?)
        $(-> $out:ty)? $body:block
    ) => {
        $(#[$doc])*
        pub(crate) fn $name<'a $(, $g: $bound)?>($($arg: $ty),*) $(-> $out)? {
            struct Kernel<'a $(, $g)?> { $($arg: $ty),* }
            impl<'a $(, $g: $bound)?> pulp::WithSimd for Kernel<'a $(, $g)?> {
                type Output = $crate::simd::kernel!(@or_unit $($out)?);
                #[inline(always)]
                fn with_simd<S: pulp::Simd>(self, _: S) -> Self::Output {
                    let Self { $($arg),* } = self;
                    $body
                }
            }
            pulp::Arch::new().dispatch(Kernel { $($arg),* })
        }
    };
    (@or_unit) => { () };
    (@or_unit $out:ty) => { $out };
}
pub(crate) use kernel;

/// The sum of all lanes, in a fixed tree.
pub(crate) fn total(mut lanes: Lanes) -> f64 {
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
    }
    lanes[0]
}

kernel! {
    /// `lanes[i mod LANES] += a_i b_i`.
    fn dot<G: Wide>(lanes: &'a mut Lanes, a: &'a [G], b: &'a [f32]) {
        let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
        let mut sums = *lanes;
        for (a, b) in a.iter().zip(b) {
            for i in 0..LANES {
                sums[i] += a[i].into() * f64::from(b[i]);
            }
        }
        for (sum, (&a, &b)) in sums.iter_mut().zip(a_rest.iter().zip(b_rest)) {
            *sum += a.into() * f64::from(b);
        }
        *lanes = sums;
    }
}

kernel! {
    /// `lanes[i mod LANES] += a_i (b_i - c_i)`, the difference rounded to single precision.
    fn dot_difference<G: Wide>(lanes: &'a mut Lanes, a: &'a [G], b: &'a [f32], c: &'a [f32]) {
        let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
        let (c, c_rest) = c.as_chunks::<LANES>();
        let mut sums = *lanes;
        for ((a, b), c) in a.iter().zip(b).zip(c) {
            for i in 0..LANES {
                sums[i] += a[i].into() * f64::from(b[i] - c[i]);
            }
        }
        for (sum, ((&a, &b), &c)) in sums.iter_mut().zip(a_rest.iter().zip(b_rest).zip(c_rest)) {
            *sum += a.into() * f64::from(b - c);
        }
        *lanes = sums;
    }
}

/// `sum_i` of squares of finite values, or the position of the first value that is not finite.
pub(crate) fn sum_of_squares(lanes: &mut Lanes, values: &[f32]) -> Result<(), usize> {
    if let Some(at) = first_not_finite(values) {
        return Err(at);
    }
    dot(lanes, values, values);
    Ok(())
}

/// The position of the first value that is NaN or infinite.
pub(crate) fn first_not_finite(values: &[f32]) -> Option<usize> {
    if all_within(values, f32::INFINITY) {
        return None;
    }
    values.iter().position(|v| !v.is_finite())
}

kernel! {
    /// Whether every magnitude is below `limit`; NaN is not.
    fn all_within(values: &'a [f32], limit: f32) -> bool {
        values.iter().fold(true, |all, v| all & (v.abs() < limit))
    }
}

kernel! {
    /// `sum_i += factor * b_i`.
    fn add_scaled(sum: &'a mut [f64], factor: f64, b: &'a [f32]) {
        for (sum, &b) in sum.iter_mut().zip(b) {
            *sum += factor * f64::from(b);
        }
    }
}

kernel! {
    /// `sum_i += factor * (b_i - c_i)`, the difference rounded to single precision.
    fn add_scaled_difference(sum: &'a mut [f64], factor: f64, b: &'a [f32], c: &'a [f32]) {
        for ((sum, &b), &c) in sum.iter_mut().zip(b).zip(c) {
            *sum += factor * f64::from(b - c);
        }
    }
}

kernel! {
    /// `out_i = base_i + sum_i`, rounded once.
    fn store_sum(out: &'a mut [f32], base: &'a [f32], sum: &'a [f64]) {
        for ((out, &base), &sum) in out.iter_mut().zip(base).zip(sum) {
            *out = (f64::from(base) + sum) as f32;
        }
    }
}

kernel! {
    /// `out_i = base_i + factor sum_i`, rounded once.
    fn store_scaled_sum(out: &'a mut [f32], base: &'a [f32], sum: &'a [f64], factor: f64) {
        for ((out, &base), &sum) in out.iter_mut().zip(base).zip(sum) {
            *out = (f64::from(base) + factor * sum) as f32;
        }
    }
}

kernel! {
    /// `out_i = b_i - c_i`.
    fn subtract(out: &'a mut [f32], b: &'a [f32], c: &'a [f32]) {
        for ((out, &b), &c) in out.iter_mut().zip(b).zip(c) {
            *out = b - c;
        }
    }
}

kernel! {
    /// `out_i += b_i`.
    fn add(out: &'a mut [f32], b: &'a [f32]) {
        for (out, &b) in out.iter_mut().zip(b) {
            *out += b;
        }
    }
}

kernel! {
    /// `values_i *= factor`, rounded once.
    fn scale(values: &'a mut [f32], factor: f64) {
        for value in values {
            *value = (f64::from(*value) * factor) as f32;
        }
    }
}

kernel! {
    /// `out_i = sum_i`, rounded.
    fn narrow(out: &'a mut [f32], sum: &'a [f64]) {
        for (out, &sum) in out.iter_mut().zip(sum) {
            *out = sum as f32;
        }
    }
}

kernel! {
    /// Zeroes what is smaller than `threshold`, and NaN.
    fn trim(values: &'a mut [f32], threshold: f32) {
        for value in values {
            *value = if value.abs() >= threshold { *value } else { 0.0 };
        }
    }
}

kernel! {
    /// `signs_i = sign sum_i`; 0 for 0 and NaN.
    fn signs_of(signs: &'a mut [i8], sum: &'a [f64]) {
        for (sign, &sum) in signs.iter_mut().zip(sum) {
            *sign = i8::from(sum > 0.0) - i8::from(sum < 0.0);
        }
    }
}

kernel! {
    /// Zeroes what does not point where its sign points; a zero never does.
    fn keep_agreeing(values: &'a mut [f32], signs: &'a [i8]) {
        for (value, &sign) in values.iter_mut().zip(signs) {
            *value = if *value * f32::from(sign) > 0.0 { *value } else { 0.0 };
        }
    }
}

kernel! {
    /// Adds `factor b_i` to `sum_i` and `weight` to `divisor_i` where `factor b_i` points where its sign points.
    fn add_agreeing(
        sum: &'a mut [f64],
        divisor: &'a mut [f64],
        factor_weight: [f64; 2],
        b: &'a [f32],
        signs: &'a [i8],
    ) {
        let [factor, weight] = factor_weight;
        for (((sum, divisor), &b), &sign) in sum.iter_mut().zip(divisor).zip(b).zip(signs) {
            let value = factor * f64::from(b);
            let agrees = value * f64::from(sign) > 0.0;
            *sum += if agrees { value } else { 0.0 };
            *divisor += if agrees { weight } else { 0.0 };
        }
    }
}

/// Calls `then` with the positions of ones among bytes of which each is 0 or 1; a length that is not a multiple of 64
/// hides the last ones.
pub(crate) fn each_hit(hits: &[u8], mut then: impl FnMut(usize)) {
    /// Brings the lowest bit of byte `i` to bit `56 + i`.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    debug_assert_eq!(hits.len() % 64, 0);
    for (chunk, hits) in hits.as_chunks::<64>().0.iter().enumerate() {
        let words = hits.as_chunks::<8>().0.iter().enumerate();
        let mut left = words.fold(0, |bits, (at, word)| {
            bits | (u64::from_le_bytes(*word).wrapping_mul(GATHER) >> 56) << (8 * at)
        });
        while left != 0 {
            then(64 * chunk + left.trailing_zeros() as usize);
            left &= left - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_agree_with_a_plain_loop_at_every_length() {
        for n in [0, 1, 15, 16, 17, 1000] {
            let a: Vec<f32> = (0..n).map(|i| (i as f32 * 0.7).sin()).collect();
            let b: Vec<f32> = (0..n).map(|i| (i as f32 * 1.3).cos()).collect();
            let plain: f64 = a
                .iter()
                .zip(&b)
                .map(|(&a, &b)| f64::from(a) * f64::from(b))
                .sum();
            let mut lanes = [0.0; LANES];
            dot(&mut lanes, &a, &b);
            assert!((total(lanes) - plain).abs() <= 1e-12 * n as f64);
            let zeros = vec![0.0; n];
            let mut again = [0.0; LANES];
            dot_difference(&mut again, &a, &b, &zeros);
            assert_eq!(lanes.map(f64::to_bits), again.map(f64::to_bits));
        }
    }

    #[test]
    fn every_hit_is_met_once_and_in_order() {
        let hits: Vec<u8> = (0..192u32)
            .map(|i| u8::from(i % 64 == 63 || i * i % 7 == 2))
            .collect();
        let mut found = vec![];
        each_hit(&hits, |at| found.push(at));
        let expected: Vec<usize> = (0..192).filter(|&at| hits[at] == 1).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_first_value_that_is_not_finite_is_found() {
        let mut lanes = [0.0; LANES];
        assert_eq!(
            sum_of_squares(&mut lanes, &[1.0, f32::NAN, f32::INFINITY]),
            Err(1)
        );
        assert_eq!(sum_of_squares(&mut lanes, &[3.0, 4.0]), Ok(()));
        assert!((total(lanes) - 25.0).abs() < 1e-12);
    }
}
