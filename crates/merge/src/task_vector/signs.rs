//! Trimming by magnitude and election of signs: the two steps of TIES that other methods share.

use super::{Scratch, SparseVector, TaskVectors, sparse::SparseTensor};
use crate::{
    layout::{BLOCK, Unit},
    select::{HIGH_BINS, bins, from_the_top, kept, of_bins},
    simd,
};
use rayon::prelude::*;

/// `signs_j = sign sum_k weights_k tasks_kj`, summed in double precision, task by task.
pub(crate) fn elect(tasks: &[&[f32]], weights: &[f64], signs: &mut [i8]) {
    let mut sums = [0.0; BLOCK];
    for (block, signs) in signs.chunks_mut(BLOCK).enumerate() {
        let sums = &mut sums[..signs.len()];
        sums.fill(0.0);
        for (task, &weight) in tasks.iter().zip(weights) {
            simd::add_scaled(sums, weight, &task[block * BLOCK..][..signs.len()]);
        }
        simd::signs_of(signs, sums);
    }
}

/// Gives positions without a sign the sign of the total of all signs.
pub(crate) fn fill_undecided(signs: &mut [i8], majority: i8) {
    signs
        .iter_mut()
        .filter(|sign| **sign == 0)
        .for_each(|sign| *sign = majority);
}

/// The sign of the total of all signs.
pub(crate) fn majority(total: i64) -> i8 {
    total.signum() as i8
}

/// Sum of signs.
pub(crate) fn total(signs: &[i8]) -> i64 {
    signs.iter().map(|&sign| i64::from(sign)).sum()
}

/// What trimming over the whole model needs to know before the first tensor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TrimPlan {
    /// Smallest kept magnitude of each task vector, over all its entries.
    pub(crate) thresholds: Vec<f32>,
    /// Sign that positions with an exact draw take: that of the total of all elected signs.
    pub(crate) majority: i8,
}

impl TrimPlan {
    /// Looks through all task vectors: twice for the thresholds, once for the signs. No copy is made.
    pub(crate) fn global(tasks: &TaskVectors<'_>, keep: f64, weights: &[f64]) -> Self {
        let count = kept(keep, tasks.layout().values());
        let units = tasks.layout().units(0..tasks.layout().len());
        let thresholds: Vec<f32> = (0..tasks.len())
            .map(|k| global_threshold(tasks, k, &units, count))
            .collect();
        let plan = Self {
            thresholds,
            majority: 0,
        };
        let signs = |unit: &Unit| {
            let mut sum = 0;
            plan.each_block(tasks, *unit, weights, |_, signs| sum += total(signs));
            sum
        };
        let majority = majority(units.par_iter().map(signs).sum());
        Self { majority, ..plan }
    }

    /// Calls `then` with the trimmed tasks and the elected signs of each block of `unit`.
    fn each_block(
        &self,
        tasks: &TaskVectors<'_>,
        unit: Unit,
        weights: &[f64],
        mut then: impl FnMut(&mut [Vec<f32>], &[i8]),
    ) {
        let mut scratch = Scratch::default();
        let mut values = vec![vec![0.0; BLOCK]; tasks.len()];
        let mut signs = vec![0; BLOCK];
        for block in unit.blocks() {
            let signs = &mut signs[..block.len()];
            for (k, values) in values.iter_mut().enumerate() {
                values.resize(block.len(), 0.0);
                tasks.read_task(k, unit.tensor, block.clone(), values, &mut scratch);
                simd::trim(values, self.thresholds[k]);
            }
            let views: Vec<&[f32]> = values.iter().map(Vec::as_slice).collect();
            elect(&views, weights, signs);
            fill_undecided(signs, self.majority);
            then(&mut values, signs);
        }
    }
}

/// The magnitude of the `count`-th largest entry of task vector `k`, by two counting passes over its bits.
fn global_threshold(tasks: &TaskVectors<'_>, k: usize, units: &[Unit], count: usize) -> f32 {
    if count == 0 {
        return f32::INFINITY;
    }
    let high = histogram(tasks, k, units, |(high, _)| Some(high));
    let (bin, rest) = from_the_top(&high, count as u64);
    let low = histogram(tasks, k, units, |(high, low)| (high == bin).then_some(low));
    let (within, _) = from_the_top(&low, rest);
    f32::from_bits(of_bins(bin, within))
}

fn histogram(
    tasks: &TaskVectors<'_>,
    k: usize,
    units: &[Unit],
    bin: impl Fn((u32, u32)) -> Option<u32> + Sync,
) -> Vec<u64> {
    let share = units.len().div_ceil(rayon::current_num_threads()).max(1);
    let count = |units: &[Unit]| {
        let (mut counts, mut values) = (vec![0u64; HIGH_BINS], vec![0.0; BLOCK]);
        let mut scratch = Scratch::default();
        for unit in units {
            for block in unit.blocks() {
                let values = &mut values[..block.len()];
                tasks.read_task(k, unit.tensor, block, values, &mut scratch);
                let bins = values.iter().filter_map(|v| bin(bins(*v)));
                bins.for_each(|bin| counts[bin as usize] += 1);
            }
        }
        counts
    };
    let add = |mut sum: Vec<u64>, part: Vec<u64>| {
        sum.iter_mut()
            .zip(part)
            .for_each(|(sum, part)| *sum += part);
        sum
    };
    units
        .par_chunks(share)
        .map(count)
        .reduce(|| vec![0; HIGH_BINS], add)
}

