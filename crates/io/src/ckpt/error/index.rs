//! Failures of a shard index.

use super::HeaderError;
use refit_core::Hint;
use std::borrow::Cow;

/// What is wrong with the index of a sharded checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// Longer than any sane index.
    #[error("the index is {found} bytes long, the limit is 100000000")]
    TooLarge {
        /// Its length.
        found: u64,
    },
    /// The index is not text.
    #[error("the index is not UTF-8 from byte {at} on")]
    Utf8 {
        /// First offending byte.
        at: usize,
    },
    /// The index is not JSON of the expected form.
    #[error("the index is not as the format wants it: {problem}")]
    Json {
        /// What the JSON reader said.
        problem: String,
    },
    /// A tensor name that cannot be used.
    #[error(transparent)]
    TensorName {
        /// What is wrong with it.
        problem: HeaderError,
    },
    /// A tensor listed twice.
    #[error("`{tensor}` is listed twice")]
    DuplicateName {
        /// The name.
        tensor: String,
    },
    /// A file name that is more than a name.
    #[error("`{tensor}` is said to be in `{file}`, a file name that {problem}")]
    FileName {
        /// The tensor.
        tensor: String,
        /// The file name, shortened and printable.
        file: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl Hint for IndexError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(match self {
            Self::FileName { .. } => {
                "shards are `.safetensors` files beside the index; do not trust this index"
            }
            _ => "expected `{\"weight_map\": {\"tensor\": \"model-00001-of-00002.safetensors\"}}`",
        }))
    }
}
