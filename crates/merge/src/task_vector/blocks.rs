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
