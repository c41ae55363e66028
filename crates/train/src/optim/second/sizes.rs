//! How large a sample has to be, and how wrong its mean may be: bounds from concentration inequalities.
//!
//! Samples without replacement are better than draws with it: variances shrink by [`left`], and all terms have no error.

/// `1 - (m - 1) / n`: the share of the variance that is left when `m` of `n` terms are taken without replacement
/// (Serfling 1974); 0 for all of them.
pub fn left(m: usize, n: usize) -> f64 {
    if m >= n {
        return 0.0;
    }
    1.0 - (m.max(1) - 1) as f64 / n as f64
}

/// Terms after which the mean of matrices with norms up to `largest` is within `error` of its expectation in norm, but
/// for probability `failure` (matrix Bernstein).
///
/// ```
/// use refit_train::optim::second::sizes::hessian_terms;
/// // (2 K^2 / d^2 + 4 K / (3 d)) ln(2 dim / p)
/// assert_eq!(hessian_terms(0.1541, 0.01, 30, 1e-3), 5452);
/// ```
pub fn hessian_terms(largest: f64, error: f64, dim: usize, failure: f64) -> usize {
    let ratio = largest / error;
    let logarithm = (2.0 * dim as f64 / failure).ln();
    // The cast saturates: whoever asks cuts at the number of terms.
    ((2.0 * ratio * ratio + 4.0 / 3.0 * ratio) * logarithm).ceil() as usize
}

/// The error in norm of the mean of `m` of `n` matrices with norms up to `largest`: [`hessian_terms`] turned around.
pub fn hessian_error(largest: f64, m: usize, n: usize, dim: usize, failure: f64) -> f64 {
    bernstein(largest * largest, largest, m, n, dim, failure)
}

/// `d` in `m = (2 variance / d^2 + 4 largest / (3 d)) ln(2 dim / failure)`.
fn bernstein(variance: f64, largest: f64, m: usize, n: usize, dim: usize, failure: f64) -> f64 {
    if m >= n {
        return 0.0;
    }
    let logarithm = (2.0 * dim as f64 / failure).ln();
    let linear = 2.0 / 3.0 * largest * logarithm;
    let square = 2.0 * variance * left(m, n) * logarithm * m as f64;
    (linear + (linear * linear + square).sqrt()) / m as f64
}

/// Terms after which the mean of vectors with norms up to `largest` is within `error` of its expectation, but for
/// probability `failure` (bounded differences; free of the dimension).
///
/// ```
/// use refit_train::optim::second::sizes::gradient_terms;
/// // Two million terms for a gradient of length 0.001: as good as all of most data sets.
/// assert_eq!(gradient_terms(0.2963, 1e-3, 1e-3), 1_953_353);
/// ```
pub fn gradient_terms(largest: f64, error: f64, failure: f64) -> usize {
    let root = largest / error * (1.0 + (2.0 * (1.0 / failure).ln()).sqrt());
    (root * root).ceil() as usize
}

/// The error of the mean of `m` of `n` vectors with norms up to `largest`.
pub fn gradient_error(largest: f64, m: usize, n: usize, failure: f64) -> f64 {
    let root = 1.0 + (2.0 * (1.0 / failure).ln()).sqrt();
    largest * root * (left(m, n) / m as f64).sqrt()
}

/// The error of the mean of `m` of `n` vectors with norms up to `largest` and variance `variance` (the mean squared
/// distance to their mean), but for probability `failure`: `sqrt(2 V ln(2/p) / m) + 2 G ln(2/p) / m`.
pub fn spread_error(variance: f64, largest: f64, m: usize, n: usize, failure: f64) -> f64 {
    if m >= n {
        return 0.0;
    }
    let logarithm = (2.0 / failure).ln();
    (2.0 * variance * left(m, n) * logarithm / m as f64).sqrt()
        + 2.0 * largest * logarithm / m as f64
}

