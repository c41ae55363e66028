//! ISO-C and ISO-CTS: give every direction of the merged task vector the same strength.
//! Source: Marczak et al. 2025, arXiv:2502.04959. Deviation: directions without any strength, which the authors' code
//! fills arbitrarily, stay empty; the sum of singular values is the same.

use super::matrices::{
    Embeddings, MODEL_KEYS, MatrixRule, NO_TASKS, OnMatrices, TaskModel, go_on, total,
};
use crate::{
    recipe::{BaseUse, RecipeRule, Target},
    stream::StreamRule,
};
use refit_core::{Area, Card, ConfigError, DataAccess, ModelAccess, Progress};
use refit_math::{MathError, Matrix, Svd, polar_factor, svd};
use serde::Deserialize;

/// Settings of [`IsoC`] for one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct IsoCTensor {
    /// Factor on the merged task vector; finite (paper: tuned on validation data; ours: 1).
    pub(crate) lambda: f64,
    /// How embeddings and heads are merged.
    pub(crate) embeddings: Embeddings,
}

impl Default for IsoCTensor {
    fn default() -> Self {
        Self {
            lambda: 1.0,
            embeddings: Embeddings::default(),
        }
    }
}

/// Settings of [`IsoCts`] for one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct IsoCtsTensor {
    /// Factor on the merged task vector; finite (paper: tuned on validation data; ours: 1).
    pub(crate) lambda: f64,
    /// Share of the directions that all tasks have in common; in `[0, 1]` (paper: 0.8).
    pub(crate) common: f64,
    /// How embeddings and heads are merged.
    pub(crate) embeddings: Embeddings,
}

impl Default for IsoCtsTensor {
    fn default() -> Self {
        Self {
            lambda: 1.0,
            common: 0.8,
            embeddings: Embeddings::default(),
        }
    }
}

/// The method without directions of single tasks; see the [module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct IsoC;

impl RecipeRule for IsoC {
    const CARD: Card = Card {
        name: "iso_c",
        summary: "sum of task vectors with every singular value at their mean",
        area: Area::Reuse,
        model: ModelAccess::ReadWeights,
        data: DataAccess::None,
        source: "arXiv:2502.04959",
    };
    const BASE: BaseUse = BaseUse::Required;
    const TENSOR_KEYS: &'static [&'static str] = &["lambda", "embeddings"];
    const MODEL_KEYS: &'static [&'static str] = MODEL_KEYS;
    type Tensor = IsoCTensor;
    type Model = TaskModel;

    fn rule(
        target: &Target<'_>,
        tensor: IsoCTensor,
        models: Vec<TaskModel>,
    ) -> Result<Box<dyn StreamRule>, ConfigError> {
        MatrixRule::boxed(Self, target, (tensor.lambda, tensor.embeddings), &models)
    }
}

impl OnMatrices for IsoC {
    fn merge(
        &self,
        tasks: impl ExactSizeIterator<Item = Matrix> + Clone,
        _progress: &dyn Progress,
    ) -> Result<Matrix, MathError> {
        iso_c(tasks)
    }
}

/// The method with directions of single tasks; see the [module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct IsoCts {
    common: f64,
}

impl RecipeRule for IsoCts {
    const CARD: Card = Card {
        name: "iso_cts",
        summary: "common and task-specific directions, all of the same strength",
        area: Area::Reuse,
        model: ModelAccess::ReadWeights,
        data: DataAccess::None,
        source: "arXiv:2502.04959",
    };
    const BASE: BaseUse = BaseUse::Required;
    const TENSOR_KEYS: &'static [&'static str] = &["lambda", "common", "embeddings"];
    const MODEL_KEYS: &'static [&'static str] = MODEL_KEYS;
    type Tensor = IsoCtsTensor;
    type Model = TaskModel;

    fn rule(
        target: &Target<'_>,
        tensor: IsoCtsTensor,
        models: Vec<TaskModel>,
    ) -> Result<Box<dyn StreamRule>, ConfigError> {
        let common = tensor.common;
        if !(0.0..=1.0).contains(&common) {
            return Err(ConfigError::range("common", common, "a share in [0, 1]"));
        }
        let method = Self { common };
        MatrixRule::boxed(method, target, (tensor.lambda, tensor.embeddings), &models)
    }
}

impl OnMatrices for IsoCts {
    fn merge(
        &self,
        tasks: impl ExactSizeIterator<Item = Matrix> + Clone,
        progress: &dyn Progress,
    ) -> Result<Matrix, MathError> {
        iso_cts(tasks, self.common, progress)
    }
}

