//! Classes of pictures in words, by a model that was trained on pictures and what is said about them.
//!
//! Source: Radford et al. 2021, arXiv:2103.00020, section 3.1.

use super::{Eye, PictureClassifier};
use crate::{
    classifier::{ClassifierError, Preprocessing},
    family::{Shown, family},
    text::{TextModelError, hypotheses, object, setting},
};
use burn::tensor::{Device, Tensor};
use refit_core::Source;
use refit_io::{
    ckpt::{Checkpoint, refuse_packed},
    data::{Colour, Filter, FolderOptions, ImageSet, ImageShape, Normalise, PictureFit, Resize},
};
use refit_nn::{
    NnError, Weights,
    blocks::unit_rows,
    zoo::{Clip, ClipConfig, Side, TokenBatch},
};
use refit_text::{Encoded, Tokenizer};
use std::path::Path;

/// What is said about a picture of a class, where nothing else is asked for.
const TEMPLATE: &str = "a photo of a {}.";
/// Colours as CLIP was trained on them.
const MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const DEVIATION: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// A model on disk, checked as far as its headers say.
#[derive(Debug)]
pub struct ClipFolder {
    checkpoint: Checkpoint,
    config: ClipConfig,
    tokenizer: Tokenizer,
    fit: PictureFit,
    normalise: Normalise,
}

impl ClipFolder {
    /// Whether a folder says that it holds such a model; what cannot be read says nothing.
    pub fn is_one(path: &Path) -> bool {
        let keys = object(&path.join("config.json")).unwrap_or_default();
        Shown::to(family(&keys)) == Some(Shown::Both)
    }

    /// Opens a folder in the layout of Hugging Face: `config.json`, weights, `tokenizer.json`, and
    /// `preprocessor_config.json` (or `processor_config.json`) where pictures go through other than CLIP's own sizes and
    /// colours.
    ///
    /// # Errors
    /// A missing or damaged file, settings out of range, a tokenizer of another model.
    pub fn open(path: &Path) -> Result<Self, ClassifierError> {
        let file = path.join("config.json");
        let config = ClipConfig::read(&object(&file)?).map_err(setting(&file))?;
        let text = config.text_size();
        let tokenizer = Tokenizer::open(path, text.longest).map_err(TextModelError::from)?;
        if tokenizer.len() > text.words {
            let error = TextModelError::Vocabulary {
                folder: path.into(),
                found: tokenizer.len(),
                expected: text.words,
            };
            return Err(error.into());
        }
        let side = config.image_size();
        let preprocessing = Preprocessing::read(path, Some(side))?;
        preprocessing.check_side(path, side)?;
        let usual = PictureFit {
            resize: Resize::Shorter(side),
            filter: Filter::Cubic,
            crop: side,
        };
        let checkpoint = Checkpoint::open(path)?;
        refuse_packed(path, checkpoint.tensors())?;
        Ok(Self {
            checkpoint,
            fit: preprocessing.fit.unwrap_or(usual),
            normalise: match preprocessing.normalise {
                Some(normalise) => normalise,
                None => Normalise::new(MEAN.to_vec(), DEVIATION.to_vec())?,
            },
            config,
            tokenizer,
        })
    }

    /// How pictures in folders are read.
    pub fn picture_options(&self) -> FolderOptions {
        FolderOptions {
            fit: Some(self.fit),
            colour: Colour::Rgb,
            ..FolderOptions::default()
        }
    }

    /// Checks that images are as large as the model's.
    ///
    /// # Errors
    /// Those of another shape.
    pub fn check_set(&self, set: &ImageSet) -> Result<(), ClassifierError> {
        let (found, side) = (set.shape(), self.fit.crop);
        let expected = ImageShape {
            channels: 3,
            height: side,
            width: side,
        };
        if found == expected {
            return Ok(());
        }
        Err(ClassifierError::Images {
            found: found.to_string(),
            expected: expected.to_string(),
        })
    }

    /// Number of values of all tensors.
    pub fn num_values(&self) -> u64 {
        let tensors = self.checkpoint.tensors().iter();
        tensors.map(|meta| meta.len() as u64).sum()
    }
}

/// A model and what it makes of the label of each class.
#[derive(Debug)]
pub(super) struct Worded {
    model: Clip,
    /// `[classes, width]`, of length 1.
    texts: Tensor<2>,
}

impl Worded {
    /// How well each class fits each picture, `[pictures, classes]`.
    pub(super) fn scores(&self, pixels: Tensor<4>) -> Result<Tensor<2>, NnError> {
        let seen = self.model.images(pixels.into())?;
        let texts = self.texts.clone().into();
        Ok(self.model.logits(seen, texts).into_value())
    }
}

impl PictureClassifier {
    /// Checks labels in words and what is said about them, before weights are read: one list for each template.
    ///
    /// # Errors
    /// Fewer than two labels, one that comes twice, a template without a place for the label.
    pub fn check_words(
        labels: &[String],
        templates: &[String],
    ) -> Result<Vec<Vec<String>>, ClassifierError> {
        let usual = [TEMPLATE.to_owned()];
        let templates = if templates.is_empty() {
            &usual
        } else {
            templates
        };
        let said = templates.iter().map(|said| hypotheses(labels, said, 2));
        Ok(said.collect::<Result<_, _>>()?)
    }

    /// Reads the weights, and what is said about each class. Where several things are said, what the model makes of a class
    /// is the mean of their unit vectors.
    ///
    /// # Errors
    /// Those of [`check_words`](Self::check_words); weights that do not fit the architecture or are not finite; a label
    /// that is too long to be read.
    #[expect(
        clippy::missing_panics_doc,
        reason = "there is always a template to say something by"
    )]
    pub fn in_words(
        folder: ClipFolder,
        labels: &[String],
        templates: &[String],
        device: &Device,
    ) -> Result<Self, ClassifierError> {
        let said = Self::check_words(labels, templates)?;
        let bind = |scope: &refit_nn::Scope<'_>| folder.config.bind(scope);
        let model = Weights::load_as_stored(&folder.checkpoint, device, bind)?.bind(bind)?;
        let mut sum: Option<Tensor<2>> = None;
        for said in &said {
            let encoded = said.iter().map(|text| folder.tokenizer.encode(text, None));
            let encoded = encoded.collect::<Result<Vec<Encoded>, _>>();
            let encoded = encoded.map_err(TextModelError::from)?;
            let ids: Vec<&[u32]> = encoded.iter().map(Encoded::ids).collect();
            let batch = TokenBatch::new(&ids, folder.tokenizer.pad(), Side::Right);
            let texts = unit_rows(model.texts(&batch)?).into_value();
            sum = Some(match sum {
                Some(sum) => sum + texts,
                None => texts,
            });
        }
        // Only their directions are read, so the sum is as good as the mean.
        let texts = sum.expect("there is always a template");
        Ok(Self {
            eye: Eye::Worded(Box::new(Worded { model, texts })),
            fit: folder.fit,
            normalise: folder.normalise,
            labels: labels.to_vec(),
            device: device.clone(),
        })
    }
}
