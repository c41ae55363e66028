//! Learning rates over time.

use refit_core::ConfigError;
use serde::{Deserialize, Serialize};

/// How the learning rate falls after warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// It stays.
    Constant,
    /// Along half a cosine (Loshchilov and Hutter 2017, arXiv:1608.03983, without restarts).
    #[default]
    Cosine,
    /// Along a line.
    Linear,
}

/// Linear warm-up, then decay to a share of the peak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Schedule {
    /// Steps until the peak is reached.
    pub warmup: u64,
    /// How the rate falls afterwards.
    pub decay: Decay,
    /// The rate after the last step, as a share of the peak in `[0, 1]`.
    pub floor: f64,
}

impl Schedule {
    /// Checks every setting.
    ///
    /// # Errors
    /// A floor outside `[0, 1]`.
    pub fn check(&self) -> Result<(), ConfigError> {
        if (0.0..=1.0).contains(&self.floor) {
            Ok(())
        } else {
            Err(ConfigError::range("floor", self.floor, "a share in [0, 1]"))
        }
    }

    /// The rate of step `step` (from 0) out of `total`, as a share of the peak.
    ///
    /// ```
    /// use refit_train::optim::{Decay, Schedule};
    /// let schedule = Schedule { warmup: 10, decay: Decay::Cosine, floor: 0.0 };
    /// assert_eq!(schedule.share(0, 110), 0.1);
    /// assert_eq!(schedule.share(9, 110), 1.0);
    /// assert!((schedule.share(60, 110) - 0.5).abs() < 1e-12);
    /// ```
    pub fn share(&self, step: u64, total: u64) -> f64 {
        if step < self.warmup {
            return (step + 1) as f64 / self.warmup as f64;
        }
        let span = total.saturating_sub(self.warmup).max(1) as f64;
        let done = ((step - self.warmup) as f64 / span).min(1.0);
        let fall = match self.decay {
            Decay::Constant => return 1.0,
            Decay::Cosine => f64::midpoint(1.0, (std::f64::consts::PI * done).cos()),
            Decay::Linear => 1.0 - done,
        };
        self.floor + (1.0 - self.floor) * fall
    }
}
