//! Generalised task arithmetic: thin out every task vector, weight it, keep what agrees with an elected sign, sum up.
//! Sources: Ilharco et al. 2023, arXiv:2212.04089 (task arithmetic); Yadav et al. 2023, arXiv:2306.01708 (TIES);
//! Yu et al. 2024, arXiv:2311.03099 (DARE); Davari and Belilovsky 2023, arXiv:2312.06795 (Breadcrumbs);
//! Deep et al. 2024, arXiv:2406.11617 (DELLA).
//!
//! Eight methods of recipes are one family: how a task vector is thinned out, and whether signs are elected. Everything
//! is taken over one tensor at a time, as recipe tools do; the rules of [`MergeConfig`](crate::MergeConfig) take it
//! over the whole model, as the papers do.

use super::{
    changes::each_stretch,
    draws::Draws,
    sparsify::{Thinner, Thinning},
};
use crate::{
    error::MergeError,
    layout::BLOCK,
    recipe::{BaseUse, Flag, RecipeRule, Target},
    rule::finite,
    select::{Selection, Taken, kept},
    simd::{self, LANES, kernel},
    stream::{Block, Look, Span, StreamRule, Tally},
};
use refit_core::{Area, Card, ConfigError, DataAccess, ModelAccess};
use serde::Deserialize;

/// Settings of a [`Member`] for one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct GeneralTensor {
    /// Whether the sum is divided by the sum of weights; of those that agree, where signs are elected (default: that of
    /// the method in recipe tools).
    pub(crate) normalize: Option<Flag>,
    /// Factor on the merged task vector; finite (default 1).
    pub(crate) lambda: f64,
    /// Whether what stays of a task vector is scaled up for what went (default: that of the method in recipe tools).
    /// Without effect where nothing goes.
    pub(crate) rescale: Option<Flag>,
    /// By how much it is scaled up (default: to the L1 norm it had, as in recipe tools; the papers of DARE and DELLA
    /// divide by the probability of staying).
    pub(crate) rescale_by: Option<RescaleBy>,
    /// What elects a sign (default: the sum, as in the paper of TIES).
    pub(crate) consensus: Option<Consensus>,
    /// Where recipe tools keep masks in fewer bits. Without effect here: no mask is stored.
    pub(crate) int8_mask: Flag,
}

impl Default for GeneralTensor {
    fn default() -> Self {
        Self {
            normalize: None,
            lambda: 1.0,
            rescale: None,
            rescale_by: None,
            consensus: None,
            int8_mask: Flag(false),
        }
    }
}

/// By how much the rest of a thinned-out task vector is scaled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RescaleBy {
    /// The sum of magnitudes is as before.
    #[default]
    L1,
    /// The length is as before.
    L2,
    /// The largest magnitude is as before.
    Linf,
    /// Every entry is divided by the probability with which it stayed, so that its expectation is as before.
    Probability,
}

/// What elects the sign of an entry; nothing decided elects plus.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Consensus {
    /// The sum of weighted changes.
    #[default]
    Sum,
    /// The number of weighted changes of either sign.
    Count,
}

/// Settings of a [`Member`] for one model.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GeneralModel {
    /// Its factor; finite; a negative one makes the result forget.
    pub(crate) weight: f64,
    /// Share of entries that stay; in `[0, 1]` (default 1: all). Without effect in `task_arithmetic`.
    #[serde(default = "all")]
    pub(crate) density: f64,
    /// Breadcrumbs: share of entries that go because they are the largest; in `[0, 1]` (default 0.01).
    pub(crate) gamma: Option<f64>,
    /// DELLA: how far the probability of staying lies from `density` at most; `density` ± this inside `(0, 1)`
    /// (default 0.15).
    pub(crate) epsilon: Option<f64>,
}

fn all() -> f64 {
    1.0
}

/// How task vectors are thinned out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sparsify {
    Never,
    Magnitude,
    Random,
    Outliers,
    Ranks,
}

/// What is different between members of the family.
struct Row {
    name: &'static str,
    summary: &'static str,
    source: &'static str,
    sparsify: Sparsify,
    elects: bool,
    normalize: bool,
    rescale: bool,
}

const fn row(name: &'static str, source: &'static str, sparsify: Sparsify, elects: bool) -> Row {
    Row {
        name,
        summary: "",
        source,
        sparsify,
        elects,
        normalize: false,
        rescale: matches!(sparsify, Sparsify::Random | Sparsify::Ranks),
    }
}

