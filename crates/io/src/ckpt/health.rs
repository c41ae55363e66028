//! What the values of a checkpoint look like: one pass over them, all threads.

use super::{
    error::CkptError,
    reader::TensorReader,
    stats::{ValueStats, tensor_stats},
};
use refit_core::{DType, ParamPath, Progress, TensorMeta};
use serde::Serialize;

/// Health of a whole checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Health {
    /// Every tensor, in the order of the checkpoint.
    pub tensors: Vec<TensorHealth>,
    /// Number of values of all tensors, counters and masks included.
    pub parameters: u64,
    /// Bytes of all tensors.
    pub bytes: u64,
    /// The same per element type, in the order of [`DType::ALL`]; types that do not occur are left out.
    pub by_dtype: Vec<DTypeTotal>,
}

/// Share of one element type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DTypeTotal {
    /// The element type.
    pub dtype: DType,
    /// Number of tensors.
    pub tensors: u64,
    /// Number of values.
    pub parameters: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Health of one tensor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorHealth {
    /// Name.
    pub path: ParamPath,
    /// Element type.
    pub dtype: DType,
    /// Extents.
    pub shape: Vec<usize>,
    /// What its values look like; `None` for 8-bit floats, which are never decoded.
    pub values: Option<ValueStats>,
}

impl Health {
    /// Number of NaN and infinities of all tensors.
    pub fn non_finite(&self) -> u64 {
        self.tensors
            .iter()
            .filter_map(|t| t.values)
            .map(|v| v.nan + v.inf)
            .sum()
    }
}

/// Looks at every value of a checkpoint once. The result does not depend on the number of threads.
///
/// # Errors
/// [`CkptError::Cancelled`] when `progress` asks for a stop; a file that cannot be read or was cut.
/// # Cost
/// One read of the file; memory in proportion to the number of tensors, and one block per thread. A packed or strided
/// tensor is held whole while it is looked at.
/// # Example
/// ```
/// use refit_core::{DType, Sink, Silent, TensorMeta};
/// use refit_io::ckpt::{CheckpointWriter, TensorReader, WriteOptions, health};
/// let home = tempfile::tempdir()?;
/// let file = home.path().join("w.safetensors");
/// let w = TensorMeta { path: "w".into(), dtype: DType::F32, shape: vec![3] };
/// let mut writer = CheckpointWriter::create(&file, vec![w.clone()], WriteOptions::default())?;
/// let bytes: Vec<u8> = [3.0, f32::NAN, -4.0f32].iter().flat_map(|v| v.to_le_bytes()).collect();
/// writer.put(&w, &bytes)?;
/// writer.finish()?;
///
/// let health = health(&TensorReader::open(&file)?, &Silent)?;
/// let values = health.tensors[0].values.unwrap();
/// assert_eq!((values.nan, values.min, values.l2), (1, Some(-4.0), 5.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn health(checkpoint: &TensorReader, progress: &dyn Progress) -> Result<Health, CkptError> {
    let metas = checkpoint.tensors();
    let by_dtype = totals(metas);
    let bytes = by_dtype.iter().map(|t| t.bytes).sum();
    progress.begin("health", Some(bytes));
    let mut tensors = Vec::with_capacity(metas.len());
    for (i, meta) in metas.iter().enumerate() {
        if progress.cancelled() {
            return Err(CkptError::Cancelled {
                file: checkpoint.path().into(),
            });
        }
        checkpoint.prefetch(i + 1);
        let values = tensor_stats(checkpoint, i)?;
        tensors.push(TensorHealth {
            path: meta.path.clone(),
            dtype: meta.dtype,
            shape: meta.shape.clone(),
            values,
        });
        progress.advance(meta.size_bytes() as u64);
    }
    let parameters = by_dtype.iter().map(|t| t.parameters).sum();
    Ok(Health {
        tensors,
        parameters,
        bytes,
        by_dtype,
    })
}

/// Tensors, values and bytes per element type.
fn totals(metas: &[TensorMeta]) -> Vec<DTypeTotal> {
    let of = |dtype| {
        let mut total = DTypeTotal {
            dtype,
            tensors: 0,
            parameters: 0,
            bytes: 0,
        };
        for meta in metas.iter().filter(|meta| meta.dtype == dtype) {
            total.tensors += 1;
            total.parameters += meta.len() as u64;
            total.bytes += meta.size_bytes() as u64;
        }
        total
    };
    DType::ALL
        .into_iter()
        .map(of)
        .filter(|total| total.tensors > 0)
        .collect()
}
