//! What can go wrong with a recipe.

use crate::{
    classifier::ClassifierError, companions::CompanionError, run::RunError, yaml::YamlError,
};
use refit_core::{AccessError, ConfigError, Hint};
use refit_io::{atomic::AtomicError, ckpt::CkptError, data::DataError, file::FileError};
use refit_merge::MergeError;
use std::{borrow::Cow, path::PathBuf};

/// A recipe could not be read or done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// The file is no mapping.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// The file does not describe a merge.
    #[error("`{}`: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: ConfigError,
    },
    /// A method was asked for that needs more than the recipe gives.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// A model cannot be read, or the result not be written.
    #[error(transparent)]
    Checkpoint(#[from] CkptError),
    /// The models do not go together, or merging failed.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// Learning coefficients failed.
    #[error("the entropy or its gradient stopped being finite in step {step}; nothing was written")]
    Diverged {
        /// The step, counted from 1.
        step: u64,
    },
    /// Nothing would be merged.
    #[error("no tensor is merged: `skip` leaves out all weights of `{}`", base.display())]
    NothingMerged {
        /// The base.
        base: PathBuf,
    },
    /// A model that learns cannot be built.
    #[error("`{name}`: {problem}")]
    Model {
        /// The expert.
        name: String,
        /// Why.
        problem: ClassifierError,
    },
    /// Inputs cannot be read.
    #[error("the data of `{name}`: {problem}")]
    Data {
        /// The expert.
        name: String,
        /// Why.
        problem: DataError,
    },
    /// A small file beside the models cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A small file beside the models is not what it should be.
    #[error(transparent)]
    Companion(CompanionError),
    /// The result could not be written.
    #[error(transparent)]
    Output(#[from] AtomicError),
    /// Measurements or the saved state could not be written or read.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The saved state is none of this merge's.
    #[error("cannot go on from `{}`: {problem}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: MergeError,
    },
}

impl From<CompanionError> for RecipeError {
    fn from(error: CompanionError) -> Self {
        match error {
            CompanionError::Read(error) => error.into(),
            CompanionError::Write(error) => error.into(),
            error => Self::Companion(error),
        }
    }
}

impl Hint for RecipeError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Yaml(error) => error.hint(),
            Self::Invalid { problem, .. } => problem.hint(),
            Self::Access(_) => Some(
                "give every expert `data:` with inputs of its task; labels are not looked at"
                    .into(),
            ),
            Self::Checkpoint(error) => error.hint(),
            Self::Merge(error) => error.hint(),
            Self::Diverged { .. } => {
                Some("lower `learning-rate`, or check the experts with `refit info`".into())
            }
            Self::NothingMerged { .. } => {
                Some("name fewer beginnings in `skip`; `refit info` lists the tensors".into())
            }
            Self::Model { problem, .. } => problem.hint(),
            Self::Data { problem, .. } => problem.hint(),
            Self::Output(error) => error.hint(),
            Self::File(error) => error.hint(),
            Self::Companion(error) => error.hint(),
            Self::Run(error) => error.hint(),
            Self::State { .. } => {
                Some("begin again with `refit merge RECIPE.yaml --out RUN --force`".into())
            }
        }
    }
}
