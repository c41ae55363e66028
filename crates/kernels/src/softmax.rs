//! Softmax and log-softmax of the last axis: each row is read once from memory.

use crate::math::exp;
use crate::memory::{contiguous, floats, floats_mut, owned, width};
use crate::parallel::for_row_blocks;
use crate::route::is_host_f32;
use crate::simd::{max, sum1, sum2, vectorized};
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{Tensor, activation};

/// Softmax over the last axis, `exp(x_i) / sum_j exp(x_j)`.
///
/// # Shapes
/// Any; the result has the shape of `x`. A row of `-inf` alone, or one with NaN, becomes NaN.
/// # Cost
/// One pass; in place when nobody else holds `x`. The backward pass keeps the result.
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// let p = refit_kernels::softmax(Tensor::<1>::from_floats([0.0, 0.0], &Device::flex()));
/// assert_eq!(p.into_data().try_to_vec::<f32>().unwrap(), [0.5, 0.5]);
/// ```
pub fn softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let x = x.into_dispatch();
    if is_host_f32([&x]) {
        return Tensor::from_dispatch(<Dispatch as SoftmaxExtension>::probabilities(x));
    }
    activation::softmax(Tensor::from_dispatch(x), D - 1)
}

/// Log-softmax over the last axis, `x_i - log sum_j exp(x_j)`.
///
/// # Shapes
/// Any; the result has the shape of `x`. A row of `-inf` alone, or one with NaN, becomes NaN.
/// # Cost
/// One pass; in place when nobody else holds `x`. The backward pass keeps the result.
pub fn log_softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let x = x.into_dispatch();
    if is_host_f32([&x]) {
        return Tensor::from_dispatch(<Dispatch as SoftmaxExtension>::log_probabilities(x));
    }
    activation::log_softmax(Tensor::from_dispatch(x), D - 1)
}