const TABLE: [Row; 8] = [
    Row {
        summary: "weighted sum of task vectors, added to the base",
        ..row(
            "task_arithmetic",
            "arXiv:2212.04089",
            Sparsify::Never,
            false,
        )
    },
    Row {
        summary: "the largest changes of every model, averaged where they agree in sign",
        normalize: true,
        ..row("ties", "arXiv:2306.01708", Sparsify::Magnitude, true)
    },
    Row {
        summary: "changes kept at random and scaled up, summed",
        ..row("dare_linear", "arXiv:2311.03099", Sparsify::Random, false)
    },
    Row {
        summary: "changes kept at random and scaled up, summed where they agree in sign",
        ..row("dare_ties", "arXiv:2311.03099", Sparsify::Random, true)
    },
    Row {
        summary: "changes kept at random, larger ones likelier, averaged where they agree in sign",
        normalize: true,
        ..row("della", "arXiv:2406.11617", Sparsify::Ranks, true)
    },
    Row {
        summary: "changes kept at random, larger ones likelier, summed",
        ..row("della_linear", "arXiv:2406.11617", Sparsify::Ranks, false)
    },
    Row {
        summary: "changes without the largest and the smallest, summed",
        ..row("breadcrumbs", "arXiv:2312.06795", Sparsify::Outliers, false)
    },
    Row {
        summary: "changes without the largest and the smallest, summed where they agree in sign",
        ..row(
            "breadcrumbs_ties",
            "arXiv:2312.06795",
            Sparsify::Outliers,
            true,
        )
    },
];

/// Member `M` of the family.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member<const M: usize>;

pub(crate) type TaskArithmetic = Member<0>;
pub(crate) type Ties = Member<1>;
pub(crate) type DareLinear = Member<2>;
pub(crate) type DareTies = Member<3>;
pub(crate) type Della = Member<4>;
pub(crate) type DellaLinear = Member<5>;
pub(crate) type Breadcrumbs = Member<6>;
pub(crate) type BreadcrumbsTies = Member<7>;

impl<const M: usize> RecipeRule for Member<M> {
    const CARD: Card = Card {
        name: TABLE[M].name,
        summary: TABLE[M].summary,
        area: Area::Reuse,
        model: ModelAccess::ReadWeights,
        data: DataAccess::None,
        source: TABLE[M].source,
    };
    const BASE: BaseUse = BaseUse::Required;
    const TENSOR_KEYS: &'static [&'static str] = match (TABLE[M].sparsify, TABLE[M].elects) {
        (Sparsify::Never, _) => &["normalize", "lambda", "rescale", "int8_mask"],
        (_, false) => &["normalize", "lambda", "rescale", "int8_mask", "rescale_by"],
        (_, true) => &[
            "normalize",
            "lambda",
            "rescale",
            "int8_mask",
            "rescale_by",
            "consensus",
        ],
    };
    const MODEL_KEYS: &'static [&'static str] = match TABLE[M].sparsify {
        Sparsify::Outliers => &["weight", "density", "gamma"],
        Sparsify::Ranks => &["weight", "density", "epsilon"],
        _ => &["weight", "density"],
    };
    type Tensor = GeneralTensor;
    type Model = GeneralModel;

    fn rule(
        target: &Target<'_>,
        tensor: GeneralTensor,
        models: Vec<GeneralModel>,
    ) -> Result<Box<dyn StreamRule>, ConfigError> {
        let row = &TABLE[M];
        let known = |key: &str, given: bool, keys: &[&'static str]| {
            if given && !keys.contains(&key) {
                return Err(ConfigError::unknown("setting", key, keys.iter().copied()));
            }
            Ok(())
        };
        known("rescale_by", tensor.rescale_by.is_some(), Self::TENSOR_KEYS)?;
        known("consensus", tensor.consensus.is_some(), Self::TENSOR_KEYS)?;
        for model in &models {
            known("gamma", model.gamma.is_some(), Self::MODEL_KEYS)?;
            known("epsilon", model.epsilon.is_some(), Self::MODEL_KEYS)?;
        }
        finite("lambda", tensor.lambda)?;
        let rescales = tensor.rescale.map_or(row.rescale, |flag| flag.0);
        let rescale = rescales.then(|| tensor.rescale_by.unwrap_or_default());
        let by_chance = matches!(row.sparsify, Sparsify::Random | Sparsify::Ranks);
        if rescale == Some(RescaleBy::Probability) && !by_chance {
            let problem = "is `probability`, expected a norm, since nothing is left to chance here";
            return Err(ConfigError::conflict("rescale_by", problem));
        }
        let (thinnings, questions) = thinnings(target, row.sparsify, &models)?;
        let row_len = match target.shape {
            [] | [_] => target.shape.iter().product(),
            [.., last] => *last,
        };
        Ok(Box::new(Rule {
            weights: models.iter().map(|model| model.weight).collect(),
            scales: vec![1.0; models.len()],
            selection: Selection::new(models.len(), target.shape.iter().product(), questions),
            row: (row.sparsify == Sparsify::Ranks).then_some(row_len),
            rescale: rescale.filter(|_| thinnings.iter().any(|how| how.is_active())),
            thinnings,
            consensus: row.elects.then(|| tensor.consensus.unwrap_or_default()),
            normalize: tensor.normalize.map_or(row.normalize, |flag| flag.0),
            lambda: tensor.lambda,
        }))
    }
}

