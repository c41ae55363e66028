//! What can go wrong with a model that reads text.

use crate::family::Shown;
use refit_core::{ConfigError, Hint};
use refit_io::{ckpt::CkptError, data::DataError, file::FileError};
use refit_nn::NnError;
use refit_text::TextError;
use std::{borrow::Cow, path::PathBuf};

/// A model that reads text could not be read or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextModelError {
    /// A file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A small file that is no JSON object.
    #[error("`{}` is no JSON object: {problem}", path.display())]
    NotJson {
        /// The file.
        path: PathBuf,
        /// What its reader says.
        problem: String,
    },
    /// A setting of a file cannot be used.
    #[error("`{}`", path.display())]
    Setting {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: ConfigError,
    },
    /// A line that is no text.
    #[error("line {line} of `{}` is not UTF-8", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// A text of which the tokenizer makes nothing.
    #[error("text {text} has no token")]
    NoToken {
        /// Counted from 1.
        text: usize,
    },
    /// Numbers that are none.
    #[error("what the model makes of text {text} is not finite")]
    NotFinite {
        /// Counted from 1.
        text: usize,
    },
    /// A prompt that leaves no room for an answer.
    #[error("prompt {prompt} has {tokens} tokens, the model reads {longest} with the answer")]
    LongPrompt {
        /// Counted from 1.
        prompt: usize,
        /// Its tokens.
        tokens: usize,
        /// Tokens that the model tells apart.
        longest: usize,
    },
    /// A model that does not do what it is asked for.
    #[error("`{}` is a model that {does}, expected one that {expected}", folder.display())]
    OtherTask {
        /// The folder of the model.
        folder: PathBuf,
        /// What it does.
        does: &'static str,
        /// What was asked for.
        expected: &'static str,
    },
    /// A family of models that is shown something else.
    #[error("`{}` is a `{family}`, which {}; expected a model that reads texts", folder.display(), shown.does())]
    OtherFamily {
        /// The folder of the model.
        folder: PathBuf,
        /// The name of the family.
        family: String,
        /// What it is shown.
        shown: Shown,
    },
    /// A model without a template for conversations.
    #[error("`{}` has no chat template", folder.display())]
    NoChat {
        /// The folder of the model.
        folder: PathBuf,
    },
    /// Tokens that the model has no row for.
    #[error("the tokenizer of `{}` has {found} tokens, the model rows for {expected}", folder.display())]
    Vocabulary {
        /// The folder of the model.
        folder: PathBuf,
        /// Tokens of the tokenizer.
        found: usize,
        /// Rows of the model.
        expected: usize,
    },
    /// Rows of texts could not be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The weights could not be read.
    #[error(transparent)]
    Checkpoint(#[from] CkptError),
    /// Configuration and weights do not go together, or the model cannot read a text.
    #[error(transparent)]
    Model(#[from] NnError),
    /// The tokenizer could not be read, or cannot cut a text.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The listener asked for a stop.
    #[error("interrupted")]
    Interrupted,
}

impl TextModelError {
    /// The same where each text was read so many times, one after the other.
    #[must_use]
    pub(crate) fn of_group(self, times: usize) -> Self {
        let text = |text: usize| text.div_ceil(times.max(1));
        match self {
            Self::NoToken { text: at } => Self::NoToken { text: text(at) },
            Self::NotFinite { text: at } => Self::NotFinite { text: text(at) },
            error => error,
        }
    }

    /// The same of a text that stands behind `texts` others.
    #[must_use]
    pub(crate) fn after(self, texts: usize) -> Self {
        match self {
            Self::NoToken { text } => Self::NoToken { text: text + texts },
            Self::NotFinite { text } => Self::NotFinite { text: text + texts },
            error => error,
        }
    }
}

impl Hint for TextModelError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::File(error) => error.hint(),
            Self::Setting { source, .. } => source.hint(),
            Self::Data(error) => error.hint(),
            Self::Checkpoint(error) => error.hint(),
            Self::Model(error) => error.hint(),
            Self::Text(error) => error.hint(),
            Self::NotFinite { .. } => {
                Some("run `refit info` on the model to see whether its weights are sound".into())
            }
            Self::NoToken { .. } => Some("leave out empty lines".into()),
            Self::OtherFamily { shown, .. } => Some(shown.verbs().into()),
            Self::NotText { .. } => Some("convert the file to UTF-8".into()),
            Self::Vocabulary { .. } => Some("take the tokenizer that belongs to the model".into()),
            Self::NoChat { .. } => Some(
                "put its publisher's chat_template.jinja there, or write prompts without --chat"
                    .into(),
            ),
            Self::LongPrompt { .. } => Some("shorten it".into()),
            Self::OtherTask { .. } => {
                Some("`architectures` in its config.json says what it was trained for".into())
            }
            Self::NotJson { .. } | Self::Interrupted => None,
        }
    }
}