/// Merges task vectors into `s U V^T`, where `U S V^T` is the decomposition of their sum and `s` the mean of `S`, over
/// the directions whose value rises above rounding.
///
/// # Shapes
/// `K` matrices `[m, n]` -> `[m, n]`.
///
/// # Errors
/// [`MathError::Empty`], [`MathError::Shape`], [`MathError::NotFinite`], [`MathError::NotConverged`].
///
/// # Cost
/// One singular value decomposition, whatever `K`.
///
/// # Example
/// ```
/// use refit_math::Matrix;
/// use refit_merge::subspace::iso_c;
/// let a = Matrix::from_rows([[3.0, 0.0], [0.0, 0.0]]);
/// let b = Matrix::from_rows([[0.0, 0.0], [0.0, 1.0]]);
/// let merged = iso_c([a, b])?;
/// assert!(merged.distance(&Matrix::from_rows([[2.0, 0.0], [0.0, 2.0]])) < 1e-14);
/// # Ok::<(), refit_math::MathError>(())
/// ```
///
/// # Source
/// arXiv:2502.04959
pub fn iso_c(tasks: impl IntoIterator<Item = Matrix>) -> Result<Matrix, MathError> {
    let parts = svd(&total(tasks.into_iter())?.ok_or(NO_TASKS)?)?;
    let rank = parts.rank();
    let mut parts = parts.head(rank);
    flatten(&mut parts.values);
    Ok(parts.product())
}

/// Merges task vectors into `s P(U) P(V)^T` with directions of two kinds: the largest of the sum of all tasks, and of
/// each task the largest of what lies outside of those. `P` is the polar factor, `s` the mean of the singular values.
///
/// Of `r = min(m, n)` directions about the share `common` is of the first kind; tasks have equally many of the others,
/// `(r - floor(common r)) / K` each, rounded to the nearest.
///
/// # Shapes
/// `K` matrices `[m, n]` -> `[m, n]`. `common` is a share in `[0, 1]`; other values are taken to the nearest end.
///
/// # Errors
/// [`MathError::Empty`], [`MathError::Shape`], [`MathError::NotFinite`], [`MathError::NotConverged`], [`MathError::Stopped`] when `progress` asks for it.
///
/// # Cost
/// `K + 3` singular value decompositions.
///
/// # Source
/// arXiv:2502.04959; how directions are counted is that of the authors' code.
pub fn iso_cts(
    tasks: impl IntoIterator<Item = Matrix, IntoIter: ExactSizeIterator + Clone>,
    common: f64,
    progress: &dyn Progress,
) -> Result<Matrix, MathError> {
    let tasks = tasks.into_iter();
    let sum = total(tasks.clone())?.ok_or(NO_TASKS)?;
    let size = sum.rows().min(sum.cols());
    let (common, each) = directions(size, tasks.len(), common);
    let parts = svd(&sum)?;
    let rank = parts.rank().min(common);
    let shared = parts.head(rank);
    let (mut left, mut right, mut values) = (vec![], vec![], vec![]);
    for task in tasks {
        go_on(progress)?;
        let parts = outside(&shared.left, task)?.head(each);
        left.push(parts.left);
        right.push(parts.right);
        values.extend(parts.values);
    }
    left.push(shared.left);
    right.push(shared.right);
    values.extend(shared.values);
    flatten(&mut values);
    go_on(progress)?;
    let left = polar_factor(&Matrix::stacked(left)?)?;
    go_on(progress)?;
    let mut right = polar_factor(&Matrix::stacked(right)?)?;
    right.scale_rows(&values);
    left.transposed_times(&right)
}

/// How many directions are common, and how many each of `tasks` has for itself; together at most `size`.
fn directions(size: usize, tasks: usize, common: f64) -> (usize, usize) {
    let floor = (size as f64 * common.clamp(0.0, 1.0)) as usize;
    let each = ((size - floor) as f64 / tasks as f64).round_ties_even() as usize;
    let each = each.min(size / tasks); // the authors' code would count below zero
    (size - each * tasks, each)
}

/// The components of what lies outside of the output directions `shared`, without those that are rounding.
fn outside(shared: &Matrix, mut task: Matrix) -> Result<Svd, MathError> {
    let limit = task.norm() * f64::EPSILON * task.rows().max(task.cols()) as f64;
    let inside = shared.transposed_times(&shared.times(&task)?)?;
    for (value, inside) in task.values_mut().iter_mut().zip(inside.values()) {
        *value -= inside;
    }
    let parts = svd(&task)?;
    let rank = parts.rank_above(limit);
    Ok(parts.head(rank))
}

