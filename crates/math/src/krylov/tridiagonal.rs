//! Symmetric tridiagonal matrices: what a Krylov space leaves of a large one.

use crate::vector::{norm, scale};

/// A symmetric tridiagonal matrix of size `k`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tridiagonal {
    /// `k` values.
    pub diagonal: Vec<f64>,
    /// `k - 1` values; a zero splits the matrix into blocks.
    pub off: Vec<f64>,
}

/// The factors of `T + shift I = L D L^T`, all pivots positive.
#[derive(Clone, Debug, Default)]
pub(super) struct Factor {
    pivots: Vec<f64>,
    lower: Vec<f64>,
}

impl Tridiagonal {
    /// Rows and columns.
    pub fn len(&self) -> usize {
        self.diagonal.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.diagonal.is_empty()
    }

    /// An interval that holds every eigenvalue (Gershgorin).
    pub fn range(&self) -> (f64, f64) {
        let off = |i: usize| self.off.get(i).map_or(0.0, |b| b.abs());
        let reach = |i: usize| off(i) + if i > 0 { off(i - 1) } else { 0.0 };
        let diagonal = self.diagonal.iter().enumerate();
        diagonal.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), (i, a)| {
            (low.min(a - reach(i)), high.max(a + reach(i)))
        })
    }

    /// An upper bound on the largest absolute eigenvalue.
    pub fn magnitude(&self) -> f64 {
        let (low, high) = self.range();
        low.abs().max(high.abs())
    }

    /// The smallest eigenvalue, to the last digits of [`magnitude`](Self::magnitude).
    ///
    /// # Cost
    /// About 60 passes over the matrix.
    ///
    /// # Example
    /// ```
    /// use refit_math::krylov::Tridiagonal;
    /// let t = Tridiagonal { diagonal: vec![2.0, 2.0], off: vec![1.0] };
    /// assert!((t.smallest() - 1.0).abs() < 1e-14);
    /// ```
    ///
    /// # Panics
    /// When the matrix is empty.
    pub fn smallest(&self) -> f64 {
        self.bisect(0)
    }

    /// The largest eigenvalue, to the last digits of [`magnitude`](Self::magnitude).
    ///
    /// # Panics
    /// When the matrix is empty.
    pub fn largest(&self) -> f64 {
        self.bisect(self.len() - 1)
    }

    /// Eigenvalue number `index`, smallest first.
    fn bisect(&self, index: usize) -> f64 {
        assert!(index < self.len(), "an eigenvalue of the matrix");
        let (mut low, mut high) = self.range();
        loop {
            let middle = f64::midpoint(low, high);
            if middle <= low || middle >= high {
                return middle;
            }
            if self.below(middle) > index {
                high = middle;
            } else {
                low = middle;
            }
            if high - low <= f64::EPSILON * low.abs().max(high.abs()) {
                return f64::midpoint(low, high);
            }
        }
    }

    /// Number of eigenvalues below `bound` (Sturm).
    fn below(&self, bound: f64) -> usize {
        let tiny = f64::MIN_POSITIVE.max(f64::EPSILON * f64::EPSILON * self.largest_entry());
        let (mut count, mut pivot) = (0, 1.0);
        for (i, a) in self.diagonal.iter().enumerate() {
            let b = if i > 0 { self.off[i - 1] } else { 0.0 };
            pivot = a - bound - b * (b / pivot);
            if pivot.abs() < tiny {
                pivot = -tiny;
            }
            count += usize::from(pivot < 0.0);
        }
        count
    }

    /// The largest absolute entry, as a size to compare pivots with.
    fn largest_entry(&self) -> f64 {
        self.diagonal
            .iter()
            .chain(&self.off)
            .fold(0.0, |most: f64, v| most.max(v.abs()))
    }

    /// A unit eigenvector of the smallest eigenvalue `value`.
    ///
    /// # Panics
    /// When the matrix is empty.
    pub fn leftmost_vector(&self, value: f64) -> Vec<f64> {
        assert!(!self.is_empty(), "a matrix with an eigenvector");
        let (_, factor) = self.factor_above(-value);
        // Steps of inverse iteration with a matrix that is singular but for rounding; a start that is orthogonal to
        // the eigenvector by accident gets its share from rounding in the first.
        let mut vector: Vec<f64> = (0..self.len())
            .map(|i| 1.0 + 0.25 * ((i * 7 + 3) % 11) as f64 / 11.0)
            .collect();
        for _ in 0..4 {
            let length = norm(&vector);
            scale(&mut vector, 1.0 / length);
            factor.solve(&mut vector);
        }
        let length = norm(&vector);
        scale(&mut vector, 1.0 / length);
        vector
    }

    /// Factors `T + shift I` for the smallest shift from `from` on that makes it positive definite; with that shift.
    pub(super) fn factor_above(&self, from: f64) -> (f64, Factor) {
        let mut nudge = 4.0 * f64::EPSILON * self.magnitude().max(from.abs());
        nudge = nudge.max(f64::MIN_POSITIVE);
        let mut factor = Factor::default();
        while !self.factor(from + nudge, &mut factor) {
            nudge *= 2.0;
        }
        (from + nudge, factor)
    }

    /// Factors `T + shift I` into `factor`; false when it is not positive definite.
    pub(super) fn factor(&self, shift: f64, factor: &mut Factor) -> bool {
        factor.pivots.clear();
        factor.lower.clear();
        for (i, a) in self.diagonal.iter().enumerate() {
            let mut pivot = a + shift;
            if i > 0 {
                let b = self.off[i - 1];
                let lower = b / factor.pivots[i - 1];
                factor.lower.push(lower);
                pivot -= lower * b;
            }
            if !(pivot > 0.0 && pivot.is_finite()) {
                return false;
            }
            factor.pivots.push(pivot);
        }
        true
    }

    /// `v^T T v`.
    pub(super) fn quadratic(&self, v: &[f64]) -> f64 {
        let squares: f64 = self.diagonal.iter().zip(v).map(|(a, v)| a * v * v).sum();
        let pairs = self.off.iter().zip(v.windows(2));
        squares + 2.0 * pairs.map(|(b, v)| b * v[0] * v[1]).sum::<f64>()
    }
}

