//! GGUF, the file format of llama.cpp: typed metadata, tensors in blocks of quantised values.

mod blocks;
mod config;
mod header;
mod names;

pub use blocks::GgufType;
pub(super) use blocks::decode_blocks;
pub use header::{GgufHeader, GgufTensor, GgufValue, parse_gguf};
pub(super) use names::{RowOrder, hub_tensor};

/// What a file begins with.
pub(super) const MAGIC: &[u8] = b"GGUF";
