//! Affine maps.

use crate::{Init, NnError, Scope};
use refit_kernels::dual::{self, Dual};

/// `y = W x + b`; tensors `weight [out, in]` and `bias [out]`.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Dual<2>,
    bias: Option<Dual<1>>,
}

impl Linear {
    /// Binds `inputs -> outputs`, weights starting uniform in `±1 / sqrt(inputs)`.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub fn bind(scope: &Scope<'_>, inputs: usize, outputs: usize) -> Result<Self, NnError> {
        let init = Init::LinearUniform { fan_in: inputs };
        Self::bind_with(scope, inputs, outputs, init, init)
    }

    /// Binds `inputs -> outputs` with the given starts.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub fn bind_with(
        scope: &Scope<'_>,
        inputs: usize,
        outputs: usize,
        weight: Init,
        bias: Init,
    ) -> Result<Self, NnError> {
        Ok(Self {
            weight: scope.tensor("weight", [outputs, inputs], weight)?,
            bias: Some(scope.tensor("bias", [outputs], bias)?),
        })
    }

    /// `x [.., in]` -> `[.., out]`.
    pub fn forward<const D: usize>(&self, x: Dual<D>) -> Dual<D> {
        dual::linear(x, self.weight.clone(), self.bias.clone())
    }
}
