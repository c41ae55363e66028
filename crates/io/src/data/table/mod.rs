//! Labelled rows of numbers in memory: dense where that is smaller, sparse elsewhere.

mod classes;
mod dense;
mod error;
mod sparse;

pub use classes::Classes;
pub use dense::DenseRows;
pub use error::TableError;
pub use sparse::{SparseRow, SparseRows};

/// Rows of finite numbers, all of one width.
#[derive(Clone, Debug, PartialEq)]
pub enum Features {
    /// Every number is stored.
    Dense(DenseRows),
    /// Numbers that are not stored are 0.
    Sparse(SparseRows),
}

impl Features {
    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Dense(rows) => rows.len(),
            Self::Sparse(rows) => rows.len(),
        }
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Numbers per row, zeros included.
    pub fn columns(&self) -> usize {
        match self {
            Self::Dense(rows) => rows.columns(),
            Self::Sparse(rows) => rows.columns(),
        }
    }

    /// Numbers that are stored.
    pub fn stored(&self) -> usize {
        match self {
            Self::Dense(rows) => rows.values().len(),
            Self::Sparse(rows) => rows.values().len(),
        }
    }

    /// Bytes that one pass over all rows reads.
    pub fn size_bytes(&self) -> u64 {
        match self {
            Self::Dense(rows) => rows.size_bytes(),
            Self::Sparse(rows) => rows.size_bytes(),
        }
    }
}

/// Rows of features and a label for each: a number, which may stand for a class (see [`classes`](Self::classes)).
///
/// ```
/// use refit_io::data::{DenseRows, Features, Table};
/// let rows = DenseRows::new(vec![1.0, 2.0, 3.0, 4.0], 2)?;
/// let table = Table::new("toy", Features::Dense(rows), vec![-1.0, 1.0])?;
/// assert_eq!((table.len(), table.features().columns()), (2, 2));
/// assert_eq!(table.classes()?.of_rows(), [0, 1]);
/// # Ok::<(), refit_io::data::TableError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    name: String,
    features: Features,
    labels: Vec<f32>,
}

impl Table {
    /// A table of `labels.len()` rows.
    ///
    /// # Errors
    /// When rows and labels differ in number, or a label is not finite.
    pub fn new(
        name: impl Into<String>,
        features: Features,
        labels: Vec<f32>,
    ) -> Result<Self, TableError> {
        if features.len() != labels.len() {
            return Err(TableError::Lengths {
                rows: features.len(),
                labels: labels.len(),
            });
        }
        if let Some(row) = labels.iter().position(|label| !label.is_finite()) {
            let found = labels[row];
            return Err(TableError::Label { row, found });
        }
        Ok(Self {
            name: name.into(),
            features,
            labels,
        })
    }

    /// What messages and reports call the table.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The rows.
    pub const fn features(&self) -> &Features {
        &self.features
    }

    /// The label of each row, as it was written.
    pub fn labels(&self) -> &[f32] {
        &self.labels
    }

    /// Number of rows.
    pub const fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no row.
    pub const fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The labels as classes, numbered by their values from the smallest: `{-1, +1}` and `{0, 1}` become 0 and 1,
    /// `{1, .., c}` become `0..c`.
    ///
    /// # Errors
    /// When fewer than two labels differ, or more than [`Classes::MOST`] do.
    pub fn classes(&self) -> Result<Classes, TableError> {
        Classes::of(&self.labels)
    }

    /// The labels as classes that are known already, such as those of the rows that a model was fitted to.
    ///
    /// # Errors
    /// A label that is none of them.
    pub fn classes_among(&self, known: &Classes) -> Result<Classes, TableError> {
        Classes::among(&self.labels, known.labels().to_vec())
    }

    /// The rows without labels and name.
    pub fn into_parts(self) -> (Features, Vec<f32>) {
        (self.features, self.labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_labels_are_as_many() {
        let rows = || Features::Dense(DenseRows::new(vec![1.0, 2.0], 1).unwrap());
        let e = Table::new("t", rows(), vec![1.0]).unwrap_err();
        assert_eq!(e.to_string(), "1 labels for 2 rows");
        let e = Table::new("t", rows(), vec![1.0, f32::NAN]).unwrap_err();
        assert_eq!(
            e.to_string(),
            "the label of row 1 is NaN, expected a finite number"
        );
    }

    #[test]
    fn both_layouts_tell_what_they_hold() {
        let dense = Features::Dense(DenseRows::new(vec![0.0, 2.0], 2).unwrap());
        let sparse = Features::Sparse(SparseRows::new(vec![0, 1], vec![1], vec![2.0], 2).unwrap());
        for features in [&dense, &sparse] {
            assert_eq!((features.len(), features.columns()), (1, 2));
            assert!(!features.is_empty());
        }
        assert_eq!((dense.stored(), dense.size_bytes()), (2, 8));
        assert_eq!((sparse.stored(), sparse.size_bytes()), (1, 8 + 16));
    }
}
