//! Why a checkpoint could not be read or written.

mod gguf;
mod header;
mod index;
mod torch;

pub use gguf::GgufError;
pub use header::HeaderError;
pub use index::IndexError;
pub use torch::TorchError;

use crate::{atomic::AtomicError, file::FileError};
use refit_core::{ConfigError, DType, Hint};
use std::{borrow::Cow, io, path::PathBuf};

/// Values that cannot be turned into the numbers that were asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// Counters, masks and opaque formats are not computed with.
    #[error("`{tensor}` holds {dtype} values, expected F16, BF16, F32 or F64")]
    NotAWeight {
        /// The tensor.
        tensor: String,
        /// Its element type.
        dtype: DType,
    },
    /// Bytes or values, not as many as the shape needs.
    #[error("`{tensor}` came with {found} {unit}, its shape needs {expected}")]
    Length {
        /// The tensor.
        tensor: String,
        /// `bytes` or `values`.
        unit: &'static str,
        /// How many there are.
        found: usize,
        /// How many are needed.
        expected: usize,
    },
}

impl Hint for ConvertError {}

/// ` (told)`, or nothing.
fn of(told: &str) -> String {
    if told.is_empty() {
        return String::new();
    }
    format!(" ({told})")
}

/// Why a checkpoint could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CkptError {
    /// The file or folder cannot be read.
    #[error("cannot read `{}`", file.display())]
    Read {
        /// The path.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A device, a pipe, a folder where a file was expected.
    #[error("`{}` is not a regular file", file.display())]
    NotAFile {
        /// The path.
        file: PathBuf,
    },
    /// A folder without a checkpoint.
    #[error("`{}` holds no {expected}", folder.display())]
    NoCheckpoint {
        /// The folder.
        folder: PathBuf,
        /// What could be there.
        expected: &'static str,
        /// A file of another name that is there.
        other: Option<String>,
    },
    /// A safetensors file is wrong.
    #[error("`{}`: {problem}", file.display())]
    Header {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: HeaderError,
    },
    /// A PyTorch checkpoint is wrong.
    #[error("`{}`: {problem}", file.display())]
    Torch {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: TorchError,
    },
    /// A GGUF file is wrong.
    #[error("`{}`: {problem}", file.display())]
    Gguf {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: GgufError,
    },
    /// The parts of a packed weight do not fit together.
    #[error("`{tensor}` in `{}` {problem}", file.display())]
    Packed {
        /// The checkpoint.
        file: PathBuf,
        /// The part.
        tensor: Box<str>,
        /// What is wrong, as the rest of the sentence.
        problem: &'static str,
    },
    /// Weights that are packed in a way that is not known here.
    #[error("`{tensor}` in `{}` is packed into {}{}, which cannot be read as weights", file.display(), dtype.name(), of(told))]
    Packing {
        /// The checkpoint.
        file: PathBuf,
        /// The packed tensor.
        tensor: Box<str>,
        /// Its element type.
        dtype: DType,
        /// What the configuration says.
        told: Box<str>,
    },
    /// Stored bytes were asked for where values are computed.
    #[error("`{tensor}` in `{}` is computed while it is read, it has no stored bytes", file.display())]
    Computed {
        /// The checkpoint.
        file: PathBuf,
        /// The tensor.
        tensor: Box<str>,
    },
    /// An index is wrong.
    #[error("`{}`: {problem}", file.display())]
    Index {
        /// The index.
        file: PathBuf,
        /// What is wrong.
        problem: IndexError,
    },
    /// The index lists a file that is not there.
    #[error("`{}` lists the shard `{shard}`, which is not there", index.display())]
    MissingShard {
        /// The index.
        index: PathBuf,
        /// The missing file.
        shard: String,
    },
    /// The index lists a tensor that its shard does not hold.
    #[error("`{tensor}` is listed in the index and missing in `{}`", shard.display())]
    MissingTensor {
        /// The shard.
        shard: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// A shard holds a tensor that the index does not list for it.
    #[error("`{tensor}` is in `{}` and not listed for it in the index", shard.display())]
    UnlistedTensor {
        /// The shard.
        shard: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// No tensor of that name.
    #[error("`{}` has no tensor `{tensor}`", file.display())]
    NoTensor {
        /// The checkpoint.
        file: PathBuf,
        /// What was asked for.
        tensor: String,
        /// The closest name there is, if one is close.
        nearest: Option<String>,
    },
    /// No tensor of that number.
    #[error("`{}` has {len} tensors, so none at index {index}", file.display())]
    NoIndex {
        /// The checkpoint.
        file: PathBuf,
        /// What was asked for.
        index: usize,
        /// How many there are.
        len: usize,
    },
    /// An unfinished output that was begun with other settings.
    #[error("`{}` is not what this work began to write", file.display())]
    OtherPlan {
        /// The file.
        file: PathBuf,
    },
    /// Values behind the end of a tensor.
    #[error("`{tensor}` in `{}` has {len} {unit}, so none at {start}..{end}", file.display())]
    OutOfRange {
        /// The checkpoint.
        file: PathBuf,
        /// The tensor.
        tensor: Box<str>,
        /// `values` or `bytes`.
        unit: &'static str,
        /// How many there are.
        len: usize,
        /// First that was asked for.
        start: usize,
        /// The one behind the last that was asked for.
        end: usize,
    },
    /// Values that cannot be converted.
    #[error("`{}`: {problem}", file.display())]
    Convert {
        /// The checkpoint.
        file: PathBuf,
        /// What is wrong.
        problem: ConvertError,
    },
    /// The file was changed, replaced, shortened or removed while it was open.
    #[error("`{}` was changed while it was in use", file.display())]
    Changed {
        /// The file.
        file: PathBuf,
    },
    /// The listener asked for a stop.
    #[error("stopped while reading `{}`", file.display())]
    Cancelled {
        /// The checkpoint.
        file: PathBuf,
    },
    /// A tensor that the format cannot hold.
    #[error("cannot write to `{}`: {problem}", file.display())]
    Unwritable {
        /// The output.
        file: PathBuf,
        /// What is wrong.
        problem: HeaderError,
    },
    /// Several shards and a single output file.
    #[error("`{}` is one file, the shard size asks for {shards}", file.display())]
    NeedsFolder {
        /// The output.
        file: PathBuf,
        /// How many shards there would be.
        shards: usize,
    },
    /// More shards than their five-digit names can count.
    #[error("`{}` would have {shards} shards, the limit is 99999", file.display())]
    TooManyShards {
        /// The output.
        file: PathBuf,
        /// How many shards there would be.
        shards: usize,
    },
    /// Another tensor than the plan expects next, or none where one is due, or one too many.
    #[error("`{}` expects {expected} next, found {found}", file.display())]
    OutOfPlan {
        /// The output.
        file: PathBuf,
        /// Name, element type and shape of the tensor that is due, or `the end`.
        expected: String,
        /// Name, element type and shape of the tensor that came, or `the end`.
        found: String,
    },
    /// An earlier failure left the output incomplete.
    #[error("`{}` is incomplete: writing `{tensor}` failed before", file.display())]
    Broken {
        /// The output.
        file: PathBuf,
        /// The tensor that was being written.
        tensor: String,
    },
    /// The output cannot be created or completed.
    #[error(transparent)]
    Output(#[from] AtomicError),
    /// A setting that cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl From<FileError> for CkptError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Io { path, source } => Self::Read { file: path, source },
            FileError::NotAFile { path } => Self::NotAFile { file: path },
            FileError::TooLarge { path, .. } => Self::Read {
                file: path,
                source: io::ErrorKind::FileTooLarge.into(),
            },
        }
    }
}

/// What Unix calls `EMFILE`.
const TOO_MANY_FILES: i32 = 24;

impl Hint for CkptError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("check the path; a model is a `.safetensors` file or its folder".into())
            }
            Self::Read { source, .. } if source.raw_os_error() == Some(TOO_MANY_FILES) => {
                Some("let a program open more files: `ulimit -n 65536`".into())
            }
            Self::NotAFile { .. } => {
                Some("give a `.safetensors` file, an index, or the folder of either".into())
            }
            Self::NoCheckpoint { other, expected, .. } => Some(match other {
                Some(name) if expected.contains(".bin") || name.ends_with(".safetensors") => {
                    format!("give the file itself, such as `{name}`").into()
                }
                Some(name) => format!(
                    "`refit merge` of a recipe with `merge_method: passthrough` turns `{name}` into safetensors"
                )
                .into(),
                None => "give a file, an index, or the folder of either".into(),
            }),
            Self::Packing { .. } => Some(
                "give the model in 16 or 32 bits; recipes with a `merge_method` read GPTQ of 2, 4 and 8 bits, compressed-tensors and fp8"
                    .into(),
            ),
            Self::Header { problem, .. } | Self::Unwritable { problem, .. } => problem.hint(),
            Self::Index { problem, .. } => problem.hint(),
            Self::Torch { problem, .. } => problem.hint(),
            Self::Gguf { problem, .. } => problem.hint(),
            Self::Packed { .. } => {
                Some("compare it with `quantization_config` in `config.json`".into())
            }
            Self::MissingShard { .. } => Some("copy or download the missing shard".into()),
            Self::MissingTensor { .. } | Self::UnlistedTensor { .. } => {
                Some("index and shards are of different versions; get both again".into())
            }
            Self::NoTensor { nearest, .. } => Some(match nearest {
                Some(name) => format!("did you mean `{name}`?").into(),
                None => "list the names with `refit info`".into(),
            }),
            Self::Convert { problem, .. } => problem.hint(),
            Self::Changed { .. } => Some("run again when nothing else writes to it".into()),
            Self::OtherPlan { .. } => {
                Some("give the recipe and settings it was begun with, or begin again".into())
            }
            Self::NeedsFolder { .. } => Some("give a folder, or drop the shard size".into()),
            Self::TooManyShards { .. } => Some("choose larger shards".into()),
            Self::Output(e) => e.hint(),
            Self::Config(e) => e.hint(),
            _ => None,
        }
    }
}
