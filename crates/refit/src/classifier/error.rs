//! What can go wrong with a classifier.

use crate::{family::Shown, text::TextModelError};
use refit_core::{ConfigError, Hint};
use refit_io::{atomic::AtomicError, ckpt::CkptError, data::DataError, file::FileError};
use refit_nn::NnError;
use refit_train::TrainError;
use std::{borrow::Cow, path::PathBuf};

/// A classifier could not be read, trained, scored or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClassifierError {
    /// A model without its architecture.
    #[error("`{}` says nothing about the architecture: there is no `{}`", path.display(), missing.display())]
    NoConfig {
        /// The checkpoint.
        path: PathBuf,
        /// The file that would.
        missing: PathBuf,
    },
    /// A small file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another kind of file where an architecture is read.
    #[error("`{}` is not JSON: {problem}", path.display())]
    NotJson {
        /// The file.
        path: PathBuf,
        /// What the reader stumbled over.
        problem: String,
    },
    /// A family of models that is shown something else.
    #[error("`{}` describes a `{family}`, which {}; expected a model that sees pictures", path.display(), shown.does())]
    OtherFamily {
        /// The file.
        path: PathBuf,
        /// The name of the family.
        family: String,
        /// What it is shown.
        shown: Shown,
    },
    /// A small file describes another model than was expected.
    #[error("`{}` describes another model than the settings of the run", path.display())]
    OtherModel {
        /// The file.
        path: PathBuf,
    },
    /// A model that tells no classes.
    #[error("`{}` is a model that gives vectors, expected one that has classes", path.display())]
    NoClasses {
        /// The folder.
        path: PathBuf,
    },
    /// A model that gives no vectors.
    #[error("`{}` is a `{family}`, whose classifier reads a map and no vector", path.display())]
    NoVectors {
        /// The folder.
        path: PathBuf,
        /// The name of the family.
        family: &'static str,
    },
    /// A model that does not say how large its pictures are.
    #[error("`{}` is a model that does not say how large its pictures are", path.display())]
    NoSize {
        /// The folder.
        path: PathBuf,
    },
    /// A label of which the end would not be read.
    #[error(
        "what is said about a label has more than {longest} tokens, of which the model would not read the end"
    )]
    LongLabel {
        /// Tokens that the model reads.
        longest: usize,
    },
    /// Scores that are no numbers.
    #[error("what the model makes of `{}` is not finite", path.display())]
    NotFinite {
        /// The picture.
        path: PathBuf,
    },
    /// Images that the architecture does not take.
    #[error("images are {found}, the model takes {expected}")]
    Images {
        /// Their shape.
        found: String,
        /// The shape it takes.
        expected: String,
    },
    /// Pre-processing for other images.
    #[error("the pre-processing has statistics of {expected} channels, the images have {found}")]
    Channels {
        /// Channels of the images.
        found: usize,
        /// Channels of the statistics.
        expected: usize,
    },
    /// Labels that the model does not know.
    #[error("the data has {found} classes, the model {expected}")]
    Classes {
        /// Classes of the data.
        found: usize,
        /// Classes of the model.
        expected: usize,
    },
    /// A file of settings or texts cannot be used.
    #[error(transparent)]
    Text(Box<TextModelError>),
    /// The listener asked for a stop.
    #[error("interrupted")]
    Interrupted,
    /// A setting cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Data cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Architecture and weights do not go together.
    #[error(transparent)]
    Model(#[from] NnError),
    /// A checkpoint could not be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CkptError),
    /// Training failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// An output was refused.
    #[error(transparent)]
    Output(#[from] AtomicError),
}

impl From<TextModelError> for ClassifierError {
    fn from(error: TextModelError) -> Self {
        Self::Text(Box::new(error))
    }
}

impl Hint for ClassifierError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::NoConfig { .. } => {
                Some("pass the architecture with --model CONFIG.json; see `recipes/models/`".into())
            }
            Self::NotJson { .. } => {
                Some("give an architecture as JSON; `recipes/models/` holds some".into())
            }
            Self::OtherFamily { shown, .. } => Some(shown.verbs().into()),
            Self::NoClasses { .. } => {
                Some("`architectures` in its config.json says what it was trained for".into())
            }
            Self::NoSize { .. } => Some("`refit eval` scores it on pictures of one size".into()),
            Self::LongLabel { .. } => Some("say it in fewer words".into()),
            Self::NotFinite { .. } => {
                Some("run `refit info` on the model to see whether its weights are sound".into())
            }
            Self::Images { .. } => {
                Some("choose an architecture for these images, or other images".into())
            }
            Self::Channels { .. } => {
                Some("give statistics of as many channels, or normalise by none".into())
            }
            Self::Classes { .. } => {
                Some("score the model on the task that it was trained for".into())
            }
            Self::File(error) => error.hint(),
            Self::Text(error) => error.hint(),
            Self::Config(error) => error.hint(),
            Self::Data(error) => error.hint(),
            Self::Model(error) => error.hint(),
            Self::Checkpoint(error) => error.hint(),
            Self::Train(error) => error.hint(),
            Self::Output(error) => error.hint(),
            _ => None,
        }
    }
}
