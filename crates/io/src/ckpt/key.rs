//! Asking a checkpoint for one tensor.

use super::{checkpoint::Checkpoint, error::CkptError};
use refit_core::{DType, ParamPath, Source, TensorMeta, nearest};

/// Names that an unknown name is compared with, at most: a courtesy must not take seconds.
const NEAREST_OF: usize = 10_000;

/// A tensor inside a mapped file.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    /// Name, element type and shape.
    pub meta: &'a TensorMeta,
    /// Its values, little-endian, row-major.
    pub bytes: &'a [u8],
}

impl<'a> TensorView<'a> {
    /// The values without a copy, if they are F32, lie aligned in the file, and the machine is little-endian.
    pub fn as_f32(&self) -> Option<&'a [f32]> {
        let fits = self.meta.dtype == DType::F32 && cfg!(target_endian = "little");
        fits.then(|| bytemuck::try_cast_slice(self.bytes).ok())
            .flatten()
    }
}

/// What names a tensor of a [`Checkpoint`]: its index or its name.
pub trait Key {
    /// The index in [`Source::tensors`].
    ///
    /// # Errors
    /// When there is no such tensor.
    fn locate(self, checkpoint: &Checkpoint) -> Result<usize, CkptError>;
}

impl Key for usize {
    fn locate(self, checkpoint: &Checkpoint) -> Result<usize, CkptError> {
        let len = checkpoint.tensors().len();
        if self < len {
            Ok(self)
        } else {
            Err(CkptError::NoIndex {
                file: checkpoint.path().into(),
                index: self,
                len,
            })
        }
    }
}

impl Key for &str {
    fn locate(self, checkpoint: &Checkpoint) -> Result<usize, CkptError> {
        let found = checkpoint.position(self);
        found.ok_or_else(|| CkptError::NoTensor {
            file: checkpoint.path().into(),
            tensor: self.to_owned(),
            nearest: nearest_name(self, checkpoint.tensors()),
        })
    }
}

/// The name of a tensor that is close to `name`, if one is.
pub(super) fn nearest_name(name: &str, tensors: &[TensorMeta]) -> Option<String> {
    let names = tensors.iter().take(NEAREST_OF).map(|t| t.path.as_str());
    nearest(name, names).map(str::to_owned)
}

impl Key for &ParamPath {
    fn locate(self, checkpoint: &Checkpoint) -> Result<usize, CkptError> {
        self.as_str().locate(checkpoint)
    }
}
