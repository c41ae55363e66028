//! What can be wrong with a line.

use super::{MOST_FEATURES, MOST_LINE};
use refit_core::Hint;
use std::borrow::Cow;

/// What is wrong with a line of a LIBSVM file, as the rest of a sentence that begins with the line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineProblem {
    /// The line does not begin with a number.
    #[error("has the label `{found}`, expected one number")]
    Label {
        /// Its first word.
        found: String,
    },
    /// A label that is NaN or beyond single precision.
    #[error("has the label `{found}`, expected a finite number")]
    LabelNotFinite {
        /// The label.
        found: String,
    },
    /// A word that is no entry.
    #[error("has the entry `{found}`, expected `index:value`")]
    Entry {
        /// The word.
        found: String,
    },
    /// The group of a ranking problem.
    #[error("has a query `{found}`, expected a label and entries")]
    Query {
        /// The word.
        found: String,
    },
    /// A value that is NaN or beyond single precision.
    #[error("has the value `{found}` at index {index}, expected a finite number")]
    NotFinite {
        /// Index of the feature.
        index: u64,
        /// Its value.
        found: String,
    },
    /// An index before the first.
    #[error("has index 0, expected indices from 1")]
    IndexZero,
    /// An index twice.
    #[error("has index {index} twice")]
    Duplicate {
        /// The index.
        index: u64,
    },
    /// Indices that do not ascend.
    #[error("has index {index} after index {before}, expected ascending indices")]
    Order {
        /// The index.
        index: u64,
        /// The one before it.
        before: u64,
    },
    /// An index beyond the features.
    #[error("has index {index}, expected at most {most}")]
    Beyond {
        /// The index.
        index: u64,
        /// The last one.
        most: u64,
    },
    /// An index beyond what any table may have.
    #[error("has index {found}, at most {MOST_FEATURES} features are accepted")]
    TooManyFeatures {
        /// The index.
        found: String,
    },
    /// A line that does not end.
    #[error("has more than {MOST_LINE} bytes")]
    TooLong,
}

/// Most characters of a word in a message.
const MOST_SHOWN: usize = 40;

/// A word of the file as messages show it.
pub(super) fn shown(word: &[u8]) -> String {
    let start = &word[..word.len().min(4 * MOST_SHOWN)];
    let text = String::from_utf8_lossy(start);
    let mut text: String = text.chars().take(MOST_SHOWN).collect();
    if text.len() < word.len() {
        text += "..";
    }
    text.escape_debug().to_string()
}

impl Hint for LineProblem {
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::IndexZero => "say that the first index is 0 (`--zero-based`) if the file counts from there".into(),
            Self::Order { .. } => "sort the entries of each line by index".into(),
            Self::Label { found } if found.contains(',') => {
                "a row has one label; split sets of labels into one file for each".into()
            }
            Self::Beyond { .. } => "give at least as many features as the largest index; a test file has those of its training file"
                .into(),
            Self::Query { .. } => "ranking is not supported; remove the `qid` entries".into(),
            _ => return None,
        })
    }
}
