//! Passthrough: one model as it is, scaled where asked for; recipes stack layers with it.
//! Source: mergekit's method of that name, no publication.

use crate::{
    error::MergeError,
    recipe::{BaseUse, NoSettings, RecipeRule, Target},
    rule::finite,
    simd,
    stream::{Block, StreamRule},
};
use refit_core::{Area, Card, ConfigError, DataAccess, ModelAccess};
use serde::Deserialize;

/// Settings of [`Passthrough`] for the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PassthroughModel {
    /// Factor on every value; finite (default: none, the values pass in every bit).
    pub(crate) scale: Option<f64>,
}

/// The method; see the [module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passthrough;

impl RecipeRule for Passthrough {
    const CARD: Card = Card {
        name: "passthrough",
        summary: "one model as it is, for stacks of layers; scaled where asked for",
        area: Area::Reuse,
        model: ModelAccess::ReadWeights,
        data: DataAccess::None,
        source: "mergekit",
    };
    const BASE: BaseUse = BaseUse::None;
    const MODELS: (usize, usize) = (1, 1);
    const TENSOR_KEYS: &'static [&'static str] = &[];
    const MODEL_KEYS: &'static [&'static str] = &["scale"];
    type Tensor = NoSettings;
    type Model = PassthroughModel;

    fn rule(
        _: &Target<'_>,
        _: NoSettings,
        models: Vec<PassthroughModel>,
    ) -> Result<Box<dyn StreamRule>, ConfigError> {
        let scale = models.first().and_then(|model| model.scale);
        finite("scale", scale.unwrap_or(1.0))?;
        Ok(Box::new(Rule { scale }))
    }
}

#[derive(Debug)]
struct Rule {
    scale: Option<f64>,
}

impl StreamRule for Rule {
    fn merge(&self, block: &Block<'_>, out: &mut [f32]) -> Result<(), MergeError> {
        if let [model] = block.models {
            out.copy_from_slice(model);
        }
        if let Some(scale) = self.scale {
            simd::scale(out, scale);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::recipe::testing::Case;
    use serde_json::{Value, json};

    fn pass(settings: Value) -> Result<Vec<f32>, String> {
        Case {
            method: "passthrough",
            shape: &[2],
            tensor: json!({}),
            base: None,
            models: &[(settings, &[1.5, f32::MIN_POSITIVE])],
        }
        .merge()
    }

    #[test]
    fn values_pass_or_are_scaled() {
        assert_eq!(pass(json!({})).unwrap(), [1.5, f32::MIN_POSITIVE]);
        assert_eq!(
            pass(json!({"scale": null})).unwrap(),
            [1.5, f32::MIN_POSITIVE]
        );
        assert_eq!(pass(json!({"scale": 0})).unwrap(), [0.0, 0.0]);
        assert_eq!(pass(json!({"scale": -2})).unwrap()[..1], [-3.0]);
    }
}
