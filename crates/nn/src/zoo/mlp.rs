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
    /// Classes.
    pub num_labels: usize,
}

impl MlpConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        size("inputs", self.inputs)?;
        size("num_labels", self.num_labels)?;
        self.hidden
            .iter()
            .try_for_each(|&width| size("hidden", width))
    }
}

/// Linear layers with rectifiers between them; tensors `layers.{i}.weight` and `layers.{i}.bias`.
#[derive(Clone, Debug)]
pub struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    /// Binds a checked configuration.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub fn bind(config: &MlpConfig, scope: &Scope<'_>) -> Result<Self, NnError> {
        let mut inputs = config.inputs;
        let widths = config.hidden.iter().chain([&config.num_labels]);
        let layers = widths
            .enumerate()
            .map(|(i, &outputs)| {
                let layer = Linear::bind(&scope.at("layers").at(i), inputs, outputs);
                inputs = outputs;
                layer
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { layers })
    }

    /// `pixels [n, c, h, w]` -> logits `[n, classes]`.
    pub fn forward(&self, pixels: Dual<4>) -> Dual<2> {
        let [n, c, h, w] = pixels.dims();
        let flat = pixels.reshape([n, c * h * w]);
        let last = self.layers.len() - 1;
        self.layers.iter().enumerate().fold(flat, |x, (i, layer)| {
            let y = layer.forward(x);
            if i < last { y.relu() } else { y }
        })
    }
}
