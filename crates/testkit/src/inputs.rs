//! Inputs drawn from a seed: the same on every machine and for any number of threads.

use rand::Rng;
use refit_core::Seed;
use std::{f64::consts::TAU, ops::Range};

/// Standard normal values.
///
/// ```
/// use refit_testkit::normal_vec;
/// assert_eq!(normal_vec(7, 3), normal_vec(7, 5)[..3]);
/// assert_ne!(normal_vec(7, 3), normal_vec(8, 3));
/// ```
pub fn normal_vec(seed: u64, len: usize) -> Vec<f64> {
    let mut rng = Seed::new(seed).fork("testkit/normal").rng();
    // Box and Muller 1958, one of the pair; `1 - u` is in (0, 1], where the logarithm is finite.
    let mut draw =
        || (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt() * (TAU * rng.random::<f64>()).cos();
    (0..len).map(|_| draw()).collect()
}

/// Values spread evenly over a range.
pub fn uniform_vec(seed: u64, len: usize, range: Range<f64>) -> Vec<f64> {
    let mut rng = Seed::new(seed).fork("testkit/uniform").rng();
    let width = range.end - range.start;
    (0..len)
        .map(|_| range.start + width * rng.random::<f64>())
        .collect()
}

/// Integers in `0..below`.
pub fn integers_vec(seed: u64, len: usize, below: usize) -> Vec<i64> {
    let mut rng = Seed::new(seed).fork("testkit/integers").rng();
    (0..len)
        .map(|_| rng.random_range(0..below as u64).cast_signed())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_values_have_mean_zero_and_variance_one() {
        let x = normal_vec(1, 100_000);
        let mean = x.iter().sum::<f64>() / 1e5;
        let square = x.iter().map(|v| v * v).sum::<f64>() / 1e5;
        // Five standard errors: sqrt(1 / n) and sqrt(2 / n).
        assert!(
            mean.abs() < 0.016 && (square - 1.0).abs() < 0.023,
            "{mean} {square}"
        );
    }

    #[test]
    fn ranges_are_kept() {
        assert!(
            uniform_vec(2, 1000, -3.0..2.0)
                .iter()
                .all(|v| (-3.0..2.0).contains(v))
        );
        assert!(integers_vec(3, 1000, 7).iter().all(|v| (0..7).contains(v)));
    }
}
