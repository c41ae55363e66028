//! Training a classifier on one task.

use super::{Classifier, ClassifierError, pixels};
use burn::tensor::Tensor;
use refit_core::{ConfigError, Progress, Seed, StopReason};
use refit_io::data::{
    Augment, AugmentConfig, Cursor, ImageSet, Last, LoadedBatch, Loader, LoaderConfig, LoaderPlan,
    LoaderState,
};
use refit_nn::{ImageConfig, NnError, Pass, Weights};
use refit_train::{
    Objective, SaveEvery, SaveResult, Step, TrainConfig, TrainState, Trainer,
    loss::{mean_cross_entropy, targets},
    optim::{AdamWConfig, OptimConfig, Schedule, SgdConfig},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How a classifier is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct FitSettings {
    /// Optimiser steps (ours: 500).
    pub steps: u64,
    /// Images per step (ours: 64).
    pub batch: usize,
    /// The optimiser (ours: AdamW).
    pub optimizer: OptimizerName,
    /// Peak learning rate (usual: 1e-3).
    pub rate: f64,
    /// Weight decay (ours: 0.05).
    pub decay: f64,
    /// Steps until the peak is reached (ours: 20).
    pub warmup: u64,
    /// Label smoothing in `[0, 1)` (ours: 0).
    pub smoothing: f32,
    /// How training images are varied (ours: not at all).
    pub augment: AugmentName,
}

impl Default for FitSettings {
    fn default() -> Self {
        Self {
            steps: 500,
            batch: 64,
            optimizer: OptimizerName::Adamw,
            rate: 1e-3,
            decay: 0.05,
            warmup: 20,
            smoothing: 0.0,
            augment: AugmentName::None,
        }
    }
}

/// Optimisers by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerName {
    /// Adam with decoupled weight decay
    Adamw,
    /// Stochastic gradient descent with momentum
    Sgd,
}

/// Ways to vary images, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum AugmentName {
    /// Not at all
    None,
    /// Mildly, so that digits and letters stay readable
    Glyphs,
    /// Strongly, for a base that serves many tasks
    Broad,
    /// Pad, crop and flip, as is customary for CIFAR
    Cifar,
}

impl AugmentName {
    const fn config(self) -> Option<AugmentConfig> {
        match self {
            Self::None => None,
            Self::Glyphs => Some(AugmentConfig::glyphs()),
            Self::Broad => Some(AugmentConfig::broad()),
            Self::Cifar => Some(AugmentConfig::cifar()),
        }
    }
}

impl FitSettings {
    /// Checks every setting.
    ///
    /// # Errors
    /// The first one that is out of range.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.batch == 0 || self.batch > 1 << 16 {
            return Err(ConfigError::range("batch", self.batch, "1 to 65536"));
        }
        if !(0.0..1.0).contains(&self.smoothing) {
            return Err(ConfigError::range(
                "smoothing",
                self.smoothing,
                "a share in [0, 1)",
            ));
        }
        if !(self.rate > 0.0 && self.rate.is_finite()) {
            return Err(ConfigError::range("rate", self.rate, "a positive number"));
        }
        if !(self.decay >= 0.0 && self.decay.is_finite()) {
            return Err(ConfigError::range(
                "decay",
                self.decay,
                "a number of at least 0",
            ));
        }
        self.trainer().check()
    }

    /// Most memory that a training of `values` numbers needs beside activations.
    pub fn state_bytes(&self, values: u64) -> u64 {
        self.trainer().state_bytes(values)
    }

    fn trainer(&self) -> TrainConfig {
        let (rate, decay) = (self.rate, self.decay);
        let optimizer = match self.optimizer {
            OptimizerName::Adamw => OptimConfig::Adamw(AdamWConfig {
                rate,
                decay,
                ..AdamWConfig::default()
            }),
            OptimizerName::Sgd => OptimConfig::Sgd(SgdConfig {
                rate,
                decay,
                ..SgdConfig::default()
            }),
        };
        TrainConfig {
            steps: self.steps,
            optimizer,
            schedule: Schedule {
                warmup: self.warmup,
                ..Schedule::default()
            },
            ..TrainConfig::default()
        }
    }
}

