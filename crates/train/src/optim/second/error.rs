//! What can stop a minimisation beside its own reasons to end.

use refit_core::{ConfigError, Hint};
use refit_math::MathError;
use std::borrow::Cow;

/// A minimisation could not go on.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SecondOrderError {
    /// A setting is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A product with the Hessian is not finite, or not symmetric.
    #[error("the model of the objective at trial {trial} cannot be used")]
    Model {
        /// The trial that would have been next.
        trial: u64,
        /// Why.
        #[source]
        source: MathError,
    },
    /// Nothing to minimise.
    #[error("the objective has no {what}, expected at least one")]
    Empty {
        /// `parameters` or `terms`.
        what: &'static str,
    },
    /// More terms than can be numbered.
    #[error("the objective has {found} terms, expected at most {}", u32::MAX)]
    TooMany {
        /// How many there are.
        found: usize,
    },
    /// A start of the wrong length.
    #[error("the start has {found} values, expected {expected}")]
    Start {
        /// Its length.
        found: usize,
        /// Parameters of the objective.
        expected: usize,
    },
    /// A value or gradient at a point that steps cannot leave.
    #[error("the {what} is {value} where the search stands")]
    NotFinite {
        /// `value` or `gradient`.
        what: &'static str,
        /// What it is.
        value: f64,
    },
    /// Something that the settings ask of the objective and it does not know.
    #[error("the objective knows no {what}, which `{key}` asks for")]
    Unknown {
        /// What it does not know.
        what: &'static str,
        /// The setting.
        key: &'static str,
    },
    /// A saved state of another run.
    #[error("the saved state {problem}")]
    State {
        /// What does not fit, as the rest of the sentence.
        problem: &'static str,
    },
}

impl Hint for SecondOrderError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Model { source, .. } => source.hint(),
            Self::NotFinite { .. } => {
                Some("start elsewhere, or look for such a value in the data".into())
            }
            Self::Unknown { .. } => Some("choose another setting for this objective".into()),
            Self::State { .. } => {
                Some("resume with the objective and settings of the interrupted run".into())
            }
            _ => None,
        }
    }
}
