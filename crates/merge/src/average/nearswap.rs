//! Nearswap: take the model's value where it is near the base's, and go towards it by a fixed step elsewhere.
//! Source: <https://huggingface.co/alchemonaut/QuartetAnemoi-70B-t0.0001>.

use crate::{
    error::MergeError,
    recipe::{BaseUse, NoSettings, RecipeRule, Target},
    simd::kernel,
    stream::{Block, StreamRule},
};
use refit_core::{Area, Card, ConfigError, DataAccess, ModelAccess};
use serde::Deserialize;

/// Settings of [`Nearswap`] for one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NearswapTensor {
    /// Length of the step; finite, not negative, in units of the weights.
    pub(crate) t: f64,
}

/// The method; see the [module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nearswap;

impl RecipeRule for Nearswap {
    const CARD: Card = Card {
        name: "nearswap",
        summary: "values of a model where they are near those of the base, a step towards them elsewhere",
        area: Area::Reuse,
        model: ModelAccess::ReadWeights,
        data: DataAccess::None,
        source: "https://huggingface.co/alchemonaut/QuartetAnemoi-70B-t0.0001",
    };
    const BASE: BaseUse = BaseUse::Required;
    const MODELS: (usize, usize) = (1, 1);
    const TENSOR_KEYS: &'static [&'static str] = &["t"];
    const MODEL_KEYS: &'static [&'static str] = &[];
    type Tensor = NearswapTensor;
    type Model = NoSettings;

    fn rule(
        _: &Target<'_>,
        tensor: NearswapTensor,
        _: Vec<NoSettings>,
    ) -> Result<Box<dyn StreamRule>, ConfigError> {
        if !(tensor.t >= 0.0 && tensor.t.is_finite()) {
            return Err(ConfigError::range("t", tensor.t, "a number of at least 0"));
        }
        Ok(Box::new(Rule { step: tensor.t }))
    }
}

#[derive(Debug)]
struct Rule {
    step: f64,
}

impl StreamRule for Rule {
    fn merge(&self, block: &Block<'_>, out: &mut [f32]) -> Result<(), MergeError> {
        if let (Some(base), [model]) = (block.base, block.models) {
            swap_near(self.step, base, model, out);
        }
        Ok(())
    }
}

kernel! {
    /// `out = w b + (1 - w) a` with `w = min(step / max(|a - b|, 1e-6), 1)`, the difference in single precision.
    fn swap_near(step: f64, a: &'a [f32], b: &'a [f32], out: &'a mut [f32]) {
        for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
            let distance = f64::from((a - b).abs());
            let distance = if distance < 1e-6 { 1e-6 } else { distance };
            let weight = step / distance;
            let weight = if weight > 1.0 { 1.0 } else { weight };
            *out = (weight * f64::from(b) + (1.0 - weight) * f64::from(a)) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::recipe::testing::Case;
    use serde_json::json;

    fn nearswap(t: f64, base: &[f32], model: &[f32]) -> Result<Vec<f32>, String> {
        Case {
            method: "nearswap",
            shape: &[base.len()],
            tensor: json!({ "t": t }),
            base: Some(base),
            models: &[(json!({}), model)],
        }
        .merge()
    }

    #[test]
    fn a_step_goes_no_further_than_the_model() {
        let (a, b) = (&[0.0, 0.0, 1.0, 2.0], &[0.25, -4.0, 1.0, 2.5]);
        assert_eq!(nearswap(0.5, a, b).unwrap(), [0.25, -0.5, 1.0, 2.5]);
        assert_eq!(nearswap(0.0, a, b).unwrap(), a);
    }

    #[test]
    fn a_step_backwards_is_refused() {
        let text = nearswap(-0.1, &[1.0], &[2.0]).unwrap_err();
        assert_eq!(text, "`t` is -0.1, expected a number of at least 0");
    }
}
