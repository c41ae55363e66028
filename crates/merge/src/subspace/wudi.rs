//! WUDI: the merged task vector that disturbs each task least in the inputs that the task uses.
//! Source: Cheng et al. 2025, arXiv:2503.08099.

use super::matrices::{
    Embeddings, MODEL_KEYS, MatrixRule, NO_TASKS, OnMatrices, TaskModel, go_on, total,
};
use crate::{
    recipe::{BaseUse, RecipeRule, Target},
    simd::kernel,
    stream::StreamRule,
};
use refit_core::{Area, Card, ConfigError, DataAccess, ModelAccess, Progress};
use refit_math::{MathError, Matrix};
use serde::Deserialize;

/// Settings of [`Wudi`] for one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WudiTensor {
    /// Factor on the merged task vector; finite (paper: 1).
    pub(crate) lambda: f64,
    /// See [`WudiConfig::learning_rate`].
    pub(crate) learning_rate: f64,
    /// See [`WudiConfig::iterations`].
    pub(crate) iterations: u32,
    /// How embeddings and heads are merged.
    pub(crate) embeddings: Embeddings,
}

impl Default for WudiTensor {
    fn default() -> Self {
        let WudiConfig {
            learning_rate,
            iterations,
        } = WudiConfig::default();
        Self {
            lambda: 1.0,
            learning_rate,
            iterations,
            embeddings: Embeddings::default(),
        }
    }
}

/// The method; see the [module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wudi;

impl RecipeRule for Wudi {
    const CARD: Card = Card {
        name: "wudi",
        summary: "task vector that disturbs each task least in the inputs it uses",
        area: Area::Reuse,
        model: ModelAccess::ReadWeights,
        data: DataAccess::None,
        source: "arXiv:2503.08099",
    };
    const BASE: BaseUse = BaseUse::Required;
    const TENSOR_KEYS: &'static [&'static str] =
        &["lambda", "learning_rate", "iterations", "embeddings"];
    const MODEL_KEYS: &'static [&'static str] = MODEL_KEYS;
    type Tensor = WudiTensor;
    type Model = TaskModel;

    fn rule(
        target: &Target<'_>,
        tensor: WudiTensor,
        models: Vec<TaskModel>,
    ) -> Result<Box<dyn StreamRule>, ConfigError> {
        let rate = tensor.learning_rate;
        if !(rate > 0.0 && rate.is_finite()) {
            return Err(ConfigError::range(
                "learning_rate",
                rate,
                "a finite number above 0",
            ));
        }
        let config = WudiConfig {
            learning_rate: rate,
            iterations: tensor.iterations,
        };
        MatrixRule::boxed(config, target, (tensor.lambda, tensor.embeddings), &models)
    }
}

impl OnMatrices for WudiConfig {
    const HOLDS_ALL: bool = true;

    fn merge(
        &self,
        tasks: impl ExactSizeIterator<Item = Matrix> + Clone,
        progress: &dyn Progress,
    ) -> Result<Matrix, MathError> {
        wudi(tasks, *self, progress)
    }
}

/// How [`wudi`] searches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WudiConfig {
    /// Step size of Adam (paper: 1e-5). It is the most that a value changes in one step, so it is in units of the
    /// weights: larger weights want a larger one.
    pub learning_rate: f64,
    /// Steps (paper: 300).
    pub iterations: u32,
}

impl Default for WudiConfig {
    fn default() -> Self {
        Self {
            learning_rate: 1e-5,
            iterations: 300,
        }
    }
}

/// Merges task vectors into the matrix `tau` that lowers `sum_k |(tau - tau_k) tau_k^T|^2 / |tau_k|^2`, by Adam from
/// the sum of all.
///
/// The rows of `tau_k` span the inputs that task `k` responds to: within them `tau` should do as `tau_k` does. The
/// gradient needs no tape and no task after the first look: it is `2 (tau - sum) G + D`, with `G = sum_k tau_k^T
/// tau_k / |tau_k|^2` and `D` the gradient at the sum. A task vector of zeros asks for nothing.
///
/// # Shapes
/// `K` matrices `[m, n]` -> `[m, n]`.
///
/// # Errors
/// [`MathError::Empty`], [`MathError::Shape`], [`MathError::NotFinite`], [`MathError::Stopped`] when `progress` asks
/// for it.
///
/// # Cost
/// `2 K m n^2` multiply-adds in double precision for `G` and `D`, then `m n^2` in single precision in each step, on one
/// thread: seconds for 768 x 768, minutes for 768 x 3072. Five matrices in single precision, one `[n, n]`.
///
/// # Example
/// ```
/// use refit_core::Silent;
/// use refit_math::Matrix;
/// use refit_merge::subspace::{WudiConfig, wudi};
/// // Tasks that use different inputs do not disturb each other: their sum is left as it is.
/// let a = Matrix::from_rows([[1.0, 0.0], [2.0, 0.0]]);
/// let b = Matrix::from_rows([[0.0, 1.0], [0.0, -1.0]]);
/// let merged = wudi([a, b], WudiConfig::default(), &Silent)?;
/// assert_eq!(merged, Matrix::from_rows([[1.0, 1.0], [2.0, -1.0]]));
/// # Ok::<(), refit_math::MathError>(())
/// ```
///
/// # Source
/// arXiv:2503.08099
pub fn wudi(
    tasks: impl IntoIterator<Item = Matrix, IntoIter: Clone>,
    config: WudiConfig,
    progress: &dyn Progress,
) -> Result<Matrix, MathError> {
    let tasks = tasks.into_iter();
    let mut sum = total(tasks.clone())?.ok_or(NO_TASKS)?;
    let problem = Problem::new(&sum, tasks)?;
    let moved = problem.descend(config, progress)?;
    for (sum, moved) in sum.values_mut().iter_mut().zip(moved.values()) {
        *sum += f64::from(*moved);
    }
    Ok(sum)
}

