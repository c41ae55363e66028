//! EMR: one vector of elected signs and largest magnitudes, and for each task a mask and a factor that turn it back
//! into the task.
//! Source: Huang et al. 2024, arXiv:2405.17461.

use super::matrices::{MODEL_KEYS, TaskModel, sum_of_changes, weights_of};
use crate::{
    error::MergeError,
    layout::BLOCK,
    recipe::{BaseUse, RecipeRule, Target},
    rule::{check_operands, finite},
    simd::{self, kernel},
    stream::{Block, StreamRule},
};
use refit_core::{Area, Card, ConfigError, DataAccess, ModelAccess, Silent};
use serde::Deserialize;

/// Settings of [`EmrUnified`] for one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct EmrTensor {
    /// Factor on the unified task vector; finite (paper: 1, with masks and factors of the tasks).
    pub(crate) lambda: f64,
}

impl Default for EmrTensor {
    fn default() -> Self {
        Self { lambda: 1.0 }
    }
}

/// The unified model alone; the masks of tasks come from [`emr`].
#[derive(Clone, Debug)]
pub(crate) struct EmrUnified {
    lambda: f64,
    weights: Vec<f64>,
}

impl RecipeRule for EmrUnified {
    const CARD: Card = Card {
        name: "emr",
        summary: "elected signs with the largest magnitude that agrees",
        area: Area::Reuse,
        model: ModelAccess::ReadWeights,
        data: DataAccess::None,
        source: "arXiv:2405.17461",
    };
    const BASE: BaseUse = BaseUse::Required;
    const TENSOR_KEYS: &'static [&'static str] = &["lambda"];
    const MODEL_KEYS: &'static [&'static str] = MODEL_KEYS;
    type Tensor = EmrTensor;
    type Model = TaskModel;

    fn rule(
        _: &Target<'_>,
        tensor: EmrTensor,
        models: Vec<TaskModel>,
    ) -> Result<Box<dyn StreamRule>, ConfigError> {
        finite("lambda", tensor.lambda)?;
        Ok(Box::new(Self {
            lambda: tensor.lambda,
            weights: weights_of(&models)?,
        }))
    }
}

impl StreamRule for EmrUnified {
    fn merge(&self, block: &Block<'_>, out: &mut [f32]) -> Result<(), MergeError> {
        let base = block.base.unwrap_or_default(); // recipes require one
        let (mut sums, mut largest) = ([0.0; BLOCK], [0.0; BLOCK]);
        let mut signs = [0; BLOCK];
        for start in (0..out.len()).step_by(BLOCK) {
            let range = start..(start + BLOCK).min(out.len());
            let (sums, largest) = (&mut sums[..range.len()], &mut largest[..range.len()]);
            let (base, signs) = (&base[range.clone()], &mut signs[..range.len()]);
            sum_of_changes(base, block.models, &self.weights, start, sums);
            simd::signs_of(signs, sums);
            largest.fill(0.0);
            for (model, &weight) in block.models.iter().zip(&self.weights) {
                take_larger(largest, weight, &model[range.clone()], base, signs);
            }
            store_signed(&mut out[range], base, largest, signs, self.lambda);
        }
        Ok(())
    }
}

/// The result of [`emr`].
#[derive(Clone, Debug, PartialEq)]
pub struct Emr {
    /// Elected sign times largest magnitude, `P` values.
    pub unified: Vec<f32>,
    /// How to turn it back into each task.
    pub tasks: Vec<EmrTask>,
}

/// One task of an [`Emr`].
///
/// The factor of a task is one for the whole model: add `own` and `kept` over all tensors and divide.
#[derive(Clone, Debug, PartialEq)]
pub struct EmrTask {
    /// A bit per entry, the first in the lowest bit: whether the task's change has the elected sign.
    pub mask: Vec<u64>,
    /// `sum_j |tau_kj|`.
    pub own: f64,
    /// `sum_j |mask_kj unified_j|`.
    pub kept: f64,
}

impl EmrTask {
    /// Whether entry `j` is the task's.
    pub fn holds(&self, j: usize) -> bool {
        self.mask
            .get(j / 64)
            .is_some_and(|word| word >> (j % 64) & 1 == 1)
    }

