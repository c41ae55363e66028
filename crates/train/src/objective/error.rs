//! What can be wrong with an objective.

use refit_core::{ConfigError, Hint};
use refit_io::data::TableError;
use std::borrow::Cow;

/// Why an objective could not be made of a table.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectiveError {
    /// A loss of two classes, and other labels.
    #[error("the labels of `{table}` are {found} classes, expected two")]
    NotBinary {
        /// The table.
        table: String,
        /// Classes it has.
        found: usize,
    },
    /// A table without rows.
    #[error("`{table}` has no row")]
    Empty {
        /// The table.
        table: String,
    },
    /// Neither features nor a bias.
    #[error("`{table}` has no feature, expected one or a bias")]
    NoParameter {
        /// The table.
        table: String,
    },
    /// Labels that are no classes.
    #[error("`{table}` cannot be classified")]
    Labels {
        /// The table.
        table: String,
        /// What is wrong.
        #[source]
        source: TableError,
    },
    /// Rows of another width than those that parameters belong to.
    #[error("`{table}` has {found} features, expected {expected}")]
    Columns {
        /// The table.
        table: String,
        /// Features it has.
        found: usize,
        /// Features of the parameters.
        expected: usize,
    },
    /// A setting that cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl Hint for ObjectiveError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::NotBinary { .. } => Some("take the softmax objective for several classes".into()),
            Self::NoParameter { .. } => Some("fit a bias".into()),
            Self::Labels { source, .. } => source.hint(),
            Self::Config(inner) => inner.hint(),
            Self::Empty { .. } | Self::Columns { .. } => None,
        }
    }
}
