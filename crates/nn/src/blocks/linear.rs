//! Affine maps.

use crate::{Init, NnError, Scope};
use refit_kernels::dual::{self, Dual};

/// `y = W x + b`; tensors `weight [out, in]` and, if it has one, `bias [out]`.
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
        let plain = Self::bind_plain(scope, inputs, outputs, weight)?;
        let bias = Some(scope.tensor("bias", [outputs], bias)?);
        Ok(Self { bias, ..plain })
    }

    /// Binds `inputs -> outputs` without a bias.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub fn bind_plain(
        scope: &Scope<'_>,
        inputs: usize,
        outputs: usize,
        weight: Init,
    ) -> Result<Self, NnError> {
        Ok(Self {
            weight: scope.tensor("weight", [outputs, inputs], weight)?,
            bias: None,
        })
    }

    /// Binds `inputs -> outputs` whose weight is stored as `[in, out]`, as GPT-2 has it. It is read in place.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub fn bind_turned(
        scope: &Scope<'_>,
        inputs: usize,
        outputs: usize,
        weight: Init,
    ) -> Result<Self, NnError> {
        let stored = scope.tensor("weight", [inputs, outputs], weight)?;
        Ok(Self {
            weight: stored.transpose(),
            bias: Some(scope.tensor("bias", [outputs], Init::Zeros)?),
        })
    }

    /// A map without bias by a matrix that is already at hand, such as a table of embeddings.
    pub fn tied(weight: Dual<2>) -> Self {
        Self { weight, bias: None }
    }

    /// The map to `len` outputs from `start` on: a part of a joint projection.
    #[must_use]
    pub fn part(&self, start: usize, len: usize) -> Self {
        let bias = self.bias.clone();
        Self {
            weight: self.weight.clone().narrow(0, start, len),
            bias: bias.map(|bias| bias.narrow(0, start, len)),
        }
    }

    /// `x [.., in]` -> `[.., out]`.
    pub fn forward<const D: usize>(&self, x: Dual<D>) -> Dual<D> {
        dual::linear(x, self.weight.clone(), self.bias.clone())
    }
}
