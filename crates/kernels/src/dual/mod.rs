//! Forward-mode derivatives: a value that may carry its directional derivative.
//!
//! A [`Dual`] is a pair `(x, x')`, where `x'` is the change of `x` along a chosen direction of the inputs. The
//! functions of this module are those of the crate, extended to such pairs: `f(x, x') = (f(x), f'(x) x')`.
//!
//! - Nothing carries a tangent: the function of the same name at the crate's root is called and nothing else.
//! - Something carries one: the value is still computed by that function, so it does not depend on whether
//!   derivatives were asked for, and the tangent is an expression of operators that reverse mode can go through.
//!   The reverse-mode gradient *of a tangent* is therefore an exact product with the Hessian: see [`hvp`].
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use refit_kernels::dual::{Dual, gelu};
//! let device = Device::flex();
//! let x = Tensor::<1>::from_data([0.0], &device);
//! let y = gelu(Dual::with_tangent(x, Tensor::ones([1], &device)));
//! // The slope of GELU at zero is one half.
//! assert_eq!(y.tangent().unwrap().clone().into_scalar::<f32>(), 0.5);
//! ```
//!
//! Source: Pearlmutter 1994, "Fast exact multiplication by the Hessian".

mod activation;
mod arithmetic;
mod attention;
mod conv;
mod dense;
mod derivative;
mod elementwise;
mod norm;
mod pool;
mod shape;
#[cfg(test)]
mod tests;

pub use activation::{cross_entropy, gelu, gelu_tanh, log_softmax, relu, silu, softmax};
pub use attention::{AttentionMask, attention, by_pair};
pub use conv::conv2d;
pub use dense::{embedding, linear};
pub use derivative::{hvp, jvp};
pub use norm::{BatchNormTrain, batch_norm, batch_norm_train, layer_norm, rms_norm};
pub use pool::{avg_pool2d, max_pool2d};

use burn::tensor::{Device, Tensor};

/// A tensor with an optional tangent; no tangent means that the value does not change along the direction.
#[derive(Clone, Debug)]
pub struct Dual<const D: usize> {
    value: Tensor<D>,
    tangent: Option<Tensor<D>>,
}

impl<const D: usize> Dual<D> {
    /// A value that does not change along the direction.
    pub fn constant(value: Tensor<D>) -> Self {
        Self {
            value,
            tangent: None,
        }
    }

    /// A value and its directional derivative.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn with_tangent(value: Tensor<D>, tangent: Tensor<D>) -> Self {
        assert_eq!(
            value.dims(),
            tangent.dims(),
            "a tangent has the shape of its value"
        );
        Self {
            value,
            tangent: Some(tangent),
        }
    }

    fn new(value: Tensor<D>, tangent: Option<Tensor<D>>) -> Self {
        debug_assert!(tangent.as_ref().is_none_or(|t| t.dims() == value.dims()));
        Self { value, tangent }
    }

    /// The value.
    pub fn value(&self) -> &Tensor<D> {
        &self.value
    }

    /// The directional derivative, if there is one.
    pub fn tangent(&self) -> Option<&Tensor<D>> {
        self.tangent.as_ref()
    }

    /// The value alone.
    pub fn into_value(self) -> Tensor<D> {
        self.value
    }

    /// Value and directional derivative.
    pub fn into_parts(self) -> (Tensor<D>, Option<Tensor<D>>) {
        (self.value, self.tangent)
    }

    /// Extent of each axis.
    pub fn dims(&self) -> [usize; D] {
        self.value.dims()
    }

    /// The device of the value.
    pub fn device(&self) -> Device {
        self.value.device()
    }

    /// A constant for both modes: without tangent, and cut off from the graph of reverse mode.
    #[must_use]
    pub fn detach(self) -> Self {
        Self::constant(self.value.detach())
    }

    /// Applies a linear map to the value and to the tangent.
    fn map<const E: usize>(self, map: impl Fn(Tensor<D>) -> Tensor<E>) -> Dual<E> {
        Dual {
            tangent: self.tangent.map(&map),
            value: map(self.value),
        }
    }

    /// Applies an element-wise function; `slope(x, y)` is its derivative at `x`, where it is `y`.
    fn chain(
        self,
        function: impl FnOnce(Tensor<D>) -> Tensor<D>,
        slope: impl FnOnce(Tensor<D>, Tensor<D>) -> Tensor<D>,
    ) -> Self {
        let Some(tangent) = self.tangent else {
            return Self::constant(function(self.value));
        };
        let y = function(self.value.clone());
        Self::with_tangent(y.clone(), tangent * slope(self.value, y))
    }
}

impl<const D: usize> From<Tensor<D>> for Dual<D> {
    fn from(value: Tensor<D>) -> Self {
        Self::constant(value)
    }
}

/// The sum of the tangents that exist, as one of shape `dims`; each has that shape or broadcasts to it.
fn sum<const D: usize>(
    terms: impl IntoIterator<Item = Option<Tensor<D>>>,
    dims: [usize; D],
) -> Option<Tensor<D>> {
    let total = terms.into_iter().flatten().reduce(|a, b| a + b)?;
    Some(match dims {
        _ if total.dims() == dims => total,
        // Burn does not expand to an empty axis.
        _ if dims.contains(&0) => Tensor::empty(dims, (&total.device(), total.dtype())),
        _ => total.expand(dims),
    })
}
