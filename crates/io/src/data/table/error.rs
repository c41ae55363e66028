//! What can be wrong with rows and labels in memory.

use super::Classes;
use refit_core::Hint;
use std::borrow::Cow;

/// Why rows or labels could not be used. Rows are counted from 0.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// A buffer that is no whole number of rows.
    #[error("{values} values are no whole number of rows of {columns} columns")]
    Size {
        /// Values there are.
        values: usize,
        /// Values of one row.
        columns: usize,
    },
    /// Starts of sparse rows that do not fit their values.
    #[error("the start of row {row} is out of order or beyond {values} values")]
    Start {
        /// The row; as many as there are rows for the end of the last one.
        row: usize,
        /// Values there are.
        values: usize,
    },
    /// As many column numbers as values are needed.
    #[error("{columns} column numbers for {values} values")]
    Entries {
        /// Column numbers there are.
        columns: usize,
        /// Values there are.
        values: usize,
    },
    /// Columns of a sparse row that do not ascend.
    #[error("column {column} of row {row} follows a column that is not before it")]
    Order {
        /// The row.
        row: usize,
        /// The column.
        column: u32,
    },
    /// A column beyond the width of the rows.
    #[error("row {row} has a column {column}, expected less than {columns}")]
    Column {
        /// The row.
        row: usize,
        /// The column.
        column: u32,
        /// Number of columns.
        columns: usize,
    },
    /// A value that is NaN or infinite.
    #[error("a value of row {row} is {found}, expected a finite number")]
    Value {
        /// The row.
        row: usize,
        /// The value.
        found: f32,
    },
    /// A label that is NaN or infinite.
    #[error("the label of row {row} is {found}, expected a finite number")]
    Label {
        /// The row.
        row: usize,
        /// The label.
        found: f32,
    },
    /// A label of no known class.
    #[error("the label of row {}, counted from 1, is {found}, which is none of the known classes", row + 1)]
    OtherClass {
        /// The row, from 0.
        row: usize,
        /// The label.
        found: f32,
    },
    /// As many labels as rows are needed.
    #[error("{labels} labels for {rows} rows")]
    Lengths {
        /// Rows there are.
        rows: usize,
        /// Labels there are.
        labels: usize,
    },
    /// All labels are one.
    #[error("every label is {found}, expected at least two classes")]
    OneClass {
        /// The label.
        found: f32,
    },
    /// A whole number that is kept as its neighbour is.
    #[error(
        "the label {found} cannot be told from its neighbours, expected classes below 16777216"
    )]
    LargeLabel {
        /// The label.
        found: f32,
    },
    /// No label at all.
    #[error("there is no row, expected at least one of each of two classes")]
    Empty,
    /// Labels that are too many to be classes.
    #[error(
        "there are more than {} different labels, expected classes",
        Classes::MOST
    )]
    NotClasses,
}

impl Hint for TableError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::OneClass { .. } => "add rows of another class".into(),
            Self::OtherClass { .. } => "remove the row, or train on rows of its class".into(),
            Self::LargeLabel { .. } => "number the classes from 0".into(),
            Self::NotClasses => "numbers as targets need an objective for regression".into(),
            _ => return None,
        })
    }
}
