//! Activations, softmax and cross-entropy.

use super::Dual;
use burn::tensor::{Int, Tensor, activation};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

/// `1 / sqrt(2 pi)`.
const NORMAL_PEAK: f64 = 0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
/// `sqrt(2 / pi)`, as in the tanh form of GELU.
const TANH_RATE: f64 = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
/// Weight of the cube in the tanh form of GELU.
const TANH_CUBE: f64 = 0.044_715;

/// `max(0, x)`; the slope at zero is zero.
#[must_use]
pub fn relu<const D: usize>(x: Dual<D>) -> Dual<D> {
    x.relu()
}

/// [`gelu`](crate::gelu), with tangent `(Phi(x) + x phi(x)) x'`.
#[must_use]
pub fn gelu<const D: usize>(x: Dual<D>) -> Dual<D> {
    x.chain(crate::gelu, |x, _| {
        let cdf = ((x.clone() * FRAC_1_SQRT_2).erf() + 1.0) * 0.5;
        let density = (x.clone() * x.clone() * -0.5).exp() * NORMAL_PEAK;
        cdf + x * density
    })
}

/// [`gelu_tanh`](crate::gelu_tanh): with `u = sqrt(2 / pi) (x + 0.044715 x^3)` and `t = tanh u` the slope is
/// `(1 + t) / 2 + x (1 - t^2) u' / 2`.
#[must_use]
pub fn gelu_tanh<const D: usize>(x: Dual<D>) -> Dual<D> {
    x.chain(crate::gelu_tanh, |x, _| {
        let square = x.clone() * x.clone();
        let t = (x.clone() * (square.clone() * TANH_CUBE + 1.0) * TANH_RATE).tanh();
        let inner_slope = (square * (3.0 * TANH_CUBE) + 1.0) * TANH_RATE;
        let bend = (t.clone() * t.clone()).neg() + 1.0;
        (t + 1.0 + x * bend * inner_slope) * 0.5
    })
}

/// [`silu`](crate::silu): with `s = sigmoid x` the slope is `s (1 + x (1 - s))`.
#[must_use]
pub fn silu<const D: usize>(x: Dual<D>) -> Dual<D> {
    x.chain(crate::silu, |x, _| {
        let s = activation::sigmoid(x.clone());
        s.clone() * (x * (s.neg() + 1.0) + 1.0)
    })
}

/// [`softmax`](crate::softmax), with tangent `p * (x' - <p, x'>)`.
#[must_use]
pub fn softmax<const D: usize>(x: Dual<D>) -> Dual<D> {
    let (x, dx) = x.into_parts();
    let p = crate::softmax(x);
    let tangent = dx.map(|dx| softmax_tangent(p.clone(), dx));
    Dual::new(p, tangent)
}

/// The tangent of `p = softmax(x)` along `dx`.
pub(super) fn softmax_tangent<const D: usize>(p: Tensor<D>, dx: Tensor<D>) -> Tensor<D> {
    let mean = (p.clone() * dx.clone()).sum_dim(D - 1);
    p * (dx - mean)
}

/// [`log_softmax`](crate::log_softmax), with tangent `x' - <p, x'>`.
#[must_use]
pub fn log_softmax<const D: usize>(x: Dual<D>) -> Dual<D> {
    let (x, dx) = x.into_parts();
    let log_p = crate::log_softmax(x);
    let tangent = dx.map(|dx| dx.clone() - (log_p.clone().exp() * dx).sum_dim(D - 1));
    Dual::new(log_p, tangent)
}

/// [`cross_entropy`](crate::cross_entropy): with `p = softmax(logits)` and the smoothed target distribution `q` the
/// tangent of a row is `<p - q, logits'>`.
#[must_use]
pub fn cross_entropy(logits: Dual<2>, targets: Tensor<1, Int>, smoothing: f32) -> Dual<1> {
    let (x, dx) = logits.into_parts();
    let Some(dx) = dx else {
        return Dual::constant(crate::cross_entropy(x, targets, smoothing));
    };
    let [n, _] = x.dims();
    let expected = (crate::softmax(x.clone()) * dx.clone())
        .sum_dim(1)
        .reshape([n]);
    let wanted = target_mean(dx, targets.clone(), f64::from(smoothing));
    Dual::with_tangent(
        crate::cross_entropy(x, targets, smoothing),
        expected - wanted,
    )
}

/// The mean of each row of `x [n, c]` under the smoothed target distribution -> `[n]`.
fn target_mean(x: Tensor<2>, targets: Tensor<1, Int>, smoothing: f64) -> Tensor<1> {
    let [n, _] = x.dims();
    let hit = x.clone().gather(1, targets.reshape([n, 1])).reshape([n]);
    let even = x.mean_dim(1).reshape([n]);
    hit * (1.0 - smoothing) + even * smoothing
}
