//! Task vectors `tau_k = theta_k - theta_0`, and the methods that are rules on them.
//!
//! Sources: Ilharco et al. 2023, arXiv:2212.04089 (task arithmetic); Yadav et al. 2023, arXiv:2306.01708 (TIES);
//! Yu et al. 2024, arXiv:2311.03099 (DARE).

mod blocks;
mod changes;
pub(crate) mod dare;
pub(crate) mod draws;
pub(crate) mod general;
pub(crate) mod ram;
pub(crate) mod sce;
pub(crate) mod signs;
mod sparse;
mod sparsify;
pub(crate) mod task_arithmetic;
pub(crate) mod ties;

use crate::{
    error::{MergeError, ModelName},
    layout::Layout,
    simd,
    weights::Weights,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::HashSet, sync::Arc};

pub(crate) use blocks::Scratch;
pub(crate) use signs::TrimPlan;
use sparse::{SparseTensor, SparseVector};

/// A base and the task vectors of `K >= 1` experts that share its names and shapes.
///
/// Experts stay where they are stored (mapped, in half precision, in memory); `tau = expert - base` is formed block
/// by block in single precision whenever it is needed, so nothing here grows with the number of experts.
///
/// ```
/// use refit_merge::{Checks, TaskVectors, TensorSet, Weights};
/// let set = |x: f32| TensorSet::from_values([("w", vec![2], vec![x, 2.0 * x])]).unwrap();
/// let (base, expert) = (set(1.0), set(3.0));
/// let tasks = TaskVectors::between(
///     Weights::from_set("base", &base),
///     vec![Weights::from_set("cars", &expert)],
///     &Checks::default(),
/// ).unwrap();
/// assert_eq!(tasks.task(0, 0), [2.0, 4.0]);
/// ```
#[derive(Clone, Debug)]
pub struct TaskVectors<'a> {
    base: Weights<'a>,
    tasks: Vec<Task<'a>>,
}

#[derive(Clone, Debug)]
struct Task<'a> {
    name: Arc<str>,
    form: Form<'a>,
}

/// Where a task vector comes from.
#[derive(Clone, Debug)]
enum Form<'a> {
    /// Expert weights; the base is subtracted on the fly.
    Expert(Weights<'a>),
    /// The task vector itself.
    Direct(Weights<'a>),
    /// The few entries of it that are not zero.
    Sparse(SparseVector),
}

/// What is checked before models are put together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Checks {
    /// What happens to NaN and infinities (default: refused).
    pub not_finite: NotFinite,
    /// Largest accepted `|tau_k| / |theta_0|` over all weights; fine-tuned models usually stay below 0.5, a model
    /// trained from another start lies near the square root of 2 (default: no limit).
    pub max_distance: Option<f64>,
}

/// What happens to weights that are NaN or infinite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotFinite {
    /// An error that names tensor, model and position.
    #[default]
    Refuse,
    /// They pass, and spoil the entries they meet.
    Allow,
}

impl<'a> TaskVectors<'a> {
    /// The task vectors from `base` to each of `experts`.
    ///
    /// # Errors
    /// [`MergeError::NoExperts`], [`MergeError::DuplicateExpert`], the mismatches [`MergeError::Names`],
    /// [`MergeError::Shape`] and [`MergeError::NotWeights`], and what `checks` refuses.
    /// # Cost
    /// With the default checks each model is read once.
    pub fn between(
        base: Weights<'a>,
        experts: Vec<Weights<'a>>,
        checks: &Checks,
    ) -> Result<Self, MergeError> {
        Self::collect(base, experts, checks, Form::Expert)
    }

    /// Task vectors that are already differences from `base`.
    ///
    /// # Errors
    /// Those of [`between`](Self::between).
    pub fn direct(
        base: Weights<'a>,
        task_vectors: Vec<Weights<'a>>,
        checks: &Checks,
    ) -> Result<Self, MergeError> {
        Self::collect(base, task_vectors, checks, Form::Direct)
    }

    fn collect(
        base: Weights<'a>,
        models: Vec<Weights<'a>>,
        checks: &Checks,
        form: impl Fn(Weights<'a>) -> Form<'a>,
    ) -> Result<Self, MergeError> {
        if models.is_empty() {
            return Err(MergeError::NoExperts {
                base: base.name().to_owned(),
            });
        }
        let mut seen = HashSet::new();
        let mut tasks = Vec::with_capacity(models.len());
        for model in models {
            if !seen.insert(model.name().to_owned()) {
                return Err(MergeError::DuplicateExpert {
                    name: model.name().to_owned(),
                });
            }
            let name = model.name().into();
            tasks.push(Task {
                name,
                form: form(model.aligned_to(base.layout())?),
            });
        }
        let vectors = Self { base, tasks };
        vectors.check(checks)?;
        Ok(vectors)
    }

    fn check(&self, checks: &Checks) -> Result<(), MergeError> {
        if checks.not_finite == NotFinite::Refuse {
            self.base
                .squared_norm(&ModelName::Base(self.base.name().to_owned()))?;
            for task in &self.tasks {
                if let Form::Expert(weights) | Form::Direct(weights) = &task.form {
                    weights.squared_norm(&weights.expert())?;
                }
            }
        }
        let Some(limit) = checks.max_distance else {
            return Ok(());
        };
        for (task, found) in self.tasks.iter().zip(self.distances()) {
            if found > limit {
                let model = ModelName::Expert(task.name.to_string());
                return Err(MergeError::TooFar {
                    model,
                    found,
                    limit,
                });
            }
        }
        Ok(())
    }

    /// Number of experts, `K`.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Names of the experts, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tasks.iter().map(|task| &*task.name)
    }

