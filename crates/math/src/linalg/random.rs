//! Random subspaces: the largest components of a matrix without the others.
//! Source: Halko, Martinsson and Tropp 2011, arXiv:0909.4061, algorithms 4.4 and 5.1, with random signs as test vectors.

use crate::{
    error::MathError,
    linalg::{
        qr::qr,
        svd::{Svd, svd},
    },
    matrix::{Matrix, Real},
};
use rand::RngCore;
use refit_core::Seed;

/// How a random subspace is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sketch {
    /// Dimensions beyond the ones that are wanted (paper: 5 or 10; ours: 10).
    pub oversample: usize,
    /// Times that the subspace is multiplied by `A A^T`, each of which lets small components fade further (paper: 1
    /// to 3; ours: 2).
    pub power: usize,
    /// Where chance comes from.
    pub seed: Seed,
}

impl Sketch {
    /// The default sketch from `seed`.
    pub const fn new(seed: Seed) -> Self {
        Self {
            oversample: 10,
            power: 2,
            seed,
        }
    }
}

/// An orthonormal basis of nearly all that `a` maps to: `|A - Q Q^T A|` is close to the first singular value left out.
///
/// # Shapes
/// `a [m, n]` -> `[l, m]`, `l = min(rank + oversample, m, n)`; row `i` is basis vector `i`.
///
/// # Errors
/// [`MathError::NotFinite`].
///
/// # Cost
/// `2 power + 1` products of `a` with `l` vectors, `O(m n l)` each.
///
/// # Source
/// arXiv:0909.4061, algorithm 4.4.
pub fn range_finder<T: Real>(
    a: &Matrix<T>,
    rank: usize,
    sketch: Sketch,
) -> Result<Matrix<T>, MathError> {
    a.check_finite()?;
    let (m, n) = a.shape();
    let size = rank.saturating_add(sketch.oversample).min(m).min(n);
    let mut basis = qr(&a.times_transposed(&signs(size, n, sketch.seed))?)?.basis;
    for _ in 0..sketch.power {
        // Both halves are made orthonormal, or small components drown in the rounding of large ones.
        let domain = qr(&a.transposed_times(&basis.transposed())?)?.basis;
        basis = qr(&a.times_transposed(&domain)?)?.basis;
    }
    Ok(basis)
}

/// The `rank` largest components of the singular value decomposition, nearly.
///
/// # Shapes
/// `a [m, n]` -> `min(rank, m, n)` components.
///
/// # Errors
/// [`MathError::NotFinite`], [`MathError::NotConverged`].
///
/// # Cost
/// `O(m n (rank + oversample) (power + 1))`; worth it for a rank below about a fifth of `min(m, n)`, else [`svd`].
///
/// # Example
/// ```
/// use refit_core::Seed;
/// use refit_math::{Matrix, Sketch, truncated_svd};
/// let a = Matrix::from_fn(40, 30, |i, j| (i + 1) as f64 * (j + 1) as f64);
/// let found = truncated_svd(&a, 1, Sketch::new(Seed::new(7)))?;
/// assert!(found.product().distance(&a) < 1e-9);
/// # Ok::<(), refit_math::MathError>(())
/// ```
///
/// # Source
/// arXiv:0909.4061, algorithm 5.1.
pub fn truncated_svd<T: Real>(
    a: &Matrix<T>,
    rank: usize,
    sketch: Sketch,
) -> Result<Svd<T>, MathError> {
    let basis = range_finder(a, rank, sketch)?;
    let inner = svd(&basis.times(a)?)?.head(rank);
    Ok(Svd {
        left: inner.left.times(&basis)?,
        ..inner
    })
}

/// Random signs, 64 from each number.
fn signs<T: Real>(rows: usize, cols: usize, seed: Seed) -> Matrix<T> {
    let (mut rng, mut bits) = (seed.fork("sketch").rng(), 0);
    let mut left = 0;
    Matrix::from_fn(rows, cols, |_, _| {
        if left == 0 {
            (bits, left) = (rng.next_u64(), 64);
        }
        let sign = if bits & 1 == 0 { 1.0 } else { -1.0 };
        (bits, left) = (bits >> 1, left - 1);
        T::round(sign)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::svd::tests::{skew, uniform};
    use proptest::prelude::*;

    /// A matrix whose singular values fall like `decay^i`.
    fn decaying(seed: u64, m: usize, n: usize, decay: f64) -> Matrix {
        let mut parts = svd(&uniform::<f64>(seed, m, n)).unwrap();
        let mut next = 1.0;
        for value in &mut parts.values {
            (*value, next) = (next, next * decay);
        }
        parts.product()
    }

    #[test]
    fn signs_are_balanced_and_repeatable() {
        let drawn = signs::<f64>(10, 1000, Seed::new(1));
        let sum: f64 = drawn.values().iter().sum();
        assert!(sum.abs() < 400.0); // four standard deviations
        assert_eq!(drawn, signs(10, 1000, Seed::new(1)));
        assert_ne!(drawn, signs(10, 1000, Seed::new(2)));
    }

    #[test]
    fn a_rank_beyond_the_matrix_gives_the_full_decomposition() {
        let a = uniform::<f64>(4, 9, 6);
        let found = truncated_svd(&a, usize::MAX, Sketch::new(Seed::new(0))).unwrap();
        assert_eq!(found.values.len(), 6);
        assert!(found.product().distance(&a) < 1e-13);
        let empty = truncated_svd(&Matrix::<f64>::zeros(0, 6), 2, Sketch::new(Seed::new(0)));
        assert_eq!(empty.unwrap().values.len(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn the_error_is_close_to_the_smallest_possible(
            seed in any::<u64>(), m in 30usize..80, n in 30usize..80, rank in 1usize..12,
        ) {
            let a = decaying(seed, m, n, 0.8);
            let found = truncated_svd(&a, rank, Sketch::new(Seed::new(seed))).unwrap();
            prop_assert!(skew(&found.left) < 1e-12 && skew(&found.right) < 1e-12);
            let rest = Matrix::from_fn(m, n, |i, j| a.row(i)[j] - found.product().row(i)[j]);
            // No matrix of this rank comes closer than the first value left out; two power iterations with ten
            // dimensions to spare stay within 5 %.
            let (found, least) = (svd(&rest).unwrap().values[0], 0.8f64.powf(rank as f64));
            prop_assert!(found >= least * (1.0 - 1e-9) && found < least * 1.05, "{found} {least}");
        }
    }
}
