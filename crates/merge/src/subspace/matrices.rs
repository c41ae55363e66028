//! What methods on matrices share: which tensor is one, its task vectors, and what happens to the others.

use crate::{
    error::MergeError,
    layout::BLOCK,
    recipe::Target,
    rule::{finite, finite_weights},
    simd,
    stream::{Block, Span, StreamRule},
};
use refit_core::{ConfigError, ParamPath, Progress};
use refit_math::{MathError, Matrix};
use serde::Deserialize;

/// Settings of one model.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TaskModel {
    /// Factor on its task vector before the merge; finite (default 1, as in the papers).
    pub(crate) weight: f64,
}

impl Default for TaskModel {
    fn default() -> Self {
        Self { weight: 1.0 }
    }
}

/// Names of the fields of [`TaskModel`].
pub(crate) const MODEL_KEYS: &[&str] = &["weight"];

/// The checked weights of models.
pub(crate) fn weights_of(models: &[TaskModel]) -> Result<Vec<f64>, ConfigError> {
    let weights: Vec<f64> = models.iter().map(|model| model.weight).collect();
    finite_weights(&weights)?;
    Ok(weights)
}

/// How tensors whose rows are those of a vocabulary are merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Embeddings {
    /// Averaged, as the papers' code does.
    #[default]
    Average,
    /// As the matrices they are.
    Matrix,
}

/// Rows and columns of the matrix that a tensor of `shape` is; `None` for what is none.
pub(crate) fn matrix_shape(shape: &[usize]) -> Option<(usize, usize)> {
    let (&rows, rest) = shape.split_first()?;
    let cols: usize = rest.iter().product();
    (!rest.is_empty() && rows > 0 && cols > 0).then_some((rows, cols))
}

/// A method on the matrices of task vectors.
pub(crate) trait OnMatrices: std::fmt::Debug + Send + Sync + 'static {
    /// Whether it holds the task vectors of all tasks at once, in double precision.
    const HOLDS_ALL: bool = false;

    /// The merged task vector. Matrices are made one by one, when the iterator is asked; `progress` is asked between
    /// decompositions whether to stop.
    fn merge(
        &self,
        tasks: impl ExactSizeIterator<Item = Matrix> + Clone,
        progress: &dyn Progress,
    ) -> Result<Matrix, MathError>;
}

/// `theta_0 + lambda M(tau_1, .., tau_K)` for a matrix, `theta_0 + lambda mean tau_k` for what is none.
#[derive(Debug)]
pub(crate) struct MatrixRule<M> {
    method: M,
    path: ParamPath,
    matrix: Option<(usize, usize)>,
    weights: Vec<f64>,
    lambda: f64,
}

impl<M: OnMatrices> MatrixRule<M> {
    /// Checks what all methods on matrices have in common.
    pub(crate) fn boxed(
        method: M,
        target: &Target<'_>,
        (lambda, embeddings): (f64, Embeddings),
        models: &[TaskModel],
    ) -> Result<Box<dyn StreamRule>, ConfigError> {
        finite("lambda", lambda)?;
        let weights = weights_of(models)?;
        let averaged = target.is_embedding && embeddings == Embeddings::Average;
        let matrix = matrix_shape(target.shape).filter(|_| !averaged);
        let path = target.path.clone();
        Ok(Box::new(Self {
            method,
            path,
            matrix,
            weights,
            lambda,
        }))
    }

    fn merge_matrices(
        &self,
        (rows, cols): (usize, usize),
        block: &Block<'_>,
        out: &mut [f32],
    ) -> Result<(), MathError> {
        let base = block.base.unwrap_or_default(); // recipes require one
        let tasks = block
            .models
            .iter()
            .zip(&self.weights)
            .map(|(model, &weight)| {
                let value = |i, j| {
                    let at = i * cols + j;
                    weight * f64::from(model[at] - base[at])
                };
                Matrix::from_fn(rows, cols, value)
            });
        let mut merged = self.method.merge(tasks, block.progress)?.into_values();
        for value in &mut merged {
            *value *= self.lambda;
        }
        simd::store_sum(out, base, &merged);
        Ok(())
    }
}

