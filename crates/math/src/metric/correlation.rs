//! Numbers that rise together.

use super::share;

/// Correlation of two columns (Pearson 1895), in `[-1, 1]`; 0 where one of them does not vary.
///
/// # Panics
/// If the columns differ in length.
///
/// # Example
/// ```
/// use refit_math::metric::pearson;
/// assert!((pearson(&[1.0, 2.0, 4.0], &[2.0, 4.0, 8.0]) - 1.0).abs() < 1e-15);
/// assert_eq!(pearson(&[1.0, 1.0], &[0.0, 3.0]), 0.0);
/// ```
pub fn pearson(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "columns of one length");
    let centred = |x: &[f64]| {
        let mean = x.iter().sum::<f64>() / x.len().max(1) as f64;
        x.iter().map(|x| x - mean).collect::<Vec<_>>()
    };
    let (a, b) = (centred(a), centred(b));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let found = share(dot(&a, &b), dot(&a, &a).sqrt() * dot(&b, &b).sqrt());
    found.clamp(-1.0, 1.0)
}

/// [`pearson`] of ranks (Spearman 1904); equal numbers share the mean of their ranks.
///
/// # Panics
/// If the columns differ in length.
///
/// # Example
/// ```
/// use refit_math::metric::spearman;
/// assert!((spearman(&[1.0, 2.0, 30.0], &[0.1, 0.2, 0.3]) - 1.0).abs() < 1e-15);
/// ```
pub fn spearman(a: &[f64], b: &[f64]) -> f64 {
    pearson(&ranks(a), &ranks(b))
}

fn ranks(x: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by(|&i, &j| x[i].total_cmp(&x[j]));
    let mut ranks = vec![0.0; x.len()];
    let mut before = 0;
    for equal in order.chunk_by(|&i, &j| x[i].total_cmp(&x[j]).is_eq()) {
        let mean = before as f64 + f64::midpoint(equal.len() as f64, 1.0);
        for &i in equal {
            ranks[i] = mean;
        }
        before += equal.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equal_numbers_share_their_ranks() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 0.5, 3.0]), [4.0, 2.0, 4.0, 1.0, 4.0]);
        // Ranks (1, 2.5, 2.5, 4) and (1, 3, 2, 4): covariance 4.5, squares 4.5 and 5.
        let found = spearman(&[1.0, 2.0, 2.0, 9.0], &[1.0, 3.0, 2.0, 4.0]);
        assert!((found - 4.5 / (4.5f64 * 5.0).sqrt()).abs() < 1e-15);
    }

    proptest! {
        #[test]
        fn scale_and_shift_change_nothing(
            rows in prop::collection::vec((-1e3..1e3f64, -1e3..1e3f64), 2..40),
            scale in 0.1..10f64,
        ) {
            let (a, b): (Vec<f64>, Vec<f64>) = rows.into_iter().unzip();
            let moved: Vec<f64> = a.iter().map(|a| a * scale + 7.0).collect();
            prop_assert!((pearson(&a, &b) - pearson(&moved, &b)).abs() < 1e-9);
            prop_assert!((pearson(&a, &b) - pearson(&b, &a)).abs() < 1e-12);
            let turned: Vec<f64> = a.iter().map(|a| -a).collect();
            prop_assert!((spearman(&a, &b) + spearman(&turned, &b)).abs() < 1e-12);
        }
    }
}
