//! The nearest orthonormal matrix.

use crate::{
    error::MathError,
    linalg::svd::svd,
    matrix::{Matrix, Real},
};

/// The orthogonal polar factor `U V^T` of `A = U S V^T`: the matrix with orthonormal rows (or columns) nearest to `A`.
///
/// Directions below rounding ([`Svd::rank`](crate::Svd::rank)) are left out, because their vectors are arbitrary; of a
/// matrix without full rank the factor is a partial isometry, whose non-zero singular values are 1.
///
/// # Shapes
/// `a [m, n]` -> `[m, n]`.
///
/// # Errors
/// Those of [`svd`].
///
/// # Cost
/// That of [`svd`].
///
/// # Example
/// ```
/// use refit_math::{Matrix, polar_factor};
/// let a = Matrix::from_rows([[0.0, 3.0], [-2.0, 0.0]]);
/// let nearest = polar_factor(&a)?;
/// assert!(nearest.distance(&Matrix::from_rows([[0.0, 1.0], [-1.0, 0.0]])) < 1e-14);
/// # Ok::<(), refit_math::MathError>(())
/// ```
pub fn polar_factor<T: Real>(a: &Matrix<T>) -> Result<Matrix<T>, MathError> {
    let parts = svd(a)?;
    let rank = parts.rank();
    let (left, right) = (parts.left.head(rank), parts.right.head(rank));
    left.transposed_times(&right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::svd::tests::{skew, uniform};

    #[test]
    fn rows_become_orthonormal_and_orthonormal_rows_stay() {
        let a = uniform::<f64>(3, 7, 20);
        let factor = polar_factor(&a).unwrap();
        assert!(skew(&factor) < 1e-13);
        assert!(polar_factor(&factor).unwrap().distance(&factor) < 1e-13);
        let tall = polar_factor(&a.transposed()).unwrap();
        assert!(tall.transposed().distance(&factor) < 1e-13);
    }

    #[test]
    fn equal_rows_share_one_direction() {
        let factor = polar_factor(&Matrix::from_rows([[0.0, 2.0], [0.0, 2.0]])).unwrap();
        let half = 0.5f64.sqrt();
        assert!(factor.distance(&Matrix::from_rows([[0.0, half], [0.0, half]])) < 1e-14);
        let zero = Matrix::<f64>::zeros(2, 3);
        assert_eq!(polar_factor(&zero).unwrap(), zero);
    }
}
