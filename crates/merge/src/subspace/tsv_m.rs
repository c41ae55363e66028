//! TSV-M: keep the strongest singular directions of each task and make them orthogonal to those of the others.
//! Source: Gargiulo et al. 2025, arXiv:2412.00081. Deviation: directions without strength, and copies of those that
//! tasks share exactly, are left out; the authors' code puts arbitrary ones in their place.

use super::matrices::{Embeddings, MODEL_KEYS, MatrixRule, NO_TASKS, OnMatrices, TaskModel, go_on};
use crate::{
    recipe::{BaseUse, RecipeRule, Target},
    stream::StreamRule,
};
use refit_core::{Area, Card, ConfigError, DataAccess, ModelAccess, Progress};
use refit_math::{MathError, Matrix, polar_factor, svd};
use serde::Deserialize;

/// Settings of [`TsvM`] for one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TsvMTensor {
    /// Factor on the merged task vector; finite (paper: 1).
    pub(crate) lambda: f64,
    /// Whether every direction of every task is kept (default: no; each keeps its share of the rank).
    pub(crate) lossless: bool,
    /// How embeddings and heads are merged.
    pub(crate) embeddings: Embeddings,
}

impl Default for TsvMTensor {
    fn default() -> Self {
        Self {
            lambda: 1.0,
            lossless: false,
            embeddings: Embeddings::default(),
        }
    }
}

/// The method; see the [module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct TsvM;

impl RecipeRule for TsvM {
    const CARD: Card = Card {
        name: "tsv_m",
        summary: "strongest singular directions of each task, made orthogonal to the others'",
        area: Area::Reuse,
        model: ModelAccess::ReadWeights,
        data: DataAccess::None,
        source: "arXiv:2412.00081",
    };
    const BASE: BaseUse = BaseUse::Required;
    const TENSOR_KEYS: &'static [&'static str] = &["lambda", "lossless", "embeddings"];
    const MODEL_KEYS: &'static [&'static str] = MODEL_KEYS;
    type Tensor = TsvMTensor;
    type Model = TaskModel;

    fn rule(
        target: &Target<'_>,
        tensor: TsvMTensor,
        models: Vec<TaskModel>,
    ) -> Result<Box<dyn StreamRule>, ConfigError> {
        let components = if tensor.lossless {
            Components::All
        } else {
            Components::Share
        };
        MatrixRule::boxed(
            components,
            target,
            (tensor.lambda, tensor.embeddings),
            &models,
        )
    }
}

impl OnMatrices for Components {
    fn merge(
        &self,
        tasks: impl ExactSizeIterator<Item = Matrix> + Clone,
        progress: &dyn Progress,
    ) -> Result<Matrix, MathError> {
        tsv_m(tasks, *self, progress)
    }
}

/// Which singular components of each task take part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Components {
    /// The largest `min(m, n) / K`, rounded down, but at least one.
    #[default]
    Share,
    /// All of them.
    All,
}

