//! Task arithmetic: add scaled task vectors to the base, or subtract them to forget.
//! Source: Ilharco et al. 2023, arXiv:2212.04089.

use super::TaskVectors;
use crate::{
    error::MergeError,
    rule::{Operand, TensorRule, finite, finite_weights, sum_with, weights_for},
};
use refit_core::{Area, Card, ConfigError, DataAccess, ModelAccess, ParamPath};
use serde::{Deserialize, Serialize};

/// Settings of [`TaskArithmetic`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TaskArithmeticConfig {
    /// Factor on the sum of task vectors; finite (default 0.3: the usual start for eight tasks in the reference
    /// code; tune on validation data).
    pub scale: f64,
    /// One weight per expert; finite; a negative one makes the result forget that task; empty for all 1 (default).
    pub weights: Vec<f64>,
}

impl Default for TaskArithmeticConfig {
    fn default() -> Self {
        Self {
            scale: 0.3,
            weights: vec![],
        }
    }
}

/// A checked [`TaskArithmeticConfig`].
#[derive(Clone, Debug)]
pub struct TaskArithmetic(TaskArithmeticConfig);

impl TryFrom<TaskArithmeticConfig> for TaskArithmetic {
    type Error = ConfigError;

    fn try_from(config: TaskArithmeticConfig) -> Result<Self, ConfigError> {
        finite("scale", config.scale)?;
        finite_weights(&config.weights)?;
        Ok(Self(config))
    }
}

/// Adds task vectors: `scale sum_k weights_k tasks_k`, the change to be added to the base.
///
/// # Shapes
/// `tasks`: `K` slices of `P` values; `weights`: `K` values, or none for all 1 -> `P` values.
///
/// # Errors
/// [`MergeError::Lengths`] when slices differ in length, [`MergeError::Config`] when weights are not one per task.
///
/// # Example
/// ```
/// // Learn the first task, forget the second.
/// let change = refit_merge::task_arithmetic(&[&[2.0], &[1.0]], &[1.0, -1.0], 0.5).unwrap();
/// assert_eq!(change, [0.5]);
/// ```
///
/// # Source
/// arXiv:2212.04089
pub fn task_arithmetic(
    tasks: &[&[f32]],
    weights: &[f64],
    scale: f64,
) -> Result<Vec<f32>, MergeError> {
    let mut out = vec![0.0; tasks.first().map_or(0, |t| t.len())];
    task_arithmetic_into(tasks, weights, scale, &mut out)?;
    Ok(out)
}

fn task_arithmetic_into(
    tasks: &[&[f32]],
    weights: &[f64],
    scale: f64,
    out: &mut [f32],
) -> Result<(), MergeError> {
    let factors =
        |weights: Vec<f64>| Ok(weights.into_iter().map(|weight| weight * scale).collect());
    sum_with(tasks, weights, factors, out)
}

impl TensorRule for TaskArithmetic {
    const CARD: Card = Card {
        name: "task-arithmetic",
        summary: "scaled sum of task vectors, added to the base; negative weights forget",
        area: Area::Reuse,
        model: ModelAccess::ReadWeights,
        data: DataAccess::None,
        source: "arXiv:2212.04089",
    };
    const OPERAND: Operand = Operand::TaskVectors;
    type Plan = ();

    fn plan(&self, tasks: &TaskVectors<'_>) -> Result<(), MergeError> {
        weights_for(&self.0.weights, tasks.len())?;
        Ok(())
    }

    fn apply(
        &self,
        (): &(),
        _at: &ParamPath,
        tasks: &[&[f32]],
        out: &mut [f32],
    ) -> Result<(), MergeError> {
        task_arithmetic_into(tasks, &self.0.weights, self.0.scale, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_by_hand() {
        let change = task_arithmetic(&[&[1.0, -2.0], &[3.0, 4.0]], &[], 0.25).unwrap();
        assert_eq!(change, [1.0, 0.5]);
    }

    #[test]
    fn a_scale_that_is_not_finite_is_refused() {
        let config = TaskArithmeticConfig {
            scale: f64::INFINITY,
            ..Default::default()
        };
        let error = TaskArithmetic::try_from(config).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`scale` is inf, expected a finite number"
        );
    }
}
