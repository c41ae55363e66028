//! Everything that decides a fit; what `run.json` says and `--resume` reads back.

use super::{Arm, ArmConfig, ObjectiveConfig, Start};
use refit_core::{ConfigError, Seed};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Where the curves of the page come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Looks {
    /// Loss and gradient of all rows at every point; neither counted nor timed, as they are no part of a method
    Exact,
    /// What the method itself saw: no look costs anything, and curves of samples are noisy
    Sample,
}

/// Settings of a fit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FitSettings {
    /// Rows to fit, as the command line has them.
    pub data: String,
    /// LIBSVM file to test on.
    pub test: Option<PathBuf>,
    /// Features of every row; `None`: as many as the largest index.
    pub features: Option<usize>,
    /// Whether the first index of files is 0.
    #[serde(default)]
    pub zero_based: bool,
    /// The loss.
    pub objective: ObjectiveConfig,
    /// Where every arm begins.
    pub start: Start,
    /// What is compared.
    pub arms: Vec<Arm>,
    /// Where curves come from.
    pub looks: Looks,
    /// The seed of all chance: the start, generated rows, and the samples of every arm.
    pub seed: Seed,
    /// Seconds between saved states.
    pub save_every: u64,
    /// Where the run was to be written: relative paths are relative to the same folder.
    pub out: PathBuf,
}

impl FitSettings {
    /// Checks what can be checked without rows.
    ///
    /// # Errors
    /// The first setting that is out of range.
    pub fn check(&self) -> Result<(), ConfigError> {
        let scale = self.start.scale;
        if !(scale.is_finite() && scale > 0.0) {
            return Err(ConfigError::range(
                "start-scale",
                scale,
                "a finite number above 0",
            ));
        }
        for (at, arm) in self.arms.iter().enumerate() {
            let same = |other: &&Arm| other.name == arm.name || other.config == arm.config;
            if let Some(other) = self.arms[..at].iter().find(same) {
                let problem = if other.name == arm.name {
                    format!("names `{}` twice", arm.name)
                } else {
                    format!(
                        "names `{}` and `{}`, which are the same",
                        other.name, arm.name
                    )
                };
                return Err(ConfigError::conflict("solver", problem));
            }
            let budget = match &arm.config {
                ArmConfig::SecondOrder(config) => {
                    config.check()?;
                    config.budget
                }
                ArmConfig::Lbfgs(config) => {
                    config.check()?;
                    config.budget
                }
                ArmConfig::FirstOrder(config) => {
                    config.check()?;
                    config.budget
                }
            };
            let seconds = budget.seconds.unwrap_or_default();
            if !(seconds.is_finite() && seconds >= 0.0) {
                let expected = "a finite number of at least 0";
                return Err(ConfigError::range("budget-seconds", seconds, expected));
            }
        }
        Ok(())
    }

    /// Longest gradient of an answer; the same for every arm.
    pub fn eps_g(&self) -> f64 {
        let of = |arm: &Arm| match &arm.config {
            ArmConfig::SecondOrder(config) => config.eps_g,
            ArmConfig::Lbfgs(config) => config.eps_g,
            ArmConfig::FirstOrder(config) => config.eps_g,
        };
        self.arms.first().map_or(f64::NAN, of)
    }
}
