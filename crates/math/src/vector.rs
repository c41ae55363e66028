//! Sums over vectors in double precision, in a fixed order, and random ones.

use rand::Rng;
use refit_core::Seed;

/// Independent partial sums; part of the definition of a result.
const LANES: usize = 8;

/// `sum_i a_i b_i`, in eight lanes that are added in pairs.
///
/// # Panics
/// When lengths differ.
///
/// ```
/// use refit_math::vector::dot;
/// assert_eq!(dot(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]), 32.0);
/// ```
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "vectors of one length");
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            sums[i] += a[i] * b[i];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    let [a, b, c, d, e, f, g, h] = sums;
    ((a + b) + (c + d)) + ((e + f) + (g + h)) + rest
}

/// `sqrt(sum_i a_i^2)`; values whose squares overflow or vanish are scaled first.
///
/// ```
/// use refit_math::vector::norm;
/// assert_eq!(norm(&[3.0, -4.0]), 5.0);
/// assert!((norm(&[3e200, 4e200]) / 5e200 - 1.0).abs() < 1e-15);
/// ```
pub fn norm(a: &[f64]) -> f64 {
    let square = dot(a, a);
    if (1e-280..1e280).contains(&square) {
        return square.sqrt();
    }
    let largest = a.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
    if largest == 0.0 || !square.is_finite() && a.iter().any(|v| !v.is_finite()) {
        return square.sqrt(); // zero, or what is not finite
    }
    let scaled = a.iter().map(|v| (v / largest) * (v / largest));
    largest * scaled.sum::<f64>().sqrt()
}

/// `y += factor x`.
///
/// # Panics
/// When lengths differ.
pub fn add_scaled(y: &mut [f64], factor: f64, x: &[f64]) {
    assert_eq!(x.len(), y.len(), "vectors of one length");
    y.iter_mut().zip(x).for_each(|(y, x)| *y += factor * x);
}

/// `y *= factor`.
pub fn scale(y: &mut [f64], factor: f64) {
    for y in y {
        *y *= factor;
    }
}

/// `len` standard normal values (Box and Muller 1958).
///
/// ```
/// use refit_core::Seed;
/// use refit_math::vector::normal;
/// let values = normal(10_000, Seed::new(0));
/// let square = values.iter().map(|v| v * v).sum::<f64>() / 1e4;
/// assert!((square - 1.0).abs() < 0.06); // four standard errors of sqrt(2 / 10,000)
/// ```
pub fn normal(len: usize, seed: Seed) -> Vec<f64> {
    let mut rng = seed.rng();
    let mut draw = || {
        let (u, v) = (1.0 - rng.random::<f64>(), rng.random::<f64>());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    };
    (0..len).map(|_| draw()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_summed_once() {
        for len in 0..40 {
            let a: Vec<f64> = (0..len).map(f64::from).collect();
            let ones = vec![1.0; a.len()];
            let expected = f64::from(len * (len - 1) / 2);
            assert!((dot(&a, &ones) - expected).abs() < 1e-12, "{len}");
        }
    }

    #[test]
    fn norms_of_extreme_and_broken_vectors() {
        assert!(norm(&[]).abs() < 1e-300);
        assert!((norm(&[1e-200, 1e-200]) / (2f64.sqrt() * 1e-200) - 1.0).abs() < 1e-15);
        assert!(norm(&[f64::INFINITY, 1.0]).is_infinite());
        assert!(norm(&[f64::NAN, 1.0]).is_nan());
    }

    #[test]
    fn a_multiple_is_added() {
        let mut y = vec![1.0, 2.0];
        add_scaled(&mut y, -2.0, &[1.0, 0.5]);
        scale(&mut y, 3.0);
        assert_eq!(y, [-3.0, 3.0]);
    }
}