/// The gradient `2 x gram + at_sum` as a function of the distance `x` from the sum.
struct Problem {
    gram: Matrix<f32>,
    at_sum: Matrix<f32>,
}

impl Problem {
    fn new(sum: &Matrix, tasks: impl Iterator<Item = Matrix>) -> Result<Self, MathError> {
        let (m, n) = sum.shape();
        let (mut gram, mut at_sum) = (Matrix::zeros(n, n), Matrix::<f64>::zeros(m, n));
        for mut task in tasks {
            let norm = task.norm();
            if let Some(error) = not_finite(&task, norm) {
                return Err(error);
            }
            if norm == 0.0 {
                continue;
            }
            let mut rest = sum.clone();
            subtract(&mut rest, &task);
            task.values_mut().iter_mut().for_each(|v| *v /= norm);
            let share = task.transposed_times(&task)?;
            add(&mut gram, &share, 2.0);
            add(&mut at_sum, &rest.times(&share)?, 2.0);
        }
        Ok(Self {
            gram: Matrix::from_slice(n, n, gram.values())?,
            at_sum: Matrix::from_slice(m, n, at_sum.values())?,
        })
    }

    /// How far from the sum Adam ends.
    fn descend(
        &self,
        config: WudiConfig,
        progress: &dyn Progress,
    ) -> Result<Matrix<f32>, MathError> {
        let (m, n) = self.at_sum.shape();
        let [mut moved, mut product] = [(); 2].map(|()| Matrix::zeros(m, n));
        let [mut mean, mut square] = [(); 2].map(|()| vec![0.0; m * n]);
        for step in 1..=config.iterations {
            go_on(progress)?;
            progress.note(&format!("step {step} of {} of a tensor", config.iterations));
            moved.times_into(&self.gram, &mut product)?;
            adam(
                moved.values_mut(),
                &mut mean,
                &mut square,
                product.values(),
                self.at_sum.values(),
                Step::new(config.learning_rate, step),
            );
        }
        Ok(moved)
    }
}

fn not_finite(task: &Matrix, norm: f64) -> Option<MathError> {
    let at = task.values().iter().position(|v| !v.is_finite());
    let at = at.or_else(|| (!norm.is_finite()).then_some(0))?;
    Some(MathError::NotFinite {
        value: task.values()[at],
        row: at / task.cols(),
        col: at % task.cols(),
    })
}

fn subtract(a: &mut Matrix, b: &Matrix) {
    add(a, b, -1.0);
}

fn add(sum: &mut Matrix, b: &Matrix, factor: f64) {
    for (sum, b) in sum.values_mut().iter_mut().zip(b.values()) {
        *sum += factor * b;
    }
}

/// One step of Adam with the usual betas (0.9, 0.999).
#[derive(Clone, Copy)]
pub(super) struct Step {
    /// Step size over the bias of the mean.
    rate: f32,
    /// One over the root of the bias of the squares.
    unbias: f32,
}

impl Step {
    const BETAS: (f32, f32) = (0.9, 0.999);
    const EPSILON: f32 = 1e-8;

    fn new(learning_rate: f64, step: u32) -> Self {
        let bias = |beta: f32| 1.0 - f64::from(beta).powf(f64::from(step));
        Self {
            rate: (learning_rate / bias(Self::BETAS.0)) as f32,
            unbias: (1.0 / bias(Self::BETAS.1).sqrt()) as f32,
        }
    }
}