/// Refuses a share outside `[0, 1]`.
fn share(key: &'static str, value: f64) -> Result<f64, ConfigError> {
    if (0.0..=1.0).contains(&value) {
        return Ok(value);
    }
    Err(ConfigError::range(key, value, "a share in [0, 1]"))
}

type Questions = Vec<(usize, Taken)>;

/// How each task vector is thinned out, and what must be known of it before.
fn thinnings(
    target: &Target<'_>,
    sparsify: Sparsify,
    models: &[GeneralModel],
) -> Result<(Vec<Thinning>, Questions), ConfigError> {
    let len: usize = target.shape.iter().product();
    let mut questions = vec![];
    let mut ask = |model: usize, taken: Taken| {
        questions.push((model, taken));
        questions.len() - 1
    };
    let thinning = |(k, model): (usize, &GeneralModel)| {
        finite("weight", model.weight)?;
        let density = share("density", model.density)?;
        let gamma = share("gamma", model.gamma.unwrap_or(0.01))?;
        let epsilon = share("epsilon", model.epsilon.unwrap_or(0.15))?;
        let name = target.models.get(k).copied().unwrap_or_default();
        let draws = || Draws::new(target.seed.fork("mask").fork(target.path).fork(name));
        if sparsify == Sparsify::Never || density >= 1.0 {
            return Ok(Thinning::All);
        }
        if density <= 0.0 {
            return Ok(Thinning::Nothing);
        }
        Ok(match sparsify {
            Sparsify::Magnitude => Thinning::Largest(ask(k, Taken::Largest(kept(density, len)))),
            Sparsify::Outliers => {
                let stay = (density * len as f64) as usize;
                let top = (gamma * len as f64) as usize;
                let bottom = len.saturating_sub(stay + top); // fewer outliers go before fewer entries stay
                let below = ask(k, Taken::Smallest(bottom));
                let up_to = ask(k, Taken::Smallest(bottom + stay));
                Thinning::Middle { below, up_to }
            }
            Sparsify::Ranks => {
                let (from, to) = (density - epsilon, density + epsilon);
                if !(from > 0.0 && to < 1.0) {
                    let problem = format!(
                        "is {epsilon} around a density of {density}, expected both ends in (0, 1)"
                    );
                    return Err(ConfigError::conflict("epsilon", problem));
                }
                let draws = draws();
                Thinning::Ranked { draws, from, to }
            }
            Sparsify::Random | Sparsify::Never => Thinning::Drawn {
                draws: draws(),
                probability: density,
            },
        })
    };
    let thinnings: Result<_, ConfigError> = models.iter().enumerate().map(thinning).collect();
    Ok((thinnings?, questions))
}

#[derive(Debug)]
struct Rule {
    weights: Vec<f64>,
    /// What was learned: the factor that makes up for what went, for each model.
    scales: Vec<f64>,
    thinnings: Vec<Thinning>,
    selection: Selection,
    /// Length of a row, where ranks are taken in rows.
    row: Option<usize>,
    rescale: Option<RescaleBy>,
    consensus: Option<Consensus>,
    normalize: bool,
    lambda: f64,
}

