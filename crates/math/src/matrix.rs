//! Dense matrices in row-major order.

use crate::error::MathError;
use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul, traits::RealField};

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// Single or double precision.
pub trait Real: RealField + Copy + PartialOrd + Into<f64> + sealed::Sealed {
    /// Distance from 1 to the next larger value.
    const EPSILON: f64;

    /// The nearest value of this precision.
    fn round(value: f64) -> Self;
}

impl Real for f32 {
    const EPSILON: f64 = f32::EPSILON as f64;

    fn round(value: f64) -> Self {
        value as Self
    }
}

impl Real for f64 {
    const EPSILON: f64 = Self::EPSILON;

    fn round(value: f64) -> Self {
        value
    }
}

/// A dense matrix whose rows lie one after the other; either extent may be 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix<T = f64> {
    rows: usize,
    cols: usize,
    values: Vec<T>,
}

impl<T: Real> Matrix<T> {
    /// Takes row-major values.
    ///
    /// # Errors
    /// [`MathError::Length`] when there are not `rows * cols` of them.
    pub fn new(rows: usize, cols: usize, values: Vec<T>) -> Result<Self, MathError> {
        if rows.checked_mul(cols) != Some(values.len()) {
            let found = values.len();
            return Err(MathError::Length { found, rows, cols });
        }
        Ok(Self { rows, cols, values })
    }

    /// Takes row-major values of another precision.
    ///
    /// # Errors
    /// [`MathError::Length`] when there are not `rows * cols` of them.
    pub fn from_slice<U: Real>(rows: usize, cols: usize, values: &[U]) -> Result<Self, MathError> {
        let values = values.iter().map(|&v| T::round(v.into())).collect();
        Self::new(rows, cols, values)
    }

    /// A matrix written out row by row.
    pub fn from_rows<const R: usize, const C: usize>(rows: [[T; C]; R]) -> Self {
        Self {
            rows: R,
            cols: C,
            values: rows.into_iter().flatten().collect(),
        }
    }

    /// The matrix whose value in row `i`, column `j` is `value(i, j)`.
    pub fn from_fn(rows: usize, cols: usize, mut value: impl FnMut(usize, usize) -> T) -> Self {
        let values = (0..rows * cols).map(|at| value(at / cols, at % cols));
        Self {
            rows,
            cols,
            values: values.collect(),
        }
    }