/// Everything a training needs beside the model.
pub struct TrainingRun<'a> {
    /// How to train.
    pub settings: &'a FitSettings,
    /// What to train on.
    pub set: Arc<ImageSet>,
    /// The seed of order and variation.
    pub seed: Seed,
    /// Where to go on, if this is not the beginning.
    pub resume: Option<TrainState>,
    /// Called after every step.
    pub on_step: Box<dyn FnMut(&Step) + 'a>,
    /// How often the state is saved, and by whom; also when the listener asks for a stop.
    pub save: Option<(SaveEvery, SaveHook<'a>)>,
}

/// Keeps the state of a training.
pub type SaveHook<'a> = Box<dyn FnMut(&TrainState) -> SaveResult + 'a>;

/// What training gives.
#[derive(Debug)]
pub struct Fitted {
    /// The model after the last step.
    pub model: Classifier,
    /// What is needed to go on.
    pub state: TrainState,
    /// Why it ended.
    pub stop: StopReason,
    /// The last step, if there was one.
    pub last: Option<Step>,
}

impl Classifier {
    /// Trains all weights on cross-entropy.
    ///
    /// # Errors
    /// Images or settings that do not fit; a resumed state of another model or with other settings.
    #[expect(
        clippy::missing_panics_doc,
        reason = "a loader without a last epoch does not end"
    )]
    pub fn fit(
        self,
        run: TrainingRun<'_>,
        progress: &dyn Progress,
    ) -> Result<Fitted, ClassifierError> {
        self.check(&run.set)?;
        run.settings.check()?;
        let done = run.resume.as_ref().map_or(0, TrainState::step);
        let mut batches = self.batches(&run, done)?;
        let Self {
            config,
            weights,
            normalise,
        } = self;
        let mut objective = CrossEntropy {
            config: &config,
            smoothing: run.settings.smoothing,
        };
        let mut trainer = Trainer::new(run.settings.trainer())?.on_step(run.on_step);
        if let Some((every, save)) = run.save {
            trainer = trainer.save_every(every, save);
        }
        if let Some(state) = run.resume {
            trainer = trainer.resume(state);
        }
        let next = |_| batches.next().expect("an endless loader");
        let fit = trainer.fit(weights, &mut objective, next, progress)?;
        let model = Self {
            config: config.clone(),
            weights: fit.weights,
            normalise,
        };
        Ok(Fitted {
            model,
            state: fit.state,
            stop: fit.stop,
            last: fit.last,
        })
    }

    /// Batches from number `done` on; the same ones whether or not the run was interrupted before.
    fn batches(&self, run: &TrainingRun<'_>, done: u64) -> Result<Loader, ClassifierError> {
        let batch_size = run.settings.batch.min(run.set.len()).max(1);
        let plan = LoaderPlan {
            sets: vec![Arc::clone(&run.set)],
            config: LoaderConfig {
                batch_size,
                last: Last::Drop,
                ..LoaderConfig::default()
            },
            normalise: self.normalise.clone(),
            augment: run
                .settings
                .augment
                .config()
                .map(Augment::try_from)
                .transpose()?,
            seed: run.seed.fork("batches"),
        };
        let per_epoch = (run.set.len() / batch_size).max(1) as u64;
        let cursor = Cursor {
            epoch: done / per_epoch,
            position: (done % per_epoch) as usize * batch_size,
        };
        Ok(plan.resume(LoaderState {
            cursors: vec![cursor],
            turn: 0,
        })?)
    }
}

/// Mean cross-entropy of a classifier.
struct CrossEntropy<'a> {
    config: &'a ImageConfig,
    smoothing: f32,
}

impl Objective for CrossEntropy<'_> {
    type Batch = LoadedBatch;
    type Error = NnError;

    fn loss(
        &mut self,
        weights: &Weights,
        LoadedBatch { mut batch, .. }: LoadedBatch,
        pass: &mut Pass,
    ) -> Result<Tensor<1>, NnError> {
        let model = weights.bind(|scope| self.config.bind(scope))?;
        let device = weights.device();
        let input = pixels(&mut batch, &device);
        let targets = targets(&batch.labels, &device);
        let logits = model.forward(input.into(), pass).into_value();
        Ok(mean_cross_entropy(logits, targets, self.smoothing))
    }
}
