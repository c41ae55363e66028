//! Pictures in files, and the classes that a model tells of them: its own, or any in words by a CLIP.

mod clip;

pub use clip::ClipFolder;

use crate::{
    classifier::{Classifier, ClassifierError, ModelFolder, Score, check_images, score_batches},
    family::unnamed,
    text::softmax,
    told::Told,
};
use burn::tensor::{Device, Tensor, TensorData};
use clip::Worded;
use rayon::prelude::*;
use refit_core::Progress;
use refit_io::data::{Batch, ImageSet, ImageShape, Normalise, PictureFit, read_picture};
use refit_nn::{ImageModel, NnError, Pass, to_host};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Pictures that are seen together.
const BATCH: usize = 32;

/// A model that tells classes of pictures.
#[derive(Debug)]
pub struct PictureClassifier {
    eye: Eye,
    fit: PictureFit,
    normalise: Normalise,
    labels: Vec<String>,
    device: Device,
}

/// What looks at pictures.
#[derive(Debug)]
enum Eye {
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
    /// Checks what headers say, before weights are read: how pictures become squares, and the names of the classes.
    ///
    /// # Errors
    /// A model that has no classes, or that its own pre-processing does not fit.
    pub fn check(folder: &ModelFolder) -> Result<(PictureFit, Vec<String>), ClassifierError> {
        let path = folder.home();
        let classes = folder.config.num_labels();
        if classes == 0 {
            return Err(ClassifierError::NoClasses { path: path.into() });
        }
        let Some(fit) = folder.picture_options().fit else {
            return Err(ClassifierError::NoSize { path: path.into() });
        };
        let normalise = folder.normalise()?;
        let shape = ImageShape {
            channels: normalise.mean().len(),
            height: fit.crop,
            width: fit.crop,
        };
        check_images(&folder.config, shape)?;
        let named = folder.labels.clone();
        Ok((
            fit,
            named.unwrap_or_else(|| (0..classes).map(unnamed).collect()),
        ))
    }

    /// Reads the weights of a model with classes of its own.
    ///
    /// # Errors
    /// Those of [`check`](Self::check); weights that do not fit the architecture or are not finite.
    pub fn load(folder: &ModelFolder, device: &Device) -> Result<Self, ClassifierError> {
        let (fit, labels) = Self::check(folder)?;
        let Classifier {
            config,
            weights,
            normalise,
        } = folder.load(device)?;
        let model = weights.bind(|scope| config.bind(scope))?;
        Ok(Self {
            eye: Eye::Own(Box::new(model)),
            fit,
            normalise,
            labels,
            device: device.clone(),
        })
    }

    /// The class of every picture.
    ///
    /// # Errors
    /// A file that is no picture; when `progress` asks for a stop.
    pub fn label(
        &self,
        pictures: &[PathBuf],
        progress: &dyn Progress,
    ) -> Result<Vec<Seen>, ClassifierError> {
        progress.begin("classify", Some(pictures.len() as u64));
        let mut found = Vec::with_capacity(pictures.len());
        for batch in pictures.chunks(BATCH) {
            if progress.cancelled() {
                return Err(ClassifierError::Interrupted);
            }
            let scores = to_host(self.scores(self.pixels(batch)?)?);
            let scores = scores.chunks(self.labels.len());
            found.extend(batch.iter().zip(scores).map(|(path, s)| self.seen(path, s)));
            progress.advance(batch.len() as u64);
        }
        Ok(found)
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
        let batches = Batch::chunks(set, batch_size, &self.normalise);
        score_batches(set, batches, &self.device, progress, |pixels| {
            Ok(self.scores(pixels)?)
        })
    }

    /// A batch of pictures, `[n, c, h, w]`.
    fn pixels(&self, batch: &[PathBuf]) -> Result<Tensor<4>, ClassifierError> {
        let channels = self.normalise.mean().len();
        let read = |path: &PathBuf| {
            let (shape, bytes) = read_picture(path, &self.fit, channels)?;
            let mut pixels = vec![0.0; shape.len()];
            self.normalise.bytes(&bytes, shape, &mut pixels);
            Ok::<_, ClassifierError>(pixels)
        };
        let pixels = batch.par_iter().map(read);
        let pixels = pixels.collect::<Result<Vec<_>, _>>()?.concat();
        let side = self.fit.crop;
        let pixels = TensorData::new(pixels, [batch.len(), channels, side, side]);
        Ok(Tensor::from_data(pixels, &self.device))
    }

    /// A score for every class of every picture.
    fn scores(&self, pixels: Tensor<4>) -> Result<Tensor<2>, NnError> {
        match &self.eye {
            Eye::Own(model) => Ok(model.forward(pixels.into(), &mut Pass::eval()).into_value()),
            Eye::Worded(model) => model.scores(pixels),
        }
    }

    fn seen(&self, path: &Path, scores: &[f32]) -> Seen {
        Seen {
            picture: path.display().to_string(),
            class: Told::new(&self.labels, softmax(scores)),
        }
    }
}
