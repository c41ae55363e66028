//! Layer norm.

use crate::{Init, NnError, Scope};
use refit_kernels::dual::{self, Dual};

/// Layer norm over the last axis; tensors `weight [d]` and `bias [d]`.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Dual<1>,
    bias: Dual<1>,
    eps: f64,
}

impl LayerNorm {
    /// Binds a norm of width `d`.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub fn bind(scope: &Scope<'_>, d: usize, eps: f64) -> Result<Self, NnError> {
        Ok(Self {
            weight: scope.tensor("weight", [d], Init::Ones)?,
            bias: scope.tensor("bias", [d], Init::Zeros)?,
            eps,
        })
    }

    /// `x [.., d]` -> `[.., d]`.
    pub fn forward<const D: usize>(&self, x: Dual<D>) -> Dual<D> {
        dual::layer_norm(x, self.weight.clone(), self.bias.clone(), self.eps)
    }
}
