//! Where a search begins.

use super::ObjectiveConfig;
use refit_core::Seed;
use refit_math::vector::{normal, scale};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The kinds of starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum StartName {
    /// Every parameter is 0: the Hessian of most losses is not indefinite there
    Zeros,
    /// Every parameter is 1
    Ones,
    /// Normal parameters from the seed; for a network divided by the root of the inputs of their layer
    Random,
}

/// A kind of start and its size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Start {
    /// The kind.
    pub name: StartName,
    /// Factor on every parameter.
    pub scale: f64,
}

impl StartName {
    /// The name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Zeros => "zeros",
            Self::Ones => "ones",
            Self::Random => "random",
        }
    }
}

impl fmt::Display for Start {
    /// `ones`, or `6 times random`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scale.to_bits() != 1f64.to_bits() && self.name != StartName::Zeros {
            write!(f, "{} times ", self.scale)?;
        }
        f.write_str(self.name.as_str())
    }
}

impl Start {
    /// The point: `dim` parameters of a model of `columns` features.
    pub(super) fn point(
        self,
        config: &ObjectiveConfig,
        columns: usize,
        dim: usize,
        seed: Seed,
    ) -> Vec<f64> {
        let mut x = match self.name {
            StartName::Zeros => vec![0.0; dim],
            StartName::Ones => vec![1.0; dim],
            StartName::Random => normal(dim, seed.fork("start")),
        };
        if let (StartName::Random, ObjectiveConfig::Network(network)) = (self.name, config) {
            // `W1` and its biases, then `W2` and its biases.
            let first = (columns + 1) * network.hidden;
            let (first, second) = x.split_at_mut(first.min(dim));
            for (layer, inputs) in [(first, columns), (second, network.hidden)] {
                let share = 1.0 / (inputs.max(1) as f64).sqrt();
                scale(layer, share);
            }
        }
        scale(&mut x, self.scale);
        x
    }
}
