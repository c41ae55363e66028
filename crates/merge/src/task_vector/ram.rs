//! Reinforced agent merging: entries that one model changed are taken whole, those that several changed are averaged.
//! Source: arXiv:2601.13572. The plus form scales what a model alone changed by `1 + r min(shared / alone, alpha)`.

use super::changes::each_stretch;
use crate::{
    error::MergeError,
    layout::BLOCK,
    recipe::{BaseUse, NoSettings, RecipeRule, Target},
    rule::finite,
    simd::{self, kernel},
    stream::{Block, StreamRule, Tally},
};
use refit_core::{Area, Card, ConfigError, DataAccess, ModelAccess};
use serde::Deserialize;

/// Settings of [`Ram`] for one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RamTensor {
    /// A change above this magnitude counts; finite, not negative (default 1e-5: paper).
    pub(crate) epsilon: f64,
}

impl Default for RamTensor {
    fn default() -> Self {
        Self { epsilon: 1e-5 }
    }
}

/// Settings of [`RamPlus`] for one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RamPlusTensor {
    /// How much what is shared strengthens what is not; finite (default 0.1, as in recipe tools).
    pub(crate) r: f64,
    /// Largest ratio of shared to lone entries that counts; finite, not negative (default 0.2, as in recipe tools).
    pub(crate) alpha: f64,
    /// See [`RamTensor::epsilon`].
    pub(crate) epsilon: f64,
}

impl Default for RamPlusTensor {
    fn default() -> Self {
        Self {
            r: 0.1,
            alpha: 0.2,
            epsilon: 1e-5,
        }
    }
}

/// The method; see the [module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ram;

/// The method with its plus, per tensor; see the [module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct RamPlus;

impl RecipeRule for Ram {
    const CARD: Card = Card {
        name: "ram",
        summary: "changes of one model whole, changes of several averaged",
        area: Area::Reuse,
        model: ModelAccess::ReadWeights,
        data: DataAccess::None,
        source: "arXiv:2601.13572",
    };
    const BASE: BaseUse = BaseUse::Required;
    const TENSOR_KEYS: &'static [&'static str] = &["epsilon"];
    const MODEL_KEYS: &'static [&'static str] = &[];
    type Tensor = RamTensor;
    type Model = NoSettings;

    fn rule(
        _: &Target<'_>,
        tensor: RamTensor,
        models: Vec<NoSettings>,
    ) -> Result<Box<dyn StreamRule>, ConfigError> {
        not_negative("epsilon", tensor.epsilon)?;
        Ok(Box::new(Rule {
            epsilon: tensor.epsilon as f32,
            plus: None,
            lone: vec![1.0; models.len()],
        }))
    }
}

impl RecipeRule for RamPlus {
    const CARD: Card = Card {
        name: "ramplus_tl",
        summary: "changes of one model, strengthened where it shares many, whole; changes of several averaged",
        ..Ram::CARD
    };
    const BASE: BaseUse = BaseUse::Required;
    const TENSOR_KEYS: &'static [&'static str] = &["r", "alpha", "epsilon"];
    const MODEL_KEYS: &'static [&'static str] = &[];
    type Tensor = RamPlusTensor;
    type Model = NoSettings;

    fn rule(
        _: &Target<'_>,
        tensor: RamPlusTensor,
        models: Vec<NoSettings>,
    ) -> Result<Box<dyn StreamRule>, ConfigError> {
        finite("r", tensor.r)?;
        not_negative("alpha", tensor.alpha)?;
        not_negative("epsilon", tensor.epsilon)?;
        Ok(Box::new(Rule {
            epsilon: tensor.epsilon as f32,
            plus: Some([tensor.r, tensor.alpha]),
            lone: vec![1.0; models.len()],
        }))
    }
}

fn not_negative(key: &'static str, value: f64) -> Result<(), ConfigError> {
    if value >= 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(ConfigError::range(key, value, "a number of at least 0"))
}

#[derive(Debug)]
struct Rule {
    epsilon: f32,
    /// `r` and `alpha`.
    plus: Option<[f64; 2]>,
    /// Factor on what each model alone changed.
    lone: Vec<f64>,
}

impl Rule {
    /// How many models changed each entry.
    fn count(&self, changes: &[&mut [f32]], counts: &mut [f32]) {
        counts.fill(0.0);
        for change in changes {
            count_beyond(counts, change, self.epsilon);
        }
    }
}

impl StreamRule for Rule {
    fn surveys(&self) -> usize {
        usize::from(self.plus.is_some())
    }

    fn survey(&self, _: usize, block: &Block<'_>, tally: &mut Tally) {
        let totals = tally.counts(2 * self.lone.len());
        let mut counts = [0.0; BLOCK];
        each_stretch(block, BLOCK, |stretch, changes| {
            let counts = &mut counts[..stretch.len()];
            self.count(changes, counts);
            for (change, totals) in changes.iter().zip(totals.chunks_mut(2)) {
                let [lone, shared] = count_kinds(change, counts, self.epsilon);
                totals[0] += u64::from(lone);
                totals[1] += u64::from(shared);
            }
        });
    }

