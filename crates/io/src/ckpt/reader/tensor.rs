//! One tensor of a reader that others read too.

use super::TensorReader;
use crate::ckpt::error::CkptError;
use refit_core::{ReadError, TensorMeta, TensorRead};
use std::{ops::Range, sync::Arc};

/// One tensor of a shared [`TensorReader`]: what work that streams takes, wherever values come from.
///
/// # Example
/// ```
/// use refit_core::{DType, Sink, TensorMeta, TensorRead};
/// use refit_io::ckpt::{CheckpointWriter, TensorReader, WriteOptions};
/// use std::sync::Arc;
/// let home = tempfile::tempdir()?;
/// let file = home.path().join("tiny.safetensors");
/// let bias = TensorMeta { path: "b".into(), dtype: DType::F32, shape: vec![2] };
/// let mut writer = CheckpointWriter::create(&file, vec![bias.clone()], WriteOptions::default())?;
/// writer.put(&bias, &[0, 0, 128, 63, 0, 0, 0, 64])?;
/// writer.finish()?;
///
/// let reader = Arc::new(TensorReader::open(&file)?);
/// let tensor: Box<dyn TensorRead> = Box::new(reader.tensor(reader.locate("b")?)?);
/// tensor.prefetch();
/// let mut last = [0.0];
/// tensor.read_f32(1..2, &mut last, &mut Vec::new()).map_err(|e| e.to_string())?;
/// assert_eq!(last, [2.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct FileTensor {
    reader: Arc<TensorReader>,
    index: usize,
}

impl TensorReader {
    /// The tensor at `index` of [`tensors`](Self::tensors), to be read apart from the others.
    ///
    /// # Errors
    /// [`CkptError::NoIndex`].
    pub fn tensor(self: &Arc<Self>, index: usize) -> Result<FileTensor, CkptError> {
        self.at(index)?;
        Ok(FileTensor {
            reader: Arc::clone(self),
            index,
        })
    }
}

impl FileTensor {
    /// The checkpoint it belongs to.
    pub fn reader(&self) -> &Arc<TensorReader> {
        &self.reader
    }

    /// Its place in [`TensorReader::tensors`].
    pub fn index(&self) -> usize {
        self.index
    }
}

impl TensorRead for FileTensor {
    fn meta(&self) -> &TensorMeta {
        &self.reader.tensors[self.index]
    }

    fn read_f32(
        &self,
        range: Range<usize>,
        out: &mut [f32],
        scratch: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        Ok(self.reader.read_f32(self.index, range, out, scratch)?)
    }

    fn read_bytes(&self, range: Range<usize>, out: &mut [u8]) -> Result<(), ReadError> {
        Ok(self.reader.read_bytes(self.index, range, out)?)
    }

    fn is_stored(&self) -> bool {
        self.reader.is_stored(self.index)
    }

    fn prefetch(&self) {
        self.reader.prefetch(self.index);
    }
}
