//! Affine maps.

use crate::{Addition, Init, NnError, Scope};
use refit_kernels::dual::{self, Dual};

/// `y = W x + b`; tensors `weight [out, in]` and, if it has one, `bias [out]`.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Dual<2>,
    /// What is added to the weight.
    addition: Option<Box<Addition>>,
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
        let (weight, addition) = scope.map("weight", [outputs, inputs], weight)?;
        Ok(Self {
            weight,
            addition: addition.map(Box::new),
            bias: None,
        })
    }

    /// Binds `inputs -> outputs` whose weight is stored as `[in, out]`, as GPT-2 has it. It is read in place; one of half
    /// precision is turned over here.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub fn bind_turned(
        scope: &Scope<'_>,
        inputs: usize,
        outputs: usize,
        weight: Init,
    ) -> Result<Self, NnError> {
        Ok(Self {
            weight: scope.turned("weight", [inputs, outputs], weight)?,
            addition: None,
            bias: Some(scope.tensor("bias", [outputs], Init::Zeros)?),
        })
    }

    /// A map without bias by a matrix that is already at hand, such as a table of embeddings.
    pub fn tied(weight: Dual<2>) -> Self {
        Self {
            weight,
            addition: None,
            bias: None,
        }
    }

    /// The map to `len` outputs from `start` on: a part of a joint projection.
    #[must_use]
    pub fn part(&self, start: usize, len: usize) -> Self {
        let (bias, addition) = (self.bias.clone(), self.addition.clone());
        Self {
            weight: self.weight.clone().narrow(0, start, len),
            addition: addition.map(|addition| {
                let left = addition.left.narrow(0, start, len);
                let right = addition.right;
                Box::new(Addition { left, right })
            }),
            bias: bias.map(|bias| bias.narrow(0, start, len)),
        }
    }

    /// `x [.., in]` -> `[.., out]`.
    pub fn forward<const D: usize>(&self, x: Dual<D>) -> Dual<D> {
        let Some(addition) = &self.addition else {
            return dual::linear(x, self.weight.clone(), self.bias.clone());
        };
        let thin = dual::linear(x.clone(), addition.right.clone(), None);
        let added = dual::linear(thin, addition.left.clone(), None);
        dual::linear(x, self.weight.clone(), self.bias.clone()) + added
    }
}