    fn learn(&mut self, _: usize, tally: Tally) -> Result<(), MergeError> {
        let counts = tally.into_counts(); // none of an empty tensor
        if let Some([r, alpha]) = self.plus {
            for (factor, counts) in self.lone.iter_mut().zip(counts.chunks(2)) {
                let ratio = counts[1] as f64 / f64::max(counts[0] as f64, f64::from(self.epsilon));
                *factor = 1.0 + r * if ratio > alpha { alpha } else { ratio };
            }
        }
        Ok(())
    }

    fn merge(&self, block: &Block<'_>, out: &mut [f32]) -> Result<(), MergeError> {
        let base = block.base.unwrap_or_default();
        let (mut counts, mut sums) = ([0.0; BLOCK], [0.0; BLOCK]);
        each_stretch(block, BLOCK, |stretch, changes| {
            let (counts, sums) = (&mut counts[..stretch.len()], &mut sums[..stretch.len()]);
            self.count(changes, counts);
            sums.fill(0.0);
            for (change, &lone) in changes.iter().zip(&self.lone) {
                add_share(sums, change, counts, self.epsilon, lone);
            }
            simd::store_sum(&mut out[stretch.clone()], &base[stretch], sums);
        });
        Ok(())
    }
}

kernel! {
    /// Counts where a magnitude is above `epsilon`.
    fn count_beyond(counts: &'a mut [f32], b: &'a [f32], epsilon: f32) {
        for (count, &b) in counts.iter_mut().zip(b) {
            *count += if b.abs() > epsilon { 1.0 } else { 0.0 };
        }
    }
}

kernel! {
    /// How many of the entries above `epsilon` are of one model, and of several.
    fn count_kinds(b: &'a [f32], counts: &'a [f32], epsilon: f32) -> [u32; 2] {
        let (mut lone, mut shared) = (0, 0);
        for (&b, &count) in b.iter().zip(counts) {
            let counts = b.abs() > epsilon;
            lone += u32::from(counts && count < 1.5);
            shared += u32::from(counts && count > 1.5);
        }
        [lone, shared]
    }
}

kernel! {
    /// Adds the share of one model in every entry.
    fn add_share(sums: &'a mut [f64], b: &'a [f32], counts: &'a [f32], epsilon: f32, lone: f64) {
        for ((sum, &b), &count) in sums.iter_mut().zip(b).zip(counts) {
            let value = f64::from(b);
            let share = if count < 1.5 { value * lone } else { value / f64::from(count) };
            *sum += if b.abs() > epsilon { share } else { 0.0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::recipe::testing::{Case, close};
    use serde_json::{Value, json};

    fn ram(
        method: &str,
        tensor: Value,
        base: &[f32],
        models: &[&[f32]],
    ) -> Result<Vec<f32>, String> {
        let models: Vec<_> = models.iter().map(|&v| (json!({}), v)).collect();
        Case {
            method,
            shape: &[base.len()],
            tensor,
            base: Some(base),
            models: &models,
        }
        .merge()
    }

    #[test]
    fn lone_changes_are_taken_and_shared_ones_averaged() {
        let models: [&[f32]; 2] = [&[2.0, 1.0, 1.0, 5e-6], &[0.0, 3.0, -1.0, 0.0]];
        assert_eq!(
            ram("ram", json!({}), &[0.0; 4], &models).unwrap(),
            [2.0, 2.0, 0.0, 0.0]
        );
        assert_eq!(
            ram("ram", json!({"epsilon": 1.0}), &[0.5; 4], &[models[0]]).unwrap(),
            [2.0, 0.5, 0.5, 0.5]
        );
    }

    #[test]
    fn the_plus_strengthens_lone_changes_of_models_that_share() {
        // first: shares 1, alone 4: ratio 1/4, at most alpha; second: shares 1, none alone
        let models: [&[f32]; 2] = [&[1.0; 5], &[1.0, 0.0, 0.0, 0.0, 0.0]];
        let found = ram("ramplus_tl", json!({}), &[0.0; 5], &models).unwrap();
        assert!(
            close(&found, &[1.0, 1.02, 1.02, 1.02, 1.02], 1e-7),
            "{found:?}"
        );
        let found = ram(
            "ramplus_tl",
            json!({"r": 1, "alpha": 1}),
            &[0.0; 5],
            &models,
        )
        .unwrap();
        assert_eq!(found, [1.0, 1.25, 1.25, 1.25, 1.25]);
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        for key in ["alpha", "epsilon"] {
            let text = ram("ramplus_tl", json!({ key: -1 }), &[0.0], &[&[1.0]]).unwrap_err();
            assert_eq!(
                text,
                format!("`{key}` is -1, expected a number of at least 0")
            );
        }
    }
}
