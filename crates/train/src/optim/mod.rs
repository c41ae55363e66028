//! First-order optimisers on host buffers, and what goes with them: schedules and clipping; [`second`] for methods with
//! second derivatives.
//!
//! Every update is element-wise over fixed chunks, so the number of threads changes nothing.

mod adamw;
mod clip;
mod first;
mod schedule;
pub mod second;
mod sgd;

pub use adamw::{AdamW, AdamWConfig};
pub use clip::clip_norm;
pub use first::{FirstOrderConfig, descend, descend_seen};
pub use schedule::{Decay, Schedule};
pub use sgd::{Sgd, SgdConfig};

use refit_core::ConfigError;
use refit_nn::{ParamLayout, Role};
use serde::{Deserialize, Serialize};

/// Which optimiser, with its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum OptimConfig {
    /// Adam with decoupled weight decay.
    Adamw(AdamWConfig),
    /// Stochastic gradient descent with momentum.
    Sgd(SgdConfig),
}

impl Default for OptimConfig {
    fn default() -> Self {
        Self::Adamw(AdamWConfig::default())
    }
}

impl OptimConfig {
    /// The peak learning rate.
    pub fn rate(&self) -> f64 {
        match self {
            Self::Adamw(config) => config.rate,
            Self::Sgd(config) => config.rate,
        }
    }

    /// Numbers that the optimiser keeps for each trained one.
    pub const fn moments(&self) -> u64 {
        match self {
            Self::Adamw(_) => 2,
            Self::Sgd(_) => 1,
        }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// The first setting that is out of range.
    pub fn check(&self) -> Result<(), ConfigError> {
        match self {
            Self::Adamw(config) => config.check(),
            Self::Sgd(config) => config.check(),
        }
    }

    /// An optimiser with zero state for these tensors.
    ///
    /// # Errors
    /// The first setting that is out of range.
    pub fn build(&self, layout: &ParamLayout) -> Result<Optimizer, ConfigError> {
        Ok(match self {
            Self::Adamw(config) => Optimizer::Adamw(AdamW::new(config, layout)?),
            Self::Sgd(config) => Optimizer::Sgd(Sgd::new(config, layout)?),
        })
    }
}

/// Named state of an optimiser, to be filled: one buffer per tensor for each name.
pub type StateMut<'a> = Vec<(&'static str, &'a mut [Vec<f32>])>;

/// An optimiser with its state.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Optimizer {
    /// Adam with decoupled weight decay.
    Adamw(AdamW),
    /// Stochastic gradient descent with momentum.
    Sgd(Sgd),
}

impl Optimizer {
    /// Moves `params` against `gradient` at learning rate `rate`; tensors with an empty gradient stay.
    pub fn step(&mut self, rate: f64, params: &mut [Vec<f32>], gradient: &[Vec<f32>]) {
        match self {
            Self::Adamw(optimizer) => optimizer.step(rate, params, gradient),
            Self::Sgd(optimizer) => optimizer.step(rate, params, gradient),
        }
    }

    /// Named state: one buffer per tensor for each name.
    pub fn state(&self) -> Vec<(&'static str, &[Vec<f32>])> {
        match self {
            Self::Adamw(optimizer) => optimizer.state(),
            Self::Sgd(optimizer) => optimizer.state(),
        }
    }

    /// The buffers behind [`state`](Self::state), and the step counter, to be filled when training resumes.
    pub fn state_mut(&mut self) -> (StateMut<'_>, Option<&mut u64>) {
        match self {
            Self::Adamw(optimizer) => optimizer.state_mut(),
            Self::Sgd(optimizer) => (optimizer.state_mut(), None),
        }
    }
}

/// Zeros for every trained tensor, nothing for the others.
fn zeros(layout: &ParamLayout) -> Vec<Vec<f32>> {
    let len = |spec: &refit_nn::ParamSpec| {
        if spec.role == Role::Weight {
            spec.len()
        } else {
            0
        }
    };
    layout
        .specs()
        .iter()
        .map(|spec| vec![0.0; len(spec)])
        .collect()
}

/// Weight decay per tensor: matrices and kernels decay, biases, norms and single vectors do not.
fn decays(layout: &ParamLayout, decay: f64) -> Vec<f64> {
    let matrix = |shape: &[usize]| shape.iter().filter(|&&n| n > 1).count() >= 2;
    layout
        .specs()
        .iter()
        .map(|s| if matrix(&s.shape) { decay } else { 0.0 })
        .collect()
}

fn check_rate(rate: f64) -> Result<(), ConfigError> {
    if rate.is_finite() && rate >= 0.0 {
        Ok(())
    } else {
        Err(ConfigError::range(
            "rate",
            rate,
            "a finite number of at least 0",
        ))
    }
}

fn check_share(key: &'static str, value: f64) -> Result<(), ConfigError> {
    if (0.0..1.0).contains(&value) {
        Ok(())
    } else {
        Err(ConfigError::range(key, value, "a number in [0, 1)"))
    }
}

fn check_decay(value: f64) -> Result<(), ConfigError> {
    if value.is_finite() && value >= 0.0 {
        Ok(())
    } else {
        Err(ConfigError::range(
            "decay",
            value,
            "a finite number of at least 0",
        ))
    }
}
