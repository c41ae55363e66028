//! Rows of which only some numbers are stored.

use super::TableError;

/// Finite numbers in single precision in compressed rows: entry `k` stands in column `columns[k]`, and row `i` has the
/// entries `starts[i]..starts[i + 1]`, ascending by column.
///
/// ```
/// use refit_io::data::SparseRows;
/// // [[0, 5, 0], [0, 0, 0], [7, 0, 8]]
/// let rows = SparseRows::new(vec![0, 1, 1, 3], vec![1, 0, 2], vec![5.0, 7.0, 8.0], 3)?;
/// assert_eq!((rows.len(), rows.columns()), (3, 3));
/// let last = rows.row(2);
/// assert_eq!((last.columns, last.values), (&[0, 2][..], &[7.0, 8.0][..]));
/// # Ok::<(), refit_io::data::TableError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SparseRows {
    width: usize,
    starts: Vec<usize>,
    columns: Vec<u32>,
    values: Vec<f32>,
}

/// The entries of one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SparseRow<'a> {
    /// Where they stand, ascending.
    pub columns: &'a [u32],
    /// What they are.
    pub values: &'a [f32],
}

impl SparseRows {
    /// Rows with `width` columns.
    ///
    /// # Errors
    /// When the starts do not ascend from 0 to the number of values, column numbers and values differ in number, the
    /// columns of a row do not ascend or lie beyond `width`, or a value is not finite.
    pub fn new(
        starts: Vec<usize>,
        columns: Vec<u32>,
        values: Vec<f32>,
        width: usize,
    ) -> Result<Self, TableError> {
        if columns.len() != values.len() {
            return Err(TableError::Entries {
                columns: columns.len(),
                values: values.len(),
            });
        }
        let (count, bad) = (values.len(), |row| TableError::Start {
            row,
            values: values.len(),
        });
        if starts.first() != Some(&0) {
            return Err(bad(0));
        }
        if let Some(row) = (1..starts.len()).find(|&row| starts[row - 1] > starts[row]) {
            return Err(bad(row));
        }
        if starts.last() != Some(&count) {
            return Err(bad(starts.len() - 1));
        }
        let rows = Self {
            width,
            starts,
            columns,
            values,
        };
        (0..rows.len()).try_for_each(|row| rows.check(row))?;
        Ok(rows)
    }

    /// Checks the entries of one row.
    fn check(&self, row: usize) -> Result<(), TableError> {
        let entries = self.row(row);
        let mut least = 0;
        for &column in entries.columns {
            if column < least {
                return Err(TableError::Order { row, column });
            }
            if column as usize >= self.width {
                let columns = self.width;
                return Err(TableError::Column {
                    row,
                    column,
                    columns,
                });
            }
            least = column + 1;
        }
        match entries.values.iter().find(|value| !value.is_finite()) {
            Some(&found) => Err(TableError::Value { row, found }),
            None => Ok(()),
        }
    }

    /// Rows that are known to be in order.
    pub(in crate::data) fn trusted(
        starts: Vec<usize>,
        columns: Vec<u32>,
        values: Vec<f32>,
        width: usize,
    ) -> Self {
        debug_assert_eq!(starts.last(), Some(&values.len()));
        Self {
            width,
            starts,
            columns,
            values,
        }
    }

    /// Number of rows.
    pub const fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Whether there is no row.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of columns, empty ones included.
    pub const fn columns(&self) -> usize {
        self.width
    }

    /// All stored values, row by row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Where each row begins among the entries, and where the last one ends.
    pub fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// The entries of row `index`.
    ///
    /// # Panics
    /// When `index` is not below [`len`](Self::len).
    #[inline]
    pub fn row(&self, index: usize) -> SparseRow<'_> {
        let range = self.starts[index]..self.starts[index + 1];
        SparseRow {
            columns: &self.columns[range.clone()],
            values: &self.values[range],
        }
    }

    /// Bytes of values, column numbers and starts.
    pub const fn size_bytes(&self) -> u64 {
        Self::bytes_of(self.len(), self.values.len())
    }

    /// Bytes that `rows` rows with `entries` entries take.
    pub(in crate::data) const fn bytes_of(rows: usize, entries: usize) -> u64 {
        (rows as u64 + 1) * size_of::<usize>() as u64
            + entries as u64 * (size_of::<u32>() + size_of::<f32>()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(starts: &[usize], columns: &[u32], values: &[f32]) -> TableError {
        SparseRows::new(starts.to_vec(), columns.to_vec(), values.to_vec(), 3).unwrap_err()
    }

    #[test]
    fn starts_that_do_not_fit_are_refused() {
        let two = [1.0, 2.0];
        for (starts, row) in [
            (&[][..], 0),
            (&[1, 2][..], 0),
            (&[0, 1][..], 1),
            (&[0, 2, 1, 2][..], 2),
            (&[0, 3][..], 1),
        ] {
            let e = problem(starts, &[0, 1], &two);
            assert_eq!(e, TableError::Start { row, values: 2 }, "{starts:?}");
        }
        let e = problem(&[0, 2], &[0], &two);
        assert!(matches!(e, TableError::Entries { columns: 1, .. }));
    }

    #[test]
    fn entries_that_no_row_can_have_are_refused() {
        let e = problem(&[0, 0, 2], &[1, 1], &[1.0, 2.0]);
        assert_eq!(e, TableError::Order { row: 1, column: 1 });
        let e = problem(&[0, 1], &[u32::MAX], &[1.0]);
        assert!(matches!(e, TableError::Column { columns: 3, .. }), "{e}");
        let e = problem(&[0, 1], &[2], &[f32::NAN]);
        assert!(matches!(e, TableError::Value { row: 0, .. }), "{e}");
    }

    #[test]
    fn rows_may_be_empty_and_there_may_be_none() {
        assert!(
            SparseRows::new(vec![0], vec![], vec![], 0)
                .unwrap()
                .is_empty()
        );
        let rows = SparseRows::new(vec![0, 0], vec![], vec![], 0).unwrap();
        assert_eq!((rows.len(), rows.row(0).values.len()), (1, 0));
    }
}
