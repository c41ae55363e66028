//! Weights that one model takes from another.

use super::{Classifier, ClassifierError, ModelFolder};
use burn::tensor::{Tensor, TensorData};
use refit_core::Source;
use refit_nn::NnError;
use std::sync::Arc;

impl Classifier {
    /// Takes every tensor of `from` that this model has in the same shape, and the pre-processing. Returns the names of
    /// those that have another shape there and stay as they are: the classifier of another task.
    ///
    /// # Errors
    /// When `from` lacks a tensor of this model, or a value is not finite.
    pub fn start_from(&mut self, from: &ModelFolder) -> Result<Vec<String>, ClassifierError> {
        let mut afresh = Vec::new();
        let layout = Arc::clone(self.weights.layout());
        for (i, spec) in layout.specs().iter().enumerate() {
            let (name, checkpoint) = (spec.path.as_str(), &from.checkpoint);
            let Some(at) = checkpoint.position(name) else {
                let (path, expected) = (spec.path.clone(), spec.shape.clone());
                return Err(NnError::Missing { path, expected }.into());
            };
            if checkpoint.tensors()[at].shape == spec.shape {
                self.set(i, checkpoint.tensor_f32(at)?)?;
            } else {
                afresh.push(name.to_owned());
            }
        }
        if let Some(normalise) = &from.preprocessing.normalise {
            self.normalise = normalise.clone();
        }
        Ok(afresh)
    }

    /// Takes every tensor of `from` except those whose name starts with `head`.
    ///
    /// # Errors
    /// When `from` lacks a tensor or has it in another shape, or a value is not finite.
    pub fn replace_body(&mut self, from: &ModelFolder, head: &str) -> Result<(), ClassifierError> {
        let layout = Arc::clone(self.weights.layout());
        for (i, spec) in layout.specs().iter().enumerate() {
            let (path, expected) = (spec.path.clone(), spec.shape.clone());
            if path.as_str().starts_with(head) {
                continue;
            }
            let checkpoint = &from.checkpoint;
            let Some(at) = checkpoint.position(path.as_str()) else {
                return Err(NnError::Missing { path, expected }.into());
            };
            let found = &checkpoint.tensors()[at].shape;
            if *found != expected {
                let found = found.clone();
                return Err(NnError::Shape {
                    path,
                    found,
                    expected,
                }
                .into());
            }
            self.set(i, checkpoint.tensor_f32(at)?)?;
        }
        Ok(())
    }

    fn set(&mut self, tensor: usize, values: Vec<f32>) -> Result<(), ClassifierError> {
        if values.iter().any(|v| !v.is_finite()) {
            let path = self.weights.layout().specs()[tensor].path.clone();
            return Err(NnError::NotFinite { path }.into());
        }
        let len = values.len();
        let data = TensorData::new(values, [len]);
        let value = Tensor::<1>::from_data(data, &self.device());
        self.weights.set(tensor, value);
        Ok(())
    }
}
