//! From a folder to the changes it holds.

use super::{
    AdapterConfig, AdapterError, CONFIG_FILE, WEIGHTS_FILE, WEIGHTS_FILES,
    name::{Part, Role, role},
};
use crate::ckpt::{FileTensor, TensorReader};
use refit_core::{Adapter, AdapterTensor, Change, LowRank, ParamPath, Placement, TensorRead};
use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
};

/// An adapter with its settings.
#[derive(Debug)]
pub struct StoredAdapter {
    /// The settings.
    pub config: AdapterConfig,
    /// The changes, in the order of their names.
    pub adapter: Adapter,
    /// Every file it is made of.
    pub files: Vec<PathBuf>,
}

/// Reads the adapter in `folder`: `adapter_model.safetensors` or, where that is missing, its shards, `adapter_model.bin`,
/// or the shards of that; of a pickle only tensors are read, and no code runs. Factors come into memory as `f32`, tensors
/// that replace others stay in their file.
///
/// Every change is in the orientation of a weight that is stored as the settings say (`fan_in_fan_out`), and scaled as
/// PEFT does: `alpha / r`, with the patterns for single modules. A `lora_B.bias` is a shift of the module's bias,
/// whatever `lora_bias` says. Where the weight of an adapted layer is stored too, as PEFT does for embeddings and heads,
/// the change comes second.
///
/// # Errors
/// When a file is missing or damaged, the adapter is of another kind, a name means nothing, a part is missing, or
/// shapes and ranks do not fit each other.
pub fn read_adapter(folder: impl AsRef<Path>) -> Result<StoredAdapter, AdapterError> {
    let folder = folder.as_ref();
    let config = AdapterConfig::open(folder)?;
    let file = weights_file(folder)?;
    let reader = Arc::new(TensorReader::open(&file)?);
    let mut modules: BTreeMap<String, Module> = BTreeMap::new();
    let (mut tensors, mut layers) = (Vec::new(), HashSet::new());
    for (index, meta) in reader.tensors().iter().enumerate() {
        let name = meta.path.as_str();
        let place = match role(name) {
            Some(Role::Part(module, part)) => modules.entry(module).or_default().place(part),
            Some(Role::Full(target)) => {
                let change = Change::Replace(Arc::new(reader.tensor(index)?));
                let target = ParamPath::from(target);
                if name.contains(".base_layer.") {
                    layers.insert(target.clone());
                }
                tensors.push(AdapterTensor { target, change });
                continue;
            }
            Some(Role::Original) => continue,
            None => {
                return Err(AdapterError::Name {
                    file,
                    tensor: name.to_owned(),
                });
            }
        };
        if place.replace(reader.tensor(index)?).is_some() {
            return Err(part_error(&file, name, "is there twice, under two names"));
        }
    }
    for (name, module) in modules {
        let module = Whole::new(&file, &name, module)?;
        tensors.extend(module.changes(&config, &file)?);
    }
    if tensors.is_empty() {
        return Err(AdapterError::Empty { file });
    }
    // Stable: what replaces a tensor stays before what is added to it.
    tensors.sort_by(|a, b| a.target.cmp(&b.target));
    let on_top = |two: &[AdapterTensor]| {
        let [first, second] = [&two[0].change, &two[1].change];
        let adds = !matches!(second, Change::Replace(_));
        adds && matches!(first, Change::Replace(_)) && layers.contains(&two[0].target)
    };
    let mut pairs = tensors.windows(2);
    if let Some(pair) = pairs.find(|two| two[0].target == two[1].target && !on_top(two)) {
        let twice = "is changed twice";
        return Err(part_error(&file, pair[0].target.as_str(), twice));
    }
    let name = folder.display().to_string();
    let files = reader.files().map(Path::to_path_buf);
    let files = std::iter::once(folder.join(CONFIG_FILE))
        .chain(files)
        .collect();
    Ok(StoredAdapter {
        config,
        adapter: Adapter { name, tensors },
        files,
    })
}

/// The file of all tensors, or the index of shards; safetensors go first, as in PEFT.
fn weights_file(folder: &Path) -> Result<PathBuf, AdapterError> {
    let found = WEIGHTS_FILES.iter().map(|name| folder.join(name));
    let mut found = found.filter(|file| file.exists());
    found.next().ok_or_else(|| AdapterError::NoAdapter {
        folder: folder.into(),
        missing: WEIGHTS_FILE,
    })
}

fn part_error(file: &Path, tensor: &str, problem: &'static str) -> AdapterError {
    AdapterError::Part {
        file: file.into(),
        tensor: tensor.to_owned(),
        problem,
    }
}

/// The stored parts of one module.
#[derive(Default)]
struct Module {
    a: Option<FileTensor>,
    b: Option<FileTensor>,
    bias: Option<FileTensor>,
    embedding_a: Option<FileTensor>,
    embedding_b: Option<FileTensor>,
    magnitude: Option<FileTensor>,
}

impl Module {
    fn place(&mut self, part: Part) -> &mut Option<FileTensor> {
        match part {
            Part::A => &mut self.a,
            Part::B => &mut self.b,
            Part::Bias => &mut self.bias,
            Part::EmbeddingA => &mut self.embedding_a,
            Part::EmbeddingB => &mut self.embedding_b,
            Part::Magnitude => &mut self.magnitude,
        }
    }
}