kernel! {
    /// Moves every value against its gradient `product_i + at_sum_i`.
    fn adam(
        moved: &'a mut [f32],
        mean: &'a mut [f32],
        square: &'a mut [f32],
        product: &'a [f32],
        at_sum: &'a [f32],
        step: Step,
    ) {
        let (first, second) = Step::BETAS;
        let state = mean.iter_mut().zip(square.iter_mut());
        let gradient = product.iter().zip(at_sum);
        for ((moved, (mean, square)), (product, at_sum)) in moved.iter_mut().zip(state).zip(gradient) {
            let gradient = product + at_sum;
            *mean = first * *mean + (1.0 - first) * gradient;
            *square = second * *square + (1.0 - second) * gradient * gradient;
            let size = square.sqrt() * step.unbias + Step::EPSILON;
            *moved -= step.rate * *mean / size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subspace::testing::{Case, begins, reference_tasks, scaled, sum, uniform};
    use proptest::prelude::*;
    use refit_core::Silent;
    use serde_json::json;

    /// The objective as the paper writes it.
    fn objective(tau: &Matrix, tasks: &[Matrix]) -> f64 {
        let of = |task: &Matrix| {
            let mut rest = tau.clone();
            subtract(&mut rest, task);
            (rest.times_transposed(task).unwrap().norm() / task.norm()).powi(2)
        };
        tasks.iter().map(of).sum()
    }

    #[test]
    fn the_gradient_is_that_of_the_objective() {
        let tasks = [uniform(1, 3, 4), uniform(2, 3, 4)];
        let start = sum(&tasks[0], &tasks[1]);
        let problem = Problem::new(&start, tasks.iter().cloned()).unwrap();
        let offset = uniform(3, 3, 4);
        let tau = sum(&start, &offset);
        let single = Matrix::<f32>::from_slice(3, 4, offset.values()).unwrap();
        let gradient = single.times(&problem.gram).unwrap();
        for at in 0..12 {
            let shifted = |by: f64| {
                let mut tau = tau.clone();
                tau.values_mut()[at] += by;
                objective(&tau, &tasks)
            };
            let slope = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
            let found = f64::from(gradient.values()[at] + problem.at_sum.values()[at]);
            assert!((found - slope).abs() < 1e-5, "{found} {slope}"); // single precision
        }
    }

    #[test]
    fn the_first_step_is_the_learning_rate_against_the_sign() {
        // One row, one input: tau = 3, tau_k = 1, 2; gradient 2 (2 + 1) = 6.
        let tasks = [Matrix::from_rows([[1.0]]), Matrix::from_rows([[2.0]])];
        let config = WudiConfig {
            learning_rate: 0.25,
            iterations: 1,
        };
        let merged = wudi(tasks, config, &Silent).unwrap();
        assert!((merged.values()[0] - 2.75).abs() < 1e-6);
    }

    #[test]
    fn one_task_zeros_and_no_steps_leave_the_sum() {
        let (a, zeros) = (uniform(1, 3, 5), Matrix::zeros(3, 5));
        let config = WudiConfig::default();
        assert!(wudi([a.clone()], config, &Silent).unwrap().distance(&a) < 1e-12);
        assert!(
            wudi([a.clone(), zeros.clone()], config, &Silent)
                .unwrap()
                .distance(&a)
                < 1e-12
        );
        assert_eq!(wudi([zeros.clone()], config, &Silent).unwrap(), zeros);
        let none = WudiConfig {
            iterations: 0,
            ..config
        };
        let b = uniform(2, 3, 5);
        assert_eq!(
            wudi([a.clone(), b.clone()], none, &Silent).unwrap(),
            sum(&a, &b)
        );
        assert_eq!(wudi([], config, &Silent), Err(NO_TASKS));
        let wild = Matrix::from_rows([[1.0, f64::NAN]]);
        assert!(matches!(
            wudi([wild], config, &Silent),
            Err(MathError::NotFinite { col: 1, .. })
        ));
    }

    #[test]
    fn recipes_check_their_settings() {
        let (base, a, b) = ([0.0], [1.0], [2.0]);
        let mut case = Case::new("wudi", &[1, 1], &base, &[&a, &b]);
        case.tensor = json!({ "learning_rate": 0.25, "iterations": 1 });
        assert!((case.merge().unwrap()[0] - 2.75).abs() < 1e-6);
        case.tensor = json!({ "learning_rate": 0.0 });
        let error = case.merge().unwrap_err();
        assert_eq!(
            error,
            "`learning_rate` is 0, expected a finite number above 0"
        );
    }

    #[test]
    fn results_agree_with_the_formulas_of_the_authors_code() {
        let config = WudiConfig {
            learning_rate: 1e-2,
            ..WudiConfig::default()
        };
        let merged = wudi(reference_tasks(), config, &Silent).unwrap();
        let expected = [
            -1.722_866_855_921,
            0.732_291_210_141,
            -0.161_166_691_934,
            0.598_749_249_909,
        ];
        assert!(begins(&merged, expected, 1e-5)); // 300 steps in single precision
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn the_objective_falls(seed in any::<u64>(), m in 2usize..8, n in 2usize..8, k in 2u64..5) {
            // Values of the size that fine-tuning changes, so that the paper's settings fit.
            let tasks: Vec<Matrix> = (0..k).map(|i| scaled(uniform(seed ^ i, m, n), 1e-3)).collect();
            let start = total(tasks.iter().cloned()).unwrap().unwrap();
            let merged = wudi(tasks.clone(), WudiConfig::default(), &Silent).unwrap();
            prop_assert!(objective(&merged, &tasks) < 0.9 * objective(&start, &tasks));
        }
    }
}