    /// The matrix of zeros.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        Self {
            rows,
            cols,
            values: vec![T::round(0.0); rows * cols],
        }
    }

    /// The matrix with ones on its diagonal.
    pub fn identity(size: usize) -> Self {
        Self::from_fn(size, size, |i, j| T::round(f64::from(u8::from(i == j))))
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// The values, row by row.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// The values, row by row, to change.
    pub fn values_mut(&mut self) -> &mut [T] {
        &mut self.values
    }

    /// The values, row by row, given away.
    pub fn into_values(self) -> Vec<T> {
        self.values
    }

    /// Row `i`.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn row(&self, i: usize) -> &[T] {
        &self.values[i * self.cols..(i + 1) * self.cols]
    }

    /// Row `i`, to change.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn row_mut(&mut self, i: usize) -> &mut [T] {
        &mut self.values[i * self.cols..(i + 1) * self.cols]
    }

    /// The first rows, at most `count`.
    #[must_use]
    pub fn head(mut self, count: usize) -> Self {
        self.rows = self.rows.min(count);
        self.values.truncate(self.rows * self.cols);
        self
    }

    /// All rows of all `parts`, one below the other.
    ///
    /// # Errors
    /// [`MathError::Shape`] when they differ in the number of columns.
    pub fn stacked(parts: impl IntoIterator<Item = Self>) -> Result<Self, MathError> {
        let mut parts = parts.into_iter();
        let Some(mut all) = parts.next() else {
            return Ok(Self::zeros(0, 0));
        };
        for part in parts {
            fits("a part of the stack", part.shape(), (part.rows, all.cols))?;
            all.rows += part.rows;
            all.values.extend_from_slice(&part.values);
        }
        Ok(all)
    }

    /// Rows and columns exchanged.
    #[must_use]
    pub fn transposed(&self) -> Self {
        // Square tiles keep both sides in the first-level cache.
        const TILE: usize = 16;
        let mut out = Self::zeros(self.cols, self.rows);
        for top in (0..self.rows).step_by(TILE) {
            for left in (0..self.cols).step_by(TILE) {
                for i in top..(top + TILE).min(self.rows) {
                    for j in left..(left + TILE).min(self.cols) {
                        out.values[j * self.rows + i] = self.values[i * self.cols + j];
                    }
                }
            }
        }
        out
    }

    /// Multiplies row `i` by `factors[i]`.
    ///
    /// # Panics
    /// When there is not one factor per row.
    pub fn scale_rows(&mut self, factors: &[T]) {
        assert_eq!(factors.len(), self.rows, "one factor per row");
        for (i, &factor) in factors.iter().enumerate() {
            for value in self.row_mut(i) {
                *value *= factor;
            }
        }
    }

    /// `self other`.
    ///
    /// ```
    /// # use refit_math::Matrix;
    /// let a = Matrix::from_rows([[1.0, 2.0], [3.0, 4.0]]);
    /// let b = Matrix::from_rows([[1.0], [-1.0]]);
    /// assert_eq!(a.times(&b)?.values(), [-1.0, -1.0]);
    /// # Ok::<(), refit_math::MathError>(())
    /// ```
    ///
    /// # Errors
    /// [`MathError::Shape`] unless `other` has as many rows as `self` has columns.
    pub fn times(&self, other: &Self) -> Result<Self, MathError> {
        fits("the right factor", other.shape(), (self.cols, other.cols))?;
        Ok(multiply(self.view(), other.view()))
    }

    /// `self^T other`.
    ///
    /// # Errors
    /// [`MathError::Shape`] unless both have as many rows.
    pub fn transposed_times(&self, other: &Self) -> Result<Self, MathError> {
        fits("the right factor", other.shape(), (self.rows, other.cols))?;
        Ok(multiply(self.view().transpose(), other.view()))
    }

    /// `self other^T`.
    ///
    /// # Errors
    /// [`MathError::Shape`] unless both have as many columns.
    pub fn times_transposed(&self, other: &Self) -> Result<Self, MathError> {
        fits("the right factor", other.shape(), (other.rows, self.cols))?;
        Ok(multiply(self.view(), other.view().transpose()))
    }

    /// `out = self other`, without memory of its own.
    ///
    /// # Errors
    /// [`MathError::Shape`] when the three do not go together.
    pub fn times_into(&self, other: &Self, out: &mut Self) -> Result<(), MathError> {
        fits("the right factor", other.shape(), (self.cols, other.cols))?;
        fits("the product", out.shape(), (self.rows, other.cols))?;
        multiply_into(out.view_mut(), self.view(), other.view());
        Ok(())
    }

    /// `sqrt(sum_ij a_ij^2)`, summed in double precision.
    pub fn norm(&self) -> f64 {
        let squares = self.values.iter().map(|&v| v.into() * v.into());
        squares.sum::<f64>().sqrt()
    }

    /// The largest absolute difference to `other`; infinite when shapes differ.
    pub fn distance(&self, other: &Self) -> f64 {
        if self.shape() != other.shape() {
            return f64::INFINITY;
        }
        let pairs = self.values.iter().zip(&other.values);
        pairs.fold(0.0, |most, (&a, &b)| {
            let difference: f64 = (a.into() - b.into()).abs();
            // `max` would drop a NaN.
            if difference <= most || most.is_nan() {
                most
            } else {
                difference
            }
        })
    }

    /// Refuses values that are not finite.
    pub(crate) fn check_finite(&self) -> Result<(), MathError> {
        match self.values.iter().position(|v| !finite(*v)) {
            None => Ok(()),
            Some(at) => Err(MathError::NotFinite {
                value: self.values[at].into(),
                row: at / self.cols,
                col: at % self.cols,
            }),
        }
    }

    /// The matrix divided by a power of two that brings its largest value near 1, and that power: squares of what
    /// decompositions work on neither overflow nor vanish, and no bit of a normal value is lost.
    pub(crate) fn near_one(&self) -> (Self, f64) {
        const EXPONENT: u64 = 0x7ff << 52;
        let magnitudes = self.values.iter().map(|&v| Into::<f64>::into(v).abs());
        let largest = magnitudes.fold(f64::MIN_POSITIVE, f64::max);
        let power = f64::from_bits(largest.to_bits() & EXPONENT);
        let values = self.values.iter().map(|&v| T::round(v.into() / power));
        let scaled = Self {
            values: values.collect(),
            ..*self
        };
        (scaled, power)
    }

    pub(crate) fn view(&self) -> MatRef<'_, T> {
        MatRef::from_row_major_slice(&self.values, self.rows, self.cols)
    }

    pub(crate) fn view_mut(&mut self) -> MatMut<'_, T> {
        MatMut::from_row_major_slice_mut(&mut self.values, self.rows, self.cols)
    }

    /// The transpose, column-major as the library prefers.
    pub(crate) fn columns(&self) -> MatRef<'_, T> {
        self.view().transpose()
    }

    /// The transpose, column-major as the library prefers.
    pub(crate) fn columns_mut(&mut self) -> MatMut<'_, T> {
        self.view_mut().transpose_mut()
    }
}

