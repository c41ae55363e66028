//! Inner loops, compiled for several instruction sets and chosen at run time.
//!
//! Sums are kept in double precision in [`LANES`] fixed lanes. The product of two single-precision values is exact
//! in double precision, so fused and separate multiply-add agree and a sum is the same on every machine.

/// Independent partial sums of a reduction; part of the definition of its result.
pub(crate) const LANES: usize = 16;

/// Partial sums of a reduction.
pub(crate) type Lanes = [f64; LANES];

/// Runs `work` with the widest vectors of this processor.
pub(crate) fn dispatch<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

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

/// `lanes[i mod LANES] += a_i b_i`.
pub(crate) fn dot<G: Copy + Into<f64>>(lanes: &mut Lanes, a: &[G], b: &[f32]) {
    dispatch(|| {
        let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
        for (a, b) in a.iter().zip(b) {
            for i in 0..LANES {
                lanes[i] += a[i].into() * f64::from(b[i]);
            }
        }
        for (lane, (&a, &b)) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest)) {
            *lane += a.into() * f64::from(b);
        }
    });
}

/// `lanes[i mod LANES] += a_i (b_i - c_i)`, the difference rounded to single precision.
pub(crate) fn dot_difference<G: Copy + Into<f64>>(
    lanes: &mut Lanes,
    a: &[G],
    b: &[f32],
    c: &[f32],
) {
    dispatch(|| {
        let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
        let (c, c_rest) = c.as_chunks::<LANES>();
        for ((a, b), c) in a.iter().zip(b).zip(c) {
            for i in 0..LANES {
                lanes[i] += a[i].into() * f64::from(b[i] - c[i]);
            }
        }
        for (lane, ((&a, &b), &c)) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest).zip(c_rest)) {
            *lane += a.into() * f64::from(b - c);
        }
    });
}

/// `sum_i` of squares of finite values, or the position of the first value that is not finite.
pub(crate) fn sum_of_squares(lanes: &mut Lanes, values: &[f32]) -> Result<(), usize> {
    let all_finite = dispatch(|| values.iter().fold(true, |all, v| all & v.is_finite()));
    if !all_finite {
        return Err(values.iter().position(|v| !v.is_finite()).unwrap_or(0));
    }
    dot(lanes, values, values);
    Ok(())
}

/// `sum_i += factor * b_i`.
pub(crate) fn add_scaled(sum: &mut [f64], factor: f64, b: &[f32]) {
    dispatch(|| {
        for (sum, &b) in sum.iter_mut().zip(b) {
            *sum += factor * f64::from(b);
        }
    });
}

/// `sum_i += factor * (b_i - c_i)`, the difference rounded to single precision.
pub(crate) fn add_scaled_difference(sum: &mut [f64], factor: f64, b: &[f32], c: &[f32]) {
    dispatch(|| {
        for ((sum, &b), &c) in sum.iter_mut().zip(b).zip(c) {
            *sum += factor * f64::from(b - c);
        }
    });
}

/// `out_i = base_i + sum_i`, rounded once.
pub(crate) fn store_sum(out: &mut [f32], base: &[f32], sum: &[f64]) {
    dispatch(|| {
        for ((out, &base), &sum) in out.iter_mut().zip(base).zip(sum) {
            *out = (f64::from(base) + sum) as f32;
        }
    });
}

/// `out_i = b_i - c_i`.
pub(crate) fn subtract(out: &mut [f32], b: &[f32], c: &[f32]) {
    dispatch(|| {
        for ((out, &b), &c) in out.iter_mut().zip(b).zip(c) {
            *out = b - c;
        }
    });
}

/// `out_i += b_i`.
pub(crate) fn add(out: &mut [f32], b: &[f32]) {
    dispatch(|| {
        for (out, &b) in out.iter_mut().zip(b) {
            *out += b;
        }
    });
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
