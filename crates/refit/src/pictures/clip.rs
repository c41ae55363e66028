//! Classes of pictures in words, by a model that was trained on pictures and what is said about them.
//!
//! Source: Radford et al. 2021, arXiv:2103.00020, section 3.1.

use super::{PictureClassifier, classify::Eye, reader::PictureReader};
use crate::told::Chances;
use crate::{
    classifier::{ClassifierError, Preprocessing},
    family::{CLIP, Shown, family},
    text::{
        Embeddings, TextModelError, by_length, check_finite, count_cut, cutting_to, encode,
        hypotheses, object, rows, setting,
    },
};
use burn::tensor::{Device, Tensor, TensorData};
use refit_core::{Progress, Silent, Source};
use refit_io::{
    ckpt::{Checkpoint, refuse_packed},
    data::{Colour, Filter, FolderOptions, ImageSet, ImageShape, Normalise, PictureFit, Resize},
};
use refit_nn::{
    NnError, Scope, Weights,
    blocks::unit_row,
    to_host,
    zoo::{Clip, ClipConfig, Side, TokenBatch},
};
use refit_text::{Encoded, Tokenizer};
use std::path::{Path, PathBuf};

/// What is said about a picture of a class, where nothing else is asked for.
const TEMPLATE: &str = "a photo of a {}.";

/// A model on disk, checked as far as its headers say.
#[derive(Debug)]
pub struct ClipFolder {
    checkpoint: Checkpoint,
    config: ClipConfig,
    tokenizer: Tokenizer,
    /// Tokens to which texts are cut.
    longest: usize,
    path: PathBuf,
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
        let preprocessing = Preprocessing::read(path, CLIP, Some(side))?;
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
            normalise: preprocessing.normalise.unwrap_or_else(Normalise::clip),
            longest: text.longest,
            path: path.into(),
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

    /// The same folder with texts cut to so many tokens.
    ///
    /// # Errors
    /// More than the model reads, or none.
    pub fn cut_to(mut self, longest: usize) -> Result<Self, ClassifierError> {
        self.tokenizer = cutting_to(self.tokenizer, longest, self.longest, &self.path)?;
        self.longest = longest;
        Ok(self)
    }

    /// Tokens to which texts are cut.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Entries of a vector of the space that pictures and texts share.
    pub fn width(&self) -> usize {
        self.config.width()
    }

    /// Reads the weights.
    pub(super) fn load(
        self,
        device: &Device,
    ) -> Result<(ClipReader, PictureReader), ClassifierError> {
        let bind = |scope: &Scope<'_>| self.config.bind(scope);
        let model = Weights::load_as_stored(&self.checkpoint, device, bind)?.bind(bind)?;
        let clip = ClipReader {
            width: self.config.width(),
            longest: self.longest,
            tokenizer: self.tokenizer,
            model,
        };
        let pictures = PictureReader {
            fit: self.fit,
            normalise: self.normalise,
            device: device.clone(),
        };
        Ok((clip, pictures))
    }

    /// Number of values of all tensors.
    pub fn num_values(&self) -> u64 {
        let tensors = self.checkpoint.tensors().iter();
        tensors.map(|meta| meta.len() as u64).sum()
    }
}

/// A model with its weights, and what cuts its texts.
#[derive(Debug)]
pub(super) struct ClipReader {
    pub(super) model: Clip,
    tokenizer: Tokenizer,
    pub(super) width: usize,
    longest: usize,
}

impl ClipReader {
    /// The vector of every text, of any length.
    pub(super) fn texts(
        &self,
        texts: &[String],
        progress: &dyn Progress,
    ) -> Result<Embeddings, TextModelError> {
        let encoded = encode(&self.tokenizer, texts, None)?;
        let vectors = |batch: &[&Encoded]| {
            let ids: Vec<&[u32]> = batch.iter().map(|text| text.ids()).collect();
            let batch = TokenBatch::new(&ids, self.tokenizer.pad(), Side::Right);
            let vectors = to_host(self.model.texts(&batch)?.into_value());
            Ok(rows(&vectors, self.width))
        };
        let vectors = by_length("embed", &encoded, progress, vectors)?;
        check_finite(&vectors)?;
        Ok(Embeddings {
            width: self.width,
            values: vectors.concat(),
            cut: count_cut(&encoded, self.longest),
        })
    }
}

/// A model and what it makes of the label of each class.
#[derive(Debug)]
pub(super) struct Worded {
    model: Clip,
    /// `[classes, width]`, of any length.
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
    /// that is too long to be read whole.
    pub fn in_words(
        folder: ClipFolder,
        labels: &[String],
        templates: &[String],
        device: &Device,
    ) -> Result<Self, ClassifierError> {
        let said = Self::check_words(labels, templates)?;
        let (clip, reader) = folder.load(device)?;
        let mut sum = vec![0.0; labels.len() * clip.width];
        for said in &said {
            let longest = clip.longest;
            let whole = clip.tokenizer.clone().uncut();
            if encode(&whole, said, None)?
                .iter()
                .any(|text| text.ids().len() > longest)
            {
                return Err(ClassifierError::LongLabel { longest });
            }
            let found = clip.texts(said, &Silent)?;
            for (sum, found) in sum
                .chunks_mut(clip.width)
                .zip(found.values.chunks(clip.width))
            {
                let found: Vec<f64> = found.iter().copied().map(f64::from).collect();
                for (sum, entry) in sum.iter_mut().zip(unit_row(&found)) {
                    *sum += entry as f32;
                }
            }
        }
        // Only their directions are read, so the sum is as good as the mean.
        let texts = TensorData::new(sum, [labels.len(), clip.width]);
        let texts = Tensor::from_data(texts, device);
        let model = clip.model;
        Ok(Self {
            eye: Eye::Worded(Box::new(Worded { model, texts })),
            reader,
            labels: labels.to_vec(),
            chances: Chances::OneOf,
        })
    }
}
