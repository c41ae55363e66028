//! What can stop a fit.

use crate::run::RunError;
use refit_core::{ConfigError, Hint};
use refit_io::{ckpt::CkptError, data::DataError};
use refit_train::{objective::ObjectiveError, optim::second::SecondOrderError};
use std::{borrow::Cow, path::PathBuf};

/// A fit could not begin, or not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// A setting that cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Rows that cannot be read.
    #[error(transparent)]
    Data(#[from] Box<DataError>),
    /// Rows that the objective does not take.
    #[error(transparent)]
    Objective(#[from] ObjectiveError),
    /// A method that cannot go on.
    #[error("`{arm}` cannot go on")]
    Arm {
        /// The arm.
        arm: String,
        /// Why.
        #[source]
        source: Box<SecondOrderError>,
    },
    /// A saved state of another run, or a damaged one.
    #[error("`{}` {problem}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong, as the rest of the sentence.
        problem: String,
    },
    /// The run folder.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Weights that cannot be written.
    #[error(transparent)]
    Weights(#[from] Box<CkptError>),
    /// The user interrupted; the state was saved.
    #[error("interrupted in `{arm}` after {trials} trials")]
    Interrupted {
        /// The arm that was being fitted.
        arm: String,
        /// Its trials.
        trials: u64,
    },
}

impl From<DataError> for FitError {
    fn from(error: DataError) -> Self {
        Self::Data(Box::new(error))
    }
}

impl From<CkptError> for FitError {
    fn from(error: CkptError) -> Self {
        Self::Weights(Box::new(error))
    }
}

impl Hint for FitError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Data(error) => error.hint(),
            Self::Objective(error) => error.hint(),
            Self::Arm { source, .. } => source.hint(),
            Self::State { path, .. } => {
                let file = path.display();
                Some(format!("remove `{file}` to fit all arms again").into())
            }
            Self::Run(error) => error.hint(),
            Self::Weights(error) => error.hint(),
            Self::Interrupted { .. } => None,
        }
    }
}
