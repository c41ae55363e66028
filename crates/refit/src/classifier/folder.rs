//! The folder of a model, in the layout and names of Hugging Face.

use super::{Classifier, ClassifierError};
use burn::tensor::{Device, Tensor, TensorData};
use refit_core::{DType, Sink, Source, TensorMeta, nearest};
use refit_io::{
    atomic::{Overwrite, write_file},
    ckpt::{Checkpoint, CheckpointWriter, WriteOptions},
    data::Normalise,
};
use refit_nn::{ImageConfig, NnError, Weights};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    fs::File,
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

/// File that holds the architecture.
pub const CONFIG: &str = "config.json";
/// File that holds what happens to pixels.
pub const PREPROCESSOR: &str = "preprocessor_config.json";
/// File that holds the weights.
pub(super) const WEIGHTS: &str = "model.safetensors";

/// Files of settings are small.
const MAX_BYTES: u64 = 1 << 20;

/// `preprocessor_config.json`, the part we write; other keys of other tools are read over.
#[derive(Debug, Serialize, Deserialize)]
struct Preprocessor {
    image_mean: Vec<f32>,
    image_std: Vec<f32>,
    /// Pixels are multiplied by this first; 1/255 is the only value we know.
    #[serde(default = "per_byte")]
    rescale_factor: f64,
}

const fn per_byte() -> f64 {
    1.0 / 255.0
}

/// A model on disk, checked as far as its headers say; weights are read by [`load`](Self::load).
#[derive(Debug)]
pub struct ModelFolder {
    /// The weights.
    pub checkpoint: Checkpoint,
    /// The architecture.
    pub config: ImageConfig,
    /// What pixels go through, where the folder says so.
    pub normalise: Option<Normalise>,
}

impl ModelFolder {
    /// Opens a folder, or a `.safetensors` file with `config.json` beside it.
    ///
    /// # Errors
    /// When the checkpoint, the architecture or the pre-processing cannot be understood.
    pub fn open(path: &Path) -> Result<Self, ClassifierError> {
        let folder = if path.is_dir() {
            path
        } else {
            path.parent().unwrap_or(Path::new(""))
        };
        let checkpoint = Checkpoint::open(path)?;
        let config_path = folder.join(CONFIG);
        if !config_path.exists() {
            return Err(ClassifierError::NoConfig {
                path: path.into(),
                missing: config_path,
            });
        }
        Self::assemble(checkpoint, read_config(&config_path)?, folder)
    }

    /// Opens a checkpoint with an architecture from elsewhere.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(path: &Path, config: ImageConfig) -> Result<Self, ClassifierError> {
        let checkpoint = Checkpoint::open(path)?;
        // A lone file in a folder of many things owns none of its neighbours.
        let folder = if path.is_dir() {
            path.to_path_buf()
        } else {
            PathBuf::from(path).join("-")
        };
        Self::assemble(checkpoint, config, &folder)
    }

    fn assemble(
        checkpoint: Checkpoint,
        config: ImageConfig,
        folder: &Path,
    ) -> Result<Self, ClassifierError> {
        config.check()?;
        let normalise = read_normalise(&folder.join(PREPROCESSOR))?;
        Ok(Self {
            checkpoint,
            config,
            normalise,
        })
    }

    /// Reads the weights.
    ///
    /// # Errors
    /// When they do not fit the architecture or are not finite.
    pub fn load(&self, device: &Device) -> Result<Classifier, ClassifierError> {
        let config = self.config.clone();
        let weights = Weights::load(&self.checkpoint, device, |scope| config.bind(scope))?;
        let normalise = match &self.normalise {
            Some(normalise) => normalise.clone(),
            None => identity(&self.config)?,
        };
        Ok(Classifier {
            config,
            weights,
            normalise,
        })
    }
}

impl Classifier {
    /// Takes every tensor of `from` that this model has in the same shape, and the pre-processing. Returns the names of
    /// those that have another shape there and stay as they are: the classifier of another task.
    ///
    /// # Errors
    /// When `from` lacks a tensor of this model, or a value is not finite.
    pub fn start_from(&mut self, from: &ModelFolder) -> Result<Vec<String>, ClassifierError> {
        let mut afresh = Vec::new();
        let layout = Arc::clone(self.weights.layout());
        for (i, spec) in layout.specs().iter().enumerate() {
            let (name, checkpoint) = (spec.path.as_str(), &from.checkpoint);
            let Some(at) = checkpoint.position(name) else {
                let (path, expected) = (spec.path.clone(), spec.shape.clone());
                return Err(NnError::Missing { path, expected }.into());
            };
            if checkpoint.tensors()[at].shape == spec.shape {
                self.set(i, checkpoint.tensor_f32(at)?)?;
            } else {
                afresh.push(name.to_owned());
            }
        }
        if let Some(normalise) = &from.normalise {
            self.normalise = normalise.clone();
        }
        Ok(afresh)
    }

    /// Takes every tensor of `from` except those whose name starts with `head`.
    ///
    /// # Errors
    /// When `from` lacks a tensor or has it in another shape, or a value is not finite.
    pub fn replace_body(&mut self, from: &ModelFolder, head: &str) -> Result<(), ClassifierError> {
        let layout = Arc::clone(self.weights.layout());
        for (i, spec) in layout.specs().iter().enumerate() {
            let (path, expected) = (spec.path.clone(), spec.shape.clone());
            if path.as_str().starts_with(head) {
                continue;
            }
            let checkpoint = &from.checkpoint;
            let Some(at) = checkpoint.position(path.as_str()) else {
                return Err(NnError::Missing { path, expected }.into());
            };
            let found = &checkpoint.tensors()[at].shape;
            if *found != expected {
                let found = found.clone();
                return Err(NnError::Shape {
                    path,
                    found,
                    expected,
                }
                .into());
            }
            self.set(i, checkpoint.tensor_f32(at)?)?;
        }
        Ok(())
    }

