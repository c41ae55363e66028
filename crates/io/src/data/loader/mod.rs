//! Batches prepared ahead of the training step.

mod config;
mod schedule;

pub use config::{Cursor, Last, LoaderConfig, LoaderState, Order};

use super::{Augment, Batch, DataError, ImageSet, Normalise};
use refit_core::{ConfigError, Seed};
use schedule::{Job, Schedule};
use std::{
    sync::{
        Arc,
        mpsc::{Receiver, TryRecvError, sync_channel},
    },
    thread::JoinHandle,
};

/// A batch with its origin.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedBatch {
    /// Position of the set among those of the loader.
    pub task: usize,
    /// Epoch of that set, from 0.
    pub epoch: u64,
    /// Positions of the images in the set.
    pub indices: Vec<usize>,
    /// Pixels and labels.
    pub batch: Batch,
}

/// Everything that determines the batches of a [`Loader`].
#[derive(Clone, Debug)]
pub struct LoaderPlan {
    /// The sets, which take turns: one batch of each.
    pub sets: Vec<Arc<ImageSet>>,
    /// Batch size, order, end, prefetching.
    pub config: LoaderConfig,
    /// From bytes to floats.
    pub normalise: Normalise,
    /// Random changes, if wanted; drawn anew for every image and epoch.
    pub augment: Option<Augment>,
    /// Source of order and changes.
    pub seed: Seed,
}

/// Hands out batches that a thread of its own prepares ahead, so that a step does not wait as long as preparing a batch takes
/// less time than the step. What it hands out depends on the plan alone. Dropping it ends the thread.
///
/// ```
/// use refit_core::Seed;
/// use refit_io::data::{Loader, LoaderConfig, LoaderPlan, Normalise, suite};
/// let tasks = suite::generate(Seed::new(0), suite::Sizes { train: 40, val: 8, test: 8 });
/// let plan = LoaderPlan {
///     sets: tasks.iter().map(|t| t.train().clone()).collect(),
///     config: LoaderConfig { batch_size: 16, ..LoaderConfig::default() },
///     normalise: Normalise::unit(tasks[0].shape()),
///     augment: None,
///     seed: Seed::new(7),
/// };
/// let mut loader = plan.start()?;
/// let first = loader.next().unwrap();
/// assert_eq!((first.task, first.batch.shape), (0, [16, 1, 28, 28]));
/// // Saved and resumed, the second batch is the same.
/// let mut resumed = plan.resume(loader.state().clone())?;
/// assert_eq!(loader.next(), resumed.next());
/// # Ok::<(), refit_io::data::DataError>(())
/// ```
#[derive(Debug)]
pub struct Loader {
    /// `None` only while dropping.
    batches: Option<Receiver<(LoadedBatch, LoaderState)>>,
    worker: Option<JoinHandle<()>>,
    state: LoaderState,
    waits: u64,
}

impl LoaderPlan {
    /// Starts at the first batch.
    ///
    /// # Errors
    /// When there is no set, a set is empty or smaller than a batch that must be full, sets differ in shape, the
    /// normalisation has other channels, or a setting is 0.
    pub fn start(&self) -> Result<Loader, DataError> {
        self.resume(LoaderState::start(self.sets.len()))
    }

    /// Continues behind the batch after which `state` was saved.
    ///
    /// # Errors
    /// Those of [`start`](Self::start), and when the state does not fit the sets.
    pub fn resume(&self, state: LoaderState) -> Result<Loader, DataError> {
        self.check()?;
        self.check_state(&state)?;
        let (sender, receiver) = sync_channel(self.config.prefetch);
        let (plan, start) = (self.clone(), state.clone());
        let work = move || {
            let lens = plan.sets.iter().map(|s| s.len()).collect();
            let mut schedule = Schedule::new(lens, plan.config, plan.seed, start);
            while let Some(job) = schedule.next() {
                let done = (plan.prepare(job), schedule.state().clone());
                if sender.send(done).is_err() {
                    return; // The loader was dropped.
                }
            }
        };
        let worker = std::thread::Builder::new()
            .name("refit-loader".into())
            .spawn(work)
            .map_err(DataError::io("loader thread"))?;
        Ok(Loader {
            batches: Some(receiver),
            worker: Some(worker),
            state,
            waits: 0,
        })
    }

