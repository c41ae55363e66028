//! Multi-SLERP: the weighted mean direction of any number of models, as seen from the base where there is one, with
//! the weighted mean of their lengths.
//! Source: Goddard 2025, <https://goddard.blog/posts/multislerp-wow-what-a-cool-idea>.
//!
//! The published form projects the models onto the tangent plane at their mean direction, averages there, and goes back
//! to the sphere. The average of the projections is zero, since the plane is taken at the mean of the very same
//! directions with the very same weights; so the mean direction is the result, and no second pass is made.

use super::blend::{Blend, Blended, Gram, Scope, Vectors};
use crate::{
    error::MergeError,
    recipe::{BaseUse, Flag, RecipeRule, Target},
    rule::finite,
    stream::StreamRule,
};
use refit_core::{Area, Card, ConfigError, DataAccess, ModelAccess};
use serde::Deserialize;

/// Settings of [`Multislerp`] for one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MultislerpTensor {
    /// Whether weights are divided by their sum (default: yes).
    pub(crate) normalize_weights: Flag,
    /// Added to lengths, and the least length of a mean direction; positive and finite (default 1e-8, as in recipe
    /// tools).
    pub(crate) eps: f64,
}

impl Default for MultislerpTensor {
    fn default() -> Self {
        Self {
            normalize_weights: Flag(true),
            eps: 1e-8,
        }
    }
}

/// Settings of [`Multislerp`] for one model.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MultislerpModel {
    /// Weight of its direction and of its length; finite.
    pub(crate) weight: f64,
}

/// The method; see the [module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Multislerp;

impl RecipeRule for Multislerp {
    const CARD: Card = Card {
        name: "multislerp",
        summary: "mean direction and mean length of models, or of their task vectors",
        area: Area::Reuse,
        model: ModelAccess::ReadWeights,
        data: DataAccess::None,
        source: "https://goddard.blog/posts/multislerp-wow-what-a-cool-idea",
    };
    const BASE: BaseUse = BaseUse::Optional;
    const TENSOR_KEYS: &'static [&'static str] = &["normalize_weights", "eps"];
    const MODEL_KEYS: &'static [&'static str] = &["weight"];
    type Tensor = MultislerpTensor;
    type Model = MultislerpModel;

    fn rule(
        target: &Target<'_>,
        tensor: MultislerpTensor,
        models: Vec<MultislerpModel>,
    ) -> Result<Box<dyn StreamRule>, ConfigError> {
        if !(tensor.eps > 0.0 && tensor.eps.is_finite()) {
            return Err(ConfigError::range("eps", tensor.eps, "a positive number"));
        }
        let mut weights: Vec<f64> = models.iter().map(|model| model.weight).collect();
        finite_sum(&mut weights, tensor.normalize_weights.0)?;
        let mean = MeanDirection {
            weights,
            eps: tensor.eps,
        };
        let vectors = match models.len() {
            1 => Vectors::Models, // itself, in every bit
            _ => Vectors::Changes,
        };
        let shape = target.shape;
        Ok(Blended::boxed(
            mean,
            vectors,
            Scope::Tensor,
            shape,
            models.len(),
        ))
    }
}

/// Refuses weights that are not finite, and divides them by their sum where asked for.
fn finite_sum(weights: &mut [f64], normalize: bool) -> Result<(), ConfigError> {
    weights.iter().try_for_each(|&w| finite("weight", w))?;
    let sum: f64 = weights.iter().sum();
    if normalize && sum == 0.0 {
        let problem = "sums to 0 over the models, which cannot be normalised";
        return Err(ConfigError::conflict("weight", problem));
    }
    if normalize {
        for weight in weights {
            *weight /= sum;
        }
    }
    Ok(())
}

#[derive(Debug)]
struct MeanDirection {
    weights: Vec<f64>,
    eps: f64,
}

