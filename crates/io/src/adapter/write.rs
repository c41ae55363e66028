//! From changes to a folder.

use super::{
    AdapterError, CONFIG_FILE, WEIGHTS_FILE,
    name::{PREFIX, Part},
    settings::Settings,
};
use crate::{
    atomic::{OutputDir, Overwrite, write_file},
    ckpt::{CheckpointWriter, WriteOptions, encode_f32},
};
use refit_core::{
    Adapter, AdapterTensor, Change, DType, LowRank, ParamPath, Placement, Sink, TensorMeta,
    TensorRead,
};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// How an adapter is written.
#[derive(Clone, Debug)]
pub struct AdapterOptions {
    /// Element type of the factors (default: F32).
    pub dtype: DType,
    /// The model it belongs to, for `base_model_name_or_path`.
    pub base_model: Option<String>,
    /// What the model is for, such as `CAUSAL_LM`.
    pub task_type: Option<String>,
    /// Whether the head is the embedding and has to stay so, for `ensure_weight_tying` (default: not said).
    pub tied: bool,
    /// What to do when the folder exists.
    pub overwrite: Overwrite,
}

impl Default for AdapterOptions {
    fn default() -> Self {
        Self {
            dtype: DType::F32,
            base_model: None,
            task_type: None,
            tied: false,
            overwrite: Overwrite::Refuse,
        }
    }
}

/// Writes `adapter` as a folder that PEFT and [`read_adapter`](super::read_adapter) read; it appears complete or not at
/// all. Returns its path.
///
/// `r` is the largest rank; modules of another rank or scale are listed in `rank_pattern` and `alpha_pattern`, longer
/// names first, so that the first key that fits is the module's own.
///
/// # Errors
/// When a change cannot be written in this format, a replacing tensor cannot be read, or the target is refused.
pub fn write_adapter(
    folder: impl AsRef<Path>,
    adapter: &Adapter,
    options: &AdapterOptions,
) -> Result<PathBuf, AdapterError> {
    // Before a folder is made.
    Settings::new(adapter, options)?;
    stored(adapter, options.dtype)?;
    let output = OutputDir::create(folder.as_ref(), options.overwrite)?;
    write_adapter_files(output.path(), adapter, options)?;
    Ok(output.finish()?)
}

/// Writes the files of [`write_adapter`] into `folder`, which is there and the caller's own; `options.overwrite` is not
/// looked at, and files that are there are an error.
///
/// # Errors
/// As [`write_adapter`].
pub fn write_adapter_files(
    folder: &Path,
    adapter: &Adapter,
    options: &AdapterOptions,
) -> Result<(), AdapterError> {
    let stored = stored(adapter, options.dtype)?;
    let config = Settings::new(adapter, options)?;
    let metas = stored.iter().map(|tensor| tensor.meta.clone()).collect();
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let mut writer = CheckpointWriter::create(
        folder.join(WEIGHTS_FILE),
        metas,
        WriteOptions {
            metadata,
            ..Default::default()
        },
    )?;
    for tensor in &stored {
        writer.put(&tensor.meta, &tensor.bytes()?)?;
    }
    writer.finish()?;
    write_file(folder.join(CONFIG_FILE), &config.json(), Overwrite::Refuse)?;
    Ok(())
}

/// A tensor of the output.
struct Stored<'a> {
    meta: TensorMeta,
    content: Content<'a>,
}

enum Content<'a> {
    Values(Cow<'a, [f32]>),
    Tensor(&'a dyn TensorRead),
}

impl Stored<'_> {
    fn bytes(&self) -> Result<Vec<u8>, AdapterError> {
        let tensor = match &self.content {
            Content::Values(values) => {
                let encoded = encode_f32(&self.meta, values);
                return encoded.map_err(|problem| {
                    crate::ckpt::CkptError::Convert {
                        file: WEIGHTS_FILE.into(),
                        problem,
                    }
                    .into()
                });
            }
            Content::Tensor(tensor) => *tensor,
        };
        let failed = |source| AdapterError::Read {
            tensor: tensor.meta().path.to_string(),
            source,
        };
        if tensor.is_stored() {
            let mut bytes = vec![0; self.meta.size_bytes()];
            let range = 0..bytes.len();
            tensor.read_bytes(range, &mut bytes).map_err(failed)?;
            return Ok(bytes);
        }
        let mut values = vec![0.0; self.meta.len()];
        let range = 0..values.len();
        tensor
            .read_f32(range, &mut values, &mut Vec::new())
            .map_err(failed)?;
        let encoded = encode_f32(&self.meta, &values);
        encoded.map_err(|problem| failed(Box::new(problem)))
    }
}

