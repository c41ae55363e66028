//! Classes of pictures in words, by a model that was trained on pictures and what is said about them.
//!
//! Source: Radford et al. 2021, arXiv:2103.00020, section 3.1.

use crate::text::{Labelled, TextModelError, hypotheses, object, optional, setting, softmax};
use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;
use refit_core::{ConfigError, Progress, Source};
use refit_io::{
    ckpt::{Checkpoint, refuse_packed},
    data::{PictureSize, read_picture},
};
use refit_nn::{
    NnError, Weights, to_host,
    zoo::{Clip, ClipConfig, Side, TokenBatch},
};
use refit_text::{Encoded, Tokenizer};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// What is said about a picture of a class, where nothing else is asked for.
const TEMPLATE: &str = "a photo of a {}.";
/// Pictures that are seen together.
const BATCH: usize = 32;
/// Colours as CLIP was trained on them.
const MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const DEVIATION: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// A model on disk, checked as far as its headers say.
#[derive(Debug)]
pub struct ClipFolder {
    checkpoint: Checkpoint,
    config: ClipConfig,
    tokenizer: Tokenizer,
    size: PictureSize,
}

impl ClipFolder {
    /// Whether a folder says that it holds such a model; what cannot be read says nothing.
    pub fn is_one(path: &Path) -> bool {
        let keys = object(&path.join("config.json")).unwrap_or_default();
        keys.get("model_type").and_then(Value::as_str) == Some("clip")
    }

    /// Opens a folder in the layout of Hugging Face: `config.json`, weights, `tokenizer.json`, and
    /// `preprocessor_config.json` (or `processor_config.json`) where pictures go through other than CLIP's own sizes and
    /// colours.
    ///
    /// # Errors
    /// A missing or damaged file, settings out of range, a tokenizer of another model.
    pub fn open(path: &Path) -> Result<Self, TextModelError> {
        let file = path.join("config.json");
        let config = ClipConfig::read(&object(&file)?).map_err(setting(&file))?;
        let text = config.text_size();
        let tokenizer = Tokenizer::open(path, text.longest)?;
        if tokenizer.len() > text.words {
            return Err(TextModelError::Vocabulary {
                folder: path.into(),
                found: tokenizer.len(),
                expected: text.words,
            });
        }
        let checkpoint = Checkpoint::open(path)?;
        refuse_packed(path, checkpoint.tensors())?;
        Ok(Self {
            checkpoint,
            size: size(path, config.image_size())?,
            config,
            tokenizer,
        })
    }

    /// Number of values of all tensors.
    pub fn num_values(&self) -> u64 {
        let tensors = self.checkpoint.tensors().iter();
        tensors.map(|meta| meta.len() as u64).sum()
    }
}

/// What pictures go through.
fn size(path: &Path, side: usize) -> Result<PictureSize, TextModelError> {
    let own = path.join("preprocessor_config.json");
    let both = path.join("processor_config.json");
    let (file, keys) = match (optional(&own)?, optional(&both)?) {
        (Some(keys), _) => (own, keys),
        (None, Some(keys)) => (
            both,
            keys.get("image_processor").cloned().unwrap_or_default(),
        ),
        (None, None) => (own, Value::Object(Map::new())),
    };
    let number = |key: &'static str, parts: &[&str]| {
        let Some(value) = keys.get(key).filter(|value| !value.is_null()) else {
            return Ok(side);
        };
        let part = parts.iter().find_map(|part| value.get(*part));
        let found = part.unwrap_or(value).as_u64().map(|n| n as usize);
        found.ok_or_else(|| ConfigError::range(key, value, "a number of pixels"))
    };
    let colours = |key: &'static str, default: [f32; 3]| {
        let Some(value) = keys.get(key).filter(|value| !value.is_null()) else {
            return Ok(default);
        };
        serde_json::from_value(value.clone())
            .map_err(|_| ConfigError::range(key, value, "three numbers"))
    };
    let read = || {
        let size = PictureSize {
            edge: number("size", &["shortest_edge", "height"])?,
            crop: number("crop_size", &["height"])?,
            mean: colours("image_mean", MEAN)?,
            deviation: colours("image_std", DEVIATION)?,
        };
        size.check()?;
        if size.crop != side {
            let expected = format!("{side}, the `image_size` of config.json");
            return Err(ConfigError::range("crop_size", size.crop, expected));
        }
        Ok(size)
    };
    read().map_err(setting(&file))
}

/// A model and the classes that it is asked for.
#[derive(Debug)]
pub struct PictureClassifier {
    model: Clip,
    size: PictureSize,
    labels: Vec<String>,
    /// What the model makes of the label of each class.
    texts: Tensor<2>,
    device: Device,
}

impl PictureClassifier {
    /// Checks the question, before weights are read: what is said about each class.
    ///
    /// # Errors
    /// Fewer than two labels, one that comes twice, a template without a place for the label.
    pub fn check(labels: &[String], template: Option<&str>) -> Result<Vec<String>, TextModelError> {
        hypotheses(labels, template.unwrap_or(TEMPLATE), 2)
            .map_err(|error| TextModelError::Model(NnError::from(error)))
    }

    /// Reads the weights, and what is said about each class.
    ///
    /// # Errors
    /// Those of [`check`](Self::check); weights that do not fit the architecture or are not finite; a label that is too
    /// long to be read.
    pub fn load(
        folder: ClipFolder,
        labels: &[String],
        template: Option<&str>,
        device: &Device,
    ) -> Result<Self, TextModelError> {
        let said = Self::check(labels, template)?;
        let bind = |scope: &refit_nn::Scope<'_>| folder.config.bind(scope);
        let model = Weights::load(&folder.checkpoint, device, bind)?.bind(bind)?;
        let encoded = said.iter().map(|text| folder.tokenizer.encode(text, None));
        let encoded = encoded.collect::<Result<Vec<_>, _>>()?;
        let ids: Vec<&[u32]> = encoded.iter().map(Encoded::ids).collect();
        let batch = TokenBatch::new(&ids, folder.tokenizer.pad(), Side::Right);
        Ok(Self {
            texts: model.texts(&batch)?.into_value(),
            model,
            size: folder.size,
            labels: labels.to_vec(),
            device: device.clone(),
        })
    }

    /// The label of every picture; its path stands for the text.
    ///
    /// # Errors
    /// A file that is no picture; when `progress` asks for a stop.
    pub fn label(
        &self,
        pictures: &[PathBuf],
        progress: &dyn Progress,
    ) -> Result<Vec<Labelled>, TextModelError> {
        progress.begin("classify", Some(pictures.len() as u64));
        let mut found = Vec::with_capacity(pictures.len());
        for batch in pictures.chunks(BATCH) {
            if progress.cancelled() {
                return Err(TextModelError::Interrupted);
            }
            let pixels = batch.par_iter().map(|path| read_picture(path, &self.size));
            let pixels = pixels.collect::<Result<Vec<_>, _>>()?.concat();
            let pixels = TensorData::new(pixels, [batch.len(), 3, self.size.crop, self.size.crop]);
            let pixels = Tensor::<4>::from_data(pixels, &self.device);
            let seen = self.model.images(pixels.into())?;
            let scores = to_host(
                self.model
                    .logits(seen, self.texts.clone().into())
                    .into_value(),
            );
            for (path, scores) in batch.iter().zip(scores.chunks(self.labels.len())) {
                let name = path.display().to_string();
                found.push(Labelled::new(&name, &self.labels, softmax(scores)));
            }
            progress.advance(batch.len() as u64);
        }
        Ok(found)
    }
}