impl Rule {
    /// Values that are worked on at a time: whole rows, where they matter.
    fn step(&self) -> usize {
        let row = self.row.unwrap_or(1).max(1);
        row * (BLOCK / row).max(1)
    }

    fn thinners(&self, number: usize) -> Vec<Thinner> {
        let thinner = |&how| Thinner::new(how, &self.selection, number);
        self.thinnings.iter().map(thinner).collect()
    }

    fn thin(&self, thinner: &mut Thinner, values: &mut [f32], position: usize) {
        let inverse = self.rescale == Some(RescaleBy::Probability);
        thinner.thin(values, position, self.row.unwrap_or(1), inverse);
    }

    /// The norm that is restored, where one is.
    fn norm(&self) -> Option<RescaleBy> {
        self.rescale.filter(|&by| by != RescaleBy::Probability)
    }

    /// Part of the norm of every task vector, before and after thinning out.
    fn norms(&self, by: RescaleBy, block: &Block<'_>) -> Vec<f64> {
        let mut thinners = self.thinners(block.number);
        let mut sums = vec![[[0.0; LANES]; 2]; self.weights.len()];
        each_stretch(block, self.step(), |stretch, changes| {
            for ((change, thinner), [before, after]) in
                changes.iter_mut().zip(&mut thinners).zip(&mut sums)
            {
                add_norm(by, before, change);
                self.thin(thinner, change, block.start + stretch.start);
                add_norm(by, after, change);
            }
        });
        let part = |lanes: [f64; LANES]| match by {
            RescaleBy::Linf => lanes.into_iter().fold(0.0, f64::max),
            _ => simd::total(lanes),
        };
        sums.into_iter().flatten().map(part).collect()
    }

    fn learn_norms(&mut self, by: RescaleBy, tally: &Tally) {
        const LEAST: f64 = 1e-7;
        let mut norms = tally.totals(2 * self.weights.len());
        match by {
            RescaleBy::L2 => norms.iter_mut().for_each(|norm| *norm = norm.sqrt()),
            RescaleBy::Linf => {
                norms.fill(0.0);
                for block in tally.by_block() {
                    norms
                        .iter_mut()
                        .zip(block)
                        .for_each(|(norm, part)| *norm = norm.max(*part));
                }
            }
            RescaleBy::L1 | RescaleBy::Probability => {}
        }
        for (scale, norms) in self.scales.iter_mut().zip(norms.chunks(2)) {
            if norms.iter().all(|norm| *norm >= LEAST) {
                *scale = norms[0] / norms[1];
            }
        }
    }

    /// The weighted sum of all task vectors, where no sign is elected.
    fn sum(&self, block: &Block<'_>, out: &mut [f32]) {
        let total: f64 = self.weights.iter().sum();
        let divides = self.normalize && total.abs() >= 1e-8;
        let factor = self.lambda / if divides { total } else { 1.0 };
        let factors: Vec<f64> = self
            .weights
            .iter()
            .zip(&self.scales)
            .map(|(w, s)| w * s * factor)
            .collect();
        let base = block.base.unwrap_or_default();
        let mut thinners = self.thinners(block.number);
        let mut sums = vec![0.0; self.step().min(out.len())];
        each_stretch(block, self.step(), |stretch, changes| {
            let sums = &mut sums[..stretch.len()];
            sums.fill(0.0);
            for ((change, thinner), &factor) in changes.iter_mut().zip(&mut thinners).zip(&factors)
            {
                self.thin(thinner, change, block.start + stretch.start);
                simd::add_scaled(sums, factor, change);
            }
            simd::store_sum(&mut out[stretch.clone()], &base[stretch], sums);
        });
    }