impl<M: OnMatrices> StreamRule for MatrixRule<M> {
    fn span(&self) -> Span {
        match self.matrix {
            Some(_) => Span::Whole,
            None => Span::Any,
        }
    }

    /// A decomposition holds its matrix, a copy to work on, factors, and the products made of them.
    fn working_bytes(&self) -> u64 {
        let Some((rows, cols)) = self.matrix else {
            return 0;
        };
        let (values, factors) = (rows * cols, (rows + cols) * rows.min(cols));
        let tasks = if M::HOLDS_ALL { self.weights.len() } else { 0 };
        ((4 * (values + factors) + tasks * values) * size_of::<f64>()) as u64
    }

    fn merge(&self, block: &Block<'_>, out: &mut [f32]) -> Result<(), MergeError> {
        let Some(shape) = self.matrix else {
            let share = self.lambda / self.weights.len().max(1) as f64;
            let factors: Vec<f64> = self.weights.iter().map(|weight| share * weight).collect();
            add_changes(block.base.unwrap_or_default(), block.models, &factors, out);
            return Ok(());
        };
        self.merge_matrices(shape, block, out)
            .map_err(|source| match source {
                MathError::Stopped => MergeError::Cancelled,
                source => MergeError::Matrix {
                    path: self.path.clone(),
                    source,
                },
            })
    }
}

/// `out = base + sum_k factors_k (models_k - base)`, in double precision, rounded once.
pub(crate) fn add_changes(base: &[f32], models: &[&[f32]], factors: &[f64], out: &mut [f32]) {
    let mut sums = [0.0; BLOCK];
    for start in (0..out.len()).step_by(BLOCK) {
        let range = start..(start + BLOCK).min(out.len());
        let (sums, base) = (&mut sums[..range.len()], &base[range.clone()]);
        sum_of_changes(base, models, factors, start, sums);
        simd::store_sum(&mut out[range], base, sums);
    }
}

/// `sums = sum_k factors_k (models_k[start..] - base)`.
pub(crate) fn sum_of_changes(
    base: &[f32],
    models: &[&[f32]],
    factors: &[f64],
    start: usize,
    sums: &mut [f64],
) {
    sums.fill(0.0);
    for (model, &factor) in models.iter().zip(factors) {
        simd::add_scaled_difference(sums, factor, &model[start..][..base.len()], base);
    }
}

/// The sum of all matrices; `None` when there is none.
pub(crate) fn total(tasks: impl Iterator<Item = Matrix>) -> Result<Option<Matrix>, MathError> {
    let mut sum: Option<Matrix> = None;
    for task in tasks {
        let Some(sum) = &mut sum else {
            sum = Some(task);
            continue;
        };
        if task.shape() != sum.shape() {
            return Err(MathError::Shape {
                what: "a task vector",
                found: task.shape(),
                expected: sum.shape(),
            });
        }
        for (sum, value) in sum.values_mut().iter_mut().zip(task.values()) {
            *sum += value;
        }
    }
    Ok(sum)
}

/// Ends a computation that `progress` wants stopped.
pub(crate) fn go_on(progress: &dyn Progress) -> Result<(), MathError> {
    if progress.cancelled() {
        return Err(MathError::Stopped);
    }
    Ok(())
}