impl Factor {
    /// Replaces `b` by `(T + shift I)^-1 b`.
    pub(super) fn solve(&self, b: &mut [f64]) {
        self.forward(b);
        b.iter_mut().zip(&self.pivots).for_each(|(b, d)| *b /= d);
        for i in (0..self.lower.len()).rev() {
            b[i] -= self.lower[i] * b[i + 1];
        }
    }

    /// `b^T (T + shift I)^-1 b`, which cannot be negative; `b` is used up.
    pub(super) fn inverse_square(&self, b: &mut [f64]) -> f64 {
        self.forward(b);
        b.iter().zip(&self.pivots).map(|(b, d)| b * b / d).sum()
    }

    fn forward(&self, b: &mut [f64]) {
        for (i, lower) in self.lower.iter().enumerate() {
            b[i + 1] -= lower * b[i];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Matrix, eigen, vector::dot};
    use proptest::prelude::*;
    use rand::Rng;
    use refit_core::Seed;

    pub(crate) fn dense(t: &Tridiagonal) -> Matrix {
        Matrix::from_fn(t.len(), t.len(), |i, j| match i.abs_diff(j) {
            0 => t.diagonal[i],
            1 => t.off[i.min(j)],
            _ => 0.0,
        })
    }

    fn random(seed: u64, k: usize, split: bool) -> Tridiagonal {
        let mut rng = Seed::new(seed).rng();
        let diagonal = (0..k).map(|_| rng.random_range(-1.0..1.0)).collect();
        let mut off: Vec<f64> = (1..k).map(|_| rng.random_range(-1.0..1.0)).collect();
        if split && k > 2 {
            off[k / 2] = 0.0;
        }
        Tridiagonal { diagonal, off }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn extreme_eigenpairs_are_those_of_the_dense_matrix(
            seed in any::<u64>(), k in 1usize..40, split in any::<bool>(),
        ) {
            let t = random(seed, k, split);
            let found = eigen(&dense(&t)).unwrap();
            // The dense decomposition is exact to k rounding errors of the norm: 40 * 3 * 2.2e-16.
            prop_assert!((t.smallest() - found.values[0]).abs() < 2.7e-14);
            prop_assert!((t.largest() - found.values[k - 1]).abs() < 2.7e-14);
            let value = t.smallest();
            let u = t.leftmost_vector(value);
            let rows = dense(&t);
            let residual: Vec<f64> = (0..k).map(|i| dot(rows.row(i), &u) - value * u[i]).collect();
            prop_assert!(norm(&residual) < 1e-13);
            prop_assert!((norm(&u) - 1.0).abs() < 1e-14);
            prop_assert!((t.quadratic(&u) - value).abs() < 1e-14);
        }

        #[test]
        fn factors_solve_and_refuse(seed in any::<u64>(), k in 1usize..40) {
            let t = random(seed, k, false);
            let value = t.smallest();
            let mut factor = Factor::default();
            prop_assert!(!t.factor(-value - 1e-9, &mut factor));
            prop_assert!(t.factor(-value + 0.5, &mut factor));
            let right: Vec<f64> = (0..k).map(|i| (i as f64).cos()).collect();
            let mut x = right.clone();
            factor.solve(&mut x);
            let rows = dense(&t);
            for i in 0..k {
                let row = dot(rows.row(i), &x) + (0.5 - value) * x[i];
                // The inverse is at most 2, the matrix at most 7.
                prop_assert!((row - right[i]).abs() < 1e-12);
            }
            let square = factor.inverse_square(&mut right.clone());
            prop_assert!((square - dot(&x, &right)).abs() < 1e-11);
        }
    }

    #[test]
    fn a_zero_matrix_has_the_eigenvalue_zero() {
        let t = Tridiagonal {
            diagonal: vec![0.0; 3],
            off: vec![0.0; 2],
        };
        assert!(t.smallest().abs() < 1e-300 && t.largest().abs() < 1e-300);
        assert!((norm(&t.leftmost_vector(0.0)) - 1.0).abs() < 1e-15);
    }
}
