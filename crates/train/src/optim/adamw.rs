//! Adam with decoupled weight decay.
//! Source: Loshchilov and Hutter 2019, arXiv:1711.05101. Deviation: biases, norms and single vectors do not decay.

use super::{StateMut, check_decay, check_rate, check_share, decays, zeros};
use crate::gradient::CHUNK;
use rayon::prelude::*;
use refit_core::ConfigError;
use refit_nn::ParamLayout;
use serde::{Deserialize, Serialize};

/// Settings of [`AdamW`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct AdamWConfig {
    /// Peak learning rate (usual: 1e-3).
    pub rate: f64,
    /// Decay of the mean and of the mean square of gradients, each in `[0, 1)` (paper: 0.9, 0.999).
    pub betas: [f64; 2],
    /// Added to the root of the mean square (paper: 1e-8).
    pub eps: f64,
    /// Weight decay per step, in units of the learning rate (usual: 0.01).
    pub decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self {
            rate: 1e-3,
            betas: [0.9, 0.999],
            eps: 1e-8,
            decay: 0.01,
        }
    }
}

impl AdamWConfig {
    /// # Errors
    /// The first setting that is out of range.
    pub fn check(&self) -> Result<(), ConfigError> {
        check_rate(self.rate)?;
        check_share("betas", self.betas[0])?;
        check_share("betas", self.betas[1])?;
        check_decay(self.decay)?;
        if self.eps > 0.0 && self.eps.is_finite() {
            return Ok(());
        }
        let expected = "a finite number above 0";
        Err(ConfigError::range("eps", self.eps, expected))
    }
}

/// Adam's state: `m` and `v` for every trained value, and the number of steps taken.
#[derive(Clone, Debug)]
pub struct AdamW {
    config: AdamWConfig,
    decays: Vec<f64>,
    m: Vec<Vec<f32>>,
    v: Vec<Vec<f32>>,
    steps: u64,
}

impl AdamW {
    /// Zero state for the tensors of `layout`.
    ///
    /// # Errors
    /// The first setting that is out of range.
    pub fn new(config: &AdamWConfig, layout: &ParamLayout) -> Result<Self, ConfigError> {
        config.check()?;
        let decays = decays(layout, config.decay);
        Ok(Self {
            config: config.clone(),
            decays,
            m: zeros(layout),
            v: zeros(layout),
            steps: 0,
        })
    }

    pub(super) fn step(&mut self, rate: f64, params: &mut [Vec<f32>], gradient: &[Vec<f32>]) {
        self.steps += 1;
        let t = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let [b1, b2] = self.config.betas;
        // Bias corrections folded into the step and into eps, so that the loop has one root and one quotient.
        let root = (1.0 - b2.powi(t)).sqrt();
        let size = (rate * root / (1.0 - b1.powi(t))) as f32;
        let eps = (self.config.eps * root) as f32;
        let (b1, b2) = (b1 as f32, b2 as f32);
        for (k, g) in gradient.iter().enumerate().filter(|(_, g)| !g.is_empty()) {
            let shrink = (1.0 - rate * self.decays[k]) as f32;
            params[k]
                .par_chunks_mut(CHUNK)
                .zip(self.m[k].par_chunks_mut(CHUNK))
                .zip(self.v[k].par_chunks_mut(CHUNK))
                .zip(g.par_chunks(CHUNK))
                .for_each(|(((p, m), v), g)| {
                    for (((p, m), v), g) in p.iter_mut().zip(m).zip(v).zip(g) {
                        *m = b1 * *m + (1.0 - b1) * g;
                        *v = b2 * *v + (1.0 - b2) * g * g;
                        *p = shrink * *p - size * *m / (v.sqrt() + eps);
                    }
                });
        }
    }

    pub(super) fn state(&self) -> Vec<(&'static str, &[Vec<f32>])> {
        vec![("m", &self.m), ("v", &self.v)]
    }

    pub(super) fn state_mut(&mut self) -> (StateMut<'_>, Option<&mut u64>) {
        (
            vec![("m", &mut self.m), ("v", &mut self.v)],
            Some(&mut self.steps),
        )
    }
}
