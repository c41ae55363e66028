//! A classifier in the layout of Hugging Face.

use super::ImageError;
use burn::tensor::Device;
use refit_core::{DType, Sink, TensorMeta, nearest};
use refit_io::{
    atomic::{Overwrite, write_file},
    ckpt::{Checkpoint, CheckpointWriter, WriteOptions},
    data::Normalise,
};
use refit_nn::{ImageConfig, Weights};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    io::Read,
    path::{Path, PathBuf},
};

/// Longest configuration file that is read.
pub const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// An image classifier: architecture, class names, normalisation and weights.
#[derive(Clone, Debug)]
pub struct ClassifierFolder {
    /// The architecture.
    pub config: ImageConfig,
    /// Class names in label order; empty if the folder does not name them.
    pub classes: Vec<String>,
    /// How pixels become inputs.
    pub normalise: Normalise,
    /// The weights.
    pub weights: Weights,
}

impl ClassifierFolder {
    /// Reads `config.json`, `preprocessor_config.json` and the checkpoint of a folder.
    ///
    /// # Errors
    /// A missing, oversized or malformed file; weights that do not fit the configuration.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, ImageError> {
        let folder = folder.as_ref();
        let (config, classes) = read_config(&folder.join("config.json"))?;
        let normalise = read_normalise(&folder.join("preprocessor_config.json"))?;
        let checkpoint = Checkpoint::open(folder)?;
        let weights = Weights::load(&checkpoint, &Device::flex(), |scope| config.bind(scope))?;
        Ok(Self {
            config,
            classes,
            normalise,
            weights,
        })
    }

    /// Writes the three files into a folder that exists, such as the temporary one of an output.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write_into(&self, folder: &Path) -> Result<(), ImageError> {
        let config = config_json(&self.config, &self.classes);
        write_json(&folder.join("config.json"), &config)?;
        let preprocessor = json!({
            "do_rescale": true,
            "rescale_factor": 1.0 / 255.0,
            "do_normalize": true,
            "image_mean": self.normalise.mean(),
            "image_std": self.normalise.std(),
        });
        write_json(&folder.join("preprocessor_config.json"), &preprocessor)?;
        write_weights(&folder.join("model.safetensors"), &self.weights)
    }
}

/// Writes weights as one safetensors file, in model order.
pub(super) fn write_weights(file: &Path, weights: &Weights) -> Result<(), ImageError> {
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
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let options = WriteOptions {
        metadata,
        ..WriteOptions::default()
    };
    let mut writer = CheckpointWriter::create(file, metas.clone(), options)?;
    for (meta, values) in metas.iter().zip(weights.to_host()) {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        writer.put(meta, &bytes)?;
    }
    Ok(writer.finish()?)
}

fn write_json(file: &Path, value: &Value) -> Result<(), ImageError> {
    let text = format!("{value:#}\n");
    Ok(write_file(file, text.as_bytes(), Overwrite::Refuse)?)
}

fn config_json(config: &ImageConfig, classes: &[String]) -> Value {
    let mut value = serde_json::to_value(config).expect("a configuration is plain data");
    if let Value::Object(object) = &mut value
        && !classes.is_empty()
    {
        let names = classes
            .iter()
            .enumerate()
            .map(|(i, c)| (i.to_string(), json!(c)));
        object.insert("id2label".to_owned(), Value::Object(names.collect()));
    }
    value
}

/// Reads an architecture and its class names from a `config.json`.
///
/// # Errors
/// A missing, oversized or malformed file, an unknown `model_type`, a setting out of range.
pub fn read_config(file: &Path) -> Result<(ImageConfig, Vec<String>), ImageError> {
    let mut object = read_object(file)?;
    let classes = match object.remove("id2label") {
        Some(value) => class_names(file, &value)?,
        None => Vec::new(),
    };
    match object.get("model_type").and_then(Value::as_str) {
        None => return Err(document(file, "has no `model_type`", None)),
        Some(name) if !ImageConfig::MODEL_TYPES.contains(&name) => {
            let near = nearest(name, ImageConfig::MODEL_TYPES).map(str::to_owned);
            let known = ImageConfig::MODEL_TYPES.join("`, `");
            let problem = format!("has `model_type` `{name}`, expected one of `{known}`");
            return Err(document(file, &problem, near));
        }
        Some(_) => {}
    }
    let config: ImageConfig = serde_json::from_value(Value::Object(object))
        .map_err(|e| document(file, &format!("is no configuration: {e}"), None))?;
    config.check()?;
    Ok((config, classes))
}

fn class_names(file: &Path, value: &Value) -> Result<Vec<String>, ImageError> {
    let fail = || {
        document(
            file,
            "has an `id2label` that does not name labels 0, 1, 2, ..",
            None,
        )
    };
    let names = value.as_object().ok_or_else(fail)?;
    (0..names.len())
        .map(|i| {
            let name = names.get(&i.to_string()).and_then(Value::as_str);
            name.map(str::to_owned).ok_or_else(fail)
        })
        .collect()
}

fn read_normalise(file: &Path) -> Result<Normalise, ImageError> {
    let object = read_object(file)?;
    let list = |key: &str| {
        let problem = || document(file, &format!("has no list of numbers `{key}`"), None);
        let values = object
            .get(key)
            .and_then(Value::as_array)
            .ok_or_else(problem)?;
        let number = |v: &Value| v.as_f64().map(|x| x as f32).ok_or_else(problem);
        values.iter().map(number).collect::<Result<Vec<f32>, _>>()
    };
    Ok(Normalise::new(list("image_mean")?, list("image_std")?)?)
}

fn read_object(file: &Path) -> Result<Map<String, Value>, ImageError> {
    let fail = |source| ImageError::Read {
        file: file.to_owned(),
        source,
    };
    let mut text = Vec::new();
    let reader = std::fs::File::open(file).map_err(fail)?;
    reader
        .take(MAX_CONFIG_BYTES + 1)
        .read_to_end(&mut text)
        .map_err(fail)?;
    if text.len() as u64 > MAX_CONFIG_BYTES {
        let (found, limit) = (text.len() as u64, MAX_CONFIG_BYTES);
        return Err(ImageError::TooLarge {
            file: file.to_owned(),
            found,
            limit,
        });
    }
    match serde_json::from_slice(&text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(document(file, "is no JSON object", None)),
        Err(error) => Err(document(file, &format!("is no JSON: {error}"), None)),
    }
}

fn document(file: &Path, problem: &str, nearest: Option<String>) -> ImageError {
    ImageError::Document {
        file: PathBuf::from(file),
        problem: problem.to_owned(),
        nearest,
    }
}