/// Softmax and its logarithm as operators of the backend.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait SoftmaxExtension: Backend {
    /// Softmax over the last axis.
    fn probabilities(x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Log-softmax over the last axis.
    fn log_probabilities(x: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl SoftmaxExtension for Flex {
    fn probabilities(x: FlexTensor) -> FlexTensor {
        map_rows(x, softmax_row)
    }

    fn log_probabilities(x: FlexTensor) -> FlexTensor {
        map_rows(x, log_softmax_row)
    }
}

impl<C: CheckpointStrategy> SoftmaxExtension for Autodiff<Flex, C> {
    fn probabilities(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let y = Flex::probabilities(x);
        match Of::Probabilities
            .prepare::<C>([node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish(y.clone(), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn log_probabilities(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let y = Flex::log_probabilities(x);
        match Of::LogProbabilities
            .prepare::<C>([node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish(y.clone(), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}

/// Whose gradient.
#[derive(Clone, Copy, Debug)]
enum Of {
    Probabilities,
    LogProbabilities,
}

impl Backward<Flex, 1> for Of {
    type State = FlexTensor;

    fn backward(self, ops: Ops<FlexTensor, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node);
        if let [Some(parent)] = ops.parents {
            let dx = match self {
                Self::Probabilities => zip_rows(&ops.state, grad, softmax_gradient),
                Self::LogProbabilities => zip_rows(&ops.state, grad, log_softmax_gradient),
            };
            grads.register::<Flex>(parent.id, dx);
        }
    }
}

/// Row after row through `f`, in place when nobody else holds `x`.
fn map_rows(x: FlexTensor, f: impl Fn(&mut [f32]) + Sync) -> FlexTensor {
    let width = width(&x);
    let mut y = owned(x);
    for_row_blocks(floats_mut(&mut y), width, |_, block| {
        vectorized(
            #[inline(always)]
            || block.chunks_exact_mut(width).for_each(&f),
        );
    });
    y
}

/// `f(gradient row, result row)`, in place when nobody else holds the gradient.
fn zip_rows(y: &FlexTensor, grad: FlexTensor, f: impl Fn(&mut [f32], &[f32]) + Sync) -> FlexTensor {
    let width = width(y);
    let y = contiguous(y.clone());
    let rows = floats(&y);
    let mut dx = owned(grad);
    for_row_blocks(floats_mut(&mut dx), width, |first, block| {
        vectorized(
            #[inline(always)]
            || {
                let rows = rows[first * width..].chunks_exact(width);
                for (dx, y) in block.chunks_exact_mut(width).zip(rows) {
                    f(dx, y);
                }
            },
        );
    });
    dx
}

/// Turns scores into probabilities.
#[inline(always)]
pub(crate) fn softmax_row(row: &mut [f32]) {
    let sum = exp_row(row, max(row));
    let scale = 1.0 / sum;
    for x in row {
        *x *= scale;
    }
}

/// Turns scores into `exp(score - shift)` and returns their sum.
#[inline(always)]
pub(crate) fn exp_row(row: &mut [f32], shift: f32) -> f32 {
    for x in row.iter_mut() {
        *x = exp(*x - shift);
    }
    sum1(row, |x| x)
}

#[inline(always)]
fn log_softmax_row(row: &mut [f32]) {
    let log_sum = LogSum::of(row);
    for x in row {
        *x = log_sum.below(*x);
    }
}

/// `log sum_j exp(x_j)` as the largest score and the rest: scores far from 0 lose no digits.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LogSum {
    largest: f32,
    rest: f32,
}

impl LogSum {
    /// NaN where a score is NaN or all are `-inf`.
    #[inline(always)]
    pub(crate) fn of(row: &[f32]) -> Self {
        let largest = max(row);
        Self {
            largest,
            rest: sum1(row, |x| exp(x - largest)).ln(),
        }
    }

    /// The log-probability of score `x`.
    #[inline(always)]
    pub(crate) fn below(self, x: f32) -> f32 {
        (x - self.largest) - self.rest
    }
}

/// `dx = p (dy - sum_j p_j dy_j)`.
#[inline(always)]
pub(crate) fn softmax_gradient(grad: &mut [f32], p: &[f32]) {
    let mean = sum2(grad, p, |g, p| g * p);
    for (g, &p) in grad.iter_mut().zip(p) {
        *g = p * (*g - mean);
    }
}

/// `dx = dy - p sum_j dy_j`.
#[inline(always)]
fn log_softmax_gradient(grad: &mut [f32], log_p: &[f32]) {
    let total = sum1(grad, |g| g);
    for (g, &log_p) in grad.iter_mut().zip(log_p) {
        *g = exp(log_p).mul_add(-total, *g);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{
        battery, flat, host, nan_reaches, normal, same_for_any_thread_count, shaped, tensors,
    };
    use burn::tensor::DType;
    use refit_testkit::{close_in_norm, reference};

    const SIZES: [[usize; 2]; 6] = [[1, 1], [1, 7], [5, 32], [3, 127], [0, 4], [4, 65]];

    fn plain([n, d]: [usize; 2]) -> impl Fn(&[Tensor<1>]) -> Tensor<1> {
        move |x| flat(softmax(shaped(&x[0], [n, d])))
    }

    fn log([n, d]: [usize; 2]) -> impl Fn(&[Tensor<1>]) -> Tensor<1> {
        move |x| flat(log_softmax(shaped(&x[0], [n, d])))
    }

    fn fast(op: impl Fn(&[Tensor<1>]) -> Tensor<1>, x: Vec<f64>) -> Vec<f64> {
        host(&op(&tensors(
            &[x],
            DType::F32,
            &burn::tensor::Device::default(),
        )))
    }

    #[test]
    fn values_agree_with_f64_however_large_the_scores() {
        for [n, d] in SIZES {
            for shift in [0.0, 512.0, -512.0] {
                let x: Vec<_> = normal(1, n * d)
                    .iter()
                    .map(|x| f64::from((x + shift) as f32))
                    .collect();
                close_in_norm(
                    fast(plain([n, d]), x.clone()),
                    reference::softmax(&x, d),
                    5e-7,
                    0.0,
                )
                .unwrap();
                close_in_norm(
                    fast(log([n, d]), x.clone()),
                    reference::log_softmax(&x, d),
                    5e-7,
                    1e-4,
                )
                .unwrap();
            }
        }
    }

    #[test]
    fn gradients_agree_with_f64() {
        for [n, d] in SIZES {
            battery(plain([n, d]), &[normal(2, n * d)], 1e-6);
            battery(log([n, d]), &[normal(3, n * d)], 1e-6);
        }
    }

    #[test]
    fn views_are_read_in_their_own_order() {
        let op = |x: &[Tensor<1>]| {
            let view = shaped(&x[0], [4, 6]).swap_dims(0, 1);
            flat(log_softmax(softmax(view)))
        };
        battery(op, &[normal(4, 24)], 1e-6);
    }

    #[test]
    fn a_score_of_minus_infinity_has_no_probability() {
        let x = vec![0.0, f64::NEG_INFINITY, 0.0];
        assert_eq!(fast(plain([1, 3]), x), [0.5, 0.0, 0.5]);
        assert!(fast(plain([1, 2]), vec![f64::NEG_INFINITY; 2])[0].is_nan());
    }

    #[test]
    fn nan_passes_and_threads_change_nothing() {
        nan_reaches(plain([2, 40]), &[normal(5, 80)], 3, 39);
        nan_reaches(log([2, 40]), &[normal(5, 80)], 3, 39);
        same_for_any_thread_count(plain([301, 257]), &[normal(6, 301 * 257)]);
        same_for_any_thread_count(log([301, 257]), &[normal(6, 301 * 257)]);
    }
}
