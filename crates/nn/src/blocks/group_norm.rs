//! Group norm.

use crate::{Init, NnError, Scope};
use burn::tensor::Tensor;
use refit_kernels::dual::{self, Dual};

const EPS: f64 = 1e-5;

/// Norm over groups of channels and all places of each picture by itself; tensors `weight [c]` and `bias [c]`.
///
/// # Source
/// Wu and He 2018, arXiv:1803.08494.
#[derive(Clone, Debug)]
pub struct GroupNorm {
    weight: Dual<1>,
    bias: Dual<1>,
    groups: usize,
}

impl GroupNorm {
    /// Binds a norm over `c` channels in so many `groups`, which divide them.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub fn bind(scope: &Scope<'_>, c: usize, groups: usize) -> Result<Self, NnError> {
        Ok(Self {
            weight: scope.tensor("weight", [c], Init::Ones)?,
            bias: scope.tensor("bias", [c], Init::Zeros)?,
            groups,
        })
    }

    /// `x [n, c, h, w]` -> the same shape.
    pub fn forward(&self, x: Dual<4>) -> Dual<4> {
        let [n, c, h, w] = x.dims();
        let width = c / self.groups * h * w;
        let options = (&x.device(), x.value().dtype());
        let (ones, zeros) = (
            Tensor::ones([width], options),
            Tensor::zeros([width], options),
        );
        let groups = x.reshape([n, self.groups, width]);
        let even = dual::layer_norm(groups, ones.into(), zeros.into(), EPS).reshape([n, c, h, w]);
        let per_channel = |of: &Dual<1>| of.clone().reshape([1, c, 1, 1]);
        even * per_channel(&self.weight) + per_channel(&self.bias)
    }
}
