//! Orthonormal bases.

use crate::{
    error::MathError,
    matrix::{Matrix, Real},
};

/// `A = Q R` with orthonormal columns of `Q` and an upper triangular `R`.
#[derive(Clone, Debug, PartialEq)]
pub struct Qr<T = f64> {
    /// `[k, m]`: row `i` is column `i` of `Q`.
    pub basis: Matrix<T>,
    /// `[k, n]`: `R`.
    pub upper: Matrix<T>,
}

/// The thin QR decomposition by Householder reflections.
///
/// # Shapes
/// `a [m, n]` -> `k = min(m, n)` basis vectors of length `m` and `R [k, n]`.
///
/// # Errors
/// [`MathError::NotFinite`].
///
/// # Cost
/// `O(m n min(m, n))` on one thread.
///
/// # Example
/// ```
/// use refit_math::{Matrix, qr};
/// let a = Matrix::from_rows([[3.0f64, 1.0], [4.0, 2.0]]);
/// let found = qr(&a)?;
/// assert!((found.upper.row(0)[0].abs() - 5.0).abs() < 1e-14);
/// assert!(found.basis.transposed_times(&found.upper)?.distance(&a) < 1e-14);
/// # Ok::<(), refit_math::MathError>(())
/// ```
pub fn qr<T: Real>(a: &Matrix<T>) -> Result<Qr<T>, MathError> {
    a.check_finite()?;
    let k = a.rows().min(a.cols());
    if k == 0 {
        return Ok(Qr {
            basis: Matrix::zeros(0, a.rows()),
            upper: Matrix::zeros(0, a.cols()),
        });
    }
    let parts = a.view().qr();
    let (q, r) = (parts.compute_thin_Q(), parts.thin_R());
    Ok(Qr {
        basis: Matrix::from_fn(k, a.rows(), |i, j| q[(j, i)]),
        upper: Matrix::from_fn(k, a.cols(), |i, j| r[(i, j)]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::svd::tests::{skew, uniform};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn factors_multiply_to_the_matrix(seed in any::<u64>(), m in 0usize..60, n in 0usize..60) {
            let a = uniform::<f64>(seed, m, n);
            let found = qr(&a).unwrap();
            prop_assert!(skew(&found.basis) < 1e-12);
            let again = found.basis.transposed_times(&found.upper).unwrap();
            prop_assert!(again.distance(&a) < 1e-12);
            for i in 0..found.upper.rows() {
                prop_assert!(found.upper.row(i)[..i].iter().all(|&v| v == 0.0));
            }
        }
    }
}
