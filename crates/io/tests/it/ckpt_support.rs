//! Files made byte by byte, and tensors to put into checkpoints.

use refit_core::{DType, TensorMeta};
use refit_io::ckpt::{Checkpoint, CkptError};
use std::{fs::File, io::Write, path::Path};

/// Length field, `json`, then `data_len` zero bytes.
pub(crate) fn raw(json: impl AsRef<[u8]>, data_len: usize) -> Vec<u8> {
    let json = json.as_ref();
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json);
    bytes.resize(bytes.len() + data_len, 0);
    bytes
}

/// The JSON of one tensor, name included.
pub(crate) fn entry(name: &str, dtype: &str, shape: &str, begin: u64, end: u64) -> String {
    format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]}}"#)
}

/// A file of `u8` tensors of the given names, four bytes each.
pub(crate) fn shard(names: &[&str]) -> Vec<u8> {
    let at = |i: usize| 4 * i as u64;
    let entries: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(i, name)| entry(name, "U8", "[4]", at(i), at(i + 1)))
        .collect();
    raw(format!("{{{}}}", entries.join(",")), 4 * names.len())
}

/// Writes without any of the crate's own care.
pub(crate) fn save(path: &Path, bytes: &[u8]) {
    File::create(path).unwrap().write_all(bytes).unwrap();
}

pub(crate) fn open_bytes(bytes: &[u8]) -> Result<Checkpoint, CkptError> {
    Checkpoint::from_bytes("hostile.safetensors", bytes.to_vec())
}

pub(crate) fn meta(name: &str, dtype: DType, shape: &[usize]) -> TensorMeta {
    TensorMeta {
        path: name.into(),
        dtype,
        shape: shape.to_vec(),
    }
}

/// A tensor's worth of bytes that differ from tensor to tensor.
pub(crate) fn bytes_of(meta: &TensorMeta, salt: u8) -> Vec<u8> {
    (0..meta.size_bytes())
        .map(|i| (i as u8).wrapping_mul(31).wrapping_add(salt))
        .collect()
}
