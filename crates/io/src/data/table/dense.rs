//! Rows of which every number is stored.

use super::TableError;

/// Finite numbers in single precision, row by row.
///
/// ```
/// use refit_io::data::DenseRows;
/// let rows = DenseRows::new(vec![1.0, 2.0, 3.0, 4.0], 2)?;
/// assert_eq!((rows.len(), rows.row(1)), (2, &[3.0, 4.0][..]));
/// # Ok::<(), refit_io::data::TableError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct DenseRows {
    rows: usize,
    columns: usize,
    values: Vec<f32>,
}

impl DenseRows {
    /// Rows of `columns` values each.
    ///
    /// # Errors
    /// When the values are no whole number of rows, or one of them is not finite.
    pub fn new(values: Vec<f32>, columns: usize) -> Result<Self, TableError> {
        if columns == 0 || !values.len().is_multiple_of(columns) {
            let values = values.len();
            return Err(TableError::Size { values, columns });
        }
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            return Err(TableError::Value {
                row: at / columns,
                found: values[at],
            });
        }
        Ok(Self {
            rows: values.len() / columns,
            columns,
            values,
        })
    }

    /// Rows of values that are known to be finite and as many as `rows * columns`.
    pub(in crate::data) fn trusted(rows: usize, columns: usize, values: Vec<f32>) -> Self {
        debug_assert_eq!(values.len(), rows * columns);
        Self {
            rows,
            columns,
            values,
        }
    }

    /// Number of rows.
    pub const fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is no row.
    pub const fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Values of one row.
    pub const fn columns(&self) -> usize {
        self.columns
    }

    /// All values, row by row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The values of row `index`.
    ///
    /// # Panics
    /// When `index` is not below [`len`](Self::len).
    #[inline]
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.columns..][..self.columns]
    }

    /// Bytes of all values.
    pub const fn size_bytes(&self) -> u64 {
        (self.values.len() * size_of::<f32>()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_whole_number_of_rows_is_refused() {
        for (values, columns) in [(3, 2), (3, 0), (0, 0)] {
            let e = DenseRows::new(vec![0.0; values], columns).unwrap_err();
            assert_eq!(e, TableError::Size { values, columns });
        }
        let none = DenseRows::new(vec![], 3).unwrap();
        assert!(none.is_empty());
    }

    #[test]
    fn a_value_that_is_not_finite_is_found() {
        let e = DenseRows::new(vec![0.0, 1.0, 2.0, f32::INFINITY], 2).unwrap_err();
        let found = f32::INFINITY;
        assert_eq!(e, TableError::Value { row: 1, found });
    }
}