impl Blend for MeanDirection {
    fn factors(&self, gram: Gram<'_>, factors: &mut [f64]) -> Result<(), MergeError> {
        let lengths = (0..gram.count()).map(|k| gram.norm(k));
        if gram.count() == 1 || lengths.clone().all(|length| length == 0.0) {
            factors.fill(1.0); // itself; or nothing, which is every length and direction
            return Ok(());
        }
        for ((factor, weight), length) in factors.iter_mut().zip(&self.weights).zip(lengths.clone())
        {
            *factor = weight / (length + self.eps);
        }
        let mut squared = 0.0;
        for (i, a) in factors.iter().enumerate() {
            squared += factors
                .iter()
                .enumerate()
                .map(|(j, b)| a * b * gram.at(i, j))
                .sum::<f64>();
        }
        if squared.is_nan() {
            factors.fill(f64::NAN);
            return Ok(());
        }
        let mean = squared.max(0.0).sqrt();
        if mean < self.eps && gram.count() == 2 {
            factors.copy_from_slice(&self.weights);
            return Ok(());
        }
        if mean < self.eps {
            let problem = "balances directions so that their mean is zero; choose other weights";
            return Err(ConfigError::conflict("weight", problem).into());
        }
        let length: f64 = self
            .weights
            .iter()
            .zip(lengths)
            .map(|(w, length)| w * length)
            .sum();
        for factor in factors {
            *factor *= length / mean;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::recipe::testing::{Case, close};
    use serde_json::{Value, json};

    fn multislerp(
        tensor: Value,
        base: Option<&[f32]>,
        models: &[(f64, &[f32])],
    ) -> Result<Vec<f32>, String> {
        let models: Vec<_> = models
            .iter()
            .map(|&(w, v)| (json!({ "weight": w }), v))
            .collect();
        Case {
            method: "multislerp",
            shape: &[models[0].1.len()],
            tensor,
            base,
            models: &models,
        }
        .merge()
    }

    #[test]
    fn directions_and_lengths_are_averaged_apart() {
        // directions (1, 0), (0, 1): mean on the diagonal; lengths 1 and 3: mean 2
        let found = multislerp(json!({}), None, &[(1.0, &[1.0, 0.0]), (1.0, &[0.0, 3.0])]).unwrap();
        assert!(
            close(&found, &[2f32.sqrt(), 2f32.sqrt()], 1e-6),
            "{found:?}"
        );
        let base: &[f32] = &[1.0, -1.0];
        let moved = multislerp(
            json!({}),
            Some(base),
            &[(1.0, &[2.0, -1.0]), (1.0, &[1.0, 2.0])],
        )
        .unwrap();
        assert!(
            close(&moved, &[1.0 + 2f32.sqrt(), 2f32.sqrt() - 1.0], 1e-6),
            "{moved:?}"
        );
    }

    #[test]
    fn one_model_is_itself_and_weights_may_stay_as_they_are() {
        let model: &[f32] = &[0.1, -3.0];
        assert_eq!(
            multislerp(json!({}), Some(&[5.0, 5.0]), &[(0.2, model)]).unwrap(),
            model
        );
        let twice = json!({"normalize_weights": false});
        let found = multislerp(twice, None, &[(1.0, model), (1.0, model)]).unwrap();
        assert!(close(&found, &[0.2, -6.0], 1e-6), "{found:?}");
    }

    #[test]
    fn opposites_meet_on_the_line_if_they_are_two_and_are_refused_otherwise() {
        let (a, b): (&[f32], &[f32]) = (&[1.0, 2.0], &[-1.0, -2.0]);
        assert_eq!(
            multislerp(json!({}), None, &[(1.0, a), (1.0, b)]).unwrap(),
            [0.0, 0.0]
        );
        let text = multislerp(json!({}), None, &[(1.0, a), (2.0, b), (1.0, a)]).unwrap_err();
        assert!(text.starts_with("`weight` balances directions"), "{text}");
        let text = multislerp(json!({}), None, &[(1.0, a), (-1.0, b)]).unwrap_err();
        assert!(text.contains("cannot be normalised"), "{text}");
    }

    #[test]
    fn models_that_learned_nothing_leave_the_base() {
        let base: &[f32] = &[1.0, 2.0];
        let models = [(1.0, base), (2.0, base), (1.0, base)];
        assert_eq!(multislerp(json!({}), Some(base), &models).unwrap(), base);
    }
}
