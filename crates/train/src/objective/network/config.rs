//! Settings of a network, and what its units compute.

use crate::objective::{Head, Penalty, loss::sigmoid};
use serde::{Deserialize, Serialize};

/// What a hidden unit makes of its input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// `tanh(z)`.
    #[default]
    Tanh,
    /// `1 / (1 + e^-z)`.
    Sigmoid,
}

impl Activation {
    #[inline]
    pub(super) fn at(self, z: f64) -> f64 {
        match self {
            Self::Tanh => z.tanh(),
            Self::Sigmoid => sigmoid(z).0,
        }
    }

    /// First and second derivative, from the value.
    #[inline(always)]
    pub(super) fn derivatives(self, h: f64) -> (f64, f64) {
        match self {
            Self::Tanh => {
                let slope = 1.0 - h * h;
                (slope, -2.0 * h * slope)
            }
            Self::Sigmoid => {
                let slope = h * (1.0 - h);
                (slope, slope * (1.0 - 2.0 * h))
            }
        }
    }
}

/// Settings of a [`NetworkModel`](super::NetworkModel).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct NetworkConfig {
    /// Hidden units, at least 1 (ours: 16).
    pub hidden: usize,
    /// What a unit makes of its input (ours: tanh).
    pub activation: Activation,
    /// Loss of the outputs (ours: softmax).
    pub head: Head,
    /// Penalty on the weights of both layers, not on biases (ours: none).
    pub penalty: Penalty,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self {
            hidden: 16,
            activation: Activation::Tanh,
            head: Head::Softmax,
            penalty: Penalty::default(),
        }
    }
}
