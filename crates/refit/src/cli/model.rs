//! What `train` and `eval` share: architectures, data and normalisation from the command line.

use super::error::{CliError, Exit};
use crate::{
    classifier::ClassifierError,
    job::{JobError, StoreError},
    recipe::RecipeError,
    source::TaskSource,
    yaml::YamlError,
};
use refit_core::Hint;
use refit_io::{ckpt::CkptError, data::DataError};
use refit_merge::MergeError;
use refit_train::TrainError;

impl From<ClassifierError> for CliError {
    fn from(error: ClassifierError) -> Self {
        match error {
            ClassifierError::Interrupted => Self::interrupted(),
            ClassifierError::Output(error) => error.into(),
            ClassifierError::Checkpoint(error) => error.into(),
            ClassifierError::Text(error) => (*error).into(),
            ClassifierError::Train(
                error @ (TrainError::Save(_) | TrainError::Objective { .. }),
            ) => Self::new(Exit::Failed, &error),
            error => Self::bad_input(&error),
        }
    }
}

impl From<RecipeError> for CliError {
    fn from(error: RecipeError) -> Self {
        match error {
            RecipeError::Access(_) => Self::new(Exit::Refused, &error),
            RecipeError::Merge(MergeError::Cancelled) => Self::interrupted(),
            RecipeError::Output(error) => error.into(),
            RecipeError::Checkpoint(error) => error.into(),
            RecipeError::Run(error) => error.into(),
            error @ (RecipeError::Diverged { .. }
            | RecipeError::Merge(MergeError::Write { .. })) => Self::new(Exit::Failed, &error),
            error => Self::bad_input(&error),
        }
    }
}

impl From<JobError> for CliError {
    fn from(error: JobError) -> Self {
        match error {
            JobError::Interrupted => Self::interrupted(),
            JobError::Train { .. }
            | JobError::Diverged { .. }
            | JobError::Merge(_)
            | JobError::Store(StoreError::Keep { .. } | StoreError::Run(_)) => {
                Self::new(Exit::Failed, &error)
            }
            error => Self::bad_input(&error),
        }
    }
}

impl From<CkptError> for CliError {
    fn from(error: CkptError) -> Self {
        match error {
            CkptError::Output(error) => error.into(),
            error => Self::bad_input(&error),
        }
    }
}

macro_rules! bad_input {
    ($($error:ty),*) => {$(
        impl From<$error> for CliError {
            fn from(error: $error) -> Self {
                Self::bad_input(&error)
            }
        }
    )*};
}
bad_input!(YamlError, DataError);

/// Parses `--data`; the command line shows the nearest name itself.
pub(super) fn parse_source(text: &str) -> Result<TaskSource, String> {
    TaskSource::parse(text).map_err(|error| match error.hint() {
        Some(hint) => format!("{error}; {hint}"),
        None => error.to_string(),
    })
}
