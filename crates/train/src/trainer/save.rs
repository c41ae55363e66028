//! When the state of a run is saved, and by whom.

use super::{TrainError, TrainState};
use std::time::{Duration, Instant};

/// How often the state of a run is saved. It changes no bit of what the run computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveEvery {
    /// After this many steps; 0 is taken for 1.
    Steps(u64),
    /// At the first step that ends this long after the last save; after every step if it is zero.
    Time(Duration),
}

/// What a save hook answers.
pub type SaveResult = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Keeps states of a run while it goes on.
pub(super) struct Saver<'a> {
    every: SaveEvery,
    hook: Box<dyn FnMut(&TrainState) -> SaveResult + 'a>,
    last: Instant,
}

impl<'a> Saver<'a> {
    pub(super) fn new(every: SaveEvery, hook: impl FnMut(&TrainState) -> SaveResult + 'a) -> Self {
        Self {
            every,
            hook: Box::new(hook),
            last: Instant::now(),
        }
    }

    /// Whether the state after `step` steps is to be saved.
    pub(super) fn is_due(&self, step: u64) -> bool {
        match self.every {
            SaveEvery::Steps(steps) => step.is_multiple_of(steps.max(1)),
            SaveEvery::Time(time) => self.last.elapsed() >= time,
        }
    }

    pub(super) fn save(&mut self, state: &TrainState) -> Result<(), TrainError> {
        (self.hook)(state).map_err(TrainError::Save)?;
        // From the end of a save, so that a slow disk leaves time to train.
        self.last = Instant::now();
        Ok(())
    }
}
