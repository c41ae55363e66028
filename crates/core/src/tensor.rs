//! Where tensors come from and where they go, without a file format.

use crate::{DType, ParamPath};
use std::{borrow::Cow, ops::Range, sync::Arc};

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

    /// The same bytes where they can stay when the source is gone, without a copy: those of a mapped file.
    fn lasting(&self, _index: usize) -> Option<LastingBytes> {
        None
    }
}

/// Bytes that stay as long as whoever holds them.
///
/// ```
/// let all = std::sync::Arc::new(vec![1u8, 2, 3]);
/// let part = refit_core::LastingBytes::new(all, 1..3).unwrap();
/// assert_eq!(part.as_ref(), [2, 3]);
/// ```
#[derive(Clone)]
pub struct LastingBytes {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
}

impl LastingBytes {
    /// A part of what `owner` holds; `None` if it does not hold as much.
    pub fn new(owner: Arc<dyn AsRef<[u8]> + Send + Sync>, range: Range<usize>) -> Option<Self> {
        owner.as_ref().as_ref().get(range.clone())?;
        Some(Self { owner, range })
    }
}

impl AsRef<[u8]> for LastingBytes {
    fn as_ref(&self) -> &[u8] {
        self.owner
            .as_ref()
            .as_ref()
            .get(self.range.clone())
            .unwrap_or_default()
    }
}

impl std::fmt::Debug for LastingBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LastingBytes")
            .field("len", &self.range.len())
            .finish_non_exhaustive()
    }
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
