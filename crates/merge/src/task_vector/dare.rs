//! DARE: drop most entries of each task vector at random and rescale the rest, so that the mean is kept.
//! Source: Yu et al. 2024, arXiv:2311.03099.
//!
//! Masks are drawn on the host from a stream named after expert and tensor: neither the order of experts or tensors nor
//! the number of threads nor the device changes them.

use super::{
    TaskVectors,
    ties::{Aggregate, election},
};
use crate::{
    error::MergeError,
    rule::{
        Operand, TensorRule, check_operands, finite, finite_weights, weighted_sum, weights_for,
    },
    simd,
};
use rand::RngCore;
use refit_core::{Area, Card, ConfigError, DataAccess, ModelAccess, ParamPath, Seed};
use serde::{Deserialize, Serialize};

/// Settings of [`Dare`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct DareConfig {
    /// Probability that an entry is dropped; in `[0, 1)` (default 0.9: paper, for language models).
    pub drop: f64,
    /// Whether the rest is multiplied by `1 / (1 - drop)` (default: yes).
    pub rescale: bool,
    /// How the sparse task vectors become one (default: sum, that is task arithmetic).
    pub combine: Combine,
    /// Factor on the merged task vector; finite (default 0.3: as for task arithmetic).
    pub scale: f64,
    /// One weight per expert; finite; empty for all 1 (default).
    pub weights: Vec<f64>,
    /// Where chance comes from (default 0).
    pub seed: Seed,
}

impl Default for DareConfig {
    fn default() -> Self {
        Self {
            drop: 0.9,
            rescale: true,
            combine: Combine::Sum,
            scale: 0.3,
            weights: vec![],
            seed: Seed::new(0),
        }
    }
}

/// How task vectors become one after dropping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Combine {
    /// Weighted sum: DARE with task arithmetic.
    #[default]
    Sum,
    /// Weighted sum of the entries that agree with the elected sign: DARE with TIES, as recipe tools have it.
    ElectedSum,
    /// Weighted mean of the entries that agree with the elected sign: DARE with TIES, as in the papers.
    ElectedMean,
}

/// A checked [`DareConfig`].
#[derive(Clone, Debug)]
pub struct Dare(DareConfig);

impl TryFrom<DareConfig> for Dare {
    type Error = ConfigError;

    fn try_from(config: DareConfig) -> Result<Self, ConfigError> {
        if !(config.drop >= 0.0 && config.drop < 1.0) {
            return Err(ConfigError::range(
                "drop",
                config.drop,
                "a probability in [0, 1)",
            ));
        }
        finite("scale", config.scale)?;
        finite_weights(&config.weights)?;
        Ok(Self(config))
    }
}

/// Sets each entry of `task` to zero with probability `drop` and multiplies the others by `factor`.
///
/// An entry is dropped when its 32-bit draw lies below `drop 2^32`; draw `j` belongs to entry `j`. `drop = 0` keeps
/// every entry and `drop = 1` none. With `factor = 1 / (1 - drop)` the expectation of every entry is kept.
///
/// ```
/// use refit_core::Seed;
/// let mut task = vec![1.0; 10_000];
/// refit_merge::drop_entries(&mut task, 0.75, 4.0, Seed::new(3));
/// let kept = task.iter().filter(|&&v| v != 0.0).count();
/// assert!((2_300..2_700).contains(&kept));
/// assert!(task.iter().all(|&v| v == 0.0 || v == 4.0));
/// ```
pub fn drop_entries(task: &mut [f32], drop: f64, factor: f64, seed: Seed) {
    let bound = (drop * 2f64.powi(32)) as u64; // saturates; NaN drops nothing
    let mut rng = seed.rng();
    for value in task {
        let dropped = u64::from(rng.next_u32()) < bound;
        *value = if dropped {
            0.0
        } else {
            (f64::from(*value) * factor) as f32
        };
    }
}

/// What [`Dare`] knows of each expert.
#[derive(Clone, Debug)]
pub struct DarePlan {
    weights: Vec<f64>,
    /// Where the masks of each expert come from, named after it.
    streams: Vec<Seed>,
}

