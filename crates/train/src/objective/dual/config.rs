//! Settings of a model as a finite sum, and what can be wrong with them.

use crate::objective::Head;
use refit_core::{ConfigError, Hint};
use refit_nn::NnError;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Settings of a [`DualModel`](super::DualModel).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct DualConfig {
    /// Loss of the outputs (ours: softmax).
    pub head: Head,
    /// Most rows, times their length, that are in memory at a time (ours: 1024).
    pub batch: usize,
    /// Factor of half the squared length of all parameters (ours: 0).
    pub ridge: f64,
    /// Relative rounding error of the value of one row (ours: four units in the last place of single precision, about
    /// what the outputs of a few layers lose).
    pub precision: f64,
}

impl Default for DualConfig {
    fn default() -> Self {
        Self {
            head: Head::Softmax,
            batch: 1024,
            ridge: 0.0,
            precision: 4.0 * f64::from(f32::EPSILON),
        }
    }
}

impl DualConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.batch == 0 {
            return Err(ConfigError::range("batch", 0, "a number of at least 1"));
        }
        if !(self.ridge.is_finite() && self.ridge >= 0.0) {
            let expected = "a finite number of at least 0";
            return Err(ConfigError::range("ridge", self.ridge, expected));
        }
        if !(0.0..1.0).contains(&self.precision) {
            let expected = "a number from 0 to below 1";
            return Err(ConfigError::range("precision", self.precision, expected));
        }
        Ok(())
    }
}

/// Why a model cannot be a finite sum.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DualError {
    /// A setting that cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The model has no row.
    #[error("the model has no row, expected one at least")]
    NoRow,
    /// The choice is of no weight.
    #[error("no weight was chosen, expected one of {weights}")]
    NoWeight {
        /// Weights that could be.
        weights: usize,
    },
    /// The model does not run.
    #[error(transparent)]
    Model(#[from] NnError),
}

impl Hint for DualError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Model(error) => error.hint(),
            Self::NoRow | Self::NoWeight { .. } => None,
        }
    }
}
