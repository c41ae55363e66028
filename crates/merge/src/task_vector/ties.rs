//! TIES: trim small changes, elect a sign per entry, aggregate the changes that agree with it.
//! Source: Yadav et al. 2023, arXiv:2306.01708.
//!
//! Entries at the threshold are all kept, as in the authors' code, so equal magnitudes keep a few more than the
//! share. An entry whose trimmed values sum to exactly zero takes the sign of the total of all elected signs.

use super::{
    TaskVectors, TrimPlan,
    signs::{elect, fill_undecided, majority, total},
};
use crate::{
    error::MergeError,
    layout::BLOCK,
    rule::{Operand, TensorRule, check_operands, finite, finite_weights, weights_for},
    select::{kept, threshold},
    simd,
};
use refit_core::{Area, Card, ConfigError, DataAccess, ModelAccess, ParamPath};
use serde::{Deserialize, Serialize};

/// Settings of [`Ties`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TiesConfig {
    /// Share of entries kept per task vector, largest first; in `(0, 1]` (default 0.2: paper). At least one entry
    /// is kept.
    pub keep: f64,
    /// Over what the share is taken (default: global, as in the authors' code).
    pub scope: TrimScope,
    /// How agreeing entries become one (default: mean, as in the paper; the eight-task vision code sums).
    pub aggregate: Aggregate,
    /// Factor on the merged task vector; finite (default 1: paper, for the mean; 0.3 goes with the sum).
    pub scale: f64,
    /// One weight per expert, applied before signs are elected; finite; empty for all 1 (default).
    pub weights: Vec<f64>,
}

impl Default for TiesConfig {
    fn default() -> Self {
        Self {
            keep: 0.2,
            scope: TrimScope::Global,
            aggregate: Aggregate::Mean,
            scale: 1.0,
            weights: vec![],
        }
    }
}

/// Over what a share of entries is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrimScope {
    /// One threshold per task vector, over the whole model.
    #[default]
    Global,
    /// One threshold per task vector and tensor, as recipe tools do.
    Tensor,
}

/// How entries that agree become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aggregate {
    /// Their weighted sum over the sum of their weights.
    #[default]
    Mean,
    /// Their weighted sum.
    Sum,
}

/// A checked [`TiesConfig`].
#[derive(Clone, Debug)]
pub struct Ties(TiesConfig);

impl TryFrom<TiesConfig> for Ties {
    type Error = ConfigError;

    fn try_from(config: TiesConfig) -> Result<Self, ConfigError> {
        if !(config.keep > 0.0 && config.keep <= 1.0) {
            return Err(ConfigError::range("keep", config.keep, "a share in (0, 1]"));
        }
        finite("scale", config.scale)?;
        finite_weights(&config.weights)?;
        Ok(Self(config))
    }
}

/// Merges task vectors by trimmed sign election: `m_j = agg { w_k t_kj : sign w_k t_kj = sign sum_i w_i t_ij }`, where
/// `t` are the tasks with all but their `keep` largest magnitudes set to zero.
///
/// # Shapes
/// `tasks`: `K` slices of `P` values; `weights`: `K` values, or none for all 1 -> `P` values, to be scaled and added to
/// the base. `keep` in `[0, 1]`; 0 keeps nothing.
///
/// # Errors
/// [`MergeError::Lengths`] when slices differ in length, [`MergeError::Config`] when weights are not one per task.
///
/// # Cost
/// `O(K P)` time (selection, no sort), one copy of the tasks.
///
/// # Example
/// ```
/// use refit_merge::{Aggregate, ties};
/// // Kept 2 of 3: [2, -1, 0] and [1, 3, 0]; elected (+, +, 0): the -1 is dropped.
/// let change = ties(&[&[2.0, -1.0, 0.1], &[1.0, 3.0, -0.2]], &[], 0.67, Aggregate::Mean).unwrap();
/// assert_eq!(change, [1.5, 3.0, 0.0]);
/// ```
///
/// # Source
/// arXiv:2306.01708
pub fn ties(
    tasks: &[&[f32]],
    weights: &[f64],
    keep: f64,
    aggregate: Aggregate,
) -> Result<Vec<f32>, MergeError> {
    let mut out = vec![0.0; tasks.first().map_or(0, |t| t.len())];
    check_operands(tasks, weights, &out)?;
    let weights = weights_for(weights, tasks.len())?;
    let thresholds: Vec<f32> = tasks
        .iter()
        .map(|task| threshold(task, kept(keep, task.len())))
        .collect();
    trimmed_election(tasks, &weights, &thresholds, None, aggregate, &mut out);
    Ok(out)
}

/// Trims at `thresholds`, elects signs (draws go to `majority`, or to that of this tensor) and aggregates.
fn trimmed_election(
    tasks: &[&[f32]],
    weights: &[f64],
    thresholds: &[f32],
    majority_sign: Option<i8>,
    aggregate: Aggregate,
    out: &mut [f32],
) {
    let mut trimmed: Vec<Vec<f32>> = tasks.iter().map(|task| task.to_vec()).collect();
    trimmed
        .iter_mut()
        .zip(thresholds)
        .for_each(|(task, &at)| simd::trim(task, at));
    let views: Vec<&[f32]> = trimmed.iter().map(Vec::as_slice).collect();
    election(&views, weights, majority_sign, aggregate, out);
}

