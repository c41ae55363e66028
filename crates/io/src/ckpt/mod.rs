//! Checkpoints on disk: safetensors, one file or a folder of shards; read, too, as PyTorch and GGUF files.
//!
//! [`Checkpoint`] maps and checks, [`TensorReader`] checks and reads by position,
//! [`CheckpointWriter`] streams out, [`TensorWriter`] writes by position, [`health`] looks at values, [`sha256_file`]
//! fingerprints. [`parse_header`], [`parse_index`], [`parse_pickle`] and [`parse_gguf`] are the readers of foreign bytes;
//! they are pure functions.
//!
//! # What is checked when a checkpoint is opened
//! - header: length against the file and [`MAX_HEADER_BYTES`], UTF-8, JSON without repeated names or unknown
//!   fields, at most [`MAX_METADATA`] metadata entries, names ([`MAX_NAME_BYTES`], no control characters), ranks
//!   ([`MAX_RANK`]), element types, shape times element size against the offsets with overflow checks, offsets
//!   inside the file, no overlap, no hole, nothing left over;
//! - index: plain file names beside the index, no repeated tensor; every shard exists and holds exactly the tensors
//!   listed for it.
//!
//! No allocation is larger than the file that asks for it (see [`parse_header`] for the one exception), and values
//! are not read before they are asked for.
//!
//! # Mapped files that change
//! A mapped file is the file: if another program *shortens* it while it is open, touching the lost part ends the
//! process with `SIGBUS`; if another program *overwrites* it in place, values change under our feet. No mapping mode
//! prevents either, and copying would put whole models into memory. The decision: map read-only; keep everything
//! that steers memory access (names, shapes, ranges) in our own checked copy, so that a change can spoil values but
//! not bounds; never write in place ourselves (outputs are new files that are renamed, which leaves open maps
//! intact); and offer [`Checkpoint::check_unchanged`] for the end of long work. Copy a checkpoint that others write
//! to before you use it, or read it into memory with [`Checkpoint::from_bytes`].

mod checkpoint;
mod convert;
mod decode;
mod encode;
mod error;
mod gguf;
mod hash;
mod header;
mod health;
mod index;
mod key;
mod map;
mod open;
mod plan;
mod reader;
mod scan;
mod scheme;
mod stamp;
mod stats;
mod tensor_writer;
pub(crate) mod text;
mod torch;
mod writer;

pub use checkpoint::Checkpoint;
pub use convert::{decode_f32, decode_f32_into, encode_f32};
pub use decode::decode_weights;
pub use error::{CkptError, ConvertError, GgufError, HeaderError, IndexError, TorchError};
pub use gguf::{GgufHeader, GgufTensor, GgufType, GgufValue, parse_gguf};
pub use hash::{FileDigest, FolderDigest, digest_file, digest_files, sample_file, sha256_file};
pub use header::{Header, MAX_HEADER_BYTES, MAX_METADATA, MAX_NAME_BYTES, MAX_RANK, parse_header};
pub use health::{DTypeTotal, Health, TensorHealth, health};
pub use index::{ShardIndex, parse_index};
pub use key::{Key, TensorView};
pub use plan::shard_count;
pub use reader::{FileTensor, TensorReader};
pub use scheme::refuse_packed;
pub use stats::ValueStats;
pub use tensor_writer::TensorWriter;
pub use torch::{PickledTensor, parse_pickle};
pub use writer::{CheckpointWriter, WriteOptions};
