//! Parameters as files: one tensor `w` in double precision, the bias last.

use refit_core::{DType, Sink, TensorMeta};
use refit_io::{
    atomic::Overwrite,
    ckpt::{CheckpointWriter, CkptError, WriteOptions},
};
use std::path::Path;

/// Writes the tensor `w`, in place of what an interrupted run may have left.
pub(super) fn write_weights(path: &Path, x: &[f64]) -> Result<(), CkptError> {
    let meta = TensorMeta {
        path: "w".into(),
        dtype: DType::F64,
        shape: vec![x.len()],
    };
    let options = WriteOptions {
        metadata: [("format".into(), "pt".into())].into(),
        overwrite: Overwrite::Replace,
        ..WriteOptions::default()
    };
    let bytes: Vec<u8> = x.iter().flat_map(|value| value.to_le_bytes()).collect();
    let mut writer = CheckpointWriter::create(path, vec![meta.clone()], options)?;
    writer.put(&meta, &bytes)?;
    writer.finish()
}