impl Dare {
    fn plan_for<'n>(
        &self,
        experts: impl ExactSizeIterator<Item = &'n str>,
    ) -> Result<DarePlan, ConfigError> {
        Ok(DarePlan {
            weights: weights_for(&self.0.weights, experts.len())?,
            streams: experts
                .map(|name| self.0.seed.fork("dare").fork(name))
                .collect(),
        })
    }
}

impl TensorRule for Dare {
    const CARD: Card = Card {
        name: "dare",
        summary: "drop entries of task vectors at random, rescale the rest, then sum or elect signs",
        area: Area::Reuse,
        model: ModelAccess::ReadWeights,
        data: DataAccess::None,
        source: "arXiv:2311.03099",
    };
    const OPERAND: Operand = Operand::TaskVectors;
    type Plan = DarePlan;

    fn plan(&self, tasks: &TaskVectors<'_>) -> Result<DarePlan, MergeError> {
        let names: Vec<&str> = tasks.names().collect();
        Ok(self.plan_for(names.into_iter())?)
    }

    fn apply(
        &self,
        DarePlan { weights, streams }: &DarePlan,
        at: &ParamPath,
        tasks: &[&[f32]],
        out: &mut [f32],
    ) -> Result<(), MergeError> {
        check_operands(tasks, weights, out)?;
        let factor = if self.0.rescale {
            1.0 / (1.0 - self.0.drop)
        } else {
            1.0
        };
        let mut dropped: Vec<Vec<f32>> = tasks.iter().map(|task| task.to_vec()).collect();
        for (task, stream) in dropped.iter_mut().zip(streams) {
            drop_entries(task, self.0.drop, factor, stream.fork(at));
        }
        let views: Vec<&[f32]> = dropped.iter().map(Vec::as_slice).collect();
        match self.0.combine {
            Combine::Sum => weighted_sum(&views, weights, out),
            Combine::ElectedSum => election(&views, weights, None, Aggregate::Sum, out),
            Combine::ElectedMean => election(&views, weights, None, Aggregate::Mean, out),
        }
        simd::scale(out, self.0.scale);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(config: DareConfig, at: &str, tasks: &[&[f32]]) -> Vec<f32> {
        let rule = Dare::try_from(config).unwrap();
        let mut out = vec![0.0; tasks[0].len()];
        let plan = rule.plan_for(["a", "b", "c"][..tasks.len()].iter().copied());
        rule.apply(&plan.unwrap(), &at.into(), tasks, &mut out)
            .unwrap();
        out
    }

    #[test]
    fn without_dropping_it_is_task_arithmetic() {
        let config = DareConfig {
            drop: 0.0,
            scale: 0.5,
            ..Default::default()
        };
        assert_eq!(
            apply(config, "w", &[&[2.0, -4.0], &[0.0, 2.0]]),
            [1.0, -1.0]
        );
    }

    #[test]
    fn the_mean_is_kept_and_masks_differ_between_tensors_and_experts() {
        let config = DareConfig {
            scale: 1.0,
            ..Default::default()
        };
        let ones = vec![1.0; 40_000];
        let one = apply(config.clone(), "a", &[&ones]);
        // standard error of the mean: sqrt(p / (1 - p) / n) = 0.015
        let mean = one.iter().sum::<f32>() / one.len() as f32;
        assert!((mean - 1.0).abs() < 0.06, "{mean}");
        assert_ne!(one, apply(config.clone(), "b", &[&ones]));
        let both = apply(config, "a", &[&ones, &ones]);
        assert!(
            both.iter().any(|&v| v > 0.0 && v < 15.0),
            "two experts share their mask"
        );
    }

    #[test]
    fn dropping_everything_leaves_nothing() {
        let mut task = [1.0, 2.0];
        drop_entries(&mut task, 1.0, 1.0, Seed::new(0));
        assert_eq!(task.to_vec(), [0.0, 0.0]);
        let error = Dare::try_from(DareConfig {
            drop: 1.0,
            ..Default::default()
        })
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "`drop` is 1, expected a probability in [0, 1)"
        );
    }

    #[test]
    fn elected_entries_agree_in_sign() {
        let config = DareConfig {
            drop: 0.0,
            scale: 1.0,
            combine: Combine::ElectedMean,
            ..Default::default()
        };
        assert_eq!(apply(config, "w", &[&[3.0], &[-1.0], &[1.0]]), [2.0]);
    }
}
