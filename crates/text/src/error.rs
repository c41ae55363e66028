//! What can go wrong with text.

use refit_core::Hint;
use refit_io::file::FileError;
use std::{borrow::Cow, path::PathBuf};

/// A text could not be brought into or out of a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// A file could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A folder without a tokenizer.
    #[error("`{}` has no tokenizer.json", folder.display())]
    NoTokenizer {
        /// The folder of the model.
        folder: PathBuf,
    },
    /// A file that describes no tokenizer.
    #[error("`{}` is no tokenizer: {problem}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What its reader says.
        problem: String,
    },
    /// A file of settings that is no JSON object.
    #[error("`{}` is no JSON object: {problem}", path.display())]
    NotJson {
        /// The file.
        path: PathBuf,
        /// What its reader says.
        problem: String,
    },
    /// A chat template that cannot be used, or will not have the conversation.
    #[error("the chat template of `{}` fails: {problem}", path.display())]
    ChatTemplate {
        /// The file.
        path: PathBuf,
        /// What it says.
        problem: String,
    },
    /// Texts that would be cut to nothing.
    #[error("texts are cut to {longest} tokens, of which {added} are added around them")]
    TooShort {
        /// Tokens of a text.
        longest: usize,
        /// Tokens that are added to a pair.
        added: usize,
    },
    /// A text that could not be cut.
    #[error("cannot cut a text into tokens: {problem}")]
    Encode {
        /// What the tokenizer says.
        problem: String,
    },
    /// Tokens that could not be joined.
    #[error("cannot join tokens to a text: {problem}")]
    Decode {
        /// What the tokenizer says.
        problem: String,
    },
}

impl Hint for TextError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::File(error) => error.hint(),
            Self::NoTokenizer { .. } => Some(
                "save the tokenizer beside the model with `save_pretrained` of its fast form"
                    .into(),
            ),
            Self::Tokenizer { .. } => Some("take the file from the model's publisher again".into()),
            Self::ChatTemplate { .. } => {
                Some("write the prompt as the model expects it, without its template".into())
            }
            _ => None,
        }
    }
}
