//! AdaMerging: learn how much of each task vector every layer takes, by making the merged model sure of its
//! predictions on unlabelled inputs. With [`Plus`] on task vectors that TIES has trimmed: AdaMerging++.
//! Source: Yang et al. 2024, arXiv:2310.02575. Defaults are those of the authors' code.

use super::groups::Grouping;
use crate::rule::finite;
use refit_core::{Area, Card, ConfigError, DataAccess, ModelAccess};
use serde::{Deserialize, Serialize};

/// More steps than this are a slip of the finger: two thousand times the authors'.
const MAX_STEPS: u64 = 1_000_000;
/// More batches of each task and step than this are no stochastic gradient any more.
const MAX_BATCHES: usize = 4096;
/// More images in a batch than this fit into no memory.
const MAX_BATCH_SIZE: usize = 1 << 16;

/// Settings of [`AdaMerging`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct AdaMergingConfig {
    /// Which tensors share a coefficient (default `tensor`: the paper's "layer-wise"; `task` is "task-wise").
    pub grouping: Grouping,
    /// AdaMerging++: trim and elect before learning (default: no).
    pub plus: Option<Plus>,
    /// Every coefficient at the start; finite, and in `[0, 1]` unless `clamp` is off (default 0.3).
    pub start: f64,
    /// How coefficients are kept in `[0, 1]` (default: in the forward pass).
    pub clamp: Clamp,
    /// Adam's step length; positive (default 1e-3).
    pub learning_rate: f64,
    /// Decay of Adam's first moment; in `[0, 1)` (default 0.9).
    pub beta1: f64,
    /// Decay of Adam's second moment; in `[0, 1)` (default 0.999).
    pub beta2: f64,
    /// Adam's guard against division by zero; positive (default 1e-8).
    pub epsilon: f64,
    /// Optimiser steps; at most a million (default 500; layer-wise accuracy still rises slowly there).
    pub steps: u64,
    /// Batches per task and step, for the model side to draw; 1 to 4096 (default 2).
    pub batches: usize,
    /// Images per batch, for the model side to draw; 1 to 65536 (default 16).
    pub batch_size: usize,
    /// Share of the largest class-marginal entropy below which a task counts as collapsed; in `[0, 1]`
    /// (default 0.2: ours). See [`Collapse`](super::Collapse).
    pub collapse_share: f64,
}

impl Default for AdaMergingConfig {
    fn default() -> Self {
        Self {
            grouping: Grouping::Tensor,
            plus: None,
            start: 0.3,
            clamp: Clamp::Forward,
            learning_rate: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            steps: 500,
            batches: 2,
            batch_size: 16,
            collapse_share: 0.2,
        }
    }
}

/// What turns AdaMerging into AdaMerging++.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Plus {
    /// Share of entries kept per task vector, largest first, over the whole model; in `(0, 1]` (default 0.2).
    pub keep: f64,
}

impl Default for Plus {
    fn default() -> Self {
        Self { keep: 0.2 }
    }
}

/// How coefficients are kept in `[0, 1]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clamp {
    /// The forward pass sees clamped values; a raw value that has left the interval gets no gradient any more (the
    /// authors' code).
    #[default]
    Forward,
    /// The stored value is clamped after each step, so that it can come back.
    Projected,
    /// Not at all.
    Off,
}

/// A checked [`AdaMergingConfig`]; [`Session::start`](super::Session::start) runs it.
#[derive(Clone, Debug, PartialEq)]
pub struct AdaMerging(AdaMergingConfig);

impl AdaMerging {
    /// What the method says about itself.
    pub const CARD: Card = Card {
        name: "adamerging",
        summary: "learn merging coefficients by entropy on unlabelled inputs of all tasks",
        area: Area::Reuse,
        model: ModelAccess::ReadWeights,
        data: DataAccess::Unlabelled,
        source: "arXiv:2310.02575",
    };

    /// The checked settings.
    pub fn config(&self) -> &AdaMergingConfig {
        &self.0
    }
}

impl TryFrom<AdaMergingConfig> for AdaMerging {
    type Error = ConfigError;

