//! Pictures to vectors, and by a CLIP texts to vectors of the same space.

use super::{ClipFolder, PictureClassifier, clip::ClipReader, reader::PictureReader};
use crate::{
    classifier::{ClassifierError, ModelFolder},
    text::{Embeddings, TextModelError},
};
use burn::tensor::{Device, Tensor};
use refit_core::Progress;
use refit_nn::{ImageConfig, ImageModel, Pass, Scope, Weights};
use std::path::PathBuf;

/// A model that turns pictures into vectors; a classifier need not be there.
///
/// Of vision transformers that is the class token (or the mean of all, as the model says) after the last norm, of residual
/// networks the mean of the last map.
#[derive(Debug)]
pub struct PictureEmbedder {
    model: ImageModel,
    reader: PictureReader,
    width: usize,
}

impl PictureEmbedder {
    /// Checks what headers say, before weights are read; returns the entries of a vector.
    ///
    /// # Errors
    /// A family whose classifier reads no vector, pre-processing that does not fit the model.
    pub fn check(folder: &ModelFolder) -> Result<usize, ClassifierError> {
        PictureClassifier::fit(folder)?;
        match Self::config(folder).num_outputs() {
            0 => Err(ClassifierError::NoVectors {
                path: folder.home().into(),
                family: folder.config.family(),
            }),
            width => Ok(width),
        }
    }

    /// Reads the weights, but for those of a classifier.
    ///
    /// # Errors
    /// Those of [`check`](Self::check); weights that do not fit the architecture or are not finite.
    pub fn load(folder: &ModelFolder, device: &Device) -> Result<Self, ClassifierError> {
        let width = Self::check(folder)?;
        let config = Self::config(folder);
        let bind = |scope: &Scope<'_>| config.bind(scope);
        let weights = Weights::load_as_stored(&folder.checkpoint, device, bind)?;
        Ok(Self {
            model: weights.bind(bind)?,
            reader: PictureReader {
                fit: PictureClassifier::fit(folder)?,
                normalise: folder.normalise()?,
                device: device.clone(),
            },
            width,
        })
    }

    /// The vector of every picture.
    ///
    /// # Errors
    /// A file that is no picture, a vector that is not finite, when `progress` asks for a stop.
    pub fn embed(
        &self,
        pictures: &[PathBuf],
        progress: &dyn Progress,
    ) -> Result<Embeddings, ClassifierError> {
        let map = |pixels: Tensor<4>| {
            Ok(self
                .model
                .forward(pixels.into(), &mut Pass::eval())
                .into_value())
        };
        Ok(Embeddings {
            width: self.width,
            values: self
                .reader
                .each(("embed", pictures), self.width, progress, map)?,
            cut: 0,
        })
    }

    /// Entries of a vector.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The model without a classifier.
    fn config(folder: &ModelFolder) -> ImageConfig {
        folder.config.clone().with_labels(0)
    }
}

/// A CLIP, which turns pictures and texts into vectors of one space. They are of any length.
#[derive(Debug)]
pub struct ClipEmbedder {
    clip: ClipReader,
    pictures: PictureReader,
}

impl ClipEmbedder {
    /// Reads the weights.
    ///
    /// # Errors
    /// When they do not fit the architecture or are not finite.
    pub fn load(folder: ClipFolder, device: &Device) -> Result<Self, ClassifierError> {
        let (clip, pictures) = folder.load(device)?;
        Ok(Self { clip, pictures })
    }

    /// The vector of every picture.
    ///
    /// # Errors
    /// A file that is no picture, a vector that is not finite, when `progress` asks for a stop.
    pub fn pictures(
        &self,
        pictures: &[PathBuf],
        progress: &dyn Progress,
    ) -> Result<Embeddings, ClassifierError> {
        let width = self.width();
        let map = |pixels: Tensor<4>| Ok(self.clip.model.images(pixels.into())?.into_value());
        Ok(Embeddings {
            width,
            values: self
                .pictures
                .each(("embed", pictures), width, progress, map)?,
            cut: 0,
        })
    }

    /// The vector of every text.
    ///
    /// # Errors
    /// A text that cannot be cut, a vector that is not finite, when `progress` asks for a stop.
    pub fn texts(
        &self,
        texts: &[String],
        progress: &dyn Progress,
    ) -> Result<Embeddings, TextModelError> {
        self.clip.texts(texts, progress)
    }

    /// Entries of a vector.
    pub fn width(&self) -> usize {
        self.clip.width
    }
}