    /// The factor of this tensor alone, `own / kept`; 1 where nothing was kept.
    pub fn factor(&self) -> f64 {
        if self.kept > 0.0 {
            self.own / self.kept
        } else {
            1.0
        }
    }
}

impl Emr {
    /// The task vector of task `k` as far as it can be had back: `factor mask_k unified`.
    ///
    /// # Panics
    /// When there is no such task.
    pub fn task(&self, k: usize, factor: f64) -> Vec<f32> {
        let task = &self.tasks[k];
        let value = |(j, &v): (usize, &f32)| {
            if task.holds(j) {
                (factor * f64::from(v)) as f32
            } else {
                0.0
            }
        };
        self.unified.iter().enumerate().map(value).collect()
    }
}

/// Unifies task vectors: `unified_j = s_j max { |tau_kj| : sign tau_kj = s_j }` with the elected sign
/// `s_j = sign sum_k tau_kj`, and for each task the mask of entries that agree with it and the sums of its factor.
///
/// An entry whose sum is exactly 0 elects nothing and is 0.
///
/// # Shapes
/// `tasks`: `K` slices of `P` values -> `P` values and `K` masks of `P` bits.
///
/// # Errors
/// [`MergeError::Lengths`] when slices differ in length.
///
/// # Cost
/// `3 K P`; besides the result nothing.
///
/// # Example
/// ```
/// let emr = refit_merge::subspace::emr(&[&[2.0, -1.0], &[1.0, 3.0]]).unwrap();
/// assert_eq!(emr.unified, [2.0, 3.0]);
/// // Task 0 holds the first entry alone; its factor brings back the magnitude of all it had.
/// assert_eq!(emr.task(0, emr.tasks[0].factor()), [3.0, 0.0]);
/// ```
///
/// # Source
/// arXiv:2405.17461, from the paper's definition as we read it.
pub fn emr(tasks: &[&[f32]]) -> Result<Emr, MergeError> {
    let mut unified = vec![0.0; tasks.first().map_or(0, |task| task.len())];
    let weights = vec![1.0; tasks.len()];
    check_operands(tasks, &weights, &unified)?;
    let base = vec![0.0; unified.len()];
    let rule = EmrUnified {
        lambda: 1.0,
        weights,
    };
    let block = Block {
        number: 0,
        start: 0,
        shape: &[unified.len()],
        base: Some(&base),
        models: tasks,
        progress: &Silent,
    };
    rule.merge(&block, &mut unified)?;
    let tasks = tasks.iter().map(|task| task_of(task, &unified)).collect();
    Ok(Emr { unified, tasks })
}

/// What turns `unified` back into `task`.
fn task_of(task: &[f32], unified: &[f32]) -> EmrTask {
    let mut mask = Vec::with_capacity(task.len().div_ceil(64));
    let (mut own, mut kept) = (0.0, 0.0);
    for (task, unified) in task.chunks(64).zip(unified.chunks(64)) {
        let mut word = 0;
        for (bit, (&task, &unified)) in task.iter().zip(unified).enumerate() {
            own += f64::from(task.abs());
            // Signs are compared, not the product, which can vanish.
            if (task > 0.0 && unified > 0.0) || (task < 0.0 && unified < 0.0) {
                word |= 1 << bit;
                kept += f64::from(unified.abs());
            }
        }
        mask.push(word);
    }
    EmrTask { mask, own, kept }
}

kernel! {
    /// `largest_i = max(largest_i, sign_i weight (b_i - c_i))`.
    fn take_larger(
        largest: &'a mut [f64],
        weight: f64,
        b: &'a [f32],
        c: &'a [f32],
        signs: &'a [i8],
    ) {
        for (((largest, &b), &c), &sign) in largest.iter_mut().zip(b).zip(c).zip(signs) {
            let value = f64::from(sign) * weight * f64::from(b - c);
            *largest = if value > *largest { value } else { *largest };
        }
    }
}

