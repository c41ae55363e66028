//! The main job: a shared base becomes experts, and the experts become one model without labels.
//!
//! One repetition trains a base on a few labelled images of every task and freezes one head per task,
//! fine-tunes one expert per task, merges the experts by every method, and scores everything on test images that
//! nothing was tuned on. [`fusion`] repeats that over seeds and averages. What is finished goes to a [`Store`], from
//! which a job that was cut goes on.

mod adapt;
mod adaptation;
mod batches;
mod config;
mod encoder;
mod files;
mod found;
mod head_rows;
mod heads;
mod images;
mod merging;
mod repetition;
mod scoring;
mod store;
mod suite;
mod summary;
mod training;
mod unfinished;

pub use config::{AdaptOn, FusionConfig, Heads, Stage, Variation};
pub use store::{Store, StoreError};
pub use suite::{DEFAULT_SIZES, QUICK_SIZES, generated};

use crate::{
    classifier::{ClassifierError, check_images},
    outcome::Outcome,
};
use refit_core::{ConfigError, Hint, Progress};
use refit_io::data::{DataError, Task};
use refit_merge::{AdaMerging, MergeError};
use refit_nn::{ImageConfig, NnError, ParamLayout};
use refit_train::TrainError;
use repetition::Repetition;
use std::{borrow::Cow, time::Instant};

/// The job could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// A setting is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data does not fit the job.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The tasks do not go together.
    #[error(
        "task `{task}` has images of {found}, expected {expected} as the first task and the encoder have"
    )]
    Shape {
        /// The task.
        task: String,
        /// Its image shape.
        found: String,
        /// The shape of the others.
        expected: String,
    },
    /// Fewer than two tasks.
    #[error("found {found} tasks, expected at least 2")]
    TooFewTasks {
        /// How many there are.
        found: usize,
    },
    /// The model could not be built.
    #[error(transparent)]
    Model(#[from] NnError),
    /// A training stage failed.
    #[error("stage `{stage}` failed")]
    Train {
        /// Which stage.
        stage: String,
        /// Why.
        #[source]
        source: TrainError,
    },
    /// A training stage left the finite numbers.
    #[error("stage `{stage}` diverged")]
    Diverged {
        /// Which stage.
        stage: String,
    },
    /// A merge failed.
    #[error(transparent)]
    Merge(#[from] MergeError),
    /// A finished stage could not be kept or read back.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The listener asked for a stop.
    #[error("interrupted")]
    Interrupted,
}

impl Hint for JobError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Data(error) => error.hint(),
            Self::Model(error) => error.hint(),
            Self::Train { source, .. } => source.hint(),
            Self::Merge(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Diverged { stage } if stage.starts_with("heads/") => {
                Some("lower `head-scale`, or the learning rate of the base".into())
            }
            Self::Diverged { .. } => Some("lower the learning rate of that stage".into()),
            Self::TooFewTasks { .. } => Some(
                "give a folder with at least two sub-folders or npz files, one per task".into(),
            ),
            Self::Shape { .. } => Some("resize the images of all tasks to one shape".into()),
            Self::Interrupted => None,
        }
    }
}

/// Checks that the tasks and the settings go together; reads nothing and computes nothing.
///
/// # Errors
/// The first thing that does not fit.
pub fn check(config: &FusionConfig, tasks: &[Task]) -> Result<(), JobError> {
    config.check()?;
    check_parts(config)?;
    if tasks.len() < 2 {
        return Err(JobError::TooFewTasks { found: tasks.len() });
    }
    for (k, task) in tasks.iter().enumerate() {
        if tasks[..k].iter().any(|other| other.name() == task.name()) {
            let problem = format!("holds two tasks called `{}`", task.name());
            return Err(ConfigError::conflict("data", problem).into());
        }
        match check_images(&config.encoder, task.shape()) {
            Err(ClassifierError::Images { found, expected }) => {
                let task = task.name().to_owned();
                return Err(JobError::Shape {
                    task,
                    found,
                    expected,
                });
            }
            _ if task.shape() != tasks[0].shape() => {
                return Err(JobError::Shape {
                    task: task.name().to_owned(),
                    found: task.shape().to_string(),
                    expected: tasks[0].shape().to_string(),
                });
            }
            Err(error) => return Err(ConfigError::conflict("encoder", error.to_string()).into()),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// Checks the settings that are handed on to others, by those who will take them.
fn check_parts(config: &FusionConfig) -> Result<(), ConfigError> {
    if !matches!(config.encoder, ImageConfig::Vit(_) | ImageConfig::Mlp(_)) {
        let problem = "names a model that does not come without a classifier: use `vit` or `mlp`";
        return Err(ConfigError::conflict("encoder.model_type", problem));
    }
    config.encoder.check()?;
    if config.encoder.num_labels() != 0 {
        let found = config.encoder.num_labels();
        let expected = "0: the job makes the heads itself";
        return Err(ConfigError::range("encoder.num_labels", found, expected));
    }
    for stage in [&config.base, &config.expert, &config.joint] {
        stage.trainer().optimizer.build(&ParamLayout::default())?;
    }
    for &scale in &config.scales {
        for method in merging::scaled(scale) {
            method.check()?;
        }
    }
    AdaMerging::try_from(config.adamerging.clone())?;
    Ok(())
}

/// Does the whole job once per seed and averages. Stages that `store` holds are taken from there; it must be that of a
/// job with the same settings, tasks and seeds.
///
/// # Errors
/// Settings or data that do not fit, before any work starts; a stage that fails, diverges, cannot be kept or was
/// damaged since; an interruption.
pub fn fusion(
    suite: &str,
    config: &FusionConfig,
    tasks: &[Task],
    seeds: &[u64],
    store: &Store,
    progress: &dyn Progress,
) -> Result<Outcome, JobError> {
    check(config, tasks)?;
    let start = Instant::now();
    let mut runs = Vec::with_capacity(seeds.len());
    for &seed in seeds {
        let context = Repetition::new(config, tasks, store.of(seed), progress);
        runs.push(context.run()?);
    }
    let spared: f64 = runs.iter().map(|found| found.spared).sum();
    let mut outcome = summary::outcome(suite, config, tasks, seeds, runs);
    outcome.seconds = spared + start.elapsed().as_secs_f64();
    outcome.peak_bytes = crate::run::peak_bytes().unwrap_or(0);
    Ok(outcome)
}
