//! Failures of a GGUF header.

use refit_core::Hint;
use std::borrow::Cow;

/// What is wrong with the header of a GGUF file. Positions are those of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {
    /// It begins otherwise.
    #[error("it does not begin with `GGUF`")]
    Magic,
    /// A version that is not read.
    #[error("it has version {found} of the format, expected 2 or 3, little-endian")]
    Version {
        /// The version.
        found: u32,
    },
    /// The header ends inside something.
    #[error("the header ends early: byte {needed} is needed, there are {found}")]
    Truncated {
        /// One behind the last byte that was asked for.
        needed: u64,
        /// Bytes there are.
        found: u64,
    },
    /// The header is longer than any sane header.
    #[error("the header is longer than {limit} bytes")]
    TooLarge {
        /// Most that is read.
        limit: u64,
    },
    /// A metadata entry that cannot be used.
    #[error("the metadata entry `{key}` {problem}")]
    Metadata {
        /// The key, shortened and printable.
        key: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A tensor that cannot be used.
    #[error("`{tensor}` {problem}")]
    Tensor {
        /// The tensor, shortened and printable.
        tensor: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A block format that is not read.
    #[error("`{tensor}` has the element type {found}, which is not read")]
    Type {
        /// The tensor.
        tensor: String,
        /// Its number in the format's list.
        found: u32,
    },
    /// Values behind the end of the file.
    #[error("`{tensor}` ends at byte {end}, the file has {file_len}")]
    OutOfRange {
        /// The tensor.
        tensor: String,
        /// One behind its last byte.
        end: u64,
        /// Size of the file.
        file_len: u64,
    },
    /// Two tensors of one name.
    #[error("`{tensor}` occurs twice")]
    DuplicateName {
        /// The name.
        tensor: String,
    },
}

impl Hint for GgufError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(match self {
            Self::Truncated { .. } | Self::OutOfRange { .. } => {
                "the file is incomplete; copy or download it again"
            }
            Self::Version { .. } | Self::Magic => {
                "convert the model again with a current llama.cpp"
            }
            Self::Type { .. } => "take a file of type F32, F16, BF16, Q4_0 to Q8_0 or Q2_K to Q6_K",
            _ => "the file is damaged or was made to mislead; convert the model again",
        }))
    }
}
