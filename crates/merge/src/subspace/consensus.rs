//! Consensus: keep the sum of task vectors only where enough tasks use it.
//! Source: Wang et al. 2024, arXiv:2405.07813 (TALL masks, Consensus task arithmetic).

use super::matrices::{MODEL_KEYS, TaskModel, sum_of_changes, weights_of};
use crate::{
    error::MergeError,
    layout::BLOCK,
    recipe::{BaseUse, RecipeRule, Target},
    rule::{check_operands, finite},
    simd::kernel,
    stream::{Block, StreamRule},
};
use refit_core::{Area, Card, ConfigError, DataAccess, ModelAccess, Silent};
use serde::Deserialize;

/// Settings of [`Consensus`] for one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ConsensusTensor {
    /// Factor on the merged task vector; finite (paper: tuned on validation data; ours: 1).
    pub(crate) lambda: f64,
    /// How much larger than the rest of the sum a change must be for its task to use it; 0 or larger (paper: the best
    /// of 0.2, 0.3, .. 0.6 on validation data; ours: the middle, 0.4).
    pub(crate) threshold: f64,
    /// How many tasks must use an entry; 1 or more, at most one per model (paper: 2).
    pub(crate) agree: Option<usize>,
}

impl Default for ConsensusTensor {
    fn default() -> Self {
        Self {
            lambda: 1.0,
            threshold: 0.4,
            agree: None,
        }
    }
}

/// The method; see the [module](self).
#[derive(Clone, Debug)]
pub(crate) struct Consensus {
    lambda: f64,
    threshold: f64,
    agree: usize,
    weights: Vec<f64>,
}

impl RecipeRule for Consensus {
    const CARD: Card = Card {
        name: "consensus",
        summary: "sum of task vectors where enough tasks use it",
        area: Area::Reuse,
        model: ModelAccess::ReadWeights,
        data: DataAccess::None,
        source: "arXiv:2405.07813",
    };
    const BASE: BaseUse = BaseUse::Required;
    const TENSOR_KEYS: &'static [&'static str] = &["lambda", "threshold", "agree"];
    const MODEL_KEYS: &'static [&'static str] = MODEL_KEYS;
    type Tensor = ConsensusTensor;
    type Model = TaskModel;

    fn rule(
        _: &Target<'_>,
        tensor: ConsensusTensor,
        models: Vec<TaskModel>,
    ) -> Result<Box<dyn StreamRule>, ConfigError> {
        finite("lambda", tensor.lambda)?;
        let threshold = tensor.threshold;
        if !(threshold >= 0.0 && threshold.is_finite()) {
            return Err(ConfigError::range(
                "threshold",
                threshold,
                "a finite number, 0 or larger",
            ));
        }
        let agree = tensor.agree.unwrap_or(2.min(models.len())); // one task agrees with itself
        if !(1..=models.len()).contains(&agree) {
            let expected = format!("1 to {}, the number of models", models.len());
            return Err(ConfigError::range("agree", agree, expected));
        }
        Ok(Box::new(Self {
            lambda: tensor.lambda,
            threshold,
            agree,
            weights: weights_of(&models)?,
        }))
    }
}

impl StreamRule for Consensus {
    fn merge(&self, block: &Block<'_>, out: &mut [f32]) -> Result<(), MergeError> {
        let base = block.base.unwrap_or_default(); // recipes require one
        let (mut sums, mut users) = ([0.0; BLOCK], [0.0; BLOCK]);
        for start in (0..out.len()).step_by(BLOCK) {
            let range = start..(start + BLOCK).min(out.len());
            let (sums, users) = (&mut sums[..range.len()], &mut users[..range.len()]);
            let base = &base[range.clone()];
            sum_of_changes(base, block.models, &self.weights, start, sums);
            users.fill(0.0);
            for (model, &weight) in block.models.iter().zip(&self.weights) {
                let model = &model[range.clone()];
                count_users(users, sums, weight, model, base, self.threshold);
            }
            let least = self.agree as f32;
            store_agreed(&mut out[range], base, sums, users, least, self.lambda);
        }
        Ok(())
    }
}

/// Merges task vectors into `sum_k tau_k` where at least `agree` tasks use it, and 0 elsewhere. Task `k` uses entry
/// `j` if `|tau_kj| > threshold |sum_i tau_ij - tau_kj|`: its own change stands out from what the others add;
/// where nobody changes anything, nobody uses it.
///
/// # Shapes
/// `tasks`: `K` slices of `P` values -> `P` values.
///
/// # Errors
/// [`MergeError::Lengths`] when slices differ in length.
///
/// # Cost
/// `2 K P`, no memory besides the result.
///
/// # Example
/// ```
/// let (a, b): (&[f32], &[f32]) = (&[1.0, 3.0, 0.0], &[1.0, -1.0, 2.0]);
/// // The last entry is of one task alone; in the middle both changes stand out from each other.
/// let merged = refit_merge::subspace::consensus(&[a, b], 0.3, 2).unwrap();
/// assert_eq!(merged, [2.0, 2.0, 0.0]);
/// ```
///
/// # Source
/// arXiv:2405.07813, from the paper's definition as we read it.
pub fn consensus(tasks: &[&[f32]], threshold: f64, agree: usize) -> Result<Vec<f32>, MergeError> {
    let mut out = vec![0.0; tasks.first().map_or(0, |task| task.len())];
    let weights = vec![1.0; tasks.len()];
    check_operands(tasks, &weights, &out)?;
    let base = vec![0.0; out.len()];
    let rule = Consensus {
        lambda: 1.0,
        threshold,
        agree,
        weights,
    };
    let block = Block {
        number: 0,
        start: 0,
        shape: &[out.len()],
        base: Some(&base),
        models: tasks,
        progress: &Silent,
    };
    rule.merge(&block, &mut out)?;
    Ok(out)
}

