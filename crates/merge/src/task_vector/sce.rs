//! SCE: select the entries in which models differ most, calculate a weight for every model, erase minority signs.
//! Source: Wan et al. 2024, arXiv:2408.07990.

use super::{changes::each_stretch, general::plus_or_minus};
use crate::{
    error::MergeError,
    layout::BLOCK,
    recipe::{BaseUse, Flag, NoSettings, RecipeRule, Target},
    select::{Selection, Taken},
    simd::{self, LANES, Lanes, kernel},
    stream::{Block, Look, StreamRule, Tally},
};
use refit_core::{Area, Card, ConfigError, DataAccess, ModelAccess};
use serde::Deserialize;

/// Settings of [`Sce`] for one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SceTensor {
    /// Share of the entries whose variance over the models is not zero that stay, largest variance first; in `[0, 1]`
    /// (default 1: every entry stays, whatever its variance).
    pub(crate) select_topk: f64,
    /// Sum of mean squares below which all models weigh the same; finite, not negative (default 1e-6, as in recipe
    /// tools; 0 is the paper, and small task vectors need it).
    pub(crate) energy_floor: f64,
    /// Where recipe tools keep masks in fewer bits. Without effect here: no mask is stored.
    pub(crate) int8_mask: Flag,
}

impl Default for SceTensor {
    fn default() -> Self {
        Self {
            select_topk: 1.0,
            energy_floor: 1e-6,
            int8_mask: Flag(false),
        }
    }
}

/// The method; see the [module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sce;

impl RecipeRule for Sce {
    const CARD: Card = Card {
        name: "sce",
        summary: "changes where models differ most, weighted by their size, averaged where they agree in sign",
        area: Area::Reuse,
        model: ModelAccess::ReadWeights,
        data: DataAccess::None,
        source: "arXiv:2408.07990",
    };
    const BASE: BaseUse = BaseUse::Required;
    const TENSOR_KEYS: &'static [&'static str] = &["select_topk", "energy_floor", "int8_mask"];
    const MODEL_KEYS: &'static [&'static str] = &[];
    type Tensor = SceTensor;
    type Model = NoSettings;

    fn rule(
        target: &Target<'_>,
        tensor: SceTensor,
        models: Vec<NoSettings>,
    ) -> Result<Box<dyn StreamRule>, ConfigError> {
        let (share, floor) = (tensor.select_topk, tensor.energy_floor);
        if !(0.0..=1.0).contains(&share) {
            return Err(ConfigError::range(
                "select_topk",
                share,
                "a share in [0, 1]",
            ));
        }
        if !(floor >= 0.0 && floor.is_finite()) {
            return Err(ConfigError::range(
                "energy_floor",
                floor,
                "a number of at least 0",
            ));
        }
        let question = (share < 1.0).then_some((0, Taken::LargestShare(share)));
        Ok(Box::new(Rule {
            len: target.shape.iter().product(),
            selects: question.is_some(),
            variances: Selection::new(1, target.shape.iter().product(), question),
            floor,
            weights: vec![0.0; models.len()],
        }))
    }
}

#[derive(Debug)]
struct Rule {
    len: usize,
    selects: bool,
    variances: Selection,
    floor: f64,
    weights: Vec<f64>,
}

impl Rule {
    /// Calls `then` with the selected changes of each stretch.
    fn each_selected(
        &self,
        block: &Block<'_>,
        mut then: impl FnMut(std::ops::Range<usize>, &[&mut [f32]]),
    ) {
        let mut left = if self.selects {
            self.variances.cut(0).ties_in(block.number)
        } else {
            0
        };
        let mut variances = [0.0; BLOCK];
        each_stretch(block, BLOCK, |stretch, changes| {
            if self.selects {
                let (cut, variances) = (self.variances.cut(0), &mut variances[..stretch.len()]);
                variance(changes, variances);
                let tied = cut.split(&mut left, variances);
                for change in &mut *changes {
                    keep_where(&mut change[..tied], &variances[..tied], cut.least(true));
                    keep_where(&mut change[tied..], &variances[tied..], cut.least(false));
                }
            }
            then(stretch, changes);
        });
    }
}

impl StreamRule for Rule {
    fn surveys(&self) -> usize {
        self.variances.rounds() + 1
    }

    fn look(&self, round: usize) -> Look {
        self.variances.look(round)
    }

    fn survey(&self, round: usize, block: &Block<'_>, tally: &mut Tally) {
        if round < self.variances.rounds() {
            self.variances.survey(round, block.number, tally, |look| {
                let mut variances = [0.0; BLOCK];
                each_stretch(block, BLOCK, |stretch, changes| {
                    let variances = &mut variances[..stretch.len()];
                    variance(changes, variances);
                    look(0, variances);
                });
            });
            return;
        }
        let mut energies: Vec<Lanes> = vec![[0.0; LANES]; self.weights.len()];
        self.each_selected(block, |_, changes| {
            for (change, energy) in changes.iter().zip(&mut energies) {
                simd::dot(energy, change, change);
            }
        });
        tally.add(
            block.number,
            energies.into_iter().map(simd::total).collect(),
        );
    }

