//! Arcee Fusion: take the few changes of a model that stand out by size and by what they do to their row.
//! Source: Arcee AI, <https://arcee.ai>, as in mergekit.
//!
//! The importance of a change is its size times the Kullback-Leibler divergence of its row, read as logits, from the
//! row of the base. Changes of at least `median + 1.5 (q3 - q1)` are taken whole, the others not at all.

use crate::{
    error::MergeError,
    layout::BLOCK,
    recipe::{BaseUse, NoSettings, RecipeRule, Target},
    select::{Selection, Taken},
    simd::{LANES, Lanes, kernel, total},
    stream::{Block, Look, Span, StreamRule, Tally},
    transcendental::{exp_not_positive, ln_positive},
};
use refit_core::{Area, Card, ConfigError, DataAccess, ModelAccess};

/// The method; see the [module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct ArceeFusion;

impl RecipeRule for ArceeFusion {
    const CARD: Card = Card {
        name: "arcee_fusion",
        summary: "the few changes of one model that stand out, added to the base",
        area: Area::Reuse,
        model: ModelAccess::ReadWeights,
        data: DataAccess::None,
        source: "https://arcee.ai",
    };
    const BASE: BaseUse = BaseUse::Required;
    const MODELS: (usize, usize) = (1, 1);
    const TENSOR_KEYS: &'static [&'static str] = &[];
    const MODEL_KEYS: &'static [&'static str] = &[];
    type Tensor = NoSettings;
    type Model = NoSettings;

    fn rule(
        target: &Target<'_>,
        _: NoSettings,
        _: Vec<NoSettings>,
    ) -> Result<Box<dyn StreamRule>, ConfigError> {
        let len: usize = target.shape.iter().product();
        let row = match target.shape {
            [] | [_] => len,
            [.., row] => *row,
        };
        let quartile = |quarters: usize| (0, Taken::Rank(quarters * len.saturating_sub(1) / 4));
        Ok(Box::new(Rule {
            row: row.max(1),
            divergences: vec![],
            quartiles: Selection::new(1, len, [quartile(1), quartile(2), quartile(3)]),
            threshold: 0.0,
        }))
    }
}

#[derive(Debug)]
struct Rule {
    row: usize,
    /// Of each row of the tensor.
    divergences: Vec<f64>,
    quartiles: Selection,
    threshold: f32,
}

impl Rule {
    /// Calls `then` with each stretch of the block and its importances.
    fn each_stretch(&self, block: &Block<'_>, mut then: impl FnMut(usize, &[f32], &[f32], &[f32])) {
        let (Some(base), [model]) = (block.base, block.models) else {
            return;
        };
        let mut importances = [0.0; BLOCK];
        let mut at = 0;
        while at < base.len() {
            let (row, column) = ((block.start + at) / self.row, (block.start + at) % self.row);
            let stretch = at..(at + BLOCK.min(self.row - column)).min(base.len());
            let (base, model) = (&base[stretch.clone()], &model[stretch.clone()]);
            let importances = &mut importances[..base.len()];
            rate(importances, base, model, self.divergences[row]);
            then(at, base, model, importances);
            at = stretch.end;
        }
    }
}

impl StreamRule for Rule {
    fn span(&self) -> Span {
        Span::Rows
    }

    fn surveys(&self) -> usize {
        1 + self.quartiles.rounds()
    }

    fn look(&self, round: usize) -> Look {
        match round.checked_sub(1) {
            Some(round) => self.quartiles.look(round),
            None => Look::Everything,
        }
    }

    fn survey(&self, round: usize, block: &Block<'_>, tally: &mut Tally) {
        if round > 0 {
            self.quartiles
                .survey(round - 1, block.number, tally, |look| {
                    self.each_stretch(block, |_, _, _, importances| look(0, importances));
                });
        } else if let (Some(base), [model]) = (block.base, block.models) {
            let rows = base.chunks(self.row).zip(model.chunks(self.row));
            let mut desk = Default::default();
            let divergences = rows.map(|(base, model)| divergence(model, base, &mut desk));
            tally.add(block.number, divergences.collect());
        }
    }

    fn learn(&mut self, round: usize, tally: Tally) -> Result<(), MergeError> {
        if round == 0 {
            self.divergences = tally.by_block().concat();
            return Ok(());
        }
        self.quartiles.learn(round - 1, tally);
        if round == self.quartiles.rounds() {
            let [first, median, third] = [0, 1, 2].map(|at| self.quartiles.cut(at).value());
            self.threshold = median + 1.5 * (third - first);
        }
        Ok(())
    }

    fn merge(&self, block: &Block<'_>, out: &mut [f32]) -> Result<(), MergeError> {
        self.each_stretch(block, |at, base, model, importances| {
            take(
                &mut out[at..at + base.len()],
                base,
                model,
                importances,
                self.threshold,
            );
        });
        Ok(())
    }
}

