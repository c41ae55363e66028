//! Perceptrons of transformers.

use super::Linear;
use refit_kernels::dual::{self, Dual};
use serde::{Deserialize, Serialize};

/// The curve between two maps, in the names of Hugging Face's `hidden_act`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x Phi(x)`.
    #[serde(alias = "gelu_python")]
    Gelu,
    /// GELU by the hyperbolic tangent.
    #[serde(alias = "gelu_pytorch_tanh", alias = "gelu_fast")]
    GeluNew,
    /// `x / (1 + exp(-1.702 x))`, as CLIP has it.
    QuickGelu,
    /// `max(0, x)`.
    Relu,
    /// `x / (1 + exp(-x))`.
    #[serde(alias = "swish")]
    Silu,
    /// Hyperbolic tangent.
    Tanh,
}

impl Activation {
    /// Applies the curve to every entry.
    pub fn apply<const D: usize>(self, x: Dual<D>) -> Dual<D> {
        match self {
            Self::Gelu => dual::gelu(x),
            Self::GeluNew => dual::gelu_tanh(x),
            Self::QuickGelu => dual::silu(x.mul_scalar(1.702)).mul_scalar(1.702f64.recip()),
            Self::Relu => dual::relu(x),
            Self::Silu => dual::silu(x),
            Self::Tanh => x.tanh(),
        }
    }
}

/// `down(activation(up x))`, or `down(activation(gate x) * up x)` with a gate.
#[derive(Clone, Debug)]
pub struct Mlp {
    gate: Option<Linear>,
    up: Linear,
    down: Linear,
    activation: Activation,
}

impl Mlp {
    /// A perceptron of two maps.
    pub fn new(up: Linear, down: Linear, activation: Activation) -> Self {
        Self {
            gate: None,
            up,
            down,
            activation,
        }
    }

    /// Adds the gate, whose width is that of `up`.
    #[must_use]
    pub fn gated(self, gate: Linear) -> Self {
        Self {
            gate: Some(gate),
            ..self
        }
    }

    /// `x [.., d]` -> the same shape.
    pub fn forward<const D: usize>(&self, x: Dual<D>) -> Dual<D> {
        let inner = match &self.gate {
            Some(gate) => self.activation.apply(gate.forward(x.clone())) * self.up.forward(x),
            None => self.activation.apply(self.up.forward(x)),
        };
        self.down.forward(inner)
    }
}
