//! Karcher mean: the point of the sphere from which the directions of all models are nearest, with their mean length.
//! Source: Karcher 1977, doi:10.1002/cpa.3160300502; for merging arXiv:2603.04972.
//!
//! Every step of the iteration is a linear combination of the models, so it runs on their inner products.

use super::blend::{Blend, Blended, Gram, Scope, Vectors};
use crate::{
    error::MergeError,
    recipe::{BaseUse, NoSettings, RecipeRule, Target},
    stream::StreamRule,
};
use refit_core::{Area, Card, ConfigError, DataAccess, ModelAccess};
use serde::Deserialize;

/// Settings of [`Karcher`] for one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct KarcherTensor {
    /// Most steps (default 10, as in recipe tools).
    pub(crate) max_iter: u32,
    /// A step below this length is the last; shorter tensors have no direction; finite, not negative (default 1e-5, as
    /// in recipe tools).
    pub(crate) tol: f64,
}

impl Default for KarcherTensor {
    fn default() -> Self {
        Self {
            max_iter: 10,
            tol: 1e-5,
        }
    }
}

/// The method; see the [module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Karcher;

impl RecipeRule for Karcher {
    const CARD: Card = Card {
        name: "karcher",
        summary: "mean of directions on the sphere, with the mean length of the models",
        area: Area::Reuse,
        model: ModelAccess::ReadWeights,
        data: DataAccess::None,
        source: "arXiv:2603.04972",
    };
    const BASE: BaseUse = BaseUse::None;
    const TENSOR_KEYS: &'static [&'static str] = &["max_iter", "tol"];
    const MODEL_KEYS: &'static [&'static str] = &[];
    type Tensor = KarcherTensor;
    type Model = NoSettings;

    fn rule(
        target: &Target<'_>,
        tensor: KarcherTensor,
        models: Vec<NoSettings>,
    ) -> Result<Box<dyn StreamRule>, ConfigError> {
        if !(tensor.tol >= 0.0 && tensor.tol.is_finite()) {
            return Err(ConfigError::range(
                "tol",
                tensor.tol,
                "a number of at least 0",
            ));
        }
        let mean = SphereMean {
            steps: tensor.max_iter,
            tolerance: tensor.tol,
        };
        let (vectors, shape) = (Vectors::Models, target.shape);
        Ok(Blended::boxed(
            mean,
            vectors,
            Scope::Tensor,
            shape,
            models.len(),
        ))
    }
}

#[derive(Debug)]
struct SphereMean {
    steps: u32,
    tolerance: f64,
}

/// Angles closer than this to that of opposites have a logarithm in every direction.
const LEAST_SINE: f64 = 1e-8;

impl Blend for SphereMean {
    fn factors(&self, gram: Gram<'_>, factors: &mut [f64]) -> Result<(), MergeError> {
        let count = gram.count();
        if count == 1 {
            factors[0] = 1.0;
            return Ok(());
        }
        let lengths: Vec<f64> = (0..count).map(|k| gram.norm(k)).collect();
        let scale = lengths.iter().sum::<f64>() / count as f64;
        let has_direction = |&k: &usize| lengths[k] > self.tolerance;
        let pointing: Vec<usize> = (0..count).filter(has_direction).collect();
        let cosine = |i: usize, j: usize| {
            let (i, j) = (pointing[i], pointing[j]);
            gram.at(i, j) / (lengths[i] * lengths[j])
        };
        let mean = self.mean(pointing.len(), cosine);
        factors.fill(if scale.is_nan() { f64::NAN } else { 0.0 });
        for (&k, mean) in pointing.iter().zip(mean) {
            factors[k] = scale * mean / lengths[k];
        }
        Ok(())
    }
}

