//! Values that lie in the file as the reader hands them out.

use super::RandomFile;
use crate::ckpt::{decode::decode, error::CkptError};
use refit_core::DType;

/// Bytes read at a time, so that they are decoded from the second-level cache.
pub(super) const BLOCK_BYTES: usize = 256 << 10;

/// Reads `out.len()` weights from value `start` on of a tensor that begins at `offset`.
pub(super) fn read_f32(
    file: &RandomFile,
    offset: u64,
    dtype: DType,
    start: usize,
    out: &mut [f32],
    scratch: &mut Vec<u8>,
) -> Result<(), CkptError> {
    let size = dtype.size_bytes();
    let mut at = offset + (start * size) as u64;
    if dtype == DType::F32 && cfg!(target_endian = "little") {
        return file.read_at(at, bytemuck::cast_slice_mut(out));
    }
    for out in out.chunks_mut(BLOCK_BYTES / size) {
        let bytes = space(scratch, out.len() * size);
        file.read_at(at, bytes)?;
        decode(dtype, bytes, out);
        at += bytes.len() as u64;
    }
    Ok(())
}

/// The first `len` bytes of `scratch`, which grows when it is shorter.
pub(super) fn space(scratch: &mut Vec<u8>, len: usize) -> &mut [u8] {
    if scratch.len() < len {
        scratch.resize(len, 0);
    }
    &mut scratch[..len]
}
