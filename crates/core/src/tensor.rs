//! Where tensors come from and where they go, without a file format.

use crate::{DType, ParamPath};
use std::borrow::Cow;

/// Name, element type and shape of a stored tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorMeta {
    /// Name inside the checkpoint.
    pub path: ParamPath,
    /// Element type.
    pub dtype: DType,
    /// Extent of each axis, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
}

impl TensorMeta {
    /// Number of values; `None` when the product overflows.
    pub fn checked_len(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
    }

    /// Number of values of a tensor that a [`Source`] has already validated.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor holds no value.
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// Size of the values in bytes.
    pub fn size_bytes(&self) -> usize {
        self.len() * self.dtype.size_bytes()
    }
}

/// Something that holds named tensors and hands out their bytes: a file, a folder of shards, a model in memory.
///
/// Tensors are listed in one fixed order; names are unique; every listed size is consistent with its shape.
pub trait Source: Send + Sync {
    /// Why reading failed.
    type Error: std::error::Error + Send + Sync + 'static;

    /// All tensors, in storage order.
    fn tensors(&self) -> &[TensorMeta];

    /// The little-endian bytes of the tensor at `index` of [`tensors`](Self::tensors).
    ///
    /// # Errors
    /// When the bytes cannot be read.
    fn bytes(&self, index: usize) -> Result<Cow<'_, [u8]>, Self::Error>;
}

/// Something that takes named tensors, one after the other, and keeps them.
pub trait Sink {
    /// Why writing failed.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Takes the next tensor; `bytes` are little-endian and as long as `meta` says.
    ///
    /// # Errors
    /// When the tensor cannot be stored, or its name was taken before.
    fn put(&mut self, meta: &TensorMeta, bytes: &[u8]) -> Result<(), Self::Error>;
}
