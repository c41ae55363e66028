//! GELU, GELU in its tanh form, and `SiLU`: one pass forward and one back; only the input is kept.
//!
//! Sources: Hendrycks and Gimpel 2016, arXiv:1606.08415 (GELU, eq. 1 and the tanh form of section
//! 2); Elfwing et al. 2017, arXiv:1702.03118 (`SiLU`).

use crate::math::{normal, sigmoid};
use crate::memory::{buffer, contiguous, floats, floats_mut, owned, tensor};
use crate::parallel::for_row_blocks;
use crate::route::is_host_f32;
use crate::simd::vectorized;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{Tensor, activation};

/// Exact GELU, `x Phi(x)` with the normal distribution function `Phi`.
///
/// # Shapes
/// Any; the result has the shape of `x`. On the CPU in `f32` the relative error is below `8e-7`,
/// for large negative `x` too (until the result leaves the range of normal numbers at `x = -12.8`).
/// # Cost
/// One pass; the backward pass keeps `x` alone.
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// let y = refit_kernels::gelu(Tensor::<1>::from_floats([1.0], &Device::flex()));
/// assert!((y.into_scalar::<f32>() - 0.841_345).abs() < 1e-6);
/// ```
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    apply(x, Curve::Gelu, activation::gelu)
}

/// GELU in the tanh form of GPT-2, `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`.
///
/// # Shapes
/// Any; the result has the shape of `x`.
/// # Cost
/// One pass; the backward pass keeps `x` alone.
pub fn gelu_tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    apply(x, Curve::GeluTanh, activation::gelu_approximate)
}

/// `SiLU`, `x / (1 + exp(-x))`.
///
/// # Shapes
/// Any; the result has the shape of `x`.
/// # Cost
/// One pass; the backward pass keeps `x` alone.
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    apply(x, Curve::Silu, activation::silu)
}

fn apply<const D: usize>(
    x: Tensor<D>,
    curve: Curve,
    fallback: impl Fn(Tensor<D>) -> Tensor<D>,
) -> Tensor<D> {
    let x = x.into_dispatch();
    if is_host_f32([&x]) {
        Tensor::from_dispatch(<Dispatch as ActivationExtension>::activate(x, curve))
    } else {
        fallback(Tensor::from_dispatch(x))
    }
}

/// The functions of this file.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Curve {
    /// [`gelu`].
    Gelu,
    /// [`gelu_tanh`].
    GeluTanh,
    /// [`silu`].
    Silu,
}

/// The elementwise functions as one operator of the backend.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait ActivationExtension: Backend {
    /// `curve(x)`.
    fn activate(x: FloatTensor<Self>, curve: Curve) -> FloatTensor<Self>;
}

impl ActivationExtension for Flex {
    fn activate(x: FlexTensor, curve: Curve) -> FlexTensor {
        forward(x, curve)
    }
}

impl<C: CheckpointStrategy> ActivationExtension for Autodiff<Flex, C> {
    fn activate(x: FloatTensor<Self>, curve: Curve) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        match Derivative.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((x.clone(), curve), forward(x, curve)),
            OpsKind::UnTracked(prep) => prep.finish(forward(x, curve)),
        }
    }
}

#[derive(Debug)]
struct Derivative;

impl Backward<Flex, 1> for Derivative {
    type State = (FlexTensor, Curve);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node);
        let (x, curve) = ops.state;
        if let [Some(parent)] = ops.parents {
            grads.register::<Flex>(parent.id, backward(x, grad, curve));
        }
    }
}

/// In place when nobody else holds `x`.
fn forward(x: FlexTensor, curve: Curve) -> FlexTensor {
    match curve {
        Curve::Gelu => map(
            x,
            #[inline(always)]
            |x| x * normal(x).0,
        ),
        Curve::GeluTanh => map(
            x,
            #[inline(always)]
            |x| x * sigmoid(x * slope(x * x)),
        ),
        Curve::Silu => map(
            x,
            #[inline(always)]
            |x| x * sigmoid(x),
        ),
    }
}

