//! Norms over the last axis.

use crate::{Init, NnError, Scope};
use refit_kernels::dual::{self, Dual};

/// Layer norm (with `bias`) or root-mean-square norm (without); tensors `weight [d]` and `bias [d]`.
#[derive(Clone, Debug)]
pub struct Norm {
    weight: Dual<1>,
    bias: Option<Dual<1>>,
    eps: f64,
}

impl Norm {
    /// Binds a layer norm of width `d`. Old checkpoints call its tensors `gamma` and `beta`.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub fn layer(scope: &Scope<'_>, d: usize, eps: f64) -> Result<Self, NnError> {
        let [weight, bias] = if scope.holds("gamma") {
            ["gamma", "beta"]
        } else {
            ["weight", "bias"]
        };
        Ok(Self {
            weight: scope.tensor(weight, [d], Init::Ones)?,
            bias: Some(scope.tensor(bias, [d], Init::Zeros)?),
            eps,
        })
    }

    /// Binds a root-mean-square norm of width `d`: `x / sqrt(mean(x^2) + eps)` times the weight.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub fn rms(scope: &Scope<'_>, d: usize, eps: f64) -> Result<Self, NnError> {
        Ok(Self {
            weight: scope.tensor("weight", [d], Init::Ones)?,
            bias: None,
            eps,
        })
    }

    /// With all that it gives times `factor`.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self {
            weight: self.weight.mul_scalar(factor),
            bias: self.bias.map(|bias| bias.mul_scalar(factor)),
            ..self
        }
    }

    /// `x [.., d]` -> `[.., d]`.
    pub fn forward<const D: usize>(&self, x: Dual<D>) -> Dual<D> {
        let weight = self.weight.clone();
        match self.bias.clone() {
            Some(bias) => dual::layer_norm(x, weight, bias, self.eps),
            None => dual::rms_norm(x, weight, self.eps),
        }
    }
}
