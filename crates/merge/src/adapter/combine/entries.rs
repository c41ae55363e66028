//! Factors merged entry by entry, as PEFT does: `A = M(sign(w s) sqrt|w s|, A_1 .. A_K)`, `B = M(sqrt|w s|, B_1 .. B_K)`.
//! Sources: Yadav et al. 2023, arXiv:2306.01708 (TIES); Yu et al. 2024, arXiv:2311.03099 (DARE).

use super::{config::Majority, parts::Outward};
use crate::{
    layout::BLOCK,
    rule::weighted_sum,
    select::threshold,
    simd::{self, kernel},
    task_vector::{
        draws::{Draws, bound},
        signs::fill_undecided,
    },
};
use refit_core::{LowRank, Seed};

/// How entries that stay are found, and how they become one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entrywise {
    pub(super) thinning: Thinning,
    /// Elects signs and averages what agrees; else sums.
    pub(super) elect: Option<Majority>,
}

/// How a factor is thinned out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Thinning {
    All,
    Largest(f64),
    /// Each entry with this probability; what stays is divided by it.
    Random(f64),
}

impl Entrywise {
    /// Merges factors of one rank; masks are drawn from `seeds`, one for each adapter.
    pub(super) fn merge(self, parts: &[Outward<'_>], seeds: &[Seed]) -> LowRank {
        let first = &parts[0].factors;
        let root = |part: &Outward<'_>| part.factor().abs().sqrt();
        let signed = |part: &Outward<'_>| root(part).copysign(part.factor());
        let side = |values: fn(&LowRank) -> &[f32], weight: &dyn Fn(&Outward<'_>) -> f64, name| {
            let weights: Vec<f64> = parts.iter().map(weight).collect();
            let thinned = parts.iter().map(|part| {
                let mut values = values(&part.factors).to_vec();
                self.thinning
                    .thin(&mut values, seeds[part.adapter].fork(name));
                values
            });
            let thinned: Vec<Vec<f32>> = thinned.collect();
            let views: Vec<&[f32]> = thinned.iter().map(Vec::as_slice).collect();
            match self.elect {
                Some(majority) => elected_mean(&views, &weights, majority),
                None => {
                    let mut out = vec![0.0; views[0].len()];
                    weighted_sum(&views, &weights, &mut out);
                    out
                }
            }
        };
        let left = side(LowRank::left, &root, "B");
        let right = side(LowRank::right, &signed, "A");
        let merged = LowRank::new([first.rows(), first.cols()], first.rank(), left, right, 1.0);
        merged.expect("invariant: adapters of one tensor have one shape and rank")
    }
}

impl Thinning {
    fn thin(self, values: &mut [f32], seed: Seed) {
        match self {
            Self::Largest(density) => keep_largest(values, density),
            Self::Random(density) if density < 1.0 => {
                Draws::new(seed).keep_below(bound(density), 0, values);
                simd::scale(values, 1.0 / density);
            }
            Self::All | Self::Random(_) => {}
        }
    }
}

/// Zeroes all but the `floor(density n)` largest magnitudes; of equal ones the first stay.
pub(super) fn keep_largest(values: &mut [f32], density: f64) {
    let count = (density * values.len() as f64) as usize;
    if count >= values.len() {
        return;
    }
    let least = threshold(values, count);
    let above = values.iter().filter(|v| v.abs() > least).count();
    let mut ties = count - above;
    for value in values {
        let is_tie = value.abs().to_bits() == least.to_bits();
        let stays = value.abs() > least || (is_tie && ties > 0);
        ties -= usize::from(is_tie && stays);
        *value = if stays { *value } else { 0.0 };
    }
}

/// `sum { w_k t_k : sign t_k = s } / max(1, |{ k : sign t_k = s }|)`, where `s` is the elected sign of each entry. Signs
/// are elected without weights, as in PEFT.
pub(super) fn elected_mean(tasks: &[&[f32]], weights: &[f64], majority: Majority) -> Vec<f32> {
    let mut out = vec![0.0; tasks[0].len()];
    let (mut sums, mut counts, mut signs) = ([0.0; BLOCK], [0.0; BLOCK], [0; BLOCK]);
    for (block, out) in out.chunks_mut(BLOCK).enumerate() {
        let sums = &mut sums[..out.len()];
        let (counts, signs) = (&mut counts[..out.len()], &mut signs[..out.len()]);
        let range = block * BLOCK..block * BLOCK + out.len();
        sums.fill(0.0);
        counts.fill(0.0);
        for task in tasks {
            let values = &task[range.clone()];
            match majority {
                Majority::Total => simd::add_scaled(sums, 1.0, values),
                Majority::Frequency => add_signs(sums, values),
            }
        }
        simd::signs_of(signs, sums);
        fill_undecided(signs, 1);
        sums.fill(0.0);
        for (task, &weight) in tasks.iter().zip(weights) {
            add_elected(sums, counts, weight, &task[range.clone()], signs);
        }
        for (sum, &count) in sums.iter_mut().zip(&*counts) {
            *sum /= f64::max(count, 1.0);
        }
        simd::narrow(out, sums);
    }
    out
}

kernel! {
    /// `sum_i += sign b_i`.
    fn add_signs(sum: &'a mut [f64], b: &'a [f32]) {
        for (sum, &b) in sum.iter_mut().zip(b) {
            *sum += f64::from(i8::from(b > 0.0) - i8::from(b < 0.0));
        }
    }
}

kernel! {
    /// Adds `factor b_i` to `sum_i` and 1 to `count_i` where `b_i` points where its sign points.
    fn add_elected(
        sum: &'a mut [f64],
        count: &'a mut [f64],
        factor: f64,
        b: &'a [f32],
        signs: &'a [i8],
    ) {
        for (((sum, count), &b), &sign) in sum.iter_mut().zip(count).zip(b).zip(signs) {
            let agrees = b * f32::from(sign) > 0.0;
            *sum += if agrees { factor * f64::from(b) } else { 0.0 };
            *count += if agrees { 1.0 } else { 0.0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_stay_as_the_share_says_and_of_equal_ones_the_first() {
        let kept = |density| {
            let mut values = [1.0, -2.0, 1.0, -1.0, 0.5];
            keep_largest(&mut values, density);
            values.to_vec()
        };
        assert_eq!(kept(0.0), [0.0; 5]);
        assert_eq!(kept(0.39), [0.0, -2.0, 0.0, 0.0, 0.0]);
        assert_eq!(kept(0.6), [1.0, -2.0, 1.0, 0.0, 0.0]);
        assert_eq!(kept(1.0), [1.0, -2.0, 1.0, -1.0, 0.5]);
    }

    #[test]
    fn what_agrees_with_the_elected_sign_is_averaged() {
        // total: +, + (a draw), -; frequency: -, + (a draw), -
        let tasks: [&[f32]; 3] = [&[5.0, 1.0, -1.0], &[-1.0, -1.0, -3.0], &[-2.0, 0.0, 2.0]];
        let weights = [1.0, -2.0, 3.0];
        let merged = |majority| elected_mean(&tasks, &weights, majority);
        assert_eq!(merged(Majority::Total), [5.0, 1.0, 2.5]);
        assert_eq!(merged(Majority::Frequency), [-2.0, 1.0, 2.5]);
    }

    #[test]
    fn what_is_dropped_at_random_is_made_up_for() {
        let mut values = vec![1.0; 40_000];
        Thinning::Random(0.25).thin(&mut values, Seed::new(3));
        let kept = values
            .iter()
            .filter(|v| v.to_bits() == 4f32.to_bits())
            .count();
        assert!(
            values
                .iter()
                .all(|v| *v == 0.0 || v.to_bits() == 4f32.to_bits())
        );
        assert!((9_700..10_300).contains(&kept), "{kept}"); // 3.5 standard deviations
    }
}