kernel! {
    /// `out_i = base_i + lambda sign_i largest_i`.
    fn store_signed(
        out: &'a mut [f32],
        base: &'a [f32],
        largest: &'a [f64],
        signs: &'a [i8],
        lambda: f64,
    ) {
        for (((out, &base), &largest), &sign) in out.iter_mut().zip(base).zip(largest).zip(signs) {
            *out = (f64::from(base) + lambda * f64::from(sign) * largest) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subspace::testing::Case;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn three_tasks_worked_by_hand() {
        // Entry 0: sum 2, plus; largest plus 3. Entry 1: sum -3, minus; largest minus 2. Entry 2: sum 0, nothing.
        let tasks: [&[f32]; 3] = [&[3.0, -2.0, 1.0], &[-2.0, -2.0, -1.0], &[1.0, 1.0, 0.0]];
        let found = emr(&tasks).unwrap();
        assert_eq!(found.unified, [3.0, -2.0, 0.0]);
        let masks: Vec<u64> = found.tasks.iter().map(|task| task.mask[0]).collect();
        assert_eq!(masks, [0b11, 0b10, 0b01]);
        let factors: Vec<f64> = found.tasks.iter().map(EmrTask::factor).collect();
        let expected = [6.0 / 5.0, 5.0 / 2.0, 2.0 / 3.0];
        for (found, expected) in factors.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-15);
        }
        assert_eq!(found.task(1, 2.5), [0.0, -5.0, 0.0]);
    }

    #[test]
    fn one_task_comes_back_whole_and_nothing_is_nothing() {
        let task: Vec<f32> = (0..130).map(|i| (i as f32 * 0.7).sin()).collect();
        let found = emr(&[&task]).unwrap();
        assert_eq!((&found.unified, found.tasks[0].mask.len()), (&task, 3));
        assert_eq!(found.task(0, found.tasks[0].factor()), task);
        let zeros = emr(&[&[0.0, 0.0]]).unwrap();
        assert_eq!(
            (zeros.unified.as_slice(), zeros.tasks[0].holds(0)),
            (&[0.0, 0.0][..], false)
        );
        assert!((zeros.tasks[0].factor() - 1.0).abs() < 1e-15);
        assert!(!zeros.tasks[0].holds(999));
        assert!(emr(&[]).unwrap().unified.is_empty());
        assert!(emr(&[&[1.0], &[]]).is_err());
    }

    #[test]
    fn recipes_write_the_unified_model() {
        let (base, a, b) = ([1.0, 1.0], [3.0, 0.0], [2.0, 4.0]);
        let mut case = Case::new("emr", &[2], &base, &[&a, &b]);
        assert_eq!(case.merge().unwrap(), [3.0, 4.0]);
        case.tensor = json!({ "lambda": 0.5 });
        assert_eq!(case.merge().unwrap(), [2.0, 2.5]);
        case.weight = -1.0; // to forget: signs turn, magnitudes stay
        assert_eq!(case.merge().unwrap(), [0.0, -0.5]);
    }

    #[test]
    fn values_that_are_not_finite_elect_nothing() {
        assert_eq!(
            emr(&[&[f32::NAN, 1.0], &[1.0, 1.0]]).unwrap().unified,
            [0.0, 1.0]
        );
    }

    proptest! {
        #[test]
        fn what_is_kept_is_never_smaller_than_what_the_task_had_there(
            values in prop::collection::vec(-4f32..4.0, 3 * 9),
        ) {
            let tasks: Vec<&[f32]> = values.chunks(9).collect();
            let found = emr(&tasks).unwrap();
            for (k, task) in tasks.iter().enumerate() {
                for (j, &value) in task.iter().enumerate() {
                    if found.tasks[k].holds(j) {
                        prop_assert!(found.unified[j].abs() >= value.abs());
                        prop_assert!(found.unified[j].signum() == value.signum());
                    }
                }
                let back = found.task(k, found.tasks[k].factor());
                let sum = |values: &[f32]| values.iter().map(|v| f64::from(v.abs())).sum::<f64>();
                if found.tasks[k].kept > 0.0 {
                    prop_assert!((sum(&back) - sum(task)).abs() < 1e-4);
                }
            }
        }
    }
}
