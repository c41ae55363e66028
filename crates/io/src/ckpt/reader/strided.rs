//! Values that lie apart, or several times in a tensor: brought into order as a whole.

use super::RandomFile;
use crate::ckpt::error::CkptError;
use refit_core::TensorMeta;

/// Largest tensor that is brought into order in memory. Ours: an embedding of 128 thousand words of 4096 values.
pub(super) const MOST_GATHERED_BYTES: u64 = 1 << 30;

/// Where the values of a tensor lie: `strides` bytes apart along each axis, from `offset` on.
#[derive(Debug)]
pub(super) struct Strided {
    pub(super) file: u32,
    pub(super) offset: u64,
    pub(super) strides: Vec<u64>,
    /// From the first byte to behind the last.
    pub(super) span: u64,
}

impl Strided {
    /// All bytes of the tensor, row-major.
    pub(super) fn gather(
        &self,
        file: &RandomFile,
        meta: &TensorMeta,
    ) -> Result<Vec<u8>, CkptError> {
        let stored = file.read_vec(self.offset..self.offset + self.span)?;
        let size = meta.dtype.size_bytes();
        let mut bytes = Vec::with_capacity(meta.size_bytes());
        let mut index = vec![0; meta.shape.len()];
        let mut at = 0;
        for _ in 0..meta.len() {
            bytes.extend_from_slice(&stored[at..at + size]);
            for axis in (0..index.len()).rev() {
                let step = self.strides[axis] as usize;
                index[axis] += 1;
                at += step;
                if index[axis] < meta.shape[axis] {
                    break;
                }
                at -= step * index[axis];
                index[axis] = 0;
            }
        }
        Ok(bytes)
    }
}

/// Whether values of these strides (in values) lie one behind the other, row-major.
pub(super) fn is_row_major(shape: &[usize], strides: &[u64]) -> bool {
    let mut expected = 1;
    let axes = shape.iter().zip(strides).rev();
    shape.contains(&0)
        || axes.fold(true, |all, (&extent, &stride)| {
            let fits = extent == 1 || stride == expected;
            expected *= extent as u64;
            all && fits
        })
}
