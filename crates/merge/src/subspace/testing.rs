//! Merging by name in tests.

use crate::{
    recipe::{RecipeMethod, Target},
    stream::merge_values,
};
use rand::Rng;
use refit_core::Seed;
use refit_math::Matrix;
use serde_json::{Value, json};

/// One merge of a tensor called `w`.
pub(crate) struct Case<'a> {
    method: &'a str,
    shape: &'a [usize],
    base: &'a [f32],
    models: Vec<&'a [f32]>,
    pub(crate) tensor: Value,
    pub(crate) weight: f64,
    pub(crate) is_embedding: bool,
}

impl<'a> Case<'a> {
    pub(crate) fn new(
        method: &'a str,
        shape: &'a [usize],
        base: &'a [f32],
        models: &[&'a [f32]],
    ) -> Self {
        Self {
            method,
            shape,
            base,
            models: models.to_vec(),
            tensor: json!({}),
            weight: 1.0,
            is_embedding: false,
        }
    }

    /// The merged values, or the text of the error.
    pub(crate) fn merge(&self) -> Result<Vec<f32>, String> {
        let (path, names) = ("w".into(), ["a", "b", "c", "d"]);
        let target = Target {
            path: &path,
            shape: self.shape,
            models: &names[..self.models.len()],
            has_base: true,
            is_embedding: self.is_embedding,
            seed: Seed::new(0),
        };
        let map = |value: &Value| value.as_object().cloned().unwrap_or_default();
        let settings = map(&json!({ "weight": self.weight }));
        let settings = vec![settings; self.models.len()];
        let method = RecipeMethod::named(self.method).map_err(|e| e.to_string())?;
        let rule = method.spec().rule(&target, map(&self.tensor), settings);
        let rule = rule.map_err(|e| e.to_string())?;
        merge_values(rule, self.shape, Some(self.base), &self.models).map_err(|e| e.to_string())
    }
}

/// A matrix with values drawn evenly from `-1..1`.
pub(crate) fn uniform(seed: u64, rows: usize, cols: usize) -> Matrix {
    let mut rng = Seed::new(seed).rng();
    Matrix::from_fn(rows, cols, |_, _| rng.random_range(-1.0..1.0))
}

/// A matrix times a number.
pub(crate) fn scaled(mut matrix: Matrix, factor: f64) -> Matrix {
    matrix.values_mut().iter_mut().for_each(|v| *v *= factor);
    matrix
}

/// The sum of two matrices.
pub(crate) fn sum(a: &Matrix, b: &Matrix) -> Matrix {
    Matrix::from_fn(a.rows(), a.cols(), |i, j| a.row(i)[j] + b.row(i)[j])
}

/// Three tasks `[5, 7]` of full rank whose merges were computed once with the formulas of the authors' code, in double
/// precision with torch 2.15.0.
pub(crate) fn reference_tasks() -> [Matrix; 3] {
    [0, 1, 2].map(|k| {
        Matrix::from_fn(5, 7, |i, j| {
            let wave = (1.0 + (i * 7 + j + 10 * k * k) as f64).sin();
            wave + ((i * 3 + j * 5 + k * 2) % 7) as f64 * 0.1
        })
    })
}

/// Whether the first values of the first row are the expected ones.
pub(crate) fn begins(matrix: &Matrix, expected: [f64; 4], tolerance: f64) -> bool {
    let pairs = matrix.row(0).iter().zip(expected);
    pairs.into_iter().all(|(a, b)| (a - b).abs() < tolerance)
}