/// The divergence of `softmax(row)` from `softmax(base)`, both raised by 1e-8; never negative. `desk` is working memory.
fn divergence(row: &[f32], base: &[f32], desk: &mut [Vec<f64>; 2]) -> f64 {
    let [p, q] = desk;
    let (p_sum, q_sum) = (exponentials(row, p), exponentials(base, q));
    probabilities(p, q, 1.0 / p_sum, 1.0 / q_sum);
    ln_positive(q);
    let mut sums = [0.0; LANES];
    dot_doubles(&mut sums, p, q);
    match total(sums) {
        sum if sum < 0.0 => 0.0, // rounding
        sum => sum,
    }
}

/// `exp(v - max v)`, and the sum of these.
fn exponentials(row: &[f32], out: &mut Vec<f64>) -> f64 {
    let highest = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    out.clear();
    out.extend(row.iter().map(|&v| f64::from(v) - highest));
    exp_not_positive(out);
    let mut sums = [0.0; LANES];
    sum_doubles(&mut sums, out);
    total(sums)
}

/// Keeps logarithms of probabilities finite.
const FLOOR: f64 = 1e-8;

kernel! {
    /// `p = p p_scale + floor`, `q = p / (q q_scale + floor)`.
    fn probabilities(p: &'a mut [f64], q: &'a mut [f64], p_scale: f64, q_scale: f64) {
        for (p, q) in p.iter_mut().zip(q) {
            *p = *p * p_scale + FLOOR;
            *q = *p / (*q * q_scale + FLOOR);
        }
    }
}

kernel! {
    /// `lanes[i mod LANES] += a_i`.
    fn sum_doubles(lanes: &'a mut Lanes, a: &'a [f64]) {
        let (a, rest) = a.as_chunks::<LANES>();
        let mut sums = *lanes;
        for a in a {
            for i in 0..LANES {
                sums[i] += a[i];
            }
        }
        for (sum, a) in sums.iter_mut().zip(rest) {
            *sum += a;
        }
        *lanes = sums;
    }
}

kernel! {
    /// `lanes[i mod LANES] += a_i b_i`.
    fn dot_doubles(lanes: &'a mut Lanes, a: &'a [f64], b: &'a [f64]) {
        let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
        let mut sums = *lanes;
        for (a, b) in a.iter().zip(b) {
            for i in 0..LANES {
                sums[i] += a[i] * b[i];
            }
        }
        for ((sum, a), b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
            *sum += a * b;
        }
        *lanes = sums;
    }
}

kernel! {
    /// `importances = |model - base| divergence`.
    fn rate(importances: &'a mut [f32], base: &'a [f32], model: &'a [f32], divergence: f64) {
        for ((importance, &base), &model) in importances.iter_mut().zip(base).zip(model) {
            *importance = (f64::from((model - base).abs()) * divergence) as f32;
        }
    }
}

kernel! {
    /// The model's value where its importance reaches the threshold, the base's elsewhere.
    fn take(out: &'a mut [f32], base: &'a [f32], model: &'a [f32], importances: &'a [f32], threshold: f32) {
        for (((out, &base), &model), &importance) in out.iter_mut().zip(base).zip(model).zip(importances) {
            *out = if importance >= threshold { base + (model - base) } else { base };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::testing::Case;
    use serde_json::json;

    fn fusion(shape: &[usize], base: &[f32], model: &[f32]) -> Vec<f32> {
        Case {
            method: "arcee_fusion",
            shape,
            tensor: json!({}),
            base: Some(base),
            models: &[(json!({}), model)],
        }
        .merge()
        .unwrap()
    }

    #[test]
    fn the_divergence_of_two_coins_is_that_of_the_book() {
        // logits ln 3 and 0: probabilities 3/4, 1/4 against 1/2, 1/2
        let expected = 0.75 * 1.5f64.ln() + 0.25 * 0.5f64.ln();
        let found = divergence(&[3f32.ln(), 0.0], &[0.0, 0.0], &mut Default::default());
        assert!((found - expected).abs() < 1e-7, "{found}");
        let same = divergence(&[1.0, 2.0], &[1.0, 2.0], &mut Default::default());
        assert!(same.abs() < 1e-15, "{same}");
    }

    #[test]
    fn only_the_change_that_stands_out_is_taken() {
        let base = [0.0; 8];
        let model = [0.1, 0.11, 0.12, 0.13, 0.14, 0.15, 0.16, 5.0]; // one row
        assert_eq!(
            fusion(&[8], &base, &model),
            [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 5.0]
        );
    }

    #[test]
    fn a_model_that_is_the_base_stays_it() {
        let base = [0.5, -1.0, 2.0, 0.0];
        assert_eq!(fusion(&[2, 2], &base, &base), base);
    }
}
