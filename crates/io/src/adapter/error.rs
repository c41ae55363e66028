//! Why an adapter could not be read or written.

use crate::{atomic::AtomicError, ckpt::CkptError, file::FileError};
use refit_core::{FactorError, Hint, ReadError};
use std::{borrow::Cow, path::PathBuf};

/// Why an adapter could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdapterError {
    /// No folder of an adapter.
    #[error("`{}` holds no `{missing}`", folder.display())]
    NoAdapter {
        /// The folder.
        folder: PathBuf,
        /// The file that is not there.
        missing: &'static str,
    },
    /// Settings that are no JSON object or hold a value of another type or outside its range.
    #[error("`{}`: {problem}", file.display())]
    Config {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Another kind of adapter.
    #[error("`{}` has the peft_type `{found}`, expected `LORA`", file.display())]
    Kind {
        /// The file.
        file: PathBuf,
        /// Its kind.
        found: String,
    },
    /// A setting that makes the adapter mean something else than a change of weights.
    #[error("`{}` sets `{key}` to {value}, which cannot be folded into weights", file.display())]
    Unsupported {
        /// The file.
        file: PathBuf,
        /// The setting.
        key: String,
        /// Its value.
        value: String,
    },
    /// No tensor at all.
    #[error("`{}` holds no change of a model", file.display())]
    Empty {
        /// The file.
        file: PathBuf,
    },
    /// A tensor whose name means nothing.
    #[error("`{tensor}` in `{}` is no part of a LoRA adapter", file.display())]
    Name {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// Two tensors for the same part, or a part that goes with another setting.
    #[error("`{tensor}` in `{}` {problem}", file.display())]
    Part {
        /// The file.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is wrong with it, as the rest of the sentence.
        problem: &'static str,
    },
    /// A module with some of its parts.
    #[error("`{module}` in `{}` has no `{part}`", file.display())]
    Missing {
        /// The file.
        file: PathBuf,
        /// The module.
        module: String,
        /// What is not there.
        part: &'static str,
    },
    /// A tensor of another shape than its part has.
    #[error("`{tensor}` has shape {found:?}, expected {expected}")]
    Shape {
        /// The tensor.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
        /// What was expected, in words.
        expected: String,
    },
    /// Factors of another rank than the settings say.
    #[error("`{module}` has rank {found}, its settings say {expected}")]
    Rank {
        /// The module.
        module: String,
        /// Rows of its first factor.
        found: usize,
        /// `r`, or what `rank_pattern` says.
        expected: usize,
    },
    /// A change that the format cannot hold.
    #[error("cannot write the change of `{tensor}`: {problem}")]
    Unwritable {
        /// The tensor of the model.
        tensor: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// Factors that do not fill their shapes.
    #[error(transparent)]
    Factor(#[from] FactorError),
    /// A tensor that takes another's place cannot be read.
    #[error("cannot read the tensor that replaces `{tensor}`")]
    Read {
        /// The tensor of the model.
        tensor: String,
        /// Why.
        source: ReadError,
    },
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file of tensors cannot be read or written.
    #[error(transparent)]
    Ckpt(Box<CkptError>),
    /// The output cannot be created or completed.
    #[error(transparent)]
    Output(#[from] AtomicError),
}

impl From<CkptError> for AdapterError {
    fn from(error: CkptError) -> Self {
        Self::Ckpt(Box::new(error))
    }
}

impl Hint for AdapterError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::NoAdapter { .. } => Some("give the folder of a PEFT adapter".into()),
            Self::Kind { .. } => Some("only LoRA and DoRA adapters are weights".into()),
            Self::Unsupported { key, .. } if key == "init_lora_weights" => Some(
                "its base was changed when training began: save it with `path_initial_model_for_weight_conversion`"
                    .into(),
            ),
            Self::Empty { .. } | Self::Missing { .. } | Self::Shape { .. } => {
                Some("the adapter was cut or saved in parts; save it again from one process".into())
            }
            Self::Rank { .. } => Some("settings and tensors are of different adapters".into()),
            Self::File(e) => e.hint(),
            Self::Ckpt(e) => e.hint(),
            Self::Output(e) => e.hint(),
            _ => None,
        }
    }
}
