//! Eigenvalues and eigenvectors of symmetric matrices.

use crate::{
    error::MathError,
    matrix::{Matrix, Real, fits},
};
use faer::{
    Par, Spec,
    diag::DiagMut,
    dyn_stack::{MemBuffer, MemStack},
    linalg::evd::{self as library, ComputeEigenvectors},
};

/// `A = sum_i values_i vector_i vector_i^T`, smallest value first.
#[derive(Clone, Debug, PartialEq)]
pub struct Eigen<T = f64> {
    /// `n` eigenvalues, smallest first.
    pub values: Vec<T>,
    /// `[n, n]`: row `i` is the eigenvector of value `i`.
    pub vectors: Matrix<T>,
}

/// The eigenvalues and eigenvectors of a symmetric matrix, of which the upper triangle is read.
///
/// # Shapes
/// `a [n, n]` -> `n` values, `n` vectors of length `n`.
///
/// # Errors
/// [`MathError::Shape`] unless square, [`MathError::NotFinite`], [`MathError::NotConverged`].
///
/// # Cost
/// `O(n^3)` on one thread; in double precision 0.13 seconds for `n = 768`.
///
/// # Example
/// ```
/// use refit_math::{Matrix, eigen};
/// let found = eigen(&Matrix::from_rows([[2.0f64, 1.0], [1.0, 2.0]]))?;
/// assert!((found.values[0] - 1.0).abs() < 1e-14 && (found.values[1] - 3.0).abs() < 1e-14);
/// # Ok::<(), refit_math::MathError>(())
/// ```
pub fn eigen<T: Real>(a: &Matrix<T>) -> Result<Eigen<T>, MathError> {
    let n = a.rows();
    fits("the matrix", a.shape(), (n, n))?;
    a.check_finite()?;
    let (near_one, power) = a.near_one();
    let (mut values, mut vectors) = (vec![T::round(0.0); n], Matrix::zeros(n, n));
    if n == 0 {
        return Ok(Eigen { values, vectors }); // the library's workspace wants a row
    }
    let compute = ComputeEigenvectors::Yes;
    let memory = library::self_adjoint_evd_scratch::<T>(n, compute, Par::Seq, Spec::default());
    let done = library::self_adjoint_evd(
        near_one.columns(), // its lower triangle is our upper one
        DiagMut::from_slice_mut(&mut values),
        Some(vectors.columns_mut()),
        Par::Seq,
        MemStack::new(&mut MemBuffer::new(memory)),
        Spec::default(),
    );
    if done.is_err() {
        return Err(MathError::NotConverged {
            what: "eigenvalue decomposition",
            rows: n,
            cols: n,
        });
    }
    for value in &mut values {
        *value = T::round((*value).into() * power);
    }
    Ok(Eigen { values, vectors })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::svd::tests::{skew, uniform};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn vectors_diagonalise_the_matrix(seed in any::<u64>(), n in 0usize..60) {
            let a = uniform::<f64>(seed, n, n);
            let symmetric = Matrix::from_fn(n, n, |i, j| a.row(i.min(j))[i.max(j)]);
            let found = eigen(&a).unwrap(); // the lower triangle is not read
            prop_assert!(skew(&found.vectors) < 1e-12);
            prop_assert!(found.values.is_sorted());
            let mut scaled = found.vectors.clone();
            scaled.scale_rows(&found.values);
            let again = found.vectors.transposed_times(&scaled).unwrap();
            prop_assert!(again.distance(&symmetric) < 1e-12);
        }
    }

    #[test]
    fn a_matrix_that_is_not_square_is_refused() {
        let text = eigen(&Matrix::<f64>::zeros(3, 2)).unwrap_err().to_string();
        assert_eq!(text, "the matrix is 3 x 2, expected 3 x 3");
    }
}
