//! What can go wrong with a classifier in a folder.

use refit_core::{ConfigError, Hint};
use refit_io::{atomic::AtomicError, ckpt::CkptError, data::DataError};
use refit_nn::NnError;
use refit_train::TrainError;
use std::{borrow::Cow, path::PathBuf};

/// A classifier could not be trained, read, written or scored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A configuration file could not be read.
    #[error("cannot read `{}`", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A configuration file is larger than any real one.
    #[error("`{}` has {found} bytes, expected at most {limit}", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// Its size.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// A configuration file does not say what it must.
    #[error("`{}` {problem}", file.display())]
    Document {
        /// The file.
        file: PathBuf,
        /// What is wrong, as the rest of the sentence.
        problem: String,
        /// The nearest valid name, if a name was misspelt.
        nearest: Option<String>,
    },
    /// The data does not fit the model.
    #[error("{what} of the data is {found}, expected {expected} as in the model")]
    Mismatch {
        /// What differs.
        what: &'static str,
        /// In the data.
        found: String,
        /// In the model.
        expected: String,
    },
    /// The loss stopped being finite.
    #[error("training diverged after {steps} steps")]
    Diverged {
        /// Steps whose loss was finite.
        steps: u64,
    },
    /// A setting is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data could not be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The weights do not fit the configuration.
    #[error(transparent)]
    Model(#[from] NnError),
    /// The checkpoint could not be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CkptError),
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] AtomicError),
    /// The loop failed.
    #[error(transparent)]
    Train(#[from] TrainError),
}

impl Hint for ImageError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Document {
                nearest: Some(name),
                ..
            } => Some(format!("did you mean `{name}`?").into()),
            Self::Mismatch { .. } => {
                Some("train on, or score, images of the shape and classes of the model".into())
            }
            Self::Diverged { .. } => Some("lower the learning rate".into()),
            Self::Config(error) => error.hint(),
            Self::Data(error) => error.hint(),
            Self::Model(error) => error.hint(),
            Self::Checkpoint(error) => error.hint(),
            Self::Write(error) => error.hint(),
            Self::Train(error) => error.hint(),
            _ => None,
        }
    }
}