    fn try_from(config: AdaMergingConfig) -> Result<Self, ConfigError> {
        config.grouping.compile()?;
        if let Some(Plus { keep }) = config.plus
            && !(keep > 0.0 && keep <= 1.0)
        {
            return Err(ConfigError::range("plus.keep", keep, "a share in (0, 1]"));
        }
        finite("start", config.start)?;
        if config.clamp != Clamp::Off && !(0.0..=1.0).contains(&config.start) {
            let expected = match config.clamp {
                Clamp::Forward => {
                    "a number in [0, 1]: outside, `clamp: forward` leaves no gradient, so it would never move"
                }
                _ => "a number in [0, 1], where `clamp` keeps it",
            };
            return Err(ConfigError::range("start", config.start, expected));
        }
        positive("learning-rate", config.learning_rate)?;
        positive("epsilon", config.epsilon)?;
        for (key, beta) in [("beta1", config.beta1), ("beta2", config.beta2)] {
            if !(0.0..1.0).contains(&beta) {
                return Err(ConfigError::range(key, beta, "a decay in [0, 1)"));
            }
        }
        if !(0.0..=1.0).contains(&config.collapse_share) {
            let found = config.collapse_share;
            return Err(ConfigError::range(
                "collapse-share",
                found,
                "a share in [0, 1]",
            ));
        }
        if config.steps > MAX_STEPS {
            let expected = format!("at most {MAX_STEPS}");
            return Err(ConfigError::range("steps", config.steps, expected));
        }
        for (key, count, most) in [
            ("batches", config.batches, MAX_BATCHES),
            ("batch-size", config.batch_size, MAX_BATCH_SIZE),
        ] {
            if !(1..=most).contains(&count) {
                return Err(ConfigError::range(key, count, format!("1 to {most}")));
            }
        }
        Ok(Self(config))
    }
}

fn positive(key: &'static str, value: f64) -> Result<(), ConfigError> {
    if value > 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(ConfigError::range(key, value, "a positive number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_reference() {
        let config = AdaMergingConfig::default();
        assert_eq!(
            (config.steps, config.batches, config.batch_size),
            (500, 2, 16)
        );
        assert!(AdaMerging::try_from(config).is_ok());
    }

    #[test]
    fn a_start_outside_is_for_coefficients_that_may_go_anywhere() {
        let start = |start, clamp| {
            AdaMerging::try_from(AdaMergingConfig {
                start,
                clamp,
                ..AdaMergingConfig::default()
            })
        };
        assert!(start(-0.5, Clamp::Off).is_ok() && start(1.5, Clamp::Off).is_ok());
        for clamp in [Clamp::Forward, Clamp::Projected] {
            assert!(start(0.0, clamp).is_ok() && start(1.0, clamp).is_ok());
            assert!(start(-0.1, clamp).is_err() && start(1.01, clamp).is_err());
        }
        let error = start(1.5, Clamp::Forward).unwrap_err().to_string();
        assert!(error.contains("leaves no gradient"), "{error}");
    }

    #[test]
    fn more_than_anybody_means_is_refused() {
        let default = AdaMergingConfig::default;
        let steps = AdaMergingConfig {
            steps: MAX_STEPS + 1,
            ..default()
        };
        let batches = AdaMergingConfig {
            batches: MAX_BATCHES + 1,
            ..default()
        };
        let size = AdaMergingConfig {
            batch_size: MAX_BATCH_SIZE + 1,
            ..default()
        };
        for (config, words) in [
            (steps, "`steps` is 1000001, expected at most 1000000"),
            (batches, "`batches` is 4097, expected 1 to 4096"),
            (size, "`batch-size` is 65537, expected 1 to 65536"),
        ] {
            let error = AdaMerging::try_from(config).unwrap_err();
            assert_eq!(error.to_string(), words);
        }
    }

    #[test]
    fn each_setting_out_of_range_is_named() {
        let default = AdaMergingConfig::default;
        let cases = [
            (
                "plus.keep",
                AdaMergingConfig {
                    plus: Some(Plus { keep: 0.0 }),
                    ..default()
                },
            ),
            (
                "start",
                AdaMergingConfig {
                    start: f64::NAN,
                    ..default()
                },
            ),
            (
                "learning-rate",
                AdaMergingConfig {
                    learning_rate: 0.0,
                    ..default()
                },
            ),
            (
                "epsilon",
                AdaMergingConfig {
                    epsilon: -1.0,
                    ..default()
                },
            ),
            (
                "beta1",
                AdaMergingConfig {
                    beta1: 1.0,
                    ..default()
                },
            ),
            (
                "beta2",
                AdaMergingConfig {
                    beta2: f64::NAN,
                    ..default()
                },
            ),
            (
                "collapse-share",
                AdaMergingConfig {
                    collapse_share: 1.5,
                    ..default()
                },
            ),
            (
                "batches",
                AdaMergingConfig {
                    batches: 0,
                    ..default()
                },
            ),
            (
                "batch-size",
                AdaMergingConfig {
                    batch_size: 0,
                    ..default()
                },
            ),
            (
                "grouping",
                AdaMergingConfig {
                    grouping: Grouping::Regex(vec![]),
                    ..default()
                },
            ),
        ];
        for (key, config) in cases {
            let error = AdaMerging::try_from(config).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{key}` ")), "{error}");
        }
    }
}
