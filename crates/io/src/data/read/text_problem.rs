//! What can be wrong with a row of texts.

use refit_core::Hint;
use std::borrow::Cow;

/// What is wrong with a row of texts, as the rest of a sentence that begins with the line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextProblem {
    /// Bytes that are no text.
    #[error("is not UTF-8")]
    NotText,
    /// Fewer columns than are needed, in a file without a header.
    #[error("is not `{expected}`")]
    Plain {
        /// What a line should be.
        expected: String,
    },
    /// A first line that does not name what is needed.
    #[error("is no header with `{missing}`")]
    Header {
        /// Names that it lacks.
        missing: String,
    },
    /// Another number of columns than the header.
    #[error("has {found} columns, expected {expected} as in the header")]
    Columns {
        /// Columns it has.
        found: usize,
        /// Columns of the header.
        expected: usize,
    },
    /// A row without one of its values.
    #[error("has no `{name}`")]
    NoColumn {
        /// The column.
        name: &'static str,
    },
    /// A row with a value that those before it do not have.
    #[error("has a `{name}`, which the rows before it do not have")]
    LateColumn {
        /// The column.
        name: &'static str,
    },
    /// A value of nothing.
    #[error("has an empty {name}")]
    Empty {
        /// The column.
        name: &'static str,
    },
    /// A line that is not the JSON object it should be.
    #[error("is no JSON object: {problem}")]
    Json {
        /// What its reader says.
        problem: String,
    },
    /// A value that is neither a text nor a number.
    #[error("has a `{name}` that is neither a text nor a number")]
    Value {
        /// The column.
        name: &'static str,
    },
    /// A label that the texts to fit do not have.
    #[error("has the label `{found}`, which no text to fit has")]
    NewLabel {
        /// The label.
        found: String,
    },
    /// More labels than classes can be.
    #[error("has a label more than {most}, which are the most")]
    TooManyLabels {
        /// The most there may be.
        most: usize,
    },
    /// A value that is no finite number where one is needed.
    #[error("has the {name} `{found}`, expected a finite number")]
    NotNumber {
        /// The column.
        name: &'static str,
        /// What stands there.
        found: String,
    },
}

impl Hint for TextProblem {
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::NotText => "convert the file to UTF-8".into(),
            Self::Plain { .. } => {
                "separate columns by one tab, or begin with a line of their names".into()
            }
            Self::Header { .. } => "begin with a line of column names, separated by tabs".into(),
            Self::LateColumn { name } => {
                format!("give every row a `{name}`, or none; null stands for none").into()
            }
            Self::Empty { name } => format!("leave out rows without a {name}").into(),
            _ => return None,
        })
    }
}
