//! The small files beside the weights: architecture and pre-processing.

use super::ClassifierError;
use refit_core::nearest;
use refit_io::{
    atomic::{Overwrite, write_file},
    data::Normalise,
    file::read_file,
};
use refit_nn::ImageConfig;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;

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

/// Writes the pre-processing.
pub(super) fn write_normalise(path: &Path, normalise: &Normalise) -> Result<(), ClassifierError> {
    let preprocessor = Preprocessor {
        image_mean: normalise.mean().to_vec(),
        image_std: normalise.std().to_vec(),
        rescale_factor: per_byte(),
    };
    write_json(path, &preprocessor)
}

/// Reads the pre-processing; `None` where the file is not there.
pub(super) fn read_normalise(path: &Path) -> Result<Option<Normalise>, ClassifierError> {
    let bytes = match read_file(path, MAX_BYTES) {
        Err(error) if error.is_not_found() => return Ok(None),
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

/// Writes a small document.
pub(super) fn write_json(path: &Path, document: &impl Serialize) -> Result<(), ClassifierError> {
    let text = serde_json::to_string_pretty(document).map_err(|e| document_error(path, &e))?;
    Ok(write_file(
        path,
        (text + "\n").as_bytes(),
        Overwrite::Refuse,
    )?)
}

/// What tools of Hugging Face write into every `config.json`, and what says nothing of the architecture.
const BOOKKEEPING: [&str; 5] = [
    "_name_or_path",
    "architectures",
    "dtype",
    "torch_dtype",
    "transformers_version",
];

/// Reads an architecture.
///
/// # Errors
/// When the file cannot be read, or names no architecture that we know.
pub fn read_config(path: &Path) -> Result<ImageConfig, ClassifierError> {
    let bytes = read_file(path, MAX_BYTES)?;
    let mut value: Value =
        serde_json::from_slice(&bytes).map_err(|error| ClassifierError::NotJson {
            path: path.into(),
            problem: error.to_string(),
        })?;
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
    if let Value::Object(keys) = &mut value {
        keys.retain(|key, _| !BOOKKEEPING.contains(&key.as_str()));
    }
    serde_json::from_value(value).map_err(|e| document_error(path, &e))
}

fn document_error(path: &Path, error: &serde_json::Error) -> ClassifierError {
    ClassifierError::Document {
        path: path.into(),
        problem: error.to_string(),
        nearest: None,
    }
}
