//! What can go wrong with numbers.

use refit_core::Hint;
use std::borrow::Cow;

/// Everything that can stop a computation on matrices.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MathError {
    /// Values that do not fill the matrix, or matrices that do not go together.
    #[error("{what} is {} x {}, expected {} x {}", found.0, found.1, expected.0, expected.1)]
    Shape {
        /// Which operand.
        what: &'static str,
        /// Its rows and columns.
        found: (usize, usize),
        /// What would fit.
        expected: (usize, usize),
    },
    /// Values that do not fill their rows and columns.
    #[error("{found} values given, expected {rows} x {cols}")]
    Length {
        /// How many there are.
        found: usize,
        /// Rows of the matrix.
        rows: usize,
        /// Columns of the matrix.
        cols: usize,
    },
    /// A NaN or an infinity.
    #[error("the matrix holds {value} in row {row}, column {col}, expected finite values")]
    NotFinite {
        /// What stands there.
        value: f64,
        /// Its row, counted from 0.
        row: usize,
        /// Its column, counted from 0.
        col: usize,
    },
    /// An iteration that did not end.
    #[error("the {what} of a {rows} x {cols} matrix did not converge")]
    NotConverged {
        /// Which decomposition.
        what: &'static str,
        /// Rows of the matrix.
        rows: usize,
        /// Columns of the matrix.
        cols: usize,
    },
    /// A matrix that is not positive definite.
    #[error("the matrix is not positive definite: pivot {pivot} is not positive")]
    NotPositive {
        /// The first pivot that fails, counted from 0.
        pivot: usize,
    },
    /// A product with an operator, or a vector for it, that is not finite.
    #[error("a product is {value} in entry {entry}, expected finite values")]
    NotFiniteProduct {
        /// What stands there.
        value: f64,
        /// Its place, counted from 0.
        entry: usize,
    },
    /// An operator that should be symmetric: `u^T H v` and `v^T H u` differ.
    #[error("the operator is not symmetric: u^T H v is {there:e} and v^T H u is {back:e}")]
    NotSymmetric {
        /// `u^T H v`.
        there: f64,
        /// `v^T H u`.
        back: f64,
    },
    /// Nothing to work on.
    #[error("{what} is empty, expected at least one")]
    Empty {
        /// What holds nothing.
        what: &'static str,
    },
    /// More rows to assign than there are columns.
    #[error("{rows} rows cannot each have one of {cols} columns, expected at most as many rows")]
    TooManyRows {
        /// Rows of the costs.
        rows: usize,
        /// Columns of the costs.
        cols: usize,
    },
}

impl MathError {
    /// The first entry of a product that is not finite.
    pub(crate) fn product(values: &[f64]) -> Self {
        let entry = values.iter().position(|v| !v.is_finite()).unwrap_or(0);
        Self::NotFiniteProduct {
            value: values.get(entry).copied().unwrap_or(f64::NAN),
            entry,
        }
    }
}

impl Hint for MathError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::NotPositive { .. } => Some("add a larger ridge to the diagonal".into()),
            Self::TooManyRows { .. } => Some("transpose the costs".into()),
            Self::NotFinite { .. } => Some("repair or leave out what holds that value".into()),
            Self::NotFiniteProduct { .. } => {
                Some("look for an overflow in the operator, or for such a value in the data".into())
            }
            Self::NotSymmetric { .. } => Some(
                "check the product with the Hessian against differences of the gradient".into(),
            ),
            _ => None,
        }
    }
}
