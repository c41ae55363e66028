//! Linear: the weighted sum of models, divided by the sum of weights where asked for.
//! Source: Wortsman et al. 2022, arXiv:2203.05482.

use crate::{
    error::MergeError,
    recipe::{BaseUse, RecipeRule, Target},
    rule::{finite_weights, weighted_sum},
    stream::{Block, StreamRule},
};
use refit_core::{Area, Card, ConfigError, DataAccess, ModelAccess};
use serde::Deserialize;

/// Settings of [`Linear`] for one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LinearTensor {
    /// Whether the sum is divided by the sum of weights (default: yes, as in recipe tools).
    pub(crate) normalize: bool,
}

impl Default for LinearTensor {
    fn default() -> Self {
        Self { normalize: true }
    }
}

/// Settings of [`Linear`] for one model.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinearModel {
    /// Its factor; finite.
    pub(crate) weight: f64,
}

/// The method; see the [module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linear;

impl RecipeRule for Linear {
    const CARD: Card = Card {
        name: "linear",
        summary: "weighted mean of models",
        area: Area::Reuse,
        model: ModelAccess::ReadWeights,
        data: DataAccess::None,
        source: "arXiv:2203.05482",
    };
    const BASE: BaseUse = BaseUse::None;
    const TENSOR_KEYS: &'static [&'static str] = &["normalize"];
    const MODEL_KEYS: &'static [&'static str] = &["weight"];
    type Tensor = LinearTensor;
    type Model = LinearModel;

    fn rule(
        _: &Target<'_>,
        tensor: LinearTensor,
        models: Vec<LinearModel>,
    ) -> Result<Box<dyn StreamRule>, ConfigError> {
        let mut factors: Vec<f64> = models.iter().map(|model| model.weight).collect();
        finite_weights(&factors)?;
        if tensor.normalize {
            let sum: f64 = factors.iter().sum();
            if sum == 0.0 {
                return Err(ConfigError::conflict(
                    "weight",
                    "sums to 0 over the models, which cannot be normalised",
                ));
            }
            for factor in &mut factors {
                *factor /= sum;
            }
        }
        Ok(Box::new(Rule { factors }))
    }
}

#[derive(Debug)]
struct Rule {
    factors: Vec<f64>,
}

impl StreamRule for Rule {
    fn merge(&self, block: &Block<'_>, out: &mut [f32]) -> Result<(), MergeError> {
        weighted_sum(block.models, &self.factors, out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{recipe::RecipeMethod, stream::merge_values};
    use refit_core::Seed;
    use serde_json::json;

    fn linear(normalize: bool, weights: &[f64], models: &[&[f32]]) -> Result<Vec<f32>, String> {
        let (path, shape) = ("w".into(), [models[0].len()]);
        let target = Target {
            path: &path,
            shape: &shape,
            models: &["a", "b"],
            has_base: false,
            is_embedding: false,
            seed: Seed::new(0),
        };
        let map = |value: serde_json::Value| value.as_object().unwrap().clone();
        let settings = weights
            .iter()
            .map(|w| map(json!({ "weight": w })))
            .collect();
        let tensor = map(json!({ "normalize": normalize }));
        let rule = RecipeMethod::Linear.spec().rule(&target, tensor, settings);
        merge_values(rule.map_err(|e| e.to_string())?, &shape, None, models)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn weights_are_factors_or_shares() {
        let (a, b): (&[f32], &[f32]) = (&[1.0, -2.0], &[5.0, 2.0]);
        assert_eq!(linear(false, &[1.0, 3.0], &[a, b]).unwrap(), [16.0, 4.0]);
        assert_eq!(linear(true, &[1.0, 3.0], &[a, b]).unwrap(), [4.0, 1.0]);
    }

    #[test]
    fn weights_without_a_sum_are_refused() {
        let sum = linear(true, &[1.0, -1.0], &[&[1.0], &[2.0]]).unwrap_err();
        assert_eq!(
            sum,
            "`weight` sums to 0 over the models, which cannot be normalised"
        );
    }
}
