//! Singular value decomposition.

use crate::{
    error::MathError,
    matrix::{Matrix, Real},
};
use faer::{
    Par, Spec,
    diag::DiagMut,
    dyn_stack::{MemBuffer, MemStack},
    linalg::svd::{self as library, ComputeSvdVectors::Thin},
};

/// `A = sum_i values_i left_i right_i^T`, largest value first.
#[derive(Clone, Debug, PartialEq)]
pub struct Svd<T = f64> {
    /// `[k, m]`: row `i` is the left singular vector of value `i`.
    pub left: Matrix<T>,
    /// `k` singular values, none negative, largest first.
    pub values: Vec<T>,
    /// `[k, n]`: row `i` is the right singular vector of value `i`.
    pub right: Matrix<T>,
}

impl<T: Real> Svd<T> {
    /// How many values rise above rounding: those larger than `max(m, n) epsilon values_0`.
    pub fn rank(&self) -> usize {
        let size = self.left.cols().max(self.right.cols());
        let largest = self.values.first().map_or(0.0, |&v| v.into());
        self.rank_above(size as f64 * T::EPSILON * largest)
    }

    /// How many values are larger than `limit`.
    pub fn rank_above(&self, limit: f64) -> usize {
        self.values.partition_point(|&v| v.into() > limit)
    }

    /// The largest components, at most `count`.
    #[must_use]
    pub fn head(mut self, count: usize) -> Self {
        self.values.truncate(count);
        Self {
            left: self.left.head(count),
            right: self.right.head(count),
            ..self
        }
    }

    /// The matrix that these components sum to.
    #[must_use]
    pub fn product(&self) -> Matrix<T> {
        let mut right = self.right.clone();
        right.scale_rows(&self.values);
        // Invariant: both have one row per value.
        self.left
            .transposed_times(&right)
            .unwrap_or_else(|_| Matrix::zeros(self.left.cols(), self.right.cols()))
    }
}

/// The thin singular value decomposition.
///
/// # Shapes
/// `a [m, n]` -> `k = min(m, n)` components. Vectors are determined up to a common sign of each pair, and up to a
/// rotation where values are equal.
///
/// # Errors
/// [`MathError::NotFinite`], [`MathError::NotConverged`].
///
/// # Cost
/// `O(m n min(m, n))` on one thread; in double precision 0.3 seconds for 768 x 768.
pub fn svd<T: Real>(a: &Matrix<T>) -> Result<Svd<T>, MathError> {
    a.check_finite()?;
    let (near_one, power) = a.near_one();
    let ((m, n), zero) = (a.shape(), T::round(0.0));
    let k = m.min(n);
    let (mut left, mut right) = (Matrix::zeros(k, m), Matrix::zeros(k, n));
    let mut values = vec![zero; k];
    if k > 0 {
        let memory = library::svd_scratch::<T>(n, m, Thin, Thin, Par::Seq, Spec::default());
        let done = library::svd(
            near_one.columns(), // a^T = sum_i values_i right_i left_i^T
            DiagMut::from_slice_mut(&mut values),
            Some(right.columns_mut()),
            Some(left.columns_mut()),
            Par::Seq,
            MemStack::new(&mut MemBuffer::new(memory)),
            Spec::default(),
        );
        if done.is_err() {
            return Err(MathError::NotConverged {
                what: "singular value decomposition",
                rows: m,
                cols: n,
            });
        }
    }
    for value in &mut values {
        *value = T::round((*value).into() * power);
    }
    Ok(Svd {
        left,
        values,
        right,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::Rng;
    use refit_core::Seed;

    /// A matrix with values drawn evenly from `-1..1`.
    pub(crate) fn uniform<T: Real>(seed: u64, rows: usize, cols: usize) -> Matrix<T> {
        let mut rng = Seed::new(seed).rng();
        Matrix::from_fn(rows, cols, |_, _| T::round(rng.random_range(-1.0..1.0)))
    }

    /// How far rows are from orthonormal.
    pub(crate) fn skew<T: Real>(rows: &Matrix<T>) -> f64 {
        let gram = rows.times_transposed(rows).unwrap();
        gram.distance(&Matrix::identity(rows.rows()))
    }

    #[test]
    fn a_matrix_worked_by_hand() {
        // [[2, 2], [-1, 1]]: A^T A = [[5, 3], [3, 5]] has eigenvalues 8 and 2.
        let a = Matrix::from_rows([[2.0, 2.0], [-1.0, 1.0]]);
        let found = svd(&a).unwrap();
        assert!((found.values[0] - 8f64.sqrt()).abs() < 1e-14);
        assert!((found.values[1] - 2f64.sqrt()).abs() < 1e-14);
        let direction = found.right.row(0);
        assert!((direction[0] - direction[1]).abs() < 1e-14);
    }

    #[test]
    fn rank_counts_what_is_above_rounding() {
        let (a, b) = (uniform::<f64>(1, 20, 3), uniform(2, 3, 15));
        let found = svd(&a.times(&b).unwrap()).unwrap();
        assert_eq!((found.rank(), found.values.len()), (3, 15));
        assert_eq!(svd(&Matrix::<f64>::zeros(4, 3)).unwrap().rank(), 0);
        assert!(found.clone().head(3).product().distance(&found.product()) < 1e-13);
    }

    #[test]
    fn nothing_and_nan_are_no_trouble() {
        for (m, n) in [(0, 0), (0, 5), (5, 0)] {
            let found = svd(&Matrix::<f32>::zeros(m, n)).unwrap();
            assert_eq!((found.values.len(), found.product().shape()), (0, (m, n)));
        }
        let wild = Matrix::from_rows([[1.0, f64::INFINITY]]);
        assert!(matches!(
            svd(&wild),
            Err(MathError::NotFinite { col: 1, .. })
        ));
    }

    #[test]
    fn tiny_and_huge_values_are_decomposed_as_well() {
        for scale in [1e-300, 1e-200, 1e200, 1e300] {
            let mut a = uniform::<f64>(9, 30, 20);
            a.values_mut().iter_mut().for_each(|v| *v *= scale);
            let found = svd(&a).unwrap();
            assert!(found.product().distance(&a) < 1e-13 * scale, "{scale:e}");
            assert!(skew(&found.left) < 1e-13 && skew(&found.right) < 1e-13);
        }
    }

    fn holds<T: Real>(seed: u64, m: usize, n: usize, tolerance: f64) -> Result<(), TestCaseError> {
        let a = uniform::<T>(seed, m, n);
        let found = svd(&a).unwrap();
        prop_assert!(found.product().distance(&a) < tolerance);
        prop_assert!(skew(&found.left) < tolerance && skew(&found.right) < tolerance);
        prop_assert!(found.values.is_sorted_by(|a, b| a >= b));
        prop_assert!(found.values.iter().all(|&v| v.into() >= 0.0));
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn components_sum_to_the_matrix_and_vectors_are_orthonormal(
            seed in any::<u64>(), m in 1usize..70, n in 1usize..70,
        ) {
            holds::<f64>(seed, m, n, 1e-12)?;
            holds::<f32>(seed, m, n, 2e-5)?;
        }
    }
}