    fn learn(&mut self, round: usize, tally: Tally) -> Result<(), MergeError> {
        if round < self.variances.rounds() {
            self.variances.learn(round, tally);
            return Ok(());
        }
        let energies = tally.totals(self.weights.len());
        let total: f64 = energies.iter().sum();
        let equal = total == 0.0 || total / (self.len as f64) < self.floor;
        for (weight, energy) in self.weights.iter_mut().zip(&energies) {
            *weight = if equal {
                1.0 / energies.len() as f64
            } else {
                energy / total
            };
        }
        Ok(())
    }

    fn merge(&self, block: &Block<'_>, out: &mut [f32]) -> Result<(), MergeError> {
        let base = block.base.unwrap_or_default();
        let (mut sums, mut divisors, mut signs) = ([0.0; BLOCK], [0.0; BLOCK], [0; BLOCK]);
        self.each_selected(block, |stretch, changes| {
            let n = stretch.len();
            let (sums, divisors, signs) = (&mut sums[..n], &mut divisors[..n], &mut signs[..n]);
            sums.fill(0.0);
            for change in changes {
                simd::add_scaled(sums, 1.0, change);
            }
            plus_or_minus(signs, sums);
            sums.fill(0.0);
            divisors.fill(0.0);
            for (change, &weight) in changes.iter().zip(&self.weights) {
                simd::add_agreeing(sums, divisors, [weight; 2], change, signs);
            }
            divide_at_least(sums, divisors);
            simd::store_sum(&mut out[stretch.clone()], &base[stretch], sums);
        });
        Ok(())
    }
}

/// The variance of every entry over the models, in double precision, rounded once.
fn variance(changes: &[&mut [f32]], out: &mut [f32]) {
    let share = 1.0 / changes.len() as f64;
    let (mut means, mut squares) = ([0.0; BLOCK], [0.0; BLOCK]);
    let (means, squares) = (&mut means[..out.len()], &mut squares[..out.len()]);
    for change in changes {
        simd::add_scaled(means, share, change);
    }
    for change in changes {
        add_deviation(squares, share, change, means);
    }
    simd::narrow(out, squares);
}

kernel! {
    /// `sum_i += share (b_i - mean_i)^2`.
    fn add_deviation(sum: &'a mut [f64], share: f64, b: &'a [f32], means: &'a [f64]) {
        for ((sum, &b), &mean) in sum.iter_mut().zip(b).zip(means) {
            let deviation = f64::from(b) - mean;
            *sum += share * deviation * deviation;
        }
    }
}

kernel! {
    /// Zeroes the values whose key has a smaller magnitude.
    fn keep_where(values: &'a mut [f32], keys: &'a [f32], least: u32) {
        for (value, key) in values.iter_mut().zip(keys) {
            *value = if key.to_bits() & 0x7fff_ffff >= least { *value } else { 0.0 };
        }
    }
}

kernel! {
    /// Divides by the divisor, or by 1e-6 if that is more.
    fn divide_at_least(sums: &'a mut [f64], divisors: &'a [f64]) {
        for (sum, &divisor) in sums.iter_mut().zip(divisors) {
            *sum /= if divisor < 1e-6 { 1e-6 } else { divisor };
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::recipe::testing::{Case, close};
    use serde_json::{Value, json};

    fn sce(tensor: Value, base: &[f32], models: &[&[f32]]) -> Result<Vec<f32>, String> {
        let models: Vec<_> = models.iter().map(|&v| (json!({}), v)).collect();
        Case {
            method: "sce",
            shape: &[base.len()],
            tensor,
            base: Some(base),
            models: &models,
        }
        .merge()
    }

    #[test]
    fn larger_models_weigh_more_and_minorities_are_erased() {
        // energies 10 and 5: weights 2/3 and 1/3; the second entry elects plus, so -1 is erased
        let found = sce(json!({}), &[0.0; 2], &[&[1.0, 3.0], &[2.0, -1.0]]).unwrap();
        assert!(close(&found, &[4.0 / 3.0, 3.0], 1e-6), "{found:?}");
    }

    #[test]
    fn entries_that_differ_most_are_selected() {
        // variances 4, 0, 1, 0.25: of three that are not zero two stay
        let models: [&[f32]; 2] = [&[4.0, 1.0, 2.0, 1.0], &[0.0, 1.0, 0.0, 0.0]];
        let found = sce(json!({"select_topk": 0.7}), &[0.0; 4], &models).unwrap();
        assert_eq!(found, [4.0, 0.0, 2.0, 0.0]);
        assert_eq!(
            sce(json!({"select_topk": 0}), &[0.5; 4], &models).unwrap(),
            [0.5; 4]
        );
    }

    #[test]
    fn models_with_small_changes_weigh_the_same_unless_told_otherwise() {
        let models: [&[f32]; 2] = [&[3e-4], &[1e-4]];
        assert!(close(
            &sce(json!({}), &[0.0], &models).unwrap(),
            &[2e-4],
            1e-9
        ));
        // weights 0.9 and 0.1
        assert!(close(
            &sce(json!({"energy_floor": 0}), &[0.0], &models).unwrap(),
            &[2.8e-4],
            1e-9
        ));
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        for (key, value) in [("select_topk", 1.5), ("energy_floor", -1.0)] {
            let text = sce(json!({ key: value }), &[0.0], &[&[1.0]]).unwrap_err();
            assert!(text.starts_with(&format!("`{key}` is")), "{text}");
        }
    }
}