    /// The base.
    pub fn base(&self) -> &Weights<'a> {
        &self.base
    }

    /// Names and shapes of the weights.
    pub fn layout(&self) -> &Arc<Layout> {
        self.base.layout()
    }

    /// One tensor of the task vector of expert `k`.
    ///
    /// # Panics
    /// When `k` or `tensor` is out of range.
    pub fn task(&self, k: usize, tensor: usize) -> Vec<f32> {
        let len = self.layout().entries()[tensor].len;
        let mut out = vec![0.0; len];
        self.read_task(k, tensor, 0..len, &mut out, &mut Scratch::default());
        out
    }

    /// One tensor of expert `k` itself.
    ///
    /// # Panics
    /// When `k` or `tensor` is out of range.
    pub fn model(&self, k: usize, tensor: usize) -> Cow<'_, [f32]> {
        if let Form::Expert(weights) = &self.tasks[k].form {
            return weights.tensor(tensor);
        }
        let mut out = self.task(k, tensor);
        simd::add(&mut out, &self.base.tensor(tensor));
        out.into()
    }

    /// How far each expert lies from the base: `|tau_k| / |theta_0|`, both over all weights.
    ///
    /// `0 / 0` counts as 0 and `x / 0` as infinity.
    pub fn distances(&self) -> Vec<f64> {
        let units = self.layout().units(0..self.layout().len());
        let squares = |unit: &crate::layout::Unit| {
            let mut scratch = Scratch::default();
            let mut block_values = vec![0.0; crate::layout::BLOCK];
            let mut sums = vec![[0.0; simd::LANES]; self.len() + 1];
            for block in unit.blocks() {
                let values = &mut block_values[..block.len()];
                for (k, sum) in sums[..self.len()].iter_mut().enumerate() {
                    self.read_task(k, unit.tensor, block.clone(), values, &mut scratch);
                    simd::dot(sum, values, values);
                }
                let base = self.base.values(unit.tensor).block(block, values);
                simd::dot(&mut sums[self.len()], base, base);
            }
            sums.into_iter().map(simd::total).collect::<Vec<_>>()
        };
        let partials: Vec<_> = units.par_iter().map(squares).collect();
        let sums = sum_in_order(partials, self.len() + 1);
        let base = sums[self.len()];
        let ratio = |&task: &f64| {
            if task == 0.0 {
                0.0
            } else {
                (task / base).sqrt()
            }
        };
        sums[..self.len()].iter().map(ratio).collect()
    }

    /// Number of stored entries of each sparse task vector.
    fn sparse_entries(&self) -> Vec<Option<usize>> {
        let entries = |task: &Task<'_>| match &task.form {
            Form::Sparse(vector) => Some(vector.tensors.iter().map(SparseTensor::entries).sum()),
            _ => None,
        };
        self.tasks.iter().map(entries).collect()
    }

    /// The same names and base with other task vectors.
    fn with_sparse(&self, vectors: Vec<SparseVector>) -> Self {
        let tasks = self.tasks.iter().zip(vectors);
        let tasks = tasks.map(|(old, new)| Task {
            name: old.name.clone(),
            form: Form::Sparse(new),
        });
        Self {
            tasks: tasks.collect(),
            base: self.base.clone(),
        }
    }
}

/// Draws of a stream, for tests of other modules.
#[cfg(test)]
pub(crate) fn draws_for_tests(seed: u64, out: &mut [u32]) {
    draws::Draws::new(refit_core::Seed::new(seed)).fill(0, out);
}

/// Adds vectors of `n` partial sums, first to last: the same result whoever computed them.
pub(crate) fn sum_in_order(partials: Vec<Vec<f64>>, n: usize) -> Vec<f64> {
    let mut sums = vec![0.0; n];
    for partial in partials {
        for (sum, part) in sums.iter_mut().zip(partial) {
            *sum += part;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor_set::TensorSet;

    fn set(values: &[f32]) -> TensorSet {
        TensorSet::from_values([("w", vec![values.len()], values.to_vec())]).unwrap()
    }

    #[test]
    fn distance_is_the_ratio_of_norms_and_can_be_limited() {
        let (base, near) = (set(&[3.0, 4.0]), set(&[3.0, 6.0]));
        let build = |checks| {
            let experts = vec![Weights::from_set("near", &near)];
            TaskVectors::between(Weights::from_set("base", &base), experts, &checks)
        };
        let distances = build(Checks::default()).unwrap().distances();
        assert!((distances[0] - 0.4).abs() < 1e-12);
        let error = build(Checks {
            max_distance: Some(0.3),
            ..Checks::default()
        })
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "expert `near` lies 0.400 base norms from the base, expected at most 0.300"
        );
    }

    #[test]
    fn names_are_distinct_and_there_is_an_expert() {
        let base = set(&[1.0]);
        let of = |names: &[&str]| {
            let experts = names.iter().map(|n| Weights::from_set(n, &base)).collect();
            TaskVectors::between(
                Weights::from_set("base", &base),
                experts,
                &Checks::default(),
            )
        };
        assert!(matches!(of(&[]), Err(MergeError::NoExperts { .. })));
        assert!(matches!(
            of(&["a", "a"]),
            Err(MergeError::DuplicateExpert { .. })
        ));
        assert_eq!(
            of(&["b", "a"]).unwrap().names().collect::<Vec<_>>(),
            ["b", "a"]
        );
    }
}