/// Replaces each value by the mean of all.
fn flatten(values: &mut [f64]) {
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    values.fill(mean);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subspace::testing::{Case, begins, reference_tasks, scaled, sum, uniform};
    use proptest::prelude::*;
    use refit_core::Silent;
    use serde_json::json;

    #[test]
    fn directions_are_counted_as_in_the_authors_code() {
        // size 768, 8 tasks, share 0.8: 614 common, 154 left, round(19.25) = 19 each, so 616 common.
        assert_eq!(directions(768, 8, 0.8), (616, 19));
        assert_eq!(directions(10, 3, 0.8), (7, 1)); // round(0.67) = 1
        assert_eq!(directions(10, 2, 0.5), (6, 2)); // round(2.5) = 2: ties go to even
        assert_eq!(directions(2, 8, 0.8), (2, 0));
        assert_eq!(directions(5, 8, 0.0), (5, 0)); // would be -3
        assert_eq!(directions(4, 2, 1.0), (4, 0));
        assert_eq!(directions(4, 2, f64::NAN), (0, 2));
    }

    #[test]
    fn without_own_directions_both_are_the_same() {
        let tasks = [uniform(1, 6, 9), uniform(2, 6, 9), uniform(3, 6, 9)];
        let common = iso_c(tasks.clone()).unwrap();
        assert!(iso_cts(tasks, 1.0, &Silent).unwrap().distance(&common) < 1e-13);
    }

    #[test]
    fn own_directions_worked_by_hand() {
        // The sum is diag(6, 5, 0, 0), the common space e1, e2 of outputs. Outside of it task a writes 2 to output 3
        // from input 3, task b 1 to output 4 from input 4; their sum hides neither. Mean of (6, 5, 2, 1) with the
        // halves of the sum: 3.5.
        let diagonal =
            |values: [f64; 4]| Matrix::from_fn(4, 4, |i, j| if i == j { values[i] } else { 0.0 });
        let (a, b) = (
            diagonal([6.0, 0.0, 2.0, 0.0]),
            diagonal([0.0, 5.0, 0.0, 1.0]),
        );
        let merged = iso_cts([a, b], 0.5, &Silent).unwrap();
        assert!(merged.distance(&scaled(Matrix::identity(4), 3.5)) < 1e-13);
    }

    #[test]
    fn unused_directions_stay_empty() {
        let a = Matrix::from_rows([[4.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 0.0]]);
        let expected = Matrix::from_rows([[3.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 0.0]]);
        assert!(iso_c([a.clone()]).unwrap().distance(&expected) < 1e-14);
        assert!(iso_cts([a], 0.7, &Silent).unwrap().distance(&expected) < 1e-14);
        let zeros = Matrix::zeros(3, 2);
        assert_eq!(iso_c([zeros.clone()]).unwrap(), zeros);
        assert_eq!(iso_cts([zeros.clone()], 0.5, &Silent).unwrap(), zeros);
        assert_eq!(
            (iso_c([]), iso_cts([], 0.5, &Silent)),
            (Err(NO_TASKS), Err(NO_TASKS))
        );
    }

    #[test]
    fn recipes_check_their_settings() {
        let (base, a) = ([0.0; 4], [3.0, 0.0, 0.0, 1.0]);
        let mut case = Case::new("iso_c", &[2, 2], &base, &[&a]);
        case.tensor = json!({ "lambda": 1.5 });
        assert_eq!(case.merge().unwrap(), [3.0, 0.0, 0.0, 3.0]);
        let mut case = Case::new("iso_cts", &[2, 2], &base, &[&a]);
        assert_eq!(case.merge().unwrap(), [2.0, 0.0, 0.0, 2.0]);
        case.tensor = json!({ "common": 1.5 });
        let error = case.merge().unwrap_err();
        assert_eq!(error, "`common` is 1.5, expected a share in [0, 1]");
    }

    #[test]
    fn results_agree_with_the_formulas_of_the_authors_code() {
        let expected = [
            -0.200_073_797_361,
            -0.432_440_327_932,
            -0.080_796_048_362,
            0.169_676_265_064,
        ];
        assert!(begins(&iso_c(reference_tasks()).unwrap(), expected, 1e-11));
        let expected = [
            0.312_515_355_644,
            -0.368_758_017_753,
            -0.528_698_085_684,
            0.867_750_223_491,
        ];
        assert_eq!(directions(5, 3, 0.4), (2, 1));
        assert!(begins(
            &iso_cts(reference_tasks(), 0.4, &Silent).unwrap(),
            expected,
            1e-12
        ));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn every_direction_has_the_same_strength(
            seed in any::<u64>(), m in 2usize..12, n in 2usize..12, common in 0.0f64..1.0,
        ) {
            let (a, b) = (uniform(seed, m, n), uniform(seed ^ 1, m, n));
            let whole = svd(&sum(&a, &b)).unwrap().values;
            let mean = whole.iter().sum::<f64>() / whole.len() as f64;
            let found = svd(&iso_c([a.clone(), b.clone()]).unwrap()).unwrap().values;
            prop_assert!(found.iter().all(|v| (v - mean).abs() < 1e-11));
            let merged = iso_cts([a.clone(), b.clone()], common, &Silent).unwrap();
            let found = svd(&merged).unwrap().values;
            prop_assert!(found.iter().all(|v| (v - found[0]).abs() < 1e-9));
            let other = iso_cts([b, a], common, &Silent).unwrap();
            prop_assert!(merged.distance(&other) < 1e-7);
        }
    }
}