    fn set(&mut self, tensor: usize, values: Vec<f32>) -> Result<(), ClassifierError> {
        if values.iter().any(|v| !v.is_finite()) {
            let path = self.weights.layout().specs()[tensor].path.clone();
            return Err(NnError::NotFinite { path }.into());
        }
        let len = values.len();
        let data = TensorData::new(values, [len]);
        let value = Tensor::<1>::from_data(data, &self.device());
        self.weights.set(tensor, value);
        Ok(())
    }
}

/// Pixels as they are, between 0 and 1.
fn identity(config: &ImageConfig) -> Result<Normalise, ClassifierError> {
    let channels = match config {
        ImageConfig::Vit(c) => c.num_channels,
        ImageConfig::ConvNet(c) => c.num_channels,
        ImageConfig::CifarResnet(c) => c.num_channels,
        // An MLP does not say how many channels its inputs are made of; gray is all that fits anything.
        _ => 1,
    };
    Ok(Normalise::new(vec![0.0; channels], vec![1.0; channels])?)
}

impl Classifier {
    /// Writes the three files into `folder`, which exists and holds none of them.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn save(&self, folder: &Path) -> Result<(), ClassifierError> {
        let preprocessor = Preprocessor {
            image_mean: self.normalise.mean().to_vec(),
            image_std: self.normalise.std().to_vec(),
            rescale_factor: per_byte(),
        };
        write_json(&folder.join(CONFIG), &self.config)?;
        write_json(&folder.join(PREPROCESSOR), &preprocessor)?;
        save_weights(&weights_file(folder), &self.weights)
    }
}

/// The file of the weights inside a folder.
pub(crate) fn weights_file(folder: &Path) -> PathBuf {
    folder.join(WEIGHTS)
}

/// Writes weights in single precision.
pub(crate) fn save_weights(path: &Path, weights: &Weights) -> Result<(), ClassifierError> {
    let metas: Vec<TensorMeta> = weights
        .layout()
        .specs()
        .iter()
        .map(|s| TensorMeta {
            path: s.path.clone(),
            dtype: DType::F32,
            shape: s.shape.clone(),
        })
        .collect();
    let options = WriteOptions {
        metadata: [("format".into(), "pt".into())].into(),
        ..WriteOptions::default()
    };
    let mut writer = CheckpointWriter::create(path, metas.clone(), options)?;
    for (meta, values) in metas.iter().zip(weights.to_host()) {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        writer.put(meta, &bytes)?;
    }
    Ok(writer.finish()?)
}

fn write_json(path: &Path, document: &impl Serialize) -> Result<(), ClassifierError> {
    let text = serde_json::to_string_pretty(document).map_err(|e| document_error(path, &e))?;
    Ok(write_file(
        path,
        (text + "\n").as_bytes(),
        Overwrite::Refuse,
    )?)
}

/// Reads an architecture.
///
/// # Errors
/// When the file cannot be read, or names no architecture that we know.
pub fn read_config(path: &Path) -> Result<ImageConfig, ClassifierError> {
    let bytes = read_small(path)?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|e| document_error(path, &e))?;
    let found = value
        .get("model_type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !ImageConfig::MODEL_TYPES.contains(&found) {
        let known = ImageConfig::MODEL_TYPES
            .map(|name| format!("`{name}`"))
            .join(", ");
        return Err(ClassifierError::Document {
            path: path.into(),
            problem: format!("`model_type` is `{found}`, expected one of {known}"),
            nearest: nearest(found, ImageConfig::MODEL_TYPES).map(Into::into),
        });
    }
    serde_json::from_value(value).map_err(|e| document_error(path, &e))
}

fn read_normalise(path: &Path) -> Result<Option<Normalise>, ClassifierError> {
    let bytes = match read_small(path) {
        Err(ClassifierError::Read { source, .. })
            if matches!(
                source.kind(),
                ErrorKind::NotFound | ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        bytes => bytes?,
    };
    let read: Preprocessor =
        serde_json::from_slice(&bytes).map_err(|e| document_error(path, &e))?;
    if (read.rescale_factor * 255.0 - 1.0).abs() > 1e-3 {
        return Err(ClassifierError::Document {
            path: path.into(),
            problem: format!(
                "`rescale_factor` is {}, expected 1/255",
                read.rescale_factor
            ),
            nearest: None,
        });
    }
    Ok(Some(Normalise::new(read.image_mean, read.image_std)?))
}

fn read_small(path: &Path) -> Result<Vec<u8>, ClassifierError> {
    let read = |source| ClassifierError::Read {
        path: path.into(),
        source,
    };
    let mut bytes = Vec::new();
    File::open(path)
        .map_err(read)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(read)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(ClassifierError::Document {
            path: path.into(),
            problem: format!("is larger than {MAX_BYTES} bytes, expected a file of settings"),
            nearest: None,
        });
    }
    Ok(bytes)
}

fn document_error(path: &Path, error: &serde_json::Error) -> ClassifierError {
    ClassifierError::Document {
        path: path.into(),
        problem: error.to_string(),
        nearest: None,
    }
}
