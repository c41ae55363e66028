//! Batch norm with running statistics.

use crate::{Init, NnError, Pass, Scope};
use refit_core::ParamPath;
use refit_kernels::dual::{self, Dual};

/// How much of a new batch enters the running statistics.
const MOMENTUM: f64 = 0.1;
const EPS: f64 = 1e-5;

/// Batch norm over every axis but the second; tensors `weight`, `bias`, `running_mean`, `running_var`, all `[c]`.
///
/// In a training pass it uses the statistics of the batch and notes new running ones (momentum 0.1, unbiased
/// variance, as everybody's checkpoints do).
#[derive(Clone, Debug)]
pub struct BatchNorm {
    path: ParamPath,
    weight: Dual<1>,
    bias: Dual<1>,
    mean: Dual<1>,
    variance: Dual<1>,
}

impl BatchNorm {
    /// Binds a norm over `c` channels.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub fn bind(scope: &Scope<'_>, c: usize) -> Result<Self, NnError> {
        Ok(Self {
            path: scope.path().clone(),
            weight: scope.tensor("weight", [c], Init::Ones)?,
            bias: scope.tensor("bias", [c], Init::Zeros)?,
            mean: scope.buffer("running_mean", c, Init::Zeros)?,
            variance: scope.buffer("running_var", c, Init::Ones)?,
        })
    }

    /// `x [n, c, ..]` -> the same shape.
    pub fn forward<const D: usize>(&self, x: Dual<D>, pass: &mut Pass) -> Dual<D> {
        let (weight, bias) = (self.weight.clone(), self.bias.clone());
        if !pass.is_train() {
            let (mean, variance) = (self.mean.clone(), self.variance.clone());
            return dual::batch_norm(x, weight, bias, mean, variance, EPS);
        }
        let count = x.dims().iter().product::<usize>() / x.dims()[1].max(1);
        let out = dual::batch_norm_train(x, weight, bias, EPS);
        let unbiased = count as f64 / (count.max(2) - 1) as f64;
        let blend = |old: &Dual<1>, new: burn::tensor::Tensor<1>| {
            old.value().clone().inner() * (1.0 - MOMENTUM) + new.inner() * MOMENTUM
        };
        pass.note(self.path.join("running_mean"), blend(&self.mean, out.mean));
        pass.note(
            self.path.join("running_var"),
            blend(&self.variance, out.variance * unbiased),
        );
        out.output
    }
}