impl TaskVectors<'_> {
    /// The vectors `Phi(tau_k)` of TIES, stored sparsely: of each task vector its `keep` largest entries over the
    /// whole model, and of those the ones that agree with the elected sign. They are not averaged ("dis-sum").
    ///
    /// Signs are elected by the sum of trimmed values; positions where it is zero take the sign of the total of all
    /// elected signs. Entries at the threshold are all kept.
    ///
    /// # Cost
    /// Four passes over the task vectors; the result takes 6 bytes per entry that is left, at most
    /// `6 keep K P` bytes.
    #[must_use]
    pub fn trimmed_and_elected(&self, keep: f64) -> Self {
        let weights = vec![1.0; self.len()];
        let plan = TrimPlan::global(self, keep, &weights);
        let filter = |unit: &Unit| {
            let mut parts = vec![SparseTensor::default(); self.len()];
            plan.each_block(self, *unit, &weights, |tasks, signs| {
                for (task, part) in tasks.iter_mut().zip(&mut parts) {
                    simd::keep_agreeing(task, signs);
                    part.push_block(task);
                }
            });
            parts
        };
        let mut vectors = vec![SparseVector::default(); self.len()];
        for tensor in 0..self.layout().len() {
            let units = self.layout().units([tensor]);
            let parts: Vec<Vec<SparseTensor>> = units.par_iter().map(filter).collect();
            let mut joined = vec![SparseTensor::default(); self.len()];
            for part in parts {
                joined
                    .iter_mut()
                    .zip(part)
                    .for_each(|(whole, part)| whole.append(part));
            }
            for (vector, mut tensor) in vectors.iter_mut().zip(joined) {
                tensor.shrink();
                vector.tensors.push(tensor);
            }
        }
        self.with_sparse(vectors)
    }

    /// Share of entries that each task vector stores: 1 unless it is sparse.
    pub fn densities(&self) -> Vec<f64> {
        let values = self.layout().values().max(1) as f64;
        let entries = self.sparse_entries();
        entries
            .into_iter()
            .map(|n| n.map_or(1.0, |n| n as f64 / values))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{select::threshold, task_vector::Checks, tensor_set::TensorSet, weights::Weights};

    #[test]
    fn ties_at_the_threshold_are_all_kept() {
        let mut values = [2.0, -1.0, 1.0, 0.5];
        let at = threshold(&values, 2);
        simd::trim(&mut values, at);
        assert_eq!(values.to_vec(), [2.0, -1.0, 1.0, 0.0]);
    }

    #[test]
    fn counting_bits_finds_the_threshold_that_selection_finds() {
        let values: Vec<f32> = (0..3 * BLOCK + 11)
            .map(|i| ((i * 7919) % 10_007) as f32 * 1e-4 - 0.5)
            .chain([0.0, f32::MIN_POSITIVE, 1e-42, 3e38])
            .collect();
        let n = values.len();
        let zero = TensorSet::from_values([("w", vec![n], vec![0.0; n])]).unwrap();
        let task = TensorSet::from_values([("w", vec![n], values.clone())]).unwrap();
        let tasks = TaskVectors::direct(
            Weights::from_set("base", &zero),
            vec![Weights::from_set("a", &task)],
            &Checks::default(),
        )
        .unwrap();
        let units = tasks.layout().units([0]);
        for count in [0, 1, 2, n / 5, n / 2, n - 1, n] {
            let (bits, sorted) = (
                global_threshold(&tasks, 0, &units, count),
                threshold(&values, count),
            );
            assert_eq!(bits.to_bits(), sorted.to_bits(), "{count}");
        }
    }

    #[test]
    fn a_draw_takes_the_sign_that_wins_in_the_whole_model() {
        // Tensor `a` holds a draw and elects minus otherwise; `b` makes plus win over the model.
        let set = |a: [f32; 2], b: [f32; 3]| {
            TensorSet::from_values([("a", vec![2], a.to_vec()), ("b", vec![3], b.to_vec())])
                .unwrap()
        };
        let (zero, one) = (set([0.0; 2], [0.0; 3]), set([1.0, -2.0], [2.0; 3]));
        let two = set([-1.0, -2.0], [2.0; 3]);
        let experts = vec![
            Weights::from_set("one", &one),
            Weights::from_set("two", &two),
        ];
        let base = Weights::from_set("base", &zero);
        let tasks = TaskVectors::direct(base, experts, &Checks::default()).unwrap();
        assert_eq!(TrimPlan::global(&tasks, 1.0, &[1.0, 1.0]).majority, 1);
        let kept = tasks.trimmed_and_elected(1.0);
        assert_eq!(
            (kept.task(0, 0), kept.task(1, 0)),
            (vec![1.0, -2.0], vec![0.0, -2.0])
        );
        assert_eq!(kept.densities(), [1.0, 0.8]);
    }
}
