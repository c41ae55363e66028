//! Training a classifier.

use super::{ClassifierFolder, ImageError};
use burn::tensor::{Device, Int, Tensor, TensorData};
use refit_core::{ConfigError, Progress, Seed, StopReason};
use refit_io::{
    atomic::Overwrite,
    ckpt::{Checkpoint, CheckpointWriter, WriteOptions},
    data::{Augment, AugmentConfig, Batch, ImageSet, ImageShape, Normalise, Task},
};
use refit_nn::{ImageConfig, NnError, Pass, Weights};
use refit_train::{Objective, Step, TrainConfig, TrainState, Trainer, loss};
use std::path::Path;

/// What is trained, on what, and how.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The data; the training part is used.
    pub task: &'a Task,
    /// The architecture; its number of labels must be that of the data.
    pub config: ImageConfig,
    /// The loop.
    pub train: TrainConfig,
    /// Images per micro-batch.
    pub batch: usize,
    /// Label smoothing in `[0, 1)`.
    pub smoothing: f32,
    /// How images are varied.
    pub augment: AugmentConfig,
    /// The source of all chance.
    pub seed: Seed,
}

/// How a training run ended.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The classifier after the last step.
    pub model: ClassifierFolder,
    /// Steps done.
    pub steps: u64,
    /// Why it ended: done or interrupted.
    pub stop: StopReason,
}

/// Trains from fresh weights, or continues from `state` if that file exists.
///
/// The state of the run is kept in the file `state`, replaced atomically every `save_every` steps and on interruption,
/// so that a run that is killed at any moment loses at most that many steps and then continues bit for bit.
///
/// # Errors
/// Data that does not fit the architecture and settings out of range, before any work; a saved state of another run; a
/// state that cannot be written; divergence.
pub fn train(
    request: &Request<'_>,
    state: &Path,
    save_every: u64,
    on_step: impl FnMut(&Step),
    progress: &dyn Progress,
) -> Result<Trained, ImageError> {
    check(request)?;
    let device = Device::flex();
    let config = &request.config;
    let start = Weights::create(request.seed.fork("weights"), &device, |s| config.bind(s))?;
    let set = request.task.train();
    let normalise = Normalise::measured([set.as_ref()]);
    let augment = Augment::try_from(request.augment)?;
    let mut trainer = Trainer::new(request.train.clone())?
        .on_step(on_step)
        .save_every(save_every, |found| Ok(save(found, state)?));
    if state.exists() {
        let saved = Checkpoint::open(state)?;
        trainer = trainer.resume(TrainState::load(&saved, saved.metadata(), start.layout())?);
    }
    let mut objective = Classify {
        config,
        smoothing: request.smoothing,
    };
    let draw = |i| draw(set, request, &normalise, &augment, i);
    let fit = trainer.fit(start, &mut objective, draw, progress)?;
    if fit.stop == StopReason::Diverged {
        return Err(ImageError::Diverged {
            steps: fit.state.step(),
        });
    }
    let model = ClassifierFolder {
        config: config.clone(),
        classes: request.task.classes().to_vec(),
        normalise,
        weights: fit.weights,
    };
    Ok(Trained {
        model,
        steps: fit.state.step(),
        stop: fit.stop,
    })
}

fn check(request: &Request<'_>) -> Result<(), ImageError> {
    let (found, expected) = (request.task.class_count(), request.config.num_outputs());
    if found != expected {
        let (found, expected) = (found.to_string(), expected.to_string());
        return Err(ImageError::Mismatch {
            what: "the number of classes",
            found,
            expected,
        });
    }
    let found = request.task.shape();
    let expected = expected_shape(&request.config, found);
    if found != expected {
        let (found, expected) = (found.to_string(), expected.to_string());
        return Err(ImageError::Mismatch {
            what: "the image shape",
            found,
            expected,
        });
    }
    if request.batch == 0 || request.batch > 1 << 16 {
        return Err(ConfigError::range("batch", request.batch, "1 to 65536").into());
    }
    if !(0.0..1.0).contains(&request.smoothing) {
        let expected = "a share in [0, 1)";
        return Err(ConfigError::range("smoothing", request.smoothing, expected).into());
    }
    Ok(())
}

/// The image shape that an architecture takes; where it takes any extent, that of `like`.
pub(super) fn expected_shape(config: &ImageConfig, like: ImageShape) -> ImageShape {
    let square = |channels, side| ImageShape {
        channels,
        height: side,
        width: side,
    };
    match config {
        ImageConfig::Vit(c) => square(c.num_channels, c.image_size),
        ImageConfig::ConvNet(c) => square(c.num_channels, c.image_size),
        ImageConfig::CifarResnet(c) => ImageShape {
            channels: c.num_channels,
            ..like
        },
        ImageConfig::Mlp(c) if c.inputs != like.len() => ImageShape {
            channels: 1,
            height: 1,
            width: c.inputs,
        },
        _ => like,
    }
}

fn draw(
    set: &ImageSet,
    request: &Request<'_>,
    normalise: &Normalise,
    augment: &Augment,
    number: u64,
) -> Batch {
    let seed = request.seed.fork("batches").fork(number);
    let picked = seed.sample(set.len(), request.batch);
    let mut batch = Batch::collate(set, &picked, &Normalise::unit(set.shape()));
    let shape = set.shape();
    for (j, image) in batch.pixels.chunks_exact_mut(shape.len()).enumerate() {
        augment.apply(image, shape, seed.fork(j));
        normalise.unit_floats(image, shape);
    }
    batch
}

fn save(found: &TrainState, file: &Path) -> Result<(), ImageError> {
    let metas = found.tensors().into_iter().map(|(meta, _)| meta).collect();
    let metadata = found.metadata().into_iter().collect();
    let options = WriteOptions {
        metadata,
        overwrite: Overwrite::Replace,
        ..Default::default()
    };
    let mut writer = CheckpointWriter::create(file, metas, options)?;
    found.save(&mut writer)?;
    Ok(writer.finish()?)
}

struct Classify<'a> {
    config: &'a ImageConfig,
    smoothing: f32,
}

impl Objective for Classify<'_> {
    type Batch = Batch;
    type Error = NnError;

    fn loss(
        &mut self,
        weights: &Weights,
        batch: Batch,
        pass: &mut Pass,
    ) -> Result<Tensor<1>, NnError> {
        let (device, n) = (weights.device(), batch.labels.len());
        let pixels = Tensor::<4>::from_data(TensorData::new(batch.pixels, batch.shape), &device);
        let labels: Vec<i64> = batch.labels.iter().map(|&l| i64::from(l)).collect();
        let labels = Tensor::<1, Int>::from_data(TensorData::new(labels, [n]), &device);
        let model = weights.bind(|scope| self.config.bind(scope))?;
        let logits = model.forward(pixels.into(), pass).into_value();
        Ok(loss::mean_cross_entropy(logits, labels, self.smoothing))
    }
}