/// Elects a sign per entry and aggregates what agrees with it.
pub(super) fn election(
    tasks: &[&[f32]],
    weights: &[f64],
    majority_sign: Option<i8>,
    aggregate: Aggregate,
    out: &mut [f32],
) {
    let mut signs = vec![0; out.len()];
    elect(tasks, weights, &mut signs);
    let majority_sign = majority_sign.unwrap_or_else(|| majority(total(&signs)));
    fill_undecided(&mut signs, majority_sign);
    let (mut sums, mut divisors) = ([0.0; BLOCK], [0.0; BLOCK]);
    for (block, (out, signs)) in out.chunks_mut(BLOCK).zip(signs.chunks(BLOCK)).enumerate() {
        let (sums, divisors) = (&mut sums[..out.len()], &mut divisors[..out.len()]);
        sums.fill(0.0);
        divisors.fill(0.0);
        for (task, &weight) in tasks.iter().zip(weights) {
            let task = &task[block * BLOCK..][..out.len()];
            simd::add_agreeing(sums, divisors, [weight; 2], task, signs);
        }
        if aggregate == Aggregate::Mean {
            for (sum, &divisor) in sums.iter_mut().zip(&*divisors) {
                *sum /= if divisor == 0.0 { 1.0 } else { divisor }; // no 0/0
            }
        }
        simd::narrow(out, sums);
    }
}

/// What [`Ties`] knows before the first tensor.
#[derive(Clone, Debug)]
pub struct TiesPlan {
    weights: Vec<f64>,
    global: Option<TrimPlan>,
}

impl TensorRule for Ties {
    const CARD: Card = Card {
        name: "ties",
        summary: "trim small changes, elect signs, aggregate what agrees",
        area: Area::Reuse,
        model: ModelAccess::ReadWeights,
        data: DataAccess::None,
        source: "arXiv:2306.01708",
    };
    const OPERAND: Operand = Operand::TaskVectors;
    type Plan = TiesPlan;

    fn plan(&self, tasks: &TaskVectors<'_>) -> Result<TiesPlan, MergeError> {
        let weights = weights_for(&self.0.weights, tasks.len())?;
        let global = (self.0.scope == TrimScope::Global)
            .then(|| TrimPlan::global(tasks, self.0.keep, &weights));
        Ok(TiesPlan { weights, global })
    }

    fn apply(
        &self,
        plan: &TiesPlan,
        _at: &ParamPath,
        tasks: &[&[f32]],
        out: &mut [f32],
    ) -> Result<(), MergeError> {
        let (weights, how) = (&plan.weights, self.0.aggregate);
        check_operands(tasks, weights, out)?;
        if let Some(TrimPlan {
            thresholds,
            majority,
        }) = &plan.global
        {
            trimmed_election(tasks, weights, thresholds, Some(*majority), how, out);
        } else {
            out.copy_from_slice(&ties(tasks, weights, self.0.keep, how)?);
        }
        simd::scale(out, self.0.scale);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(tasks: &[&[f32]], keep: f64, aggregate: Aggregate) -> Vec<f32> {
        ties(tasks, &[], keep, aggregate).unwrap()
    }

    #[test]
    fn the_minority_sign_is_dropped() {
        // kept 2 of 3: [2, -1, 0], [1, 3, 0]; elected (+, +, 0)
        let tasks: [&[f32]; 2] = [&[2.0, -1.0, 0.1], &[1.0, 3.0, -0.2]];
        assert_eq!(kernel(&tasks, 0.67, Aggregate::Mean), [1.5, 3.0, 0.0]);
        assert_eq!(kernel(&tasks, 0.67, Aggregate::Sum), [3.0, 3.0, 0.0]);
    }

    #[test]
    fn an_exact_draw_takes_the_majority_sign() {
        // elected (0, +, +): the total is positive, so the +1 of the draw stands
        let tasks: [&[f32]; 2] = [&[1.0, 2.0, 2.0], &[-1.0, 2.0, 2.0]];
        assert_eq!(kernel(&tasks, 1.0, Aggregate::Sum), [1.0, 4.0, 4.0]);
        // no majority: nothing agrees
        let tasks: [&[f32]; 2] = [&[1.0], &[-1.0]];
        assert_eq!(kernel(&tasks, 1.0, Aggregate::Sum), [0.0]);
    }

    #[test]
    fn ties_at_the_threshold_are_all_kept() {
        assert_eq!(
            kernel(&[&[1.0, -1.0, 1.0, 0.5]], 0.25, Aggregate::Sum),
            [1.0, -1.0, 1.0, 0.0]
        );
    }

    #[test]
    fn keeping_nothing_changes_nothing_and_keeping_all_of_one_is_itself() {
        let task = [1.0, -2.0, 0.0, 3.0];
        assert_eq!(kernel(&[&task], 0.0, Aggregate::Mean), [0.0; 4]);
        assert_eq!(kernel(&[&task], 1.0, Aggregate::Mean), task);
        assert_eq!(kernel(&[&[0.0; 4][..]; 3], 0.5, Aggregate::Mean), [0.0; 4]);
    }

    #[test]
    fn weights_decide_the_election_and_the_divisor() {
        // weighted (2, -3): elected minus; mean of one entry is its own value, sum keeps the weight
        let tasks: [&[f32]; 2] = [&[2.0], &[-1.0]];
        let merged = |how| ties(&tasks, &[1.0, 3.0], 1.0, how).unwrap();
        assert_eq!(
            (merged(Aggregate::Mean), merged(Aggregate::Sum)),
            (vec![-1.0], vec![-3.0])
        );
    }

    #[test]
    fn a_share_outside_its_range_is_refused() {
        for keep in [0.0, 1.1, f64::NAN, -0.5] {
            let error = Ties::try_from(TiesConfig {
                keep,
                ..Default::default()
            })
            .unwrap_err();
            assert!(
                error.to_string().ends_with("expected a share in (0, 1]"),
                "{error}"
            );
        }
    }
}
