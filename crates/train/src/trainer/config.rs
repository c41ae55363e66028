//! Settings of the loop.

use crate::optim::{OptimConfig, Schedule};
use refit_core::ConfigError;
use serde::{Deserialize, Serialize};

/// Settings of a [`Trainer`](crate::Trainer).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TrainConfig {
    /// Optimiser steps.
    pub steps: u64,
    /// Micro-batches whose gradients are averaged into one step.
    pub accumulate: u64,
    /// Longest gradient norm; longer gradients are scaled down (usual for transformers: 1).
    pub clip: Option<f64>,
    /// The optimiser.
    pub optimizer: OptimConfig,
    /// The learning rate over time.
    pub schedule: Schedule,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: 1000,
            accumulate: 1,
            clip: Some(1.0),
            optimizer: OptimConfig::default(),
            schedule: Schedule::default(),
        }
    }
}

impl TrainConfig {
    /// Most memory that a training of `values` numbers needs beside activations: weights, gradient and moments, and
    /// while the state is saved a copy of weights and moments.
    ///
    /// ```
    /// // AdamW: 1 + 1 + 2 and again 1 + 2 numbers of 4 bytes.
    /// assert_eq!(refit_train::TrainConfig::default().state_bytes(10), 10 * 4 * 7);
    /// ```
    pub const fn state_bytes(&self, values: u64) -> u64 {
        let moments = self.optimizer.moments();
        size_of::<f32>() as u64 * values * (1 + 1 + moments + 1 + moments)
    }

    /// Checks every setting but the optimiser's, which are checked when it is built.
    ///
    /// # Errors
    /// The first setting that is out of range.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.accumulate == 0 || self.accumulate > 1 << 16 {
            return Err(ConfigError::range(
                "accumulate",
                self.accumulate,
                "1 to 65536",
            ));
        }
        if let Some(limit) = self.clip
            && !(limit > 0.0 && limit.is_finite())
        {
            return Err(ConfigError::range("clip", limit, "a finite number above 0"));
        }
        self.schedule.check()
    }
}
