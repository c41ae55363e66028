//! Failures of a safetensors header.

use refit_core::Hint;
use std::borrow::Cow;

/// What is wrong with the header of a safetensors file. Offsets are counted from the end of the header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// Not even room for the length of the header.
    #[error("the file has {found} bytes, expected at least 8")]
    TooShort {
        /// Bytes of the file.
        found: u64,
    },
    /// The header claims to be longer than any sane header.
    #[error("the header is said to be {found} bytes long, the limit is 100000000")]
    TooLarge {
        /// The claimed length.
        found: u64,
    },
    /// The file ends inside the header.
    #[error("the file ends after {found} bytes, the header alone needs {expected}")]
    Truncated {
        /// Bytes that length field and header need.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// The header is not text.
    #[error("the header is not UTF-8 from its byte {at} on")]
    Utf8 {
        /// First offending byte.
        at: usize,
    },
    /// The header does not begin with `{`.
    #[error("the header does not begin with `{{`")]
    NotAnObject,
    /// The header is not JSON of the expected form.
    #[error("the header{} is not as the format wants it: {problem}", of(tensor.as_ref()))]
    Json {
        /// The tensor being read, if it was inside one.
        tensor: Option<String>,
        /// What the JSON reader said.
        problem: String,
    },
    /// A name that cannot be used.
    #[error("the tensor name `{tensor}` {problem}")]
    BadName {
        /// The name, shortened and printable.
        tensor: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Two entries of one name.
    #[error("`{tensor}` occurs twice")]
    DuplicateName {
        /// The name.
        tensor: String,
    },
    /// Two metadata entries of one name.
    #[error("the metadata key `{key}` occurs twice")]
    DuplicateMetadata {
        /// The key, shortened and printable.
        key: String,
    },
    /// More metadata entries than any tool writes.
    #[error("the metadata has more than 65536 entries")]
    TooMuchMetadata,
    /// An element type that is not supported.
    #[error("`{tensor}` has the unknown element type `{found}`")]
    UnknownDType {
        /// The tensor.
        tensor: String,
        /// Its element type, shortened and printable.
        found: String,
    },
    /// More axes than any tensor has.
    #[error("`{tensor}` has {found} axes, the limit is 32")]
    Rank {
        /// The tensor.
        tensor: String,
        /// Its number of axes.
        found: usize,
    },
    /// The number of bytes that the shape asks for cannot be counted.
    #[error("the size of `{tensor}` overflows")]
    Overflow {
        /// The tensor.
        tensor: String,
    },
    /// Begin behind end.
    #[error("`{tensor}` begins at {begin} and ends before, at {end}")]
    ReversedOffsets {
        /// The tensor.
        tensor: String,
        /// First offset.
        begin: u64,
        /// Second offset.
        end: u64,
    },
    /// Shape times element size is not the length of the range.
    #[error("`{tensor}` takes {found} bytes, its shape and element type need {expected}")]
    Size {
        /// The tensor.
        tensor: String,
        /// From shape and element type.
        expected: u64,
        /// From the offsets.
        found: u64,
    },
    /// The range leaves the file.
    #[error("`{tensor}` ends at {end}, the file holds {data_len} bytes of values")]
    OutOfRange {
        /// The tensor.
        tensor: String,
        /// Its end.
        end: u64,
        /// Where the file ends.
        data_len: u64,
    },
    /// Two tensors share bytes.
    #[error("`{tensor}` overlaps `{other}`")]
    Overlap {
        /// The later one.
        tensor: String,
        /// The earlier one.
        other: String,
    },
    /// Bytes before a tensor that belong to none.
    #[error("{bytes} bytes before `{tensor}` belong to no tensor")]
    Hole {
        /// The tensor behind the hole.
        tensor: String,
        /// Length of the hole.
        bytes: u64,
    },
    /// Bytes after the last tensor.
    #[error("{bytes} bytes at the end belong to no tensor")]
    Trailing {
        /// How many.
        bytes: u64,
    },
}

/// ` of ...`, if there is something to name.
fn of(tensor: Option<&String>) -> String {
    tensor
        .map(|name| format!(" of `{name}`"))
        .unwrap_or_default()
}

impl Hint for HeaderError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(match self {
            Self::TooShort { .. } | Self::Truncated { .. } | Self::OutOfRange { .. } => {
                "the file is incomplete; copy or download it again"
            }
            Self::TooLarge { .. } | Self::Utf8 { .. } | Self::NotAnObject => {
                "this is probably not a safetensors file; convert it first"
            }
            Self::UnknownDType { .. } => {
                "convert the tensor to one of BOOL, U8 to U64, I8 to I64, F8, F16, BF16, F32, F64"
            }
            _ => "the file is damaged or was made to mislead; write it again with its own tool",
        }))
    }
}
