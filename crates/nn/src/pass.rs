//! What one forward pass needs beside weights and inputs.

use burn::tensor::Tensor;
use refit_core::ParamPath;

/// The mode of a forward pass and what it leaves behind.
#[derive(Debug, Default)]
pub struct Pass {
    train: bool,
    statistics: Vec<(ParamPath, Tensor<1>)>,
}

impl Pass {
    /// Inference: stored statistics, nothing random.
    pub fn eval() -> Self {
        Self::default()
    }

    /// Training: statistics of the batch, which are also noted for the running averages.
    pub fn train() -> Self {
        Self {
            train: true,
            ..Self::default()
        }
    }

    /// Whether this is a training pass.
    pub fn is_train(&self) -> bool {
        self.train
    }

    /// Notes the new value of a running statistic.
    pub fn note(&mut self, path: ParamPath, value: Tensor<1>) {
        self.statistics.push((path, value));
    }

    /// The running statistics this pass has updated, for [`Weights::set`](crate::Weights::set).
    pub fn into_statistics(self) -> Vec<(ParamPath, Tensor<1>)> {
        self.statistics
    }
}
