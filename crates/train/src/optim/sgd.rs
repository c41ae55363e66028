//! Stochastic gradient descent with (Nesterov) momentum and decoupled weight decay.

use super::{StateMut, check_decay, check_rate, check_share, decays, zeros};
use crate::gradient::CHUNK;
use rayon::prelude::*;
use refit_core::ConfigError;
use refit_nn::ParamLayout;
use serde::{Deserialize, Serialize};

/// Settings of [`Sgd`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SgdConfig {
    /// Peak learning rate (usual: 0.1 with batch norm).
    pub rate: f64,
    /// Momentum in `[0, 1)` (usual: 0.9).
    pub momentum: f64,
    /// Looks ahead along the momentum before it steps.
    pub nesterov: bool,
    /// Weight decay per step, in units of the learning rate (usual: 5e-4 to 1e-4).
    pub decay: f64,
}

impl Default for SgdConfig {
    fn default() -> Self {
        Self {
            rate: 0.1,
            momentum: 0.9,
            nesterov: false,
            decay: 5e-4,
        }
    }
}

impl SgdConfig {
    /// # Errors
    /// The first setting that is out of range.
    pub fn check(&self) -> Result<(), ConfigError> {
        check_rate(self.rate)?;
        check_share("momentum", self.momentum)?;
        check_decay(self.decay)
    }
}

/// The velocity of every trained value.
#[derive(Clone, Debug)]
pub struct Sgd {
    config: SgdConfig,
    decays: Vec<f64>,
    velocity: Vec<Vec<f32>>,
}

impl Sgd {
    /// Zero state for the tensors of `layout`.
    ///
    /// # Errors
    /// The first setting that is out of range.
    pub fn new(config: &SgdConfig, layout: &ParamLayout) -> Result<Self, ConfigError> {
        config.check()?;
        let decays = decays(layout, config.decay);
        Ok(Self {
            config: config.clone(),
            decays,
            velocity: zeros(layout),
        })
    }

    pub(super) fn step(&mut self, rate: f64, params: &mut [Vec<f32>], gradient: &[Vec<f32>]) {
        let (rate32, momentum) = (rate as f32, self.config.momentum as f32);
        let ahead = if self.config.nesterov { momentum } else { 1.0 };
        let fresh = if self.config.nesterov { 1.0 } else { 0.0 };
        for (k, g) in gradient.iter().enumerate().filter(|(_, g)| !g.is_empty()) {
            let shrink = (1.0 - rate * self.decays[k]) as f32;
            params[k]
                .par_chunks_mut(CHUNK)
                .zip(self.velocity[k].par_chunks_mut(CHUNK))
                .zip(g.par_chunks(CHUNK))
                .for_each(|((p, u), g)| {
                    for ((p, u), g) in p.iter_mut().zip(u).zip(g) {
                        *u = momentum * *u + g;
                        *p = shrink * *p - rate32 * (ahead * *u + fresh * g);
                    }
                });
        }
    }

    pub(super) fn state(&self) -> Vec<(&'static str, &[Vec<f32>])> {
        vec![("velocity", &self.velocity)]
    }

    pub(super) fn state_mut(&mut self) -> StateMut<'_> {
        vec![("velocity", &mut self.velocity)]
    }
}