kernel! {
    /// Adds 1 where `|weight (b_i - c_i)|` exceeds `threshold` times what the others add to `sum_i`.
    fn count_users(
        users: &'a mut [f32],
        sum: &'a [f64],
        weight: f64,
        b: &'a [f32],
        c: &'a [f32],
        threshold: f64,
    ) {
        for (((users, &sum), &b), &c) in users.iter_mut().zip(sum).zip(b).zip(c) {
            let change = weight * f64::from(b - c);
            *users += if change.abs() > threshold * (sum - change).abs() { 1.0 } else { 0.0 };
        }
    }
}

kernel! {
    /// `out_i = base_i + lambda sum_i` where there are enough users, else `base_i`.
    fn store_agreed(
        out: &'a mut [f32],
        base: &'a [f32],
        sum: &'a [f64],
        users: &'a [f32],
        least: f32,
        lambda: f64,
    ) {
        for (((out, &base), &sum), &users) in out.iter_mut().zip(base).zip(sum).zip(users) {
            let change = if users >= least { lambda * sum } else { 0.0 };
            *out = (f64::from(base) + change) as f32;
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
    fn selfish_and_unused_entries_go() {
        // Entry 0: all agree. Entry 1: one task alone. Entry 2: tasks of 0.1 against a rest of 4.1 or 0.2: the large
        // one is used by its task, the small ones are not (0.1 > 0.4 * 4.1 fails).
        let (a, b, c) = ([1.0, 5.0, 4.0], [1.0, 0.0, 0.1], [1.0, 0.0, 0.1]);
        let tasks: [&[f32]; 3] = [&a, &b, &c];
        assert_eq!(consensus(&tasks, 0.4, 2).unwrap(), [3.0, 0.0, 0.0]);
        assert_eq!(consensus(&tasks, 0.4, 1).unwrap(), [3.0, 5.0, 4.2]);
    }

    #[test]
    fn one_model_is_itself_and_a_threshold_of_zero_asks_for_a_change() {
        let (base, a) = ([1.0, 2.0, 3.0], [1.5, 2.0, -3.0]);
        let mut case = Case::new("consensus", &[3], &base, &[&a]);
        assert_eq!(case.merge().unwrap(), a);
        case.tensor = json!({ "threshold": 0.0, "lambda": 2.0 });
        assert_eq!(case.merge().unwrap(), [2.0, 2.0, -9.0]);
        assert!(consensus(&[&[], &[]], 0.4, 2).unwrap().is_empty());
        assert!(consensus(&[], 0.4, 2).unwrap().is_empty());
    }

    #[test]
    fn recipes_check_their_settings() {
        let (base, a) = ([0.0], [1.0]);
        let mut case = Case::new("consensus", &[1], &base, &[&a]);
        for (tensor, words) in [
            (
                json!({ "agree": 0 }),
                "`agree` is 0, expected 1 to 1, the number of models",
            ),
            (
                json!({ "agree": 2 }),
                "`agree` is 2, expected 1 to 1, the number of models",
            ),
            (
                json!({ "threshold": -1 }),
                "`threshold` is -1, expected a finite number, 0 or larger",
            ),
        ] {
            case.tensor = tensor;
            assert_eq!(case.merge().unwrap_err(), words);
        }
        let lengths = consensus(&[&[1.0], &[1.0, 2.0]], 0.4, 2).unwrap_err();
        assert_eq!(lengths.to_string(), "operand 1 holds 2 values, expected 1");
    }

    #[test]
    fn a_value_that_is_not_finite_is_used_by_nobody() {
        let (a, b) = ([f32::NAN, 1.0], [1.0, 1.0]);
        assert_eq!(consensus(&[&a, &b], 0.4, 1).unwrap(), [0.0, 2.0]);
    }

    proptest! {
        #[test]
        fn tasks_commute_and_scale_passes_through(
            values in prop::collection::vec(-4i8..4, 3 * 7), threshold in 0.0f64..1.0, agree in 1usize..4,
        ) {
            // Small whole numbers: sums and powers of two are exact.
            let values: Vec<f32> = values.into_iter().map(f32::from).collect();
            let tasks: Vec<&[f32]> = values.chunks(7).collect();
            let merged = consensus(&tasks, threshold, agree).unwrap();
            let turned = consensus(&[tasks[2], tasks[0], tasks[1]], threshold, agree).unwrap();
            prop_assert_eq!(&merged, &turned);
            let larger: Vec<f32> = values.iter().map(|v| 4.0 * v).collect();
            let larger: Vec<&[f32]> = larger.chunks(7).collect();
            let larger = consensus(&larger, threshold, agree).unwrap();
            let expected: Vec<f32> = merged.iter().map(|v| 4.0 * v).collect();
            prop_assert_eq!(larger, expected);
        }
    }
}
