//! Model stock: between the base and the mean of the models, the nearer to the mean the more the models agree.
//! Source: Jang et al. 2024, arXiv:2403.19522, `t = K c / (1 + (K - 1) c)`.

use super::blend::{Blend, Blended, Gram, Scope, Vectors};
use crate::{
    error::MergeError,
    recipe::{BaseUse, Flag, NoSettings, RecipeRule, Target},
    stream::StreamRule,
};
use refit_core::{Area, Card, ConfigError, DataAccess, ModelAccess};
use serde::Deserialize;

/// Settings of [`ModelStock`] for one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ModelStockTensor {
    /// Whether every row has an angle of its own (default: no, one for the tensor).
    pub(crate) filter_wise: Flag,
}

impl Default for ModelStockTensor {
    fn default() -> Self {
        Self {
            filter_wise: Flag(false),
        }
    }
}

/// The method; see the [module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct ModelStock;

impl RecipeRule for ModelStock {
    const CARD: Card = Card {
        name: "model_stock",
        summary: "towards the mean of models as far as their task vectors agree in direction",
        area: Area::Reuse,
        model: ModelAccess::ReadWeights,
        data: DataAccess::None,
        source: "arXiv:2403.19522",
    };
    const BASE: BaseUse = BaseUse::Required;
    const MODELS: (usize, usize) = (2, usize::MAX);
    const TENSOR_KEYS: &'static [&'static str] = &["filter_wise"];
    const MODEL_KEYS: &'static [&'static str] = &[];
    type Tensor = ModelStockTensor;
    type Model = NoSettings;

    fn rule(
        target: &Target<'_>,
        tensor: ModelStockTensor,
        models: Vec<NoSettings>,
    ) -> Result<Box<dyn StreamRule>, ConfigError> {
        let scope = if tensor.filter_wise.0 {
            Scope::Rows
        } else {
            Scope::Tensor
        };
        let (vectors, shape) = (Vectors::Changes, target.shape);
        Ok(Blended::boxed(Stock, vectors, scope, shape, models.len()))
    }
}

#[derive(Debug)]
struct Stock;

impl Blend for Stock {
    fn factors(&self, gram: Gram<'_>, factors: &mut [f64]) -> Result<(), MergeError> {
        let count = gram.count();
        let share = ratio(gram) / count as f64;
        factors.fill(share);
        Ok(())
    }
}

/// How far to go from the base to the mean. Where opposing models leave no finite answer, nowhere.
fn ratio(gram: Gram<'_>) -> f64 {
    const LEAST_PRODUCT: f64 = 1e-6;
    const LEAST_DENOMINATOR: f64 = 1e-6;
    let count = gram.count();
    let (mut sum, mut pairs) = (0.0, 0.0);
    for i in 0..count {
        for j in i + 1..count {
            let lengths = gram.norm(i) * gram.norm(j);
            let lengths = if lengths < LEAST_PRODUCT {
                LEAST_PRODUCT
            } else {
                lengths
            };
            sum += (gram.at(i, j) / lengths).clamp(-1.0, 1.0);
            pairs += 1.0;
        }
    }
    let (count, cosine) = (count as f64, sum / f64::max(pairs, 1.0));
    let denominator = 1.0 + (count - 1.0) * cosine;
    if denominator.abs() < LEAST_DENOMINATOR {
        0.0
    } else {
        count * cosine / denominator
    }
}

#[cfg(test)]
mod tests {
    use crate::recipe::testing::{Case, close};
    use serde_json::json;

    fn stock(filter_wise: bool, shape: &[usize], base: &[f32], models: &[&[f32]]) -> Vec<f32> {
        let models: Vec<_> = models.iter().map(|&v| (json!({}), v)).collect();
        Case {
            method: "model_stock",
            shape,
            tensor: json!({ "filter_wise": filter_wise }),
            base: Some(base),
            models: &models,
        }
        .merge()
        .unwrap()
    }

    #[test]
    fn agreement_leads_to_the_mean_and_right_angles_to_the_base() {
        let base: &[f32] = &[1.0, 1.0];
        assert_eq!(
            stock(false, &[2], base, &[&[2.0, 1.0], &[4.0, 1.0]]),
            [3.0, 1.0]
        );
        assert_eq!(stock(false, &[2], base, &[&[2.0, 1.0], &[1.0, 4.0]]), base);
        // c = 1 / sqrt(2): t = 2 c / (1 + c) = 0.828..; the mean lies at (1, 0.5) from the base
        let t = std::f32::consts::SQRT_2 / (1.0 + std::f32::consts::FRAC_1_SQRT_2);
        let found = stock(false, &[2], base, &[&[2.0, 1.0], &[2.0, 2.0]]);
        assert!(close(&found, &[1.0 + t, 1.0 + t / 2.0], 1e-6), "{found:?}");
    }

    #[test]
    fn opposites_leave_the_base() {
        assert_eq!(
            stock(false, &[2], &[1.0, 1.0], &[&[2.0, 1.0], &[0.0, 1.0]]),
            [1.0, 1.0]
        );
    }

    #[test]
    fn rows_have_their_own_angles() {
        // first row agrees, second is at right angles
        let (a, b): (&[f32], &[f32]) = (&[1.0, 0.0, 1.0, 0.0], &[3.0, 0.0, 0.0, 1.0]);
        assert_eq!(
            stock(true, &[2, 2], &[0.0; 4], &[a, b]),
            [2.0, 0.0, 0.0, 0.0]
        );
    }
}