/// Whether `value` is neither NaN nor infinite.
pub(crate) fn finite<T: Real>(value: T) -> bool {
    Into::<f64>::into(value).is_finite()
}

/// Refuses an operand whose shape is not the expected one.
pub(crate) fn fits(
    what: &'static str,
    found: (usize, usize),
    expected: (usize, usize),
) -> Result<(), MathError> {
    if found == expected {
        return Ok(());
    }
    Err(MathError::Shape {
        what,
        found,
        expected,
    })
}

fn multiply<T: Real>(a: MatRef<'_, T>, b: MatRef<'_, T>) -> Matrix<T> {
    let mut out = Matrix::zeros(a.nrows(), b.ncols());
    multiply_into(out.view_mut(), a, b);
    out
}

fn multiply_into<T: Real>(out: MatMut<'_, T>, a: MatRef<'_, T>, b: MatRef<'_, T>) {
    matmul(out, Accum::Replace, a, b, T::round(1.0), Par::Seq);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(rows: usize, cols: usize) -> Matrix {
        Matrix::from_fn(rows, cols, |i, j| {
            ((i * 7 + j * 3) % 11) as f64 - 5.0 + 0.25 * j as f64
        })
    }

    #[test]
    fn products_agree_with_the_definition_in_every_orientation() {
        for (m, k, n) in [(1, 1, 1), (3, 5, 2), (17, 9, 13), (4, 0, 3), (0, 2, 2)] {
            let (a, b) = (counting(m, k), counting(k, n));
            let plain =
                Matrix::from_fn(m, n, |i, j| (0..k).map(|l| a.row(i)[l] * b.row(l)[j]).sum());
            assert!(a.times(&b).unwrap().distance(&plain) < 1e-11, "{m} {k} {n}");
            let transposed = a.transposed();
            assert!(transposed.transposed_times(&b).unwrap().distance(&plain) < 1e-11);
            assert!(
                a.times_transposed(&b.transposed())
                    .unwrap()
                    .distance(&plain)
                    < 1e-11
            );
            let mut out = counting(m, n);
            a.times_into(&b, &mut out).unwrap();
            assert!(out.distance(&plain) < 1e-11);
            assert_eq!(transposed.transposed(), a);
        }
    }

    #[test]
    fn shapes_that_do_not_go_together_are_named() {
        let (a, b) = (counting(2, 3), counting(2, 3));
        let text = a.times(&b).unwrap_err().to_string();
        assert_eq!(text, "the right factor is 2 x 3, expected 3 x 3");
        assert!(a.transposed_times(&b).is_ok() && a.times_transposed(&b).is_ok());
        let text = Matrix::new(2, 2, vec![0.0f32; 3]).unwrap_err().to_string();
        assert_eq!(text, "3 values given, expected 2 x 2");
        assert!(Matrix::<f64>::new(usize::MAX, 2, vec![]).is_err());
        assert!(Matrix::stacked([a, counting(1, 2)]).is_err());
    }

    #[test]
    fn rows_are_stacked_cut_and_scaled() {
        let a = Matrix::from_rows([[1.0, 2.0], [3.0, 4.0]]);
        let b = Matrix::from_rows([[5.0, 6.0]]);
        let mut all = Matrix::stacked([a, b]).unwrap();
        all.scale_rows(&[1.0, 2.0, -1.0]);
        assert_eq!(all.values(), [1.0, 2.0, 6.0, 8.0, -5.0, -6.0]);
        assert_eq!(all.clone().head(1).values(), [1.0, 2.0]);
        assert_eq!(all.clone().head(9), all);
        assert_eq!(Matrix::<f64>::stacked([]).unwrap().shape(), (0, 0));
    }

    #[test]
    fn a_distance_with_nan_is_not_small() {
        let a = Matrix::from_rows([[0.0, f64::NAN, 0.0]]);
        assert!(a.distance(&Matrix::zeros(1, 3)).is_nan());
        let found = a.check_finite().unwrap_err();
        assert_eq!(
            found.to_string(),
            "the matrix holds NaN in row 0, column 1, expected finite values"
        );
    }
}
