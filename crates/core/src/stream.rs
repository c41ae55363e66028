//! Tensors a stretch at a time, wherever their values come from or go to.

use crate::TensorMeta;
use std::ops::Range;

/// Why a tensor could not be read; it names the file or the tensor.
pub type ReadError = Box<dyn std::error::Error + Send + Sync>;

/// One tensor whose values are read a stretch at a time, from any number of threads: as a file stores them, or
/// computed while they are read (an adapter folded in, rows in another order, dequantised).
///
/// Work that streams holds a stretch of each tensor and never the whole, so memory does not grow with models.
pub trait TensorRead: Send + Sync {
    /// Name, shape, and the element type in which the values are stored or, where they are computed, worth keeping.
    fn meta(&self) -> &TensorMeta;

    /// Reads the values `range` (row-major) into `out`, as `f32`. `scratch` is working memory that is reused; it
    /// carries nothing from call to call.
    ///
    /// # Errors
    /// When the tensor is no weight, `out` has another length than `range`, or the values cannot be read.
    fn read_f32(
        &self,
        range: Range<usize>,
        out: &mut [f32],
        scratch: &mut Vec<u8>,
    ) -> Result<(), ReadError>;

    /// Reads the bytes `range` as [`meta`](Self::meta) says they are stored: little-endian, row-major. For copying
    /// without looking.
    ///
    /// # Errors
    /// When the bytes cannot be read, or the values are computed and not stored.
    fn read_bytes(&self, range: Range<usize>, out: &mut [u8]) -> Result<(), ReadError>;

    /// Whether [`read_bytes`](Self::read_bytes) gives what [`read_f32`](Self::read_f32) would round from.
    fn is_stored(&self) -> bool {
        true
    }

    /// Says that the tensor will be read soon, so that a disk may begin.
    fn prefetch(&self) {}
}

/// Why a tensor could not be written; it names the file.
pub type WriteError = Box<dyn std::error::Error + Send + Sync>;

/// Takes the values of planned tensors a stretch at a time, in any order and from any number of threads.
pub trait TensorWrite: Sync {
    /// Every tensor of the output, in order.
    fn tensors(&self) -> &[TensorMeta];

    /// Whether an earlier process wrote the tensor at `index` completely.
    fn is_done(&self, index: usize) -> bool;

    /// Writes values from position `start` (row-major) of the tensor at `index` on, rounded to its element type.
    /// `scratch` is working memory that is reused.
    ///
    /// # Errors
    /// When the tensor is no weight, the values lie outside it, or they cannot be written.
    fn write_f32(
        &self,
        index: usize,
        start: usize,
        values: &[f32],
        scratch: &mut Vec<u8>,
    ) -> Result<(), WriteError>;

    /// Writes bytes from byte `start` of the tensor at `index` on, as they are to be stored.
    ///
    /// # Errors
    /// When the bytes lie outside the tensor, or they cannot be written.
    fn write_bytes(&self, index: usize, start: usize, bytes: &[u8]) -> Result<(), WriteError>;

    /// Says that every value of these tensors was written: whoever goes on need not do them again.
    ///
    /// # Errors
    /// When values that were written before did not reach the disk.
    fn done(&self, tensors: Range<usize>) -> Result<(), WriteError>;
}
