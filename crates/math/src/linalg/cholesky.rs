//! Solving with symmetric positive definite matrices.

use crate::{
    error::MathError,
    matrix::{Matrix, Real, fits},
};
use faer::{
    Par, Spec,
    dyn_stack::{MemBuffer, MemStack},
    linalg::cholesky::llt::{factor, solve},
};

/// The factor `L` of `A = L L^T`.
#[derive(Clone, Debug, PartialEq)]
pub struct Cholesky<T = f64> {
    /// Its transpose, row-major, so that columns are what the library prefers.
    upper: Matrix<T>,
}

/// Factors a symmetric positive definite matrix, of which the upper triangle is read.
///
/// # Errors
/// [`MathError::Shape`] unless square, [`MathError::NotFinite`], [`MathError::NotPositive`].
///
/// # Cost
/// `n^3 / 3` multiply-adds, on one thread.
///
/// # Example
/// ```
/// use refit_math::{Matrix, cholesky};
/// let a = Matrix::from_rows([[4.0, 2.0], [2.0, 3.0]]);
/// let x = cholesky(a)?.solve(&Matrix::from_rows([[8.0], [7.0]]))?;
/// assert!(x.distance(&Matrix::from_rows([[1.25], [1.5]])) < 1e-14);
/// # Ok::<(), refit_math::MathError>(())
/// ```
pub fn cholesky<T: Real>(mut a: Matrix<T>) -> Result<Cholesky<T>, MathError> {
    let n = a.rows();
    fits("the matrix", a.shape(), (n, n))?;
    a.check_finite()?;
    let memory = factor::cholesky_in_place_scratch::<T>(n, Par::Seq, Spec::default());
    factor::cholesky_in_place(
        a.columns_mut(), // its lower triangle is our upper one
        factor::LltRegularization::default(),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(memory)),
        Spec::default(),
    )
    .map_err(|error| match error {
        factor::LltError::NonPositivePivot { index } => MathError::NotPositive { pivot: index },
    })?;
    Ok(Cholesky { upper: a })
}

impl<T: Real> Cholesky<T> {
    /// The solution `X` of `A X = B`.
    ///
    /// # Shapes
    /// `b [n, k]` -> `[n, k]`.
    ///
    /// # Errors
    /// [`MathError::Shape`] unless `b` has `n` rows, [`MathError::NotFinite`].
    pub fn solve(&self, b: &Matrix<T>) -> Result<Matrix<T>, MathError> {
        let n = self.upper.rows();
        fits("the right side", b.shape(), (n, b.cols()))?;
        b.check_finite()?;
        let mut x = b.clone();
        let memory = solve::solve_in_place_scratch::<T>(n, b.cols(), Par::Seq);
        solve::solve_in_place(
            self.upper.columns(),
            x.view_mut(),
            Par::Seq,
            MemStack::new(&mut MemBuffer::new(memory)),
        );
        Ok(x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::svd::tests::uniform;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn the_solution_solves(seed in any::<u64>(), n in 0usize..60, k in 0usize..9) {
            let (root, x) = (uniform::<f64>(seed, n, n), uniform(seed ^ 1, n, k));
            let mut a = root.times_transposed(&root).unwrap();
            for i in 0..n {
                a.row_mut(i)[i] += 1.0;
            }
            let b = a.times(&x).unwrap();
            // Eigenvalues lie in 1..=1 + n^2, so that n^2 epsilon of x is lost at most.
            prop_assert!(cholesky(a).unwrap().solve(&b).unwrap().distance(&x) < 1e-11);
        }
    }

    #[test]
    fn a_matrix_that_is_not_positive_is_refused_with_its_pivot() {
        let a = Matrix::from_rows([[1.0, 0.0], [0.0, -1.0]]);
        assert_eq!(cholesky(a), Err(MathError::NotPositive { pivot: 1 }));
        let ridge = cholesky(Matrix::<f64>::identity(2)).unwrap();
        assert!(ridge.solve(&Matrix::zeros(3, 1)).is_err());
    }
}
