//! The small files beside the weights, as they are written, and the architecture.

use super::ClassifierError;
use crate::{
    family::{Shown, family, shown},
    text::setting,
};
use refit_io::{
    atomic::{Overwrite, write_file},
    data::Normalise,
    file::read_file,
};
use refit_nn::ImageConfig;
use serde::Serialize;
use serde_json::{Map, Value};
use std::path::Path;

/// Files of settings are small.
const MAX_BYTES: u64 = 1 << 20;

/// `preprocessor_config.json`, the part we write.
#[derive(Debug, Serialize)]
struct Preprocessor {
    image_mean: Vec<f32>,
    image_std: Vec<f32>,
    /// Pixels are multiplied by this first.
    rescale_factor: f64,
}

/// Writes the pre-processing.
pub(super) fn write_normalise(path: &Path, normalise: &Normalise) -> Result<(), ClassifierError> {
    let preprocessor = Preprocessor {
        image_mean: normalise.mean().to_vec(),
        image_std: normalise.std().to_vec(),
        rescale_factor: 1.0 / 255.0,
    };
    write_json(path, &preprocessor)
}

/// Writes a small document.
pub(super) fn write_json(path: &Path, document: &impl Serialize) -> Result<(), ClassifierError> {
    let text = serde_json::to_string_pretty(document).map_err(|e| not_json(path, &e))?;
    Ok(write_file(
        path,
        (text + "\n").as_bytes(),
        Overwrite::Refuse,
    )?)
}

/// Reads an architecture.
///
/// # Errors
/// When the file cannot be read, names no architecture that we know, or one that is shown no pictures.
pub fn read_config(path: &Path) -> Result<ImageConfig, ClassifierError> {
    understand(path, &read_keys(path)?)
}

/// The keys of an architecture.
pub(super) fn read_keys(path: &Path) -> Result<Map<String, Value>, ClassifierError> {
    let bytes = read_file(path, MAX_BYTES)?;
    serde_json::from_slice(&bytes).map_err(|error| not_json(path, &error))
}

/// The architecture that keys describe.
pub(super) fn understand(
    path: &Path,
    keys: &Map<String, Value>,
) -> Result<ImageConfig, ClassifierError> {
    match shown(keys).map_err(setting(path))? {
        shown @ (Shown::Texts | Shown::Both) => Err(ClassifierError::OtherFamily {
            path: path.into(),
            family: family(keys).into(),
            shown,
        }),
        Shown::Pictures => Ok(ImageConfig::read(keys).map_err(setting(path))?),
    }
}

fn not_json(path: &Path, error: &serde_json::Error) -> ClassifierError {
    ClassifierError::NotJson {
        path: path.into(),
        problem: error.to_string(),
    }
}
