//! SLERP: go from the base to a model along the arc between them.
//! Source: Shoemake 1985, doi:10.1145/325334.325242, on whole tensors.
//!
//! Where the cosine is beyond 0.9995 in magnitude the arc is a line or has no direction: values are interpolated
//! linearly, as recipe tools do.

use super::blend::{Blend, Blended, Gram, Scope, Vectors};
use crate::{
    error::MergeError,
    recipe::{BaseUse, NoSettings, RecipeRule, Target},
    rule::finite,
    stream::StreamRule,
};
use refit_core::{Area, Card, ConfigError, DataAccess, ModelAccess};
use serde::Deserialize;

/// Settings of [`Slerp`] for one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SlerpTensor {
    /// Where on the arc the result lies: 0 is the base, 1 the model; finite. Beyond this range the arc goes on.
    pub(crate) t: f64,
}

/// The method; see the [module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slerp;

impl RecipeRule for Slerp {
    const CARD: Card = Card {
        name: "slerp",
        summary: "a point on the arc from the base to one model",
        area: Area::Reuse,
        model: ModelAccess::ReadWeights,
        data: DataAccess::None,
        source: "doi:10.1145/325334.325242",
    };
    const BASE: BaseUse = BaseUse::Required;
    const MODELS: (usize, usize) = (1, 1);
    const TENSOR_KEYS: &'static [&'static str] = &["t"];
    const MODEL_KEYS: &'static [&'static str] = &[];
    type Tensor = SlerpTensor;
    type Model = NoSettings;

    fn rule(
        target: &Target<'_>,
        tensor: SlerpTensor,
        models: Vec<NoSettings>,
    ) -> Result<Box<dyn StreamRule>, ConfigError> {
        finite("t", tensor.t)?;
        let (vectors, shape) = (Vectors::BaseAndModels, target.shape);
        let arc = Arc { t: tensor.t };
        Ok(Blended::boxed(
            arc,
            vectors,
            Scope::Tensor,
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
        const LEAST_NORM: f64 = 1e-8;
        const LINEAR_FROM: f64 = 0.9995;
        let norm = |i| match gram.norm(i) {
            norm if norm <= LEAST_NORM => 1.0,
            norm => norm,
        };
        let cosine = (gram.at(0, 1) / (norm(0) * norm(1))).clamp(-1.0, 1.0);
        factors.copy_from_slice(&arc(self.t, cosine, cosine.abs() > LINEAR_FROM));
        Ok(())
    }
}

/// Factors of both ends of an arc, or of a line.
pub(super) fn arc(t: f64, cosine: f64, linear: bool) -> [f64; 2] {
    if linear {
        return [1.0 - t, t];
    }
    let angle = cosine.acos();
    [
        ((1.0 - t) * angle).sin() / angle.sin(),
        (t * angle).sin() / angle.sin(),
    ]
}

#[cfg(test)]
mod tests {
    use crate::recipe::testing::{Case, close};
    use serde_json::json;

    fn slerp(t: f64, base: &[f32], model: &[f32]) -> Result<Vec<f32>, String> {
        Case {
            method: "slerp",
            shape: &[base.len()],
            tensor: json!({ "t": t }),
            base: Some(base),
            models: &[(json!({}), model)],
        }
        .merge()
    }

    #[test]
    fn half_of_a_right_angle_is_the_diagonal() {
        let half = 0.5f32.sqrt();
        let found = slerp(0.5, &[1.0, 0.0], &[0.0, 1.0]).unwrap();
        assert!(close(&found, &[half, half], 1e-7), "{found:?}");
    }

    #[test]
    fn ends_are_the_operands_and_the_way_back_is_the_same() {
        let (a, b) = (&[1.0, 2.0, -0.5], &[0.5, -1.0, 2.0]);
        assert_eq!(slerp(0.0, a, b).unwrap(), a);
        assert_eq!(slerp(1.0, a, b).unwrap(), b);
        assert!(close(
            &slerp(0.3, a, b).unwrap(),
            &slerp(0.7, b, a).unwrap(),
            1e-6
        ));
    }

    #[test]
    fn parallel_opposite_and_zero_vectors_go_along_a_line() {
        assert_eq!(slerp(0.25, &[1.0, 0.0], &[2.0, 0.0]).unwrap(), [1.25, 0.0]);
        assert_eq!(slerp(0.25, &[1.0, 0.0], &[-1.0, 0.0]).unwrap(), [0.5, 0.0]);
        // a zero has a right angle to everything
        let half = 0.5f32.sqrt();
        assert!(close(
            &slerp(0.5, &[0.0, 0.0], &[1.0, 0.0]).unwrap(),
            &[half, 0.0],
            1e-6
        ));
    }

    #[test]
    fn a_position_that_is_not_finite_is_refused() {
        // JSON has no number for it: a recipe arrives with nothing in its place.
        let text = slerp(f64::NAN, &[1.0], &[2.0]).unwrap_err();
        assert_eq!(text, "`t` is null, expected a number");
    }
}