    /// Collates, changes and normalises one batch.
    fn prepare(
        &self,
        Job {
            task,
            epoch,
            indices,
        }: Job,
    ) -> LoadedBatch {
        let set = &self.sets[task];
        let Some(augment) = &self.augment else {
            let batch = Batch::collate(set, &indices, &self.normalise);
            return LoadedBatch {
                task,
                epoch,
                indices,
                batch,
            };
        };
        let shape = set.shape();
        let mut batch = Batch::collate(set, &indices, &Normalise::unit(shape));
        for (image, index) in batch.pixels.chunks_exact_mut(shape.len()).zip(&indices) {
            let seed = self
                .seed
                .fork(format_args!("augment/{task}/{epoch}/{index}"));
            augment.apply(image, shape, seed);
            self.normalise.unit_floats(image, shape);
        }
        LoadedBatch {
            task,
            epoch,
            indices,
            batch,
        }
    }

    fn check(&self) -> Result<(), DataError> {
        let Some(first) = self.sets.first() else {
            return Err(ConfigError::conflict("sets", "is empty").into());
        };
        for (key, value) in [
            ("batch-size", self.config.batch_size),
            ("prefetch", self.config.prefetch),
        ] {
            if value == 0 {
                return Err(ConfigError::range(key, value, "at least 1").into());
            }
        }
        let channels = self.normalise.mean().len();
        if channels != first.shape().channels {
            let problem = format!(
                "has {channels} channels, the images have {}",
                first.shape().channels
            );
            return Err(ConfigError::conflict("normalise", problem).into());
        }
        self.sets
            .iter()
            .try_for_each(|set| self.check_set(set, first))
    }

    fn check_set(&self, set: &ImageSet, first: &ImageSet) -> Result<(), DataError> {
        if set.is_empty() {
            return Err(DataError::EmptySet {
                set: set.name().to_owned(),
            });
        }
        if set.shape() != first.shape() {
            let (found, expected) = (set.shape(), first.shape());
            return Err(DataError::ImageSize {
                what: set.name().to_owned(),
                found,
                expected,
            });
        }
        if self.config.last == Last::Drop && set.len() < self.config.batch_size {
            let expected = format!("at most the {} images of `{}`", set.len(), set.name());
            return Err(ConfigError::range("batch-size", self.config.batch_size, expected).into());
        }
        Ok(())
    }

    fn check_state(&self, state: &LoaderState) -> Result<(), ConfigError> {
        let fits = state.cursors.len() == self.sets.len()
            && state.turn < self.sets.len()
            && state
                .cursors
                .iter()
                .zip(&self.sets)
                .all(|(c, set)| c.position <= set.len());
        if fits {
            return Ok(());
        }
        Err(ConfigError::conflict(
            "loader state",
            "was saved with other sets",
        ))
    }
}

impl Loader {
    /// Where to continue behind the batch handed out last.
    pub const fn state(&self) -> &LoaderState {
        &self.state
    }

    /// How many times the caller had to wait because no batch was ready.
    pub const fn waits(&self) -> u64 {
        self.waits
    }
}

impl Iterator for Loader {
    type Item = LoadedBatch;

    fn next(&mut self) -> Option<LoadedBatch> {
        let batches = self.batches.as_ref()?;
        let received = match batches.try_recv() {
            Err(TryRecvError::Empty) => {
                self.waits += 1;
                batches.recv().ok()
            }
            ready => ready.ok(),
        };
        let Some((batch, state)) = received else {
            // The worker ended. If it panicked, an early end of the data would hide that.
            if let Some(Err(panic)) = self.worker.take().map(JoinHandle::join) {
                std::panic::resume_unwind(panic);
            }
            return None;
        };
        self.state = state;
        Some(batch)
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        // Closing the channel first wakes a worker that waits for room in it.
        drop(self.batches.take());
        if let Some(worker) = self.worker.take() {
            // A panic of the worker was printed when it happened; a drop cannot do more.
            let _ = worker.join();
        }
    }
}