/// The error of the mean of `m` of `n` values or vectors, where means are nearly normal: Student's quantile times the
/// standard error, of which the variance was estimated with `degrees` degrees of freedom.
///
/// A rule of thumb that is much less than what is proven. For vectors the variance is the mean squared distance to their
/// mean; of all directions that it may be spread over, one alone has the longest tail.
///
/// ```
/// use refit_train::optim::second::sizes::usual_error;
/// // 1.96 standard errors for many terms, and for few degrees of freedom more.
/// let many = usual_error(1.0, 1_000_000, 100, usize::MAX, 0.05);
/// assert!((many - 0.196).abs() < 1e-3);
/// assert!((usual_error(1.0, 15, 100, usize::MAX, 0.05) - 0.213).abs() < 1e-3);
/// ```
pub fn usual_error(variance: f64, degrees: usize, m: usize, n: usize, failure: f64) -> f64 {
    if m >= n {
        return 0.0;
    }
    if degrees == 0 {
        return f64::INFINITY;
    }
    let z = normal_quantile(0.5 * failure);
    // Cornish and Fisher's first two terms for Student's distribution.
    let v = degrees as f64;
    let t = z
        * (1.0
            + (z * z + 1.0) / (4.0 * v)
            + (5.0 * z.powi(4) + 16.0 * z * z + 3.0) / (96.0 * v * v));
    t * (variance * left(m, n) / m as f64).sqrt()
}

/// What a standard normal value exceeds with probability `above`, below one half, to 5e-4 (Abramowitz and Stegun,
/// 26.2.23).
fn normal_quantile(above: f64) -> f64 {
    let t = (-2.0 * above.ln()).sqrt();
    let up = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let down = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    t - up / down
}

/// The error of the mean of `m` of `n` differences `f_i(x) - f_i(x + s)` with gradients up to `largest`, `s` being of
/// length `length`: Hoeffding's inequality.
pub fn difference_error(largest: f64, length: f64, m: usize, n: usize, failure: f64) -> f64 {
    largest * length * (2.0 * left(m, n) * (2.0 / failure).ln() / m as f64).sqrt()
}

/// The probability that look number `look` (from 1) at one growing sample may fail, so that all looks together fail with
/// probability `failure`.
pub fn look(failure: f64, look: u32) -> f64 {
    failure / (f64::from(look) * f64::from(look + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_errors_are_inverse() {
        let m = hessian_terms(0.1541, 0.01, 30, 1e-3);
        let endless = usize::MAX;
        assert!((hessian_error(0.1541, m, endless, 30, 1e-3) - 0.01).abs() < 1e-6);
        let m = gradient_terms(0.2963, 1e-3, 1e-3);
        assert!((gradient_error(0.2963, m, endless, 1e-3) - 1e-3).abs() < 1e-9);
    }

    #[test]
    fn all_terms_have_no_error() {
        let found = [
            hessian_error(1.0, 50, 50, 3, 0.1),
            gradient_error(1.0, 50, 50, 0.1),
            spread_error(1.0, 1.0, 50, 50, 0.1),
            usual_error(1.0, 49, 50, 50, 0.1),
            difference_error(1.0, 1.0, 50, 50, 0.1),
        ];
        assert_eq!(found.map(f64::to_bits), [0; 5]);
    }

    /// Quantiles of tables: normal, and Student's with 15 degrees of freedom.
    #[test]
    fn quantiles_are_those_of_tables() {
        for (above, expected) in [
            (0.05, 1.6449),
            (0.025, 1.9600),
            (0.005, 2.5758),
            (5e-4, 3.2905),
        ] {
            assert!((normal_quantile(above) - expected).abs() < 5e-4, "{above}");
        }
        for (failure, expected) in [(0.1, 1.7531), (0.05, 2.1314), (0.01, 2.9467)] {
            // The third term that is left out is about z^7 / (384 * 15^3).
            let found = usual_error(1.0, 15, 1, usize::MAX, failure);
            assert!((found - expected).abs() < 5e-3, "{found}");
        }
    }

    #[test]
    fn looks_spend_what_there_is() {
        let spent: f64 = (1..1000).map(|j| look(0.05, j)).sum();
        assert!(spent < 0.05 && spent > 0.0499);
    }
}
