//! Linear average of models ("model soup"): `sum_k w_k theta_k / sum_k w_k`.
//! Source: Wortsman et al. 2022, arXiv:2203.05482.

pub(crate) mod arcee_fusion;
mod blend;
pub(crate) mod greedy_soup;
pub(crate) mod karcher;
pub(crate) mod linear;
pub(crate) mod model_stock;
pub(crate) mod multislerp;
pub(crate) mod nearswap;
pub(crate) mod nuslerp;
pub(crate) mod passthrough;
pub(crate) mod slerp;

use crate::{
    error::MergeError,
    rule::{Operand, TensorRule, finite_weights, sum_with, weights_for},
    task_vector::TaskVectors,
};
use refit_core::{Area, Card, ConfigError, DataAccess, ModelAccess, ParamPath};
use serde::{Deserialize, Serialize};

/// Settings of [`Average`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct AverageConfig {
    /// One weight per expert; finite; empty for equal weights (the uniform soup, default).
    pub weights: Vec<f64>,
    /// Whether the sum is divided by the sum of the weights (default: yes).
    pub normalize: bool,
}

impl Default for AverageConfig {
    fn default() -> Self {
        Self {
            weights: vec![],
            normalize: true,
        }
    }
}

/// A checked [`AverageConfig`].
///
/// The base of the task vectors lends its names and shapes only; without one, any of the experts can stand in for it.
#[derive(Clone, Debug)]
pub struct Average(AverageConfig);

impl TryFrom<AverageConfig> for Average {
    type Error = ConfigError;

    fn try_from(config: AverageConfig) -> Result<Self, ConfigError> {
        finite_weights(&config.weights)?;
        if config.normalize && !config.weights.is_empty() {
            normalized(config.weights.clone())?;
        }
        Ok(Self(config))
    }
}

/// Divides weights by their sum.
fn normalized(mut weights: Vec<f64>) -> Result<Vec<f64>, ConfigError> {
    let sum: f64 = weights.iter().sum();
    if sum == 0.0 || !sum.is_finite() {
        let problem = format!("sum to {sum} and cannot be normalized");
        return Err(ConfigError::conflict("weights", problem));
    }
    for weight in &mut weights {
        *weight /= sum;
    }
    match weights.iter().find(|w| !w.is_finite()) {
        Some(_) => Err(ConfigError::conflict(
            "weights",
            format!("sum to {sum:e}, too little to be normalized"),
        )),
        None => Ok(weights),
    }
}

/// Averages models: `sum_k weights_k models_k`, divided by `sum_k weights_k` if `normalize`.
///
/// # Shapes
/// `models`: `K` slices of `P` values; `weights`: `K` values, or none for equal weights -> `P` values.
///
/// # Errors
/// [`MergeError::Lengths`] when slices differ in length, [`MergeError::Config`] when weights are not one per model or
/// have no finite sum to divide by.
///
/// # Example
/// ```
/// let merged = refit_merge::average(&[&[1.0, 2.0], &[3.0, 6.0]], &[3.0, 1.0], true).unwrap();
/// assert_eq!(merged, [1.5, 3.0]);
/// ```
///
/// # Source
/// arXiv:2203.05482
pub fn average(
    models: &[&[f32]],
    weights: &[f64],
    normalize: bool,
) -> Result<Vec<f32>, MergeError> {
    let mut out = vec![0.0; models.first().map_or(0, |m| m.len())];
    average_into(models, weights, normalize, &mut out)?;
    Ok(out)
}

fn average_into(
    models: &[&[f32]],
    weights: &[f64],
    normalize: bool,
    out: &mut [f32],
) -> Result<(), MergeError> {
    let factors = |weights| {
        if normalize {
            normalized(weights)
        } else {
            Ok(weights)
        }
    };
    sum_with(models, weights, factors, out)
}

impl TensorRule for Average {
    const CARD: Card = Card {
        name: "average",
        summary: "weighted mean of the experts' weights",
        area: Area::Reuse,
        model: ModelAccess::ReadWeights,
        data: DataAccess::None,
        source: "arXiv:2203.05482",
    };
    const OPERAND: Operand = Operand::Models;
    type Plan = ();

    fn plan(&self, tasks: &TaskVectors<'_>) -> Result<(), MergeError> {
        weights_for(&self.0.weights, tasks.len())?;
        Ok(())
    }

    fn apply(
        &self,
        (): &(),
        _at: &ParamPath,
        models: &[&[f32]],
        out: &mut [f32],
    ) -> Result<(), MergeError> {
        average_into(models, &self.0.weights, self.0.normalize, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_normalization_weights_are_factors() {
        let out = average(&[&[1.0], &[2.0]], &[2.0, -0.5], false).unwrap();
        assert_eq!(out, [1.0]);
    }

    #[test]
    fn equal_models_average_to_themselves_in_every_bit() {
        let model = [0.1, -3.3, 1e-20, 7e30];
        assert_eq!(average(&[&model[..]; 3], &[], true).unwrap(), model);
    }

    #[test]
    fn weights_that_cannot_work_are_refused() {
        let build = |weights| {
            Average::try_from(AverageConfig {
                weights,
                normalize: true,
            })
        };
        assert!(
            build(vec![f64::NAN, 1.0])
                .unwrap_err()
                .to_string()
                .contains("`weights` is NaN")
        );
        for (weights, words) in [
            (
                vec![1.0, -1.0],
                "`weights` sum to 0 and cannot be normalized",
            ),
            (
                vec![1e308, 1e308],
                "`weights` sum to inf and cannot be normalized",
            ),
            (vec![1e308, -1e308, 1e-300], "too little to be normalized"),
        ] {
            let error = build(weights.clone()).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
            let models = vec![&[1.0][..]; weights.len()];
            let error = average(&models, &weights, true).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let error = average(&[&[1.0]], &[1.0, 1.0], true).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("names 2 values, expected one for each of 1 experts")
        );
        let error = average(&[&[1.0], &[1.0, 2.0]], &[], true).unwrap_err();
        assert_eq!(error.to_string(), "operand 1 holds 2 values, expected 1");
    }
}