fn stored(adapter: &Adapter, dtype: DType) -> Result<Vec<Stored<'_>>, AdapterError> {
    let modules: BTreeSet<&str> = low_rank(adapter).map(|(module, ..)| module).collect();
    let mut stored = Vec::new();
    for AdapterTensor { target, change } in &adapter.tensors {
        let module = target.module();
        let unwritable = |problem| AdapterError::Unwritable {
            tensor: target.to_string(),
            problem,
        };
        let mut put = |name: String, shape: Vec<usize>, values| {
            let path = name.into();
            let meta = TensorMeta { path, dtype, shape };
            stored.push(Stored {
                meta,
                content: Content::Values(values),
            });
        };
        match change {
            Change::LowRank {
                factors,
                placement,
                magnitude,
            } => {
                if target.as_str() != format!("{module}.weight") || module.is_empty() {
                    return Err(unwritable("its name does not end in `.weight`"));
                }
                let (a, b) = match placement {
                    Placement::Embedding => (Part::EmbeddingA, Part::EmbeddingB),
                    _ => (Part::A, Part::B),
                };
                let outward = match placement {
                    Placement::Linear => Cow::Borrowed(factors),
                    _ => Cow::Owned(factors.transposed()),
                };
                let (rank, rows, cols) = (outward.rank(), outward.rows(), outward.cols());
                let (left, right) = (outward.left().to_vec(), outward.right().to_vec());
                put(a.name(module), vec![rank, cols], right.into());
                put(b.name(module), vec![rows, rank], left.into());
                if let Some(magnitude) = magnitude {
                    let name = Part::Magnitude.name(module);
                    put(name, vec![magnitude.len()], magnitude.into());
                }
            }
            Change::Shift(values) => {
                if target.as_str() != format!("{module}.bias") || !modules.contains(module) {
                    return Err(unwritable("it is no bias of a module with factors"));
                }
                // The reader scales it as it scales the factors.
                let scale = low_rank(adapter).find(|(name, ..)| *name == module);
                let scale = scale.map_or(1.0, |(_, factors, _)| factors.scale());
                let values: Vec<f32> = values
                    .iter()
                    .map(|&v| (f64::from(v) / scale) as f32)
                    .collect();
                put(Part::Bias.name(module), vec![values.len()], values.into());
            }
            Change::Replace(tensor) => {
                let path = match beside_factors(target, &modules) {
                    Some(part) => format!("{PREFIX}{module}.base_layer.{part}"),
                    None => format!("{PREFIX}{target}"),
                };
                let meta = TensorMeta {
                    path: path.into(),
                    ..tensor.meta().clone()
                };
                stored.push(Stored {
                    meta,
                    content: Content::Tensor(&**tensor),
                });
            }
            _ => return Err(unwritable("the format does not know it")),
        }
    }
    Ok(stored)
}

/// Every module with factors: its name, the factors, whether lengths go with them.
pub(super) fn low_rank(adapter: &Adapter) -> impl Iterator<Item = (&str, &LowRank, bool)> {
    adapter
        .tensors
        .iter()
        .filter_map(|tensor| match &tensor.change {
            Change::LowRank {
                factors, magnitude, ..
            } => Some((tensor.target.module(), factors, magnitude.is_some())),
            _ => None,
        })
}

/// `weight` or `bias`, where it is that of one of these layers with factors: it is stored inside its layer.
pub(super) fn beside_factors(target: &ParamPath, layers: &BTreeSet<&str>) -> Option<&'static str> {
    let module = target.module();
    let mut parts = ["weight", "bias"].into_iter();
    parts.find(|part| layers.contains(module) && target.as_str() == format!("{module}.{part}"))
}
