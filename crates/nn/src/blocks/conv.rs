//! 2-D convolution.

use crate::{Init, NnError, Scope};
use refit_kernels::dual::{self, Dual};

/// A square 2-D convolution; tensors `weight [out, in, k, k]` and, if it has one, `bias [out]`.
#[derive(Clone, Debug)]
pub struct Conv2d {
    weight: Dual<4>,
    bias: Option<Dual<1>>,
    stride: usize,
    padding: usize,
}

impl Conv2d {
    /// Binds a convolution without bias, as used in front of batch norm.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub fn bind(
        scope: &Scope<'_>,
        [inputs, outputs]: [usize; 2],
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> Result<Self, NnError> {
        let init = Init::HeUniform {
            fan_in: inputs * kernel * kernel,
        };
        let weight = scope.tensor("weight", [outputs, inputs, kernel, kernel], init)?;
        Ok(Self {
            weight,
            bias: None,
            stride,
            padding,
        })
    }

    /// Adds the tensor `bias`.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub fn with_bias(mut self, scope: &Scope<'_>) -> Result<Self, NnError> {
        let outputs = self.weight.dims()[0];
        self.bias = Some(scope.tensor("bias", [outputs], Init::Zeros)?);
        Ok(self)
    }

    /// `x [n, in, h, w]` -> `[n, out, h', w']`.
    pub fn forward(&self, x: Dual<4>) -> Dual<4> {
        let (weight, bias) = (self.weight.clone(), self.bias.clone());
        dual::conv2d(x, weight, bias, [self.stride; 2], [self.padding; 2])
    }
}
