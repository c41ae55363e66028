//! The passes over task vectors that a step needs: project the gradient, form the merged weights, and both at once.

use super::groups::Group;
use crate::{
    error::MergeError,
    layout::UNIT,
    task_vector::{TaskVectors, sum_in_order},
    tensor_set::TensorSet,
};
use rayon::prelude::*;
use std::{collections::HashSet, sync::Arc};

impl TaskVectors<'_> {
    /// The gradient of the coefficients: `dots[g][k] = sum over tensors of group g of <gradient, tau_k>`.
    ///
    /// # Shapes
    /// `gradient`: one slice per tensor of the [`layout`](Self::layout), single or double precision
    /// -> one row per group, `K` columns.
    ///
    /// # Errors
    /// [`MergeError::Lengths`] when a slice is not as long as its tensor; `operand` is its index.
    ///
    /// # Cost
    /// One pass over the task vectors. Sums are kept in double precision in a fixed order: the same bits for any
    /// number of threads.
    ///
    /// # Example
    /// ```
    /// use refit_merge::{Checks, Grouping, TaskVectors, TensorSet, Weights};
    /// let set = |x: [f32; 2]| TensorSet::from_values([("w", vec![2], x.to_vec())]).unwrap();
    /// let (base, expert) = (set([1.0, 1.0]), set([2.0, 4.0]));
    /// let expert = vec![Weights::from_set("a", &expert)];
    /// let tasks = TaskVectors::between(Weights::from_set("base", &base), expert, &Checks::default()).unwrap();
    /// let groups = Grouping::Tensor.groups(tasks.layout()).unwrap();
    /// assert_eq!(tasks.project(&groups, &[&[0.5f64, 1.0][..]]).unwrap(), [[3.5]]);
    /// ```
    pub fn project<G: Copy + Into<f64> + Sync>(
        &self,
        groups: &[Group],
        gradient: &[&[G]],
    ) -> Result<Vec<Vec<f64>>, MergeError> {
        let lengths = gradient.iter().map(|g| g.len()).chain(std::iter::repeat(0));
        for (operand, (entry, found)) in self.layout().entries().iter().zip(lengths).enumerate() {
            if found != entry.len {
                return Err(MergeError::Lengths {
                    operand,
                    found,
                    expected: entry.len,
                });
            }
        }
        let gradient: Vec<Option<&[G]>> = gradient.iter().copied().map(Some).collect();
        Ok(groups
            .par_iter()
            .map(|g| group_dots(self, &g.tensors, &gradient))
            .collect())
    }

    /// The merged weights `theta_0 + sum_k coefficients[g][k] tau_k`, group by group.
    ///
    /// Tensors in no group stay at the base.
    ///
    /// # Errors
    /// [`MergeError::Lengths`] when there is not one row per group with one value per expert.
    ///
    /// # Cost
    /// One pass over base and task vectors; `P` values for the result.
    pub fn combine_groups(
        &self,
        groups: &[Group],
        coefficients: &[Vec<f32>],
    ) -> Result<TensorSet, MergeError> {
        if groups.len() != coefficients.len() {
            let (operand, found, expected) = (0, coefficients.len(), groups.len());
            return Err(MergeError::Lengths {
                operand,
                found,
                expected,
            });
        }
        let uneven = |(_, row): &(usize, &Vec<f32>)| row.len() != self.len();
        if let Some((operand, row)) = coefficients.iter().enumerate().find(uneven) {
            let (found, expected) = (row.len(), self.len());
            return Err(MergeError::Lengths {
                operand,
                found,
                expected,
            });
        }
        let mut values = vec![Vec::new(); self.layout().len()];
        let grouped: HashSet<usize> = groups.iter().flat_map(|g| &g.tensors).copied().collect();
        for (tensor, values) in values.iter_mut().enumerate() {
            if !grouped.contains(&tensor) {
                *values = self.base().tensor(tensor).into_owned();
            }
        }
        let mut rows: Vec<&[f32]> = coefficients.iter().map(Vec::as_slice).collect();
        for_each_group(groups, &mut values, &mut rows, |group, row, buffers| {
            combine_group(self, &group.tensors, row, buffers);
        });
        Ok(TensorSet::from_parts(Arc::clone(self.layout()), values))
    }
}

/// `<gradient, tau_k>` over the tensors that have a gradient, for each `k`.
pub(crate) fn group_dots<G: Copy + Into<f64> + Sync>(
    tasks: &TaskVectors<'_>,
    tensors: &[usize],
    gradient: &[Option<&[G]>],
) -> Vec<f64> {
    let with_gradient = tensors.iter().copied().filter(|&t| gradient[t].is_some());
    let units = tasks.layout().units(with_gradient);
    let dots = |unit: &crate::layout::Unit| {
        let gradient = gradient[unit.tensor].unwrap_or_default();
        tasks.dots(*unit, &gradient[unit.start..unit.end])
    };
    let partials: Vec<Vec<f64>> = units.par_iter().map(dots).collect();
    sum_in_order(partials, tasks.len())
}

/// Writes the merged weights of one group into `buffers`, one per tensor, of whatever size they are.
pub(crate) fn combine_group(
    tasks: &TaskVectors<'_>,
    tensors: &[usize],
    coefficients: &[f32],
    buffers: &mut [Vec<f32>],
) {
    tensors
        .par_iter()
        .zip(buffers)
        .for_each(|(&tensor, buffer)| {
            buffer.resize(tasks.layout().entries()[tensor].len, 0.0);
            let units = tasks.layout().units([tensor]);
            buffer
                .par_chunks_mut(UNIT)
                .zip(units)
                .for_each(|(out, unit)| {
                    tasks.combine(unit, coefficients, out);
                });
        });
}

/// Calls `work` once per group, in parallel, with the group's own state and the buffers of its tensors.
///
/// Inside one call a group's task vectors can be read twice while they are still in the cache: once to project
/// the gradient on them, and once more to form the new weights.
pub(crate) fn for_each_group<S: Send>(
    groups: &[Group],
    values: &mut [Vec<f32>],
    states: &mut [S],
    work: impl Fn(&Group, &mut S, &mut [Vec<f32>]) + Sync,
) {
    let take = |group: &Group| -> Vec<Vec<f32>> {
        group
            .tensors
            .iter()
            .map(|&t| std::mem::take(&mut values[t]))
            .collect()
    };
    let mut buffers: Vec<Vec<Vec<f32>>> = groups.iter().map(take).collect();
    groups
        .par_iter()
        .zip(states)
        .zip(&mut buffers)
        .for_each(|((group, state), buffers)| work(group, state, buffers));
    for (group, buffers) in groups.iter().zip(buffers) {
        for (&tensor, buffer) in group.tensors.iter().zip(buffers) {
            values[tensor] = buffer;
        }
    }
}
