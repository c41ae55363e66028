//! Merging by name in tests.

use super::{RecipeMethod, Target};
use crate::stream::{StreamRule, merge_values};
use refit_core::Seed;
use serde_json::{Map, Value};

/// Settings of the tensor, and settings and values of each model, as one merge of a tensor called `w`.
pub(crate) struct Case<'a> {
    pub(crate) method: &'a str,
    pub(crate) shape: &'a [usize],
    pub(crate) tensor: Value,
    pub(crate) base: Option<&'a [f32]>,
    pub(crate) models: &'a [(Value, &'a [f32])],
}

impl Case<'_> {
    /// The rule, or the text of the error.
    pub(crate) fn rule(&self) -> Result<Box<dyn StreamRule>, String> {
        let path = "w".into();
        let target = Target {
            path: &path,
            shape: self.shape,
            models: &["a", "b", "c", "d"][..self.models.len()],
            has_base: self.base.is_some(),
            is_embedding: false,
            seed: Seed::new(0),
        };
        let models = self.models.iter().map(|(settings, _)| map(settings));
        let method = RecipeMethod::named(self.method).map_err(|e| e.to_string())?;
        let rule = method
            .spec()
            .rule(&target, map(&self.tensor), models.collect());
        rule.map_err(|e| e.to_string())
    }

    /// The merged values, or the text of the error.
    pub(crate) fn merge(&self) -> Result<Vec<f32>, String> {
        let models: Vec<&[f32]> = self.models.iter().map(|(_, values)| *values).collect();
        merge_values(self.rule()?, self.shape, self.base, &models).map_err(|e| e.to_string())
    }
}

fn map(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

/// Whether values agree to `tolerance`, relative to the larger of 1 and the expected magnitude.
pub(crate) fn close(found: &[f32], expected: &[f32], tolerance: f32) -> bool {
    let near = |(a, b): (&f32, &f32)| (a - b).abs() <= tolerance * b.abs().max(1.0);
    found.len() == expected.len() && found.iter().zip(expected).all(near)
}