    /// The weighted sum of what agrees with the elected sign.
    fn elected(&self, consensus: Consensus, block: &Block<'_>, out: &mut [f32]) {
        let base = block.base.unwrap_or_default();
        let mut thinners = self.thinners(block.number);
        let len = self.step().min(out.len());
        let (mut sums, mut divisors, mut signs) = (vec![0.0; len], vec![0.0; len], vec![0; len]);
        each_stretch(block, self.step(), |stretch, changes| {
            let n = stretch.len();
            let (sums, divisors, signs) = (&mut sums[..n], &mut divisors[..n], &mut signs[..n]);
            sums.fill(0.0);
            let factors = self
                .weights
                .iter()
                .zip(&self.scales)
                .map(|(weight, scale)| weight * scale);
            for ((change, thinner), factor) in
                changes.iter_mut().zip(&mut thinners).zip(factors.clone())
            {
                self.thin(thinner, change, block.start + stretch.start);
                match consensus {
                    Consensus::Sum => simd::add_scaled(sums, factor, change),
                    Consensus::Count => add_signs(sums, factor, change),
                }
            }
            plus_or_minus(signs, sums);
            sums.fill(0.0);
            divisors.fill(0.0);
            for ((change, factor), &weight) in changes.iter().zip(factors).zip(&self.weights) {
                simd::add_agreeing(sums, divisors, [factor, weight], change, signs);
            }
            if self.normalize {
                divide(sums, divisors);
            }
            simd::store_scaled_sum(&mut out[stretch.clone()], &base[stretch], sums, self.lambda);
        });
    }
}

impl StreamRule for Rule {
    fn span(&self) -> Span {
        match self.row {
            Some(_) => Span::Rows,
            None => Span::Any,
        }
    }

    fn surveys(&self) -> usize {
        self.selection.rounds() + usize::from(self.norm().is_some())
    }

    fn look(&self, round: usize) -> Look {
        self.selection.look(round)
    }

    fn survey(&self, round: usize, block: &Block<'_>, tally: &mut Tally) {
        if round < self.selection.rounds() {
            self.selection.survey(round, block.number, tally, |look| {
                each_stretch(block, self.step(), |_, changes| {
                    changes
                        .iter()
                        .enumerate()
                        .for_each(|(k, change)| look(k, change));
                });
            });
        } else if let Some(by) = self.norm() {
            tally.add(block.number, self.norms(by, block));
        }
    }

    fn learn(&mut self, round: usize, tally: Tally) -> Result<(), MergeError> {
        if round < self.selection.rounds() {
            self.selection.learn(round, tally);
        } else if let Some(by) = self.norm() {
            self.learn_norms(by, &tally);
        }
        Ok(())
    }

    fn merge(&self, block: &Block<'_>, out: &mut [f32]) -> Result<(), MergeError> {
        match self.consensus {
            Some(consensus) => self.elected(consensus, block, out),
            None => self.sum(block, out),
        }
        Ok(())
    }
}

/// Adds what the values contribute to a norm.
fn add_norm(by: RescaleBy, lanes: &mut [f64; LANES], values: &[f32]) {
    match by {
        RescaleBy::L1 | RescaleBy::Probability => add_magnitudes(lanes, values),
        RescaleBy::L2 => simd::dot(lanes, values, values),
        RescaleBy::Linf => {
            lanes[0] = lanes[0].max(f64::from(values.iter().fold(0.0, |m, v| v.abs().max(m))));
        }
    }
}

kernel! {
    /// `lanes[i mod LANES] += |a_i|`.
    fn add_magnitudes(lanes: &'a mut [f64; LANES], a: &'a [f32]) {
        let (chunks, rest) = a.as_chunks::<LANES>();
        let mut sums = *lanes;
        for a in chunks {
            for i in 0..LANES {
                sums[i] += f64::from(a[i].abs());
            }
        }
        for (sum, a) in sums.iter_mut().zip(rest) {
            *sum += f64::from(a.abs());
        }
        *lanes = sums;
    }
}

kernel! {
    /// Adds the signs of `factor b_i`.
    fn add_signs(sums: &'a mut [f64], factor: f64, b: &'a [f32]) {
        for (sum, &b) in sums.iter_mut().zip(b) {
            let value = factor * f64::from(b);
            *sum += if value > 0.0 { 1.0 } else { 0.0 };
            *sum -= if value < 0.0 { 1.0 } else { 0.0 };
        }
    }
}

kernel! {
    /// The sign of every sum; plus for zero.
    fn plus_or_minus(signs: &'a mut [i8], sums: &'a [f64]) {
        for (sign, &sum) in signs.iter_mut().zip(sums) {
            *sign = if sum >= 0.0 { 1 } else { -1 };
        }
    }
}

