//! The three things that are done to a block of task vectors: read it, project onto it, add it up.

use super::{Form, TaskVectors};
use crate::{
    layout::{BLOCK, Unit},
    simd::{self, Wide},
};
use std::ops::Range;

/// Working memory of one thread: a block of the base, of a task vector, and of sums.
pub(crate) struct Scratch {
    base: Vec<f32>,
    task: Vec<f32>,
    sums: Vec<f64>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            base: vec![0.0; BLOCK],
            task: vec![0.0; BLOCK],
            sums: vec![0.0; BLOCK],
        }
    }
}

impl TaskVectors<'_> {
    /// Writes `tau_k` at `range` of `tensor` to `out`, which is as long as `range`.
    pub(crate) fn read_task(
        &self,
        k: usize,
        tensor: usize,
        range: Range<usize>,
        out: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let whole = Unit {
            tensor,
            start: range.start,
            end: range.end,
        };
        for block in whole.blocks() {
            let out = &mut out[block.start - range.start..block.end - range.start];
            match &self.tasks[k].form {
                Form::Expert(expert) => {
                    let base = self
                        .base
                        .values(tensor)
                        .block(block.clone(), &mut scratch.base);
                    let expert = expert.values(tensor).block(block, &mut scratch.task);
                    simd::subtract(out, expert, base);
                }
                Form::Direct(task) => {
                    out.copy_from_slice(task.values(tensor).block(block, &mut scratch.task));
                }
                Form::Sparse(task) => task.tensors[tensor].read(block, out),
            }
        }
    }

    /// `<gradient, tau_k>` over `unit`, for each `k`; `gradient` covers the unit.
    pub(crate) fn dots<G: Wide>(&self, unit: Unit, gradient: &[G]) -> Vec<f64> {
        let mut scratch = Scratch::default();
        let mut lanes = vec![[0.0; simd::LANES]; self.len()];
        for block in unit.blocks() {
            let gradient = &gradient[block.start - unit.start..block.end - unit.start];
            let base = self
                .base
                .values(unit.tensor)
                .block(block.clone(), &mut scratch.base);
            for (task, lanes) in self.tasks.iter().zip(&mut lanes) {
                match &task.form {
                    Form::Expert(expert) => {
                        let values = expert.values(unit.tensor);
                        let expert = values.block(block.clone(), &mut scratch.task);
                        simd::dot_difference(lanes, gradient, expert, base);
                    }
                    Form::Direct(task) => {
                        let task = task
                            .values(unit.tensor)
                            .block(block.clone(), &mut scratch.task);
                        simd::dot(lanes, gradient, task);
                    }
                    Form::Sparse(task) => {
                        task.tensors[unit.tensor].dot(lanes, block.start, gradient);
                    }
                }
            }
        }
        lanes.into_iter().map(simd::total).collect()
    }

    /// `out = theta_0 + sum_k coefficients_k tau_k` over `unit`, summed in double precision and rounded once.
    pub(crate) fn combine(&self, unit: Unit, coefficients: &[f32], out: &mut [f32]) {
        let Scratch {
            mut base,
            mut task,
            mut sums,
        } = Scratch::default();
        for block in unit.blocks() {
            let out = &mut out[block.start - unit.start..block.end - unit.start];
            let sums = &mut sums[..block.len()];
            sums.fill(0.0);
            let base = self
                .base
                .values(unit.tensor)
                .block(block.clone(), &mut base);
            for (vector, &factor) in self.tasks.iter().zip(coefficients) {
                if factor == 0.0 {
                    continue; // a closed coefficient costs nothing, and lets no NaN through
                }
                let factor = f64::from(factor);
                match &vector.form {
                    Form::Expert(expert) => {
                        let expert = expert.values(unit.tensor).block(block.clone(), &mut task);
                        simd::add_scaled_difference(sums, factor, expert, base);
                    }
                    Form::Direct(direct) => {
                        let direct = direct.values(unit.tensor).block(block.clone(), &mut task);
                        simd::add_scaled(sums, factor, direct);
                    }
                    Form::Sparse(sparse) => {
                        sparse.tensors[unit.tensor].add_scaled(sums, block.start, factor);
                    }
                }
            }
            simd::store_sum(out, base, sums);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{layout::UNIT, task_vector::Checks, tensor_set::TensorSet, weights::Weights};

    /// Two tensors that cross blocks and units, with values from a formula.
    fn set(seed: usize) -> TensorSet {
        let tensor = |n: usize| {
            (0..n)
                .map(|i| (((i + 3) * (seed + 7)) as f32).sin())
                .collect()
        };
        let sizes = [2 * UNIT + BLOCK + 5, 3 * BLOCK + 1];
        TensorSet::from_values(
            ["a", "b"]
                .into_iter()
                .zip(sizes)
                .map(|(p, n)| (p, vec![n], tensor(n))),
        )
        .unwrap()
    }

    /// The same two task vectors as experts, as differences, and stored sparsely.
    fn forms(base: &TensorSet, experts: &[TensorSet; 2]) -> [TaskVectors<'static>; 3] {
        let named = |sets: Vec<TensorSet>| {
            sets.into_iter()
                .enumerate()
                .map(|(k, set)| Weights::own(format!("{k}"), set))
                .collect()
        };
        let base = || Weights::own("base", base.clone());
        let tasks =
            TaskVectors::between(base(), named(experts.to_vec()), &Checks::default()).unwrap();
        let difference = |k: usize| {
            let entries = tasks.layout().entries().iter().enumerate();
            let tensors = entries.map(|(t, e)| (e.path.clone(), e.shape.clone(), tasks.task(k, t)));
            TensorSet::from_values(tensors).unwrap()
        };
        let differences = named(vec![difference(0), difference(1)]);
        let direct = TaskVectors::direct(base(), differences, &Checks::default()).unwrap();
        let sparse = tasks.trimmed_and_elected(0.6);
        [tasks, direct, sparse]
    }

    #[test]
    fn every_entry_of_long_tensors_is_projected_and_combined_once() {
        let (base, experts, gradient) = (set(0), [set(1), set(2)], set(3));
        for (form, tasks) in forms(&base, &experts).iter().enumerate() {
            for tensor in 0..2 {
                let gradient = &gradient.tensors()[tensor];
                let (mut dots, mut theta) = (vec![0.0; 2], vec![0.0; gradient.len()]);
                for unit in tasks.layout().units([tensor]) {
                    let range = unit.start..unit.end;
                    let part = tasks.dots(unit, &gradient[range.clone()]);
                    dots.iter_mut()
                        .zip(part)
                        .for_each(|(dot, part)| *dot += part);
                    tasks.combine(unit, &[0.3, 0.7], &mut theta[range]);
                }
                let taus = [tasks.task(0, tensor), tasks.task(1, tensor)];
                for (dot, tau) in dots.iter().zip(&taus) {
                    let pairs = gradient.iter().zip(tau);
                    let plain: f64 = pairs.map(|(&g, &t)| f64::from(g) * f64::from(t)).sum();
                    assert!(
                        (dot - plain).abs() < 1e-9 * gradient.len() as f64,
                        "form {form}"
                    );
                    assert!(
                        plain.abs() > 1e-3,
                        "form {form}: a sum of nothing proves nothing"
                    );
                }
                for (i, theta) in theta.iter().enumerate() {
                    let plain = base.tensors()[tensor][i] + 0.3 * taus[0][i] + 0.7 * taus[1][i];
                    assert!((theta - plain).abs() < 1e-6, "form {form}, entry {i}");
                }
            }
        }
    }
}
