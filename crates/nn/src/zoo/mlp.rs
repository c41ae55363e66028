//! Multi-layer perceptron on pixels.

use super::size;
use crate::{NnError, Scope, blocks::Linear};
use refit_core::ConfigError;
use refit_kernels::dual::Dual;
use serde::{Deserialize, Serialize};

/// Configuration of an [`Mlp`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlpConfig {
    /// Values of one image: channels times height times width.
    pub inputs: usize,
    /// Width of each hidden layer; none for a linear classifier.
    pub hidden: Vec<usize>,
    /// Classes; 0 for an encoder, which gives the values of its last hidden layer.
    pub num_labels: usize,
}

impl MlpConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        size("inputs", self.inputs)?;
        if self.num_labels > 0 || self.hidden.is_empty() {
            size("num_labels", self.num_labels)?;
        }
        self.hidden
            .iter()
            .try_for_each(|&width| size("hidden", width))
    }
}

/// Linear layers with rectifiers between them; tensors `layers.{i}.weight` and `layers.{i}.bias`.
#[derive(Clone, Debug)]
pub struct Mlp {
    layers: Vec<Linear>,
    /// Layers with a rectifier behind them.
    hidden: usize,
}

impl Mlp {
    /// Binds a checked configuration.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub fn bind(config: &MlpConfig, scope: &Scope<'_>) -> Result<Self, NnError> {
        let mut inputs = config.inputs;
        let output = (config.num_labels > 0).then_some(&config.num_labels);
        let layers = (config.hidden.iter().chain(output))
            .enumerate()
            .map(|(i, &outputs)| {
                let layer = Linear::bind(&scope.at("layers").at(i), inputs, outputs);
                inputs = outputs;
                layer
            })
            .collect::<Result<_, _>>()?;
        let hidden = config.hidden.len();
        Ok(Self { layers, hidden })
    }

    /// `pixels [n, c, h, w]` -> logits `[n, classes]`, or features of the width of the last hidden layer.
    pub fn forward(&self, pixels: Dual<4>) -> Dual<2> {
        let [n, c, h, w] = pixels.dims();
        let flat = pixels.reshape([n, c * h * w]);
        self.layers.iter().enumerate().fold(flat, |x, (i, layer)| {
            let y = layer.forward(x);
            if i < self.hidden { y.relu() } else { y }
        })
    }
}
