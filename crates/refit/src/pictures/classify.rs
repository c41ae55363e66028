//! Pictures to classes: a model's own, or any in words by a CLIP.

use super::{clip::Worded, reader::PictureReader};
use crate::{
    classifier::{ClassifierError, ModelFolder, Score, check_images, score_batches},
    family::unnamed,
    told::{Chances, Told},
};
use burn::tensor::{Device, Tensor};
use refit_core::Progress;
use refit_io::data::{Batch, ImageSet, ImageShape, PictureFit};
use refit_nn::{ImageModel, NnError, Pass, Scope, Weights};
use serde::Serialize;
use std::path::PathBuf;

/// A model that tells classes of pictures.
#[derive(Debug)]
pub struct PictureClassifier {
    pub(super) eye: Eye,
    pub(super) reader: PictureReader,
    pub(super) labels: Vec<String>,
    pub(super) chances: Chances,
}

/// What looks at pictures.
#[derive(Debug)]
pub(super) enum Eye {
    /// A model with a head of its own.
    Own(Box<ImageModel>),
    /// A model that compares them with what is said.
    Worded(Box<Worded>),
}

/// A picture and its class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Seen {
    /// The path of the picture.
    pub picture: String,
    /// Its class.
    #[serde(flatten)]
    pub class: Told,
}

impl PictureClassifier {
    /// Checks what headers say, before weights are read: the names of the classes.
    ///
    /// # Errors
    /// A model that has no classes, or that its own pre-processing does not fit.
    pub fn check(folder: &ModelFolder) -> Result<Vec<String>, ClassifierError> {
        let classes = folder.config.num_labels();
        if classes == 0 {
            let path = folder.home().into();
            return Err(ClassifierError::NoClasses { path });
        }
        Self::fit(folder)?;
        let named = folder.labels.clone();
        Ok(named.unwrap_or_else(|| (0..classes).map(unnamed).collect()))
    }

    /// How pictures become squares that the model sees.
    pub(super) fn fit(folder: &ModelFolder) -> Result<PictureFit, ClassifierError> {
        let Some(fit) = folder.picture_options().fit else {
            let path = folder.home().into();
            return Err(ClassifierError::NoSize { path });
        };
        let shape = ImageShape {
            channels: folder.normalise()?.mean().len(),
            height: fit.crop,
            width: fit.crop,
        };
        check_images(&folder.config, shape)?;
        Ok(fit)
    }

    /// Reads the weights of a model with classes of its own.
    ///
    /// # Errors
    /// Those of [`check`](Self::check); weights that do not fit the architecture or are not finite.
    pub fn load(folder: &ModelFolder, device: &Device) -> Result<Self, ClassifierError> {
        let (labels, fit) = (Self::check(folder)?, Self::fit(folder)?);
        let bind = |scope: &Scope<'_>| folder.config.bind(scope);
        let model = Weights::load_as_stored(&folder.checkpoint, device, bind)?.bind(bind)?;
        let normalise = folder.normalise()?;
        Ok(Self {
            eye: Eye::Own(Box::new(model)),
            reader: PictureReader {
                fit,
                normalise,
                device: device.clone(),
            },
            labels,
            chances: folder.chances,
        })
    }

    /// The class of every picture.
    ///
    /// # Errors
    /// A file that is no picture, scores that are not finite; when `progress` asks for a stop.
    pub fn label(
        &self,
        pictures: &[PathBuf],
        progress: &dyn Progress,
    ) -> Result<Vec<Seen>, ClassifierError> {
        let scores = self.reader.each(
            ("classify", pictures),
            self.labels.len(),
            progress,
            |pixels| self.scores(pixels),
        )?;
        let told = |(path, scores): (&PathBuf, &[f32])| Seen {
            picture: path.display().to_string(),
            class: Told::new(&self.labels, self.chances.probabilities(scores)),
        };
        let scores = scores.chunks(self.labels.len());
        Ok(pictures.iter().zip(scores).map(told).collect())
    }

    /// Tells the class of every image of `set`, whose classes are the labels, `batch_size` at a time.
    ///
    /// # Errors
    /// When `progress` asks for a stop.
    ///
    /// # Panics
    /// When `batch_size` is 0, or classes or images are not those of the model.
    pub fn score(
        &self,
        set: &ImageSet,
        batch_size: usize,
        progress: &dyn Progress,
    ) -> Result<Score, ClassifierError> {
        let batches = Batch::chunks(set, batch_size, &self.reader.normalise);
        score_batches(set, batches, &self.reader.device, progress, |pixels| {
            Ok(self.scores(pixels)?)
        })
    }

    /// A score for every class of every picture.
    fn scores(&self, pixels: Tensor<4>) -> Result<Tensor<2>, NnError> {
        match &self.eye {
            Eye::Own(model) => Ok(model.forward(pixels.into(), &mut Pass::eval()).into_value()),
            Eye::Worded(model) => model.scores(pixels),
        }
    }
}