/// The error of a method without task vectors.
pub(crate) const NO_TASKS: MathError = MathError::Empty {
    what: "the list of task vectors",
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subspace::{
        Components, WudiConfig, iso_cts,
        testing::{Case, uniform},
        tsv_m, wudi,
    };
    use refit_core::Cancel;
    use serde_json::json;

    #[test]
    fn convolutions_are_matrices_and_vectors_are_not() {
        assert_eq!(matrix_shape(&[8, 3, 2, 2]), Some((8, 12)));
        assert_eq!(matrix_shape(&[4, 5]), Some((4, 5)));
        for none in [&[][..], &[7], &[0, 3], &[3, 0]] {
            assert_eq!(matrix_shape(none), None, "{none:?}");
        }
    }

    #[test]
    fn what_is_no_matrix_is_averaged_in_every_method() {
        let (base, a, b) = ([1.0, 1.0], [2.0, 1.0], [1.0, -3.0]);
        for method in ["tsv_m", "iso_c", "iso_cts", "wudi"] {
            let mut case = Case::new(method, &[2], &base, &[&a, &b]);
            assert_eq!(case.merge().unwrap(), [1.5, -1.0], "{method}");
            case.tensor = json!({ "lambda": 2.0 });
            assert_eq!(case.merge().unwrap(), [2.0, -3.0], "{method}");
            case.weight = 0.5;
            assert_eq!(case.merge().unwrap(), [1.5, -1.0], "{method}");
            for shape in [&[0][..], &[0, 3], &[3, 0]] {
                let empty = Case::new(method, shape, &[], &[&[]]);
                assert!(empty.merge().unwrap().is_empty(), "{method}");
            }
        }
    }

    #[test]
    fn embeddings_are_averaged_unless_asked_for() {
        let (base, a, b) = ([0.0; 4], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]);
        for method in ["tsv_m", "iso_c", "iso_cts", "wudi"] {
            let mut case = Case::new(method, &[2, 2], &base, &[&a, &b]);
            case.is_embedding = true;
            assert_eq!(case.merge().unwrap(), [0.5, 0.0, 0.0, 0.5], "{method}");
            case.tensor = json!({ "embeddings": "matrix" });
            assert_ne!(case.merge().unwrap(), [0.5, 0.0, 0.0, 0.5], "{method}");
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let values = |seed| {
            let matrix = uniform(seed, 90, 130);
            matrix.values().iter().map(|&v| v as f32).collect()
        };
        let [base, a, b]: [Vec<f32>; 3] = [1, 2, 3].map(values);
        for method in ["tsv_m", "iso_c", "iso_cts", "wudi", "consensus", "emr"] {
            let with = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
                let merge = || {
                    Case::new(method, &[90, 130], &base, &[&a, &b])
                        .merge()
                        .unwrap()
                };
                pool.build().unwrap().install(merge)
            };
            let (one, four): (Vec<f32>, _) = (with(1), with(4));
            assert!(
                one.iter()
                    .zip(&four)
                    .all(|(a, b)| a.to_bits() == b.to_bits()),
                "{method}"
            );
        }
    }

    #[test]
    fn a_stop_ends_the_work_between_decompositions() {
        let stop = Cancel::default();
        let tasks = || [uniform(1, 4, 6), uniform(2, 4, 6)];
        let config = WudiConfig::default();
        assert!(wudi(tasks(), config, &stop).is_ok());
        stop.raise();
        let stopped = Err(MathError::Stopped);
        assert_eq!(wudi(tasks(), config, &stop), stopped);
        assert_eq!(tsv_m(tasks(), Components::All, &stop), stopped);
        assert_eq!(iso_cts(tasks(), 0.5, &stop), stopped);
        let rule = MatrixRule {
            method: config,
            path: "w".into(),
            matrix: Some((1, 2)),
            weights: vec![1.0],
            lambda: 1.0,
        };
        let block = Block {
            number: 0,
            start: 0,
            shape: &[1, 2],
            base: Some(&[0.0; 2]),
            models: &[&[1.0, 2.0]],
            progress: &stop,
        };
        let cancelled = rule.merge(&block, &mut [0.0; 2]);
        assert!(matches!(cancelled, Err(MergeError::Cancelled)));
    }

    #[test]
    fn a_value_that_is_not_finite_is_named() {
        let (base, a) = ([0.0; 4], [0.0, 0.0, f32::NAN, 0.0]);
        for method in ["tsv_m", "iso_c", "iso_cts", "wudi"] {
            let error = Case::new(method, &[2, 2], &base, &[&a])
                .merge()
                .unwrap_err();
            assert_eq!(error, "cannot merge `w` as a matrix", "{method}");
        }
    }
}
