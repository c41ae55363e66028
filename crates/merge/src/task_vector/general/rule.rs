//! One tensor merged by a member of the family: norms and thresholds first, then the sum.

use super::{
    super::{
        changes::each_stretch,
        sparsify::{Thinner, Thinning},
    },
    Consensus, RescaleBy,
};
use crate::{
    error::MergeError,
    layout::BLOCK,
    select::Selection,
    simd::{self, LANES, kernel},
    stream::{Block, Look, Span, StreamRule, Tally},
};

/// A member of the family at one tensor.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) weights: Vec<f64>,
    /// What was learned: the factor that makes up for what went, for each model.
    pub(super) scales: Vec<f64>,
    pub(super) thinnings: Vec<Thinning>,
    pub(super) selection: Selection,
    /// Length of a row, where ranks are taken in rows.
    pub(super) row: Option<usize>,
    pub(super) rescale: Option<RescaleBy>,
    pub(super) consensus: Option<Consensus>,
    pub(super) normalize: bool,
    pub(super) lambda: f64,
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
