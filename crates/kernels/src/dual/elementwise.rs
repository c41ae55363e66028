//! Functions of one entry.
//!
//! Slopes are written in terms of the result where that is possible: it is at hand, and one more differentiation of it
//! is all that reverse mode through the tangent asks for.

use super::Dual;
use burn::tensor::{Tensor, activation};

impl<const D: usize> Dual<D> {
    /// `1 / x`.
    #[must_use]
    pub fn recip(self) -> Self {
        self.chain(Tensor::recip, |_, y| (y.clone() * y).neg())
    }

    /// Square root; the slope at zero is infinite.
    #[must_use]
    pub fn sqrt(self) -> Self {
        self.chain(Tensor::sqrt, |_, y| y.recip() * 0.5)
    }

    /// Exponential.
    #[must_use]
    pub fn exp(self) -> Self {
        self.chain(Tensor::exp, |_, y| y)
    }

    /// Natural logarithm.
    #[must_use]
    pub fn log(self) -> Self {
        self.chain(Tensor::log, |x, _| x.recip())
    }

    /// `x^exponent`.
    #[must_use]
    pub fn powf_scalar(self, exponent: f64) -> Self {
        self.chain(|x| x.powf_scalar(exponent), |x, _| power_slope(x, exponent))
    }

    /// `max(0, x)`; the slope at zero is zero.
    #[must_use]
    pub fn relu(self) -> Self {
        let kept = self.tangent.map(|t| {
            let flat = self.value.clone().lower_equal_scalar(0.0);
            t.mask_fill(flat, 0.0)
        });
        Self::new(activation::relu(self.value), kept)
    }

    /// Hyperbolic tangent.
    #[must_use]
    pub fn tanh(self) -> Self {
        self.chain(Tensor::tanh, |_, y| (y.clone() * y).neg() + 1.0)
    }

    /// `1 / (1 + exp(-x))`.
    #[must_use]
    pub fn sigmoid(self) -> Self {
        self.chain(activation::sigmoid, |_, y| y.clone() * (y.neg() + 1.0))
    }

    /// Absolute value; the slope at zero is zero.
    #[must_use]
    pub fn abs(self) -> Self {
        self.chain(Tensor::abs, |x, _| x.sign())
    }

    /// Moves entries outside `[min, max]` to the nearer end; the slope is one from `min` to `max` and zero outside.
    #[must_use]
    pub fn clamp(self, min: f64, max: f64) -> Self {
        let kept = self.tangent.map(|t| {
            let x = self.value.clone();
            let outside = x.clone().lower_scalar(min).bool_or(x.greater_scalar(max));
            t.mask_fill(outside, 0.0)
        });
        Self::new(self.value.clamp(min, max), kept)
    }
}

/// `p x^(p - 1)`. The whole powers that occur most are spelled out: differentiating `x^0` or `x^1` again through
/// a general power would multiply zero by infinity at `x = 0`.
#[expect(
    clippy::float_cmp,
    reason = "exactly these exponents have the short form"
)]
fn power_slope<const D: usize>(x: Tensor<D>, exponent: f64) -> Tensor<D> {
    if exponent == 0.0 {
        x.zeros_like()
    } else if exponent == 1.0 {
        x.ones_like()
    } else if exponent == 2.0 {
        x * 2.0
    } else {
        x.powf_scalar(exponent - 1.0) * exponent
    }
}