kernel! {
    /// Divides where the divisor is not zero.
    fn divide(sums: &'a mut [f64], divisors: &'a [f64]) {
        for (sum, &divisor) in sums.iter_mut().zip(divisors) {
            *sum /= if divisor == 0.0 { 1.0 } else { divisor };
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        layout::UNIT,
        recipe::testing::{Case, close},
    };
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn merge(method: &str, tensor: Value, models: &[(Value, &[f32])]) -> Result<Vec<f32>, String> {
        let len = models[0].1.len();
        Case {
            method,
            shape: &[len],
            tensor,
            base: Some(&vec![0.0; len]),
            models,
        }
        .merge()
    }

    fn with(weight: f64, density: f64) -> Value {
        json!({ "weight": weight, "density": density })
    }

    #[test]
    fn task_vectors_are_weighted_scaled_and_divided_where_asked_for() {
        let models: [(Value, &[f32]); 2] = [
            (with(2.0, 1.0), &[1.0, -2.0]),
            (with(-1.0, 0.1), &[3.0, 4.0]),
        ];
        let merged = |tensor| merge("task_arithmetic", tensor, &models).unwrap();
        assert_eq!(merged(json!({})), [-1.0, -8.0]);
        assert_eq!(merged(json!({"lambda": 0.5})), [-0.5, -4.0]);
        let even: [(Value, &[f32]); 2] = [(with(3.0, 1.0), &[1.0]), (with(1.0, 1.0), &[5.0])];
        assert_eq!(
            merge("task_arithmetic", json!({"normalize": 1}), &even).unwrap(),
            [2.0]
        );
        // weights without a sum are not divided by
        let none: [(Value, &[f32]); 2] = [(with(1.0, 1.0), &[1.0]), (with(-1.0, 1.0), &[5.0])];
        assert_eq!(
            merge("task_arithmetic", json!({"normalize": true}), &none).unwrap(),
            [-4.0]
        );
    }

    #[test]
    fn ties_are_worked_by_hand() {
        // kept 2 of 3: [2, -1, 0] and [1, 3, 0]; elected (+, +, +): the -1 is dropped
        let models: [(Value, &[f32]); 2] = [
            (with(1.0, 0.67), &[2.0, -1.0, 0.1]),
            (with(1.0, 0.67), &[1.0, 3.0, -0.2]),
        ];
        assert_eq!(merge("ties", json!({}), &models).unwrap(), [1.5, 3.0, 0.0]);
        assert_eq!(
            merge("ties", json!({"normalize": false}), &models).unwrap(),
            [3.0, 3.0, 0.0]
        );
        // an exact draw elects plus
        let draw: [(Value, &[f32]); 2] = [(with(1.0, 1.0), &[1.0]), (with(1.0, 1.0), &[-1.0])];
        assert_eq!(merge("ties", json!({}), &draw).unwrap(), [1.0]);
        // by sum minus wins, by count plus
        let three: [(Value, &[f32]); 3] = [
            (with(1.0, 1.0), &[1.0]),
            (with(1.0, 1.0), &[2.0]),
            (with(1.0, 1.0), &[-6.0]),
        ];
        assert_eq!(merge("ties", json!({}), &three).unwrap(), [-6.0]);
        assert_eq!(
            merge("ties", json!({"consensus": "count"}), &three).unwrap(),
            [1.5]
        );
    }

    #[test]
    fn equal_magnitudes_are_kept_first_to_last() {
        let one: [(Value, &[f32]); 1] = [(with(1.0, 0.5), &[1.0, -1.0, 2.0, 1.0, -1.0, 0.5])];
        assert_eq!(
            merge("ties", json!({}), &one).unwrap(),
            [1.0, -1.0, 2.0, 0.0, 0.0, 0.0]
        );
        // over blocks: all the same, and more than a block holds
        let len = 2 * UNIT + 10;
        let ones = vec![1.0; len];
        let merged = merge("ties", json!({}), &[(with(1.0, 0.75), &ones)]).unwrap();
        let kept = len * 3 / 4;
        let expected: Vec<f32> = (0..len).map(|at| f32::from(u8::from(at < kept))).collect();
        assert!(merged == expected);
    }

    #[test]
    fn breadcrumbs_leave_out_both_ends() {
        let task: &[f32] = &[9.0, -1.0, 5.0, -8.0, 2.0, 3.0, -4.0, 6.0, 7.0, 10.0];
        let settings = json!({"weight": 1, "density": 0.5, "gamma": 0.2});
        let merged = merge("breadcrumbs", json!({}), &[(settings, task)]).unwrap();
        assert_eq!(merged, [0.0, 0.0, 5.0, -8.0, 0.0, 0.0, -4.0, 6.0, 7.0, 0.0]);
        // a gamma of less than an entry leaves out none of the largest
        let settings = json!({"weight": 1, "density": 0.5});
        let merged = merge("breadcrumbs", json!({}), &[(settings, task)]).unwrap();
        assert_eq!(merged, [9.0, 0.0, 0.0, -8.0, 0.0, 0.0, 0.0, 6.0, 7.0, 10.0]);
        // density counts: fewer outliers go
        let settings = json!({"weight": 1, "density": 0.9, "gamma": 0.5});
        let merged = merge("breadcrumbs", json!({}), &[(settings, task)]).unwrap();
        assert_eq!(
            merged,
            [9.0, -1.0, 5.0, -8.0, 2.0, 3.0, -4.0, 6.0, 7.0, 0.0]
        );
    }

    #[test]
    fn rescaling_restores_the_norm_that_was_asked_for() {
        let task: Vec<f32> = (0..5000).map(|i| (i as f32 * 0.7).sin()).collect();
        let norms = |values: &[f32]| {
            let sum = |f: fn(f64) -> f64| values.iter().map(|&v| f(f64::from(v))).sum::<f64>();
            let most = values.iter().fold(0.0, |m, v| v.abs().max(m));
            [sum(f64::abs), sum(|v| v * v).sqrt(), f64::from(most)]
        };
        let whole = norms(&task);
        for method in ["dare_linear", "ties", "della_linear", "breadcrumbs"] {
            for (at, by) in ["l1", "l2", "linf"].into_iter().enumerate() {
                let tensor = json!({"rescale": true, "rescale_by": by});
                let found = norms(&merge(method, tensor, &[(with(1.0, 0.5), &task)]).unwrap())[at];
                assert!(
                    (found / whole[at] - 1.0).abs() < 1e-6,
                    "{method} {by}: {found}"
                );
            }
        }
    }

    #[test]
    fn chance_keeps_the_share_and_models_do_not_keep_the_same() {
        let ones = vec![1.0; 40_000];
        for method in ["dare_linear", "della_linear"] {
            let raw = json!({"rescale": false});
            let one = merge(method, raw.clone(), &[(with(1.0, 0.3), &ones)]).unwrap();
            let kept = one.iter().filter(|v| **v != 0.0).count() as f64 / 4e4;
            assert!((kept - 0.3).abs() < 0.01, "{method} {kept}"); // deviation 0.0023
            let two = merge(
                method,
                raw,
                &[(with(1.0, 0.3), &ones), (with(1.0, 0.3), &ones)],
            )
            .unwrap();
            let both = two.iter().filter(|v| **v > 1.5).count() as f64 / 4e4;
            // equal ranks do correlate: the mean of squared probabilities is 0.09 or 0.0975
            assert!((both - 0.09).abs() < 0.015, "{method} {both}");
            let by = json!({"rescale_by": "probability"});
            let mean = merge(method, by, &[(with(1.0, 0.3), &ones)])
                .unwrap()
                .iter()
                .sum::<f32>()
                / 4e4;
            assert!((mean - 1.0).abs() < 0.04, "{method} {mean}"); // deviation below 0.01
        }
    }

    proptest! {
        #[test]
        fn models_commute_and_scale(seed in 0u32..1000, k in 1usize..4, len in 0usize..50, density in 0.0f64..=1.0) {
            let values = |k: usize| -> Vec<f32> {
                (0..len).map(|i| ((seed as usize + i * 37 + k * 211) as f32 * 0.37).sin()).collect()
            };
            let tasks: Vec<Vec<f32>> = (0..k).map(values).collect();
            let models: Vec<(Value, &[f32])> = tasks
                .iter()
                .enumerate()
                .map(|(k, task)| (with(1.0 + k as f64, density), task.as_slice()))
                .collect();
            let reversed: Vec<_> = models.iter().rev().cloned().collect();
            for method in ["task_arithmetic", "ties", "breadcrumbs_ties"] {
                let one = merge(method, json!({}), &models).unwrap();
                let other = merge(method, json!({}), &reversed).unwrap();
                prop_assert!(close(&one, &other, 1e-6), "{method}");
                let twice = merge(method, json!({"lambda": 2}), &models).unwrap();
                let doubled: Vec<f32> = one.iter().map(|v| 2.0 * v).collect();
                prop_assert!(close(&twice, &doubled, 1e-6), "{method}");
            }
        }
    }
}