impl SphereMean {
    /// Factors of the unit vectors, whose cosines are given.
    fn mean(&self, count: usize, cosine: impl Fn(usize, usize) -> f64) -> Vec<f64> {
        let product = |a: &[f64], j: usize| -> f64 {
            a.iter().enumerate().map(|(i, a)| a * cosine(i, j)).sum()
        };
        let norm = |a: &[f64]| -> f64 {
            let squared: f64 = a.iter().enumerate().map(|(j, b)| b * product(a, j)).sum();
            squared.max(0.0).sqrt()
        };
        let share = 1.0 / count as f64;
        let mut mean = vec![share; count];
        let first = norm(&mean);
        if first < self.tolerance {
            mean = (0..count).map(|k| f64::from(u8::from(k == 0))).collect();
        } else {
            scale(&mut mean, 1.0 / first);
        }
        for _ in 0..self.steps {
            let mut step = vec![0.0; count];
            for k in 0..count {
                let cosine = product(&mean, k).clamp(-1.0, 1.0);
                let angle = cosine.acos();
                if angle < self.tolerance || angle.sin() < LEAST_SINE {
                    continue;
                }
                let rate = share * angle / angle.sin();
                step.iter_mut()
                    .zip(&mean)
                    .for_each(|(s, m)| *s -= rate * cosine * m);
                step[k] += rate;
            }
            let length = norm(&step);
            if length < self.tolerance || length == 0.0 {
                break;
            }
            for (mean, step) in mean.iter_mut().zip(&step) {
                *mean = length.cos() * *mean + length.sin() / length * step;
            }
            let length = norm(&mean);
            if length > self.tolerance {
                scale(&mut mean, 1.0 / length);
            }
        }
        mean
    }
}

fn scale(values: &mut [f64], factor: f64) {
    for value in values {
        *value *= factor;
    }
}

#[cfg(test)]
mod tests {
    use crate::recipe::testing::{Case, close};
    use serde_json::{Value, json};

    fn karcher(tensor: Value, models: &[&[f32]]) -> Result<Vec<f32>, String> {
        let models: Vec<_> = models.iter().map(|&v| (json!({}), v)).collect();
        Case {
            method: "karcher",
            shape: &[models[0].1.len()],
            tensor,
            base: None,
            models: &models,
        }
        .merge()
    }

    #[test]
    fn the_mean_of_two_is_half_way_and_of_equals_is_themselves() {
        let half = 2.0 * 0.5f32.sqrt(); // lengths 1 and 3
        assert!(close(
            &karcher(json!({}), &[&[1.0, 0.0], &[0.0, 3.0]]).unwrap(),
            &[half, half],
            1e-6
        ));
        let a: &[f32] = &[0.3, -2.0];
        assert!(close(&karcher(json!({}), &[a, a, a]).unwrap(), a, 1e-6));
        assert_eq!(karcher(json!({}), &[a]).unwrap(), a);
    }

    #[test]
    fn angles_to_the_mean_balance() {
        // on the circle the mean of angles 0, 0 and 90 degrees is 30 degrees, which no linear mean is
        let found = karcher(
            json!({"max_iter": 50, "tol": 1e-9}),
            &[&[1.0, 0.0], &[1.0, 0.0], &[0.0, 1.0]],
        )
        .unwrap();
        assert!(close(&found, &[0.75f32.sqrt(), 0.5], 1e-6), "{found:?}");
    }

    #[test]
    fn opposites_and_zeros_are_no_trouble() {
        let (a, b): (&[f32], &[f32]) = (&[1.0, 0.0], &[-1.0, 0.0]);
        assert_eq!(karcher(json!({}), &[a, b]).unwrap(), a);
        assert_eq!(
            karcher(json!({}), &[&[0.0; 2], &[0.0; 2]]).unwrap(),
            [0.0; 2]
        );
        assert!(close(
            &karcher(json!({}), &[a, &[0.0; 2]]).unwrap(),
            &[0.5, 0.0],
            1e-7
        ));
    }

    #[test]
    fn a_tolerance_below_zero_is_refused() {
        let text = karcher(json!({"tol": -1.0}), &[&[1.0]]).unwrap_err();
        assert_eq!(text, "`tol` is -1, expected a number of at least 0");
    }
}