/// In place when nobody else holds `grad`.
fn backward(x: FlexTensor, grad: FlexTensor, curve: Curve) -> FlexTensor {
    /// `1 / sqrt(2 pi)`.
    const PEAK: f32 = 0.398_942_3;
    match curve {
        // Phi(x) + x phi(x)
        Curve::Gelu => scale(
            x,
            grad,
            #[inline(always)]
            |x| {
                let (phi, bell) = normal(x);
                (x * PEAK).mul_add(bell, phi)
            },
        ),
        // s + x s (1 - s) u'(x) with u = x slope(x^2), u' = 2 sqrt(2 / pi) (1 + 3 * 0.044715 x^2)
        Curve::GeluTanh => scale(
            x,
            grad,
            #[inline(always)]
            |x| {
                let s = sigmoid(x * slope(x * x));
                let steep = (x * x).mul_add(3.0 * CUBIC, TWICE_ROOT);
                (x * s * (1.0 - s)).mul_add(steep, s)
            },
        ),
        // s + x s (1 - s)
        Curve::Silu => scale(
            x,
            grad,
            #[inline(always)]
            |x| {
                let s = sigmoid(x);
                (x * (1.0 - s)).mul_add(s, s)
            },
        ),
    }
}

/// `2 sqrt(2 / pi)`: `(1 + tanh u) / 2` is the sigmoid of `2 u`.
const TWICE_ROOT: f32 = 1.595_769;
/// `0.044715` times that.
const CUBIC: f32 = 0.071_354_82;

#[inline(always)]
fn slope(square: f32) -> f32 {
    square.mul_add(CUBIC, TWICE_ROOT)
}

fn map(x: FlexTensor, f: impl Fn(f32) -> f32 + Sync) -> FlexTensor {
    if x.is_unique() {
        let mut y = owned(x);
        for_row_blocks(floats_mut(&mut y), 1, |_, block| {
            vectorized(
                #[inline(always)]
                || {
                    for y in block {
                        *y = f(*y);
                    }
                },
            );
        });
        return y;
    }
    let x = contiguous(x);
    let source = floats(&x);
    let mut y = buffer(source.len());
    for_row_blocks(&mut y, 1, |first, block| {
        vectorized(
            #[inline(always)]
            || {
                for (y, &x) in block.iter_mut().zip(&source[first..]) {
                    *y = f(x);
                }
            },
        );
    });
    tensor(y, x.layout().shape().clone())
}

/// `grad_i f(x_i)`.
fn scale(x: FlexTensor, grad: FlexTensor, f: impl Fn(f32) -> f32 + Sync) -> FlexTensor {
    let x = contiguous(x);
    let source = floats(&x);
    let mut grad = owned(grad);
    for_row_blocks(floats_mut(&mut grad), 1, |first, block| {
        vectorized(
            #[inline(always)]
            || {
                for (g, &x) in block.iter_mut().zip(&source[first..]) {
                    *g *= f(x);
                }
            },
        );
    });
    grad
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{battery, flat, nan_reaches, normal, same_for_any_thread_count, shaped};

    const CURVES: [fn(Tensor<1>) -> Tensor<1>; 3] = [gelu, gelu_tanh, silu];

    #[test]
    fn values_and_gradients_agree_with_f64_for_odd_lengths() {
        for f in CURVES {
            for len in [0, 1, 7, 127] {
                battery(|x| f(x[0].clone()), &[normal(len as u64, len)], 4e-7);
            }
        }
    }

    #[test]
    fn gelu_keeps_its_left_tail() {
        // -10 Phi(-10) with Phi(-10) = 7.619853024160527e-24
        let y = gelu(refit_testkit::tensor(
            vec![-10.0],
            [1],
            burn::tensor::DType::F32,
            &burn::tensor::Device::default(),
        ));
        let y: f32 = y.into_scalar();
        assert!(
            (f64::from(y) / -7.619_853_024_160_527e-23 - 1.0).abs() < 8e-7,
            "{y:e}"
        );
    }

    #[test]
    fn views_are_read_in_their_own_order() {
        let op = |x: &[Tensor<1>]| {
            let view = shaped(&x[0], [3, 5]).swap_dims(0, 1);
            flat(silu(gelu(gelu_tanh(view))))
        };
        battery(op, &[normal(3, 15)], 4e-7);
    }

    #[test]
    fn nan_passes_and_threads_change_nothing() {
        for f in CURVES {
            nan_reaches(|x| f(x[0].clone()), &[normal(4, 33)], 17, 17);
            same_for_any_thread_count(|x| f(x[0].clone()), &[normal(5, 70_001)]);
        }
    }

    #[test]
    fn a_tensor_that_others_hold_is_left_alone() {
        let x = refit_testkit::normal(6, [40]);
        let before = x.to_data();
        let _ = gelu(x.clone());
        x.into_data().assert_eq(&before, true);
    }
}