/// Merges task vectors `tau_k = U_k S_k V_k^T` into `P(U) S P(V)^T`, where `U = [U_1 .. U_K]`, `V = [V_1 .. V_K]` and
/// `S` hold the components that take part, and `P` is the polar factor: the orthonormal directions nearest to them.
///
/// # Shapes
/// `K` matrices `[m, n]` -> `[m, n]`.
///
/// # Errors
/// [`MathError::Empty`], [`MathError::Shape`], [`MathError::NotFinite`], [`MathError::NotConverged`], [`MathError::Stopped`] when `progress` asks for it.
///
/// # Cost
/// `K + 2` singular value decompositions; those of all components are of `m x K min(m, n)`.
///
/// # Example
/// ```
/// use refit_core::Silent;
/// use refit_math::Matrix;
/// use refit_merge::subspace::{Components, tsv_m};
/// // Tasks that use directions of their own do not disturb each other.
/// let a = Matrix::from_rows([[3.0, 0.0], [0.0, 0.0]]);
/// let b = Matrix::from_rows([[0.0, 0.0], [0.0, 2.0]]);
/// let merged = tsv_m([a, b], Components::Share, &Silent)?;
/// assert!(merged.distance(&Matrix::from_rows([[3.0, 0.0], [0.0, 2.0]])) < 1e-14);
/// # Ok::<(), refit_math::MathError>(())
/// ```
///
/// # Source
/// arXiv:2412.00081
pub fn tsv_m(
    tasks: impl IntoIterator<Item = Matrix, IntoIter: ExactSizeIterator>,
    components: Components,
    progress: &dyn Progress,
) -> Result<Matrix, MathError> {
    let tasks = tasks.into_iter();
    let count = tasks.len();
    let (mut left, mut right, mut values) = (vec![], vec![], vec![]);
    for task in tasks {
        let kept = match components {
            Components::Share => (task.rows().min(task.cols()) / count).max(1),
            Components::All => usize::MAX,
        };
        go_on(progress)?;
        let parts = svd(&task)?;
        // Directions without strength would only take room from those of other tasks.
        let kept = kept.min(parts.rank());
        let parts = parts.head(kept);
        left.push(parts.left);
        right.push(parts.right);
        values.extend(parts.values);
    }
    if count == 0 {
        return Err(NO_TASKS);
    }
    go_on(progress)?;
    let left = polar_factor(&Matrix::stacked(left)?)?;
    go_on(progress)?;
    let mut right = polar_factor(&Matrix::stacked(right)?)?;
    right.scale_rows(&values);
    left.transposed_times(&right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subspace::testing::{Case, begins, reference_tasks, scaled, sum, uniform};
    use proptest::prelude::*;
    use refit_core::Silent;
    use serde_json::json;

    #[test]
    fn two_tasks_worked_by_hand() {
        // Both write to output 1; inputs e1 and (e1 + e2)/sqrt 2, values 2 and 1. Left: [u, u] -> [u, u]/sqrt 2.
        // Right: the orthonormal pair nearest to two unit vectors 45 degrees apart lies 22.5 degrees outside of them.
        let h = 0.5f64.sqrt();
        let a = Matrix::from_rows([[2.0, 0.0], [0.0, 0.0]]);
        let b = Matrix::from_rows([[h, h], [0.0, 0.0]]);
        let (sin, cos) = 22.5f64.to_radians().sin_cos();
        let (one, two) = ([cos, -sin], [sin, cos]);
        let expected = Matrix::from_fn(2, 2, |i, j| {
            if i == 0 {
                h * (2.0 * one[j] + two[j])
            } else {
                0.0
            }
        });
        let merged = tsv_m([a, b], Components::Share, &Silent).unwrap();
        assert!(merged.distance(&expected) < 1e-14, "{merged:?}");
    }

    #[test]
    fn a_share_cuts_small_components_and_all_does_not() {
        let a = Matrix::from_rows([[3.0, 0.0], [0.0, 1.0]]);
        let cut = tsv_m([a.clone(), a.clone()], Components::Share, &Silent).unwrap();
        assert!(cut.distance(&Matrix::from_rows([[3.0, 0.0], [0.0, 0.0]])) < 1e-14);
        let all = tsv_m([a.clone(), a.clone()], Components::All, &Silent).unwrap();
        assert!(all.distance(&a) < 1e-14); // equal tasks share their directions
    }

    #[test]
    fn more_tasks_than_dimensions_keep_one_component_each() {
        let tasks: Vec<Matrix> = (0..5).map(|seed| uniform(seed, 2, 3)).collect();
        assert_eq!(
            tsv_m(tasks, Components::Share, &Silent).unwrap().shape(),
            (2, 3)
        );
    }

    #[test]
    fn no_task_and_unequal_shapes_are_refused() {
        assert_eq!(tsv_m([], Components::Share, &Silent), Err(NO_TASKS));
        let unequal = [uniform(1, 2, 3), uniform(2, 3, 3)];
        assert!(matches!(
            tsv_m(unequal, Components::All, &Silent),
            Err(MathError::Shape { .. })
        ));
        let zeros = Matrix::zeros(2, 3);
        assert_eq!(
            tsv_m([zeros.clone()], Components::Share, &Silent).unwrap(),
            zeros
        );
    }

    #[test]
    fn recipes_add_the_merged_task_vector_to_the_base() {
        let (base, a, b) = ([1.0; 4], [4.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 3.0]);
        let mut case = Case::new("tsv_m", &[2, 2], &base, &[&a, &b]);
        assert_eq!(case.merge().unwrap(), [4.0, 1.0, 1.0, 3.0]);
        case.tensor = json!({ "lambda": 0.5, "lossless": true });
        assert_eq!(case.merge().unwrap(), [2.5, 1.0, 1.0, 2.0]);
    }

    #[test]
    fn results_agree_with_the_formulas_of_the_authors_code() {
        let share = tsv_m(reference_tasks(), Components::Share, &Silent).unwrap();
        let expected = [
            1.020_930_348_764,
            -0.842_154_595_530,
            -0.527_028_540_853,
            -0.424_852_907_689,
        ];
        assert!(begins(&share, expected, 1e-11));
        let all = tsv_m(reference_tasks(), Components::All, &Silent).unwrap();
        let expected = [
            -0.081_665_951_098,
            0.146_130_233_369,
            0.099_287_856_838,
            0.359_322_782_946,
        ];
        assert!(begins(&all, expected, 1e-11));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn one_task_is_itself_scale_passes_through_and_tasks_commute(
            seed in any::<u64>(), m in 1usize..12, n in 1usize..12, scale in 0.1f64..10.0,
        ) {
            let (a, b) = (uniform(seed, m, n), uniform(seed ^ 1, m, n));
            for components in [Components::Share, Components::All] {
                let alone = tsv_m([a.clone()], components, &Silent).unwrap();
                prop_assert!(alone.distance(&a) < 1e-12);
            }
            let merged = tsv_m([a.clone(), b.clone()], Components::Share, &Silent).unwrap();
            let other = tsv_m([b.clone(), a.clone()], Components::Share, &Silent).unwrap();
            prop_assert!(merged.distance(&other) < 1e-9);
            let larger = [scaled(a, scale), scaled(b, scale)];
            let larger = tsv_m(larger, Components::Share, &Silent).unwrap();
            prop_assert!(larger.distance(&scaled(merged, scale)) < 1e-9 * scale.max(1.0));
        }

        #[test]
        fn tasks_in_orthogonal_spaces_are_added(seed in any::<u64>(), m in 2usize..8, n in 2usize..8) {
            // Task a uses the first half of rows and columns, b the rest, each at most its share of the rank.
            let (rows, cols) = (m / 2, n / 2);
            let full = uniform(seed, m, n);
            let part = |second: bool| Matrix::from_fn(m, n, |i, j| {
                let inside = (i >= rows) == second && (j >= cols) == second;
                if inside { full.row(i)[j] } else { 0.0 }
            });
            let (a, b) = (part(false), part(true));
            let merged = tsv_m([a.clone(), b.clone()], Components::All, &Silent).unwrap();
            prop_assert!(merged.distance(&sum(&a, &b)) < 1e-12);
        }
    }
}
