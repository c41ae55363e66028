//! A tensor in memory, for tests.

use refit_core::{DType, ReadError, TensorMeta, TensorRead};
use std::ops::Range;

/// Values that a test made up.
#[derive(Debug)]
pub(crate) struct Held {
    meta: TensorMeta,
    values: Vec<f32>,
}

impl Held {
    pub(crate) fn new(name: &str, shape: &[usize], values: Vec<f32>) -> Self {
        let meta = TensorMeta {
            path: name.into(),
            dtype: DType::F32,
            shape: shape.to_vec(),
        };
        assert_eq!(meta.len(), values.len());
        Self { meta, values }
    }

    pub(crate) fn with_dtype(mut self, dtype: DType) -> Self {
        self.meta.dtype = dtype;
        self
    }
}

impl TensorRead for Held {
    fn meta(&self) -> &TensorMeta {
        &self.meta
    }

    fn read_f32(
        &self,
        range: Range<usize>,
        out: &mut [f32],
        _: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        out.copy_from_slice(&self.values[range]);
        Ok(())
    }

    fn read_bytes(&self, range: Range<usize>, out: &mut [u8]) -> Result<(), ReadError> {
        let bytes: Vec<u8> = self.values.iter().flat_map(|v| v.to_le_bytes()).collect();
        out.copy_from_slice(&bytes[range]);
        Ok(())
    }
}