/// A module with both factors.
struct Whole<'a> {
    name: &'a str,
    a: FileTensor,
    b: FileTensor,
    is_embedding: bool,
    bias: Option<FileTensor>,
    magnitude: Option<FileTensor>,
}

impl<'a> Whole<'a> {
    fn new(file: &Path, name: &'a str, module: Module) -> Result<Self, AdapterError> {
        let (a, b, is_embedding) = match (module.a, module.b) {
            (None, None) => (module.embedding_a, module.embedding_b, true),
            (a, b) => (a, b, false),
        };
        let missing = |part: Part| AdapterError::Missing {
            file: file.into(),
            module: name.to_owned(),
            part: part.suffix(),
        };
        let parts = if is_embedding {
            (Part::EmbeddingA, Part::EmbeddingB)
        } else {
            (Part::A, Part::B)
        };
        Ok(Self {
            name,
            a: a.ok_or_else(|| missing(parts.0))?,
            b: b.ok_or_else(|| missing(parts.1))?,
            is_embedding,
            bias: module.bias,
            magnitude: module.magnitude,
        })
    }

    fn changes(
        &self,
        config: &AdapterConfig,
        file: &Path,
    ) -> Result<Vec<AdapterTensor>, AdapterError> {
        let target = |kind| ParamPath::from(format!("{}.{kind}", self.name));
        let scale = config.scale_of(self.name);
        let (factors, placement) = self.factors(config, scale)?;
        let outputs = match placement {
            Placement::Linear => factors.rows(),
            _ => factors.cols(),
        };
        let magnitude = match (&self.magnitude, config.use_dora) {
            (Some(tensor), true) => Some(vector(tensor, outputs)?),
            (None, false) => None,
            (Some(tensor), false) => {
                let name = tensor.meta().path.as_str();
                return Err(part_error(
                    file,
                    name,
                    "is there, while `use_dora` is false",
                ));
            }
            (None, true) => {
                return Err(AdapterError::Missing {
                    file: file.into(),
                    module: self.name.to_owned(),
                    part: Part::Magnitude.suffix(),
                });
            }
        };
        let change = Change::LowRank {
            factors,
            placement,
            magnitude,
        };
        let mut changes = vec![AdapterTensor {
            target: target("weight"),
            change,
        }];
        if let Some(tensor) = &self.bias {
            let mut values = vector(tensor, outputs)?;
            for value in &mut values {
                *value = (scale * f64::from(*value)) as f32;
            }
            changes.push(AdapterTensor {
                target: target("bias"),
                change: Change::Shift(values),
            });
        }
        Ok(changes)
    }

    /// The factors in the orientation of the stored weight.
    fn factors(
        &self,
        config: &AdapterConfig,
        scale: f64,
    ) -> Result<(LowRank, Placement), AdapterError> {
        let (a, b) = (self.a.meta(), self.b.meta());
        let [rank, inputs @ ..] = &a.shape[..] else {
            return Err(shape_error(&self.a, "a matrix `[rank, in]`"));
        };
        let expected = config.rank_of(self.name);
        if *rank != expected {
            return Err(AdapterError::Rank {
                module: self.name.to_owned(),
                found: *rank,
                expected,
            });
        }
        let matrix = !inputs.is_empty() && (!self.is_embedding || inputs.len() == 1);
        if !matrix {
            return Err(shape_error(&self.a, "a matrix `[rank, in]`"));
        }
        let outputs = match &b.shape[..] {
            // The second factor of a convolution looks at single points.
            [out, r, points @ ..] if r == rank && points.iter().all(|&n| n == 1) => *out,
            _ => {
                return Err(shape_error(&self.b, &format!("a matrix `[out, {rank}]`")));
            }
        };
        let product = LowRank::new(
            [outputs, inputs.iter().product()],
            *rank,
            values(&self.b)?,
            values(&self.a)?,
            scale,
        )?;
        Ok(if self.is_embedding {
            (product.transposed(), Placement::Embedding)
        } else if config.fan_in_fan_out && inputs.len() == 1 {
            (product.transposed(), Placement::Transposed)
        } else {
            (product, Placement::Linear)
        })
    }
}

fn shape_error(tensor: &FileTensor, expected: &str) -> AdapterError {
    AdapterError::Shape {
        tensor: tensor.meta().path.to_string(),
        found: tensor.meta().shape.clone(),
        expected: expected.to_owned(),
    }
}

/// All values of a tensor, whose size was checked against its file.
fn values(tensor: &FileTensor) -> Result<Vec<f32>, AdapterError> {
    let mut values = vec![0.0; tensor.meta().len()];
    let range = 0..values.len();
    let (reader, index) = (tensor.reader(), tensor.index());
    reader.read_f32(index, range, &mut values, &mut Vec::new())?;
    Ok(values)
}

/// The values of a tensor with one for each of `len` outputs.
fn vector(tensor: &FileTensor, len: usize) -> Result<Vec<f32>, AdapterError> {
    if tensor.meta().len() != len {
        return Err(shape_error(tensor, &format!("{len} values")));
    }
    values(tensor)
}
