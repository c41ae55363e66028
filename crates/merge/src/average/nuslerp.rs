//! Nuslerp: the arc between two models, as seen from the base where there is one; weights say where on it.
//! Source: mergekit's method of that name, no publication.
//!
//! Unlike [SLERP](super::slerp) it knows no line but that of vectors which single precision cannot tell from
//! parallel or opposite ones.

use super::{
    blend::{Blend, Blended, Gram, Scope, Vectors},
    slerp::arc,
};
use crate::{
    error::MergeError,
    recipe::{BaseUse, Flag, RecipeRule, Target},
    rule::finite,
    stream::StreamRule,
};
use refit_core::{Area, Card, ConfigError, DataAccess, ModelAccess};
use serde::Deserialize;

/// Settings of [`Nuslerp`] for one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NuslerpTensor {
    /// Whether the tensor is one vector (default: yes, as in recipe tools).
    pub(crate) nuslerp_flatten: Flag,
    /// If not flat: whether vectors lie along the first axis instead of the last (default: no).
    pub(crate) nuslerp_row_wise: Flag,
}

impl Default for NuslerpTensor {
    fn default() -> Self {
        Self {
            nuslerp_flatten: Flag(true),
            nuslerp_row_wise: Flag(false),
        }
    }
}

/// Settings of [`Nuslerp`] for one model.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NuslerpModel {
    /// Its share is its weight over the sum of both; finite. A sum of zero stands for equal shares.
    pub(crate) weight: f64,
}

/// The method; see the [module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nuslerp;

impl RecipeRule for Nuslerp {
    const CARD: Card = Card {
        name: "nuslerp",
        summary: "a weighted point on the arc between two models, or between their task vectors",
        area: Area::Reuse,
        model: ModelAccess::ReadWeights,
        data: DataAccess::None,
        source: "mergekit",
    };
    const BASE: BaseUse = BaseUse::Optional;
    const MODELS: (usize, usize) = (2, 2);
    const TENSOR_KEYS: &'static [&'static str] = &["nuslerp_flatten", "nuslerp_row_wise"];
    const MODEL_KEYS: &'static [&'static str] = &["weight"];
    type Tensor = NuslerpTensor;
    type Model = NuslerpModel;

    fn rule(
        target: &Target<'_>,
        tensor: NuslerpTensor,
        models: Vec<NuslerpModel>,
    ) -> Result<Box<dyn StreamRule>, ConfigError> {
        const LEAST_SUM: f64 = 1e-6;
        for model in &models {
            finite("weight", model.weight)?;
        }
        let sum: f64 = models.iter().map(|model| model.weight).sum();
        let t = match models.last() {
            Some(last) if sum.abs() >= LEAST_SUM => last.weight / sum,
            _ => 0.5,
        };
        let scope = match (tensor.nuslerp_flatten.0, tensor.nuslerp_row_wise.0) {
            (true, _) => Scope::Tensor,
            (false, false) => Scope::Rows,
            (false, true) => Scope::Columns,
        };
        let (vectors, shape) = (Vectors::Changes, target.shape);
        Ok(Blended::boxed(
            Arc { t },
            vectors,
            scope,
            shape,
            models.len(),
        ))
    }
}

#[derive(Debug)]
struct Arc {
    t: f64,
}

impl Blend for Arc {
    fn factors(&self, gram: Gram<'_>, factors: &mut [f64]) -> Result<(), MergeError> {
        const LEAST_NORM: f64 = 1e-7;
        /// Half a unit in the last place of 1 in single precision, the least squared sine that it can tell from zero.
        const LEAST_SQUARED_SINE: f64 = 1.0 / (1u64 << 24) as f64;
        let norm = |i| match gram.norm(i) {
            norm if norm < LEAST_NORM => LEAST_NORM,
            norm => norm,
        };
        let cosine = (gram.at(0, 1) / (norm(0) * norm(1))).clamp(-1.0, 1.0);
        let linear = 1.0 - cosine * cosine <= LEAST_SQUARED_SINE;
        factors.copy_from_slice(&arc(self.t, cosine, linear));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::recipe::testing::{Case, close};
    use serde_json::{Value, json};

    fn nuslerp(
        tensor: Value,
        weights: [f64; 2],
        base: Option<&[f32]>,
        models: [&[f32]; 2],
    ) -> Vec<f32> {
        let shape: &[usize] = if models[0].len() == 4 { &[2, 2] } else { &[2] };
        let with = |k: usize| (json!({ "weight": weights[k] }), models[k]);
        Case {
            method: "nuslerp",
            shape,
            tensor,
            base,
            models: &[with(0), with(1)],
        }
        .merge()
        .unwrap()
    }

    #[test]
    fn the_arc_is_seen_from_the_base() {
        let half = 0.5f32.sqrt();
        let (a, b): (&[f32], &[f32]) = (&[1.0, 0.0], &[0.0, 1.0]);
        assert!(close(
            &nuslerp(json!({}), [1.0, 1.0], None, [a, b]),
            &[half, half],
            1e-7
        ));
        // from (1, 1) the changes are (0, -1) and (-1, 0)
        let seen = nuslerp(json!({}), [2.0, 2.0], Some(&[1.0, 1.0]), [a, b]);
        assert!(close(&seen, &[1.0 - half, 1.0 - half], 1e-7), "{seen:?}");
    }

    #[test]
    fn rows_and_columns_turn_by_themselves() {
        let half = 0.5f32.sqrt();
        let (a, b): (&[f32], &[f32]) = (&[1.0, 0.0, 0.0, 1.0], &[0.0, 1.0, 0.0, 3.0]);
        let rows = nuslerp(json!({"nuslerp_flatten": false}), [1.0, 1.0], None, [a, b]);
        assert!(close(&rows, &[half, half, 0.0, 2.0], 1e-6), "{rows:?}");
        // columns (1, 0), (0, 1) of one and (0, 0), (1, 3) of the other
        let columns = nuslerp(
            json!({"nuslerp_flatten": false, "nuslerp_row_wise": true}),
            [0.0, 1.0],
            None,
            [a, b],
        );
        assert!(close(&columns, b, 1e-6), "{columns:?}");
    }

    #[test]
    fn weights_without_a_sum_are_equal_shares_and_opposites_meet_on_the_line() {
        let (a, b): (&[f32], &[f32]) = (&[0.3, -0.7], &[-0.3, 0.7]);
        assert_eq!(nuslerp(json!({}), [1.0, -1.0], None, [a, b]), [0.0, 0.0]);
        assert_eq!(nuslerp(json!({}), [1.0, 0.0], None, [a, b]), a);
    }
}
