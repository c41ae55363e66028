//! Layer norm and RMS norm of the last axis, each one pass forward and one back.
//!
//! Sources: Ba et al. 2016, arXiv:1607.06450, eq. 3 and 4; Zhang and Sennrich 2019, arXiv:1910.07467,
//! eq. 4. The backward passes save one or two numbers per row, not the normalised rows.

use crate::memory::{buffer, contiguous, floats, floats_mut, owned, tensor, width};
use crate::parallel::{add_up, rows_per_block, zip_blocks};
use crate::route::is_host_f32;
use crate::simd::{sum1, sum2, vectorized};
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{Shape, Tensor, module};
use std::sync::Arc;

/// Layer norm over the last axis: `(x - mean) / sqrt(variance + eps) * weight + bias`, with the
/// biased variance.
///
/// # Shapes
/// `x [.., d]`, `weight [d]`, `bias [d]` -> `[.., d]`.
/// # Panics
/// If the shapes do not fit.
/// # Cost
/// One pass over `x` each way; the backward pass keeps `x` and two numbers per row.
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// let device = Device::flex();
/// let x = Tensor::<2>::from_floats([[1.0, 3.0]], &device);
/// let (weight, bias) = (Tensor::ones([2], &device), Tensor::zeros([2], &device));
/// let y = refit_kernels::layer_norm(x, weight, bias, 0.0);
/// assert_eq!(y.into_data().try_to_vec::<f32>().unwrap(), [-1.0, 1.0]);
/// ```
pub fn layer_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f64,
) -> Tensor<D> {
    let d = x.dims().last().copied();
    let fits = d == Some(weight.dims()[0]) && d == Some(bias.dims()[0]);
    let (x, weight, bias) = (
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
    );
    if fits && is_host_f32([&x, &weight, &bias]) {
        return Tensor::from_dispatch(<Dispatch as NormExtension>::center(x, weight, bias, eps));
    }
    let (weight, bias) = (Tensor::from_dispatch(weight), Tensor::from_dispatch(bias));
    module::layer_norm(Tensor::from_dispatch(x), weight, Some(bias), eps)
}

/// RMS norm over the last axis: `x / sqrt(mean(x^2) + eps) * weight`.
///
/// # Shapes
/// `x [.., d]`, `weight [d]` -> `[.., d]`.
/// # Panics
/// If the shapes do not fit.
/// # Cost
/// One pass over `x` each way; the backward pass keeps `x` and one number per row.
pub fn rms_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, eps: f64) -> Tensor<D> {
    let fits = x.dims().last().copied() == Some(weight.dims()[0]);
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    if fits && is_host_f32([&x, &weight]) {
        return Tensor::from_dispatch(<Dispatch as NormExtension>::rescale(x, weight, eps));
    }
    let (x, weight) = (
        Tensor::<D>::from_dispatch(x),
        Tensor::<1>::from_dispatch(weight),
    );
    let power = (x.clone() * x.clone()).mean_dim(D - 1);
    x * (power + eps).sqrt().recip() * weight.unsqueeze()
}

/// The two norms as operators of the backend.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait NormExtension: Backend {
    /// Layer norm.
    fn center(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self>;

    /// RMS norm.
    fn rescale(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f64) -> FloatTensor<Self>;
}

impl NormExtension for Flex {
    fn center(x: FlexTensor, weight: FlexTensor, bias: FlexTensor, eps: f64) -> FlexTensor {
        forward(
            &contiguous(x),
            &contiguous(weight),
            Some(&contiguous(bias)),
            eps,
        )
        .0
    }

    fn rescale(x: FlexTensor, weight: FlexTensor, eps: f64) -> FlexTensor {
        forward(&contiguous(x), &contiguous(weight), None, eps).0
    }
}

impl<C: CheckpointStrategy> NormExtension for Autodiff<Flex, C> {
    fn center(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let (bias, bias_node) = bias.into_parts();
        let (x, weight) = (contiguous(x), contiguous(weight));
        let (y, rows) = forward(&x, &weight, Some(&contiguous(bias)), eps);
        match Norm
            .prepare::<C>([x_node, weight_node, bias_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish(State { x, weight, rows }, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn rescale(x: FloatTensor<Self>, weight: FloatTensor<Self>, eps: f64) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let (x, weight) = (contiguous(x), contiguous(weight));
        let (y, rows) = forward(&x, &weight, None, eps);
        match Norm
            .prepare::<C>([x_node, weight_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish(State { x, weight, rows }, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}

/// What the backward pass needs.
#[derive(Clone, Debug)]
struct State {
    x: FlexTensor,
    weight: FlexTensor,
    rows: Arc<Vec<Row>>,
}

/// `(x - mean) * scale` is the normalised row; the mean is 0 in RMS norm.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    mean: f32,
    scale: f32,
}

/// Gradients of `x`, `weight` and, in layer norm, `bias`.
#[derive(Debug)]
struct Norm;

impl<const N: usize> Backward<Flex, N> for Norm {
    type State = State;

    fn backward(self, ops: Ops<State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node);
        let parts = backward(&ops.state, grad, N == 3);
        for (parent, part) in ops.parents.into_iter().zip(parts) {
            if let Some(parent) = parent {
                grads.register::<Flex>(parent.id, part);
            }
        }
    }
}

/// The normalised rows and their means and scales; without `bias` no mean is taken off.
fn forward(
    x: &FlexTensor,
    weight: &FlexTensor,
    bias: Option<&FlexTensor>,
    eps: f64,
) -> (FlexTensor, Arc<Vec<Row>>) {
    let (source, d) = (floats(x), width(x));
    let (weight, bias) = (floats(weight), bias.map(floats));
    let mut y = buffer(source.len());
    let mut rows = vec![Row::default(); source.len().checked_div(d).unwrap_or(0)];
    let per_block = rows_per_block(d);
    zip_blocks(
        (&mut y, per_block * d),
        (&mut rows, per_block),
        |block, y, rows| {
            let first = block * per_block;
            vectorized(
                #[inline(always)]
                || {
                    let x = source[first * d..].chunks_exact(d);
                    for ((y, x), row) in y.chunks_exact_mut(d).zip(x).zip(rows) {
                        *row = statistics(x, bias.is_some(), eps);
                        match bias {
                            Some(bias) => apply_affine(y, x, *row, weight, bias),
                            None => apply_scale(y, x, row.scale, weight),
                        }
                    }
                },
            );
        },
    );
    (tensor(y, x.shape()), Arc::new(rows))
}

/// Mean and variance in two sweeps over the cached row: a one-sweep variance cancels.
#[inline(always)]
fn statistics(x: &[f32], centered: bool, eps: f64) -> Row {
    let count = x.len() as f32;
    let mean = if centered {
        sum1(x, |x| x) / count
    } else {
        0.0
    };
    let variance = sum1(x, |x| (x - mean) * (x - mean)) / count;
    Row {
        mean,
        scale: 1.0 / (variance + eps as f32).sqrt(),
    }
}

#[inline(always)]
fn apply_affine(y: &mut [f32], x: &[f32], row: Row, weight: &[f32], bias: &[f32]) {
    for (((y, &x), &w), &b) in y.iter_mut().zip(x).zip(weight).zip(bias) {
        *y = ((x - row.mean) * row.scale).mul_add(w, b);
    }
}

#[inline(always)]
fn apply_scale(y: &mut [f32], x: &[f32], scale: f32, weight: &[f32]) {
    for ((y, &x), &w) in y.iter_mut().zip(x).zip(weight) {
        *y = x * scale * w;
    }
}

/// `[dx, d weight, d bias]`; `dx` takes the place of `grad` when nobody else holds it.
///
/// With `g = dy * weight` and normalised rows `n`: `dx = scale (g - mean(g) - n mean(g n))`, without
/// `mean(g)` in RMS norm; `d weight = sum_rows dy n` and `d bias = sum_rows dy`.
fn backward(state: &State, grad: FlexTensor, centered: bool) -> [FlexTensor; 3] {
    let (x, weight, d) = (floats(&state.x), floats(&state.weight), width(&state.x));
    let mut dx = owned(grad);
    let per_block = rows_per_block(d);
    let blocks = state.rows.len().div_ceil(per_block).max(1);
    let mut partial = vec![0.0; blocks * 2 * d];
    let dx_blocks = (floats_mut(&mut dx), per_block * d);
    zip_blocks(dx_blocks, (&mut partial, 2 * d), |block, dx, partial| {
        let first = block * per_block;
        vectorized(
            #[inline(always)]
            || {
                let (dw, db) = partial.split_at_mut(d);
                let x = x[first * d..].chunks_exact(d);
                for ((dx, x), &row) in dx.chunks_exact_mut(d).zip(x).zip(&state.rows[first..]) {
                    add_parameter_gradients(dw, db, dx, x, row);
                    input_gradient(dx, x, row, weight, centered);
                }
            },
        );
    });
    let total = add_up(partial, 2 * d);
    let part = |range: std::ops::Range<usize>| tensor(total[range].to_vec(), Shape::from([d]));
    let (dw, db) = (part(0..d), part(d..2 * d));
    [dx, dw, db]
}

#[inline(always)]
fn add_parameter_gradients(dw: &mut [f32], db: &mut [f32], dy: &[f32], x: &[f32], row: Row) {
    for (((dw, db), &dy), &x) in dw.iter_mut().zip(db).zip(dy).zip(x) {
        *dw = dy.mul_add((x - row.mean) * row.scale, *dw);
        *db += dy;
    }
}

/// Turns `dy` into `dx`.
#[inline(always)]
fn input_gradient(dy: &mut [f32], x: &[f32], row: Row, weight: &[f32], centered: bool) {
    let count = x.len() as f32;
    for (g, &w) in dy.iter_mut().zip(weight) {
        *g *= w;
    }
    let mean = if centered {
        sum1(dy, |g| g) / count
    } else {
        0.0
    };
    let along = sum2(dy, x, |g, x| g * ((x - row.mean) * row.scale)) / count;
    for (g, &x) in dy.iter_mut().zip(x) {
        let n = (x - row.mean) * row.scale;
        *g = row.scale * n.mul_add(-along, *g - mean);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{
        battery, flat, host, nan_reaches, normal, same_for_any_thread_count, shaped, tensors,
    };
    use burn::tensor::DType;
    use refit_testkit::close_in_norm;

    const SIZES: [[usize; 2]; 6] = [[1, 1], [1, 7], [5, 32], [3, 127], [0, 4], [13, 33]];

    fn inputs([n, d]: [usize; 2]) -> Vec<Vec<f64>> {
        vec![normal(1, n * d), normal(2, d), normal(3, d)]
    }

    fn layer([n, d]: [usize; 2]) -> impl Fn(&[Tensor<1>]) -> Tensor<1> {
        move |x| {
            let rows = shaped(&x[0], [n, d]);
            flat(layer_norm(rows, x[1].clone(), x[2].clone(), 1e-3))
        }
    }

    fn rms([n, d]: [usize; 2]) -> impl Fn(&[Tensor<1>]) -> Tensor<1> {
        move |x| flat(rms_norm(shaped(&x[0], [n, d]), x[1].clone(), 1e-3))
    }

    #[test]
    fn layer_norm_agrees_with_its_definition() {
        for [n, d] in SIZES {
            let x = inputs([n, d]);
            let rows = x[0].chunks_exact(d).flat_map(|row| {
                let mean = row.iter().sum::<f64>() / d as f64;
                let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / d as f64;
                let scale = (variance + 1e-3).sqrt().recip();
                let (w, b) = (&x[1], &x[2]);
                (0..d).map(move |j| (row[j] - mean) * scale * w[j] + b[j])
            });
            let expected: Vec<f64> = rows.collect();
            let found = host(&layer([n, d])(&tensors(
                &x,
                DType::F32,
                &burn::tensor::Device::default(),
            )));
            close_in_norm(found, expected, 1e-6, 0.0).unwrap();
        }
    }

    #[test]
    fn gradients_agree_with_f64() {
        for size in SIZES {
            battery(layer(size), &inputs(size), 3e-6);
            battery(rms(size), &inputs(size)[..2], 3e-6);
        }
    }

    #[test]
    fn a_large_common_offset_does_not_cancel_the_variance() {
        let mut x = inputs([4, 64]);
        let around_zero = host(&layer([4, 64])(&tensors(
            &x,
            DType::F32,
            &burn::tensor::Device::default(),
        )));
        x[0].iter_mut()
            .for_each(|x| *x = f64::from((*x * 1024.0).round() as f32 / 1024.0 + 512.0));
        let shifted = host(&layer([4, 64])(&tensors(
            &x,
            DType::F32,
            &burn::tensor::Device::default(),
        )));
        close_in_norm(shifted, around_zero, 1e-3, 0.0).unwrap();
    }

    #[test]
    fn views_are_read_in_their_own_order() {
        let op = |x: &[Tensor<1>]| {
            let view = shaped(&x[0], [5, 3, 2]).swap_dims(0, 2);
            let y = layer_norm(view, x[1].clone(), x[2].clone(), 1e-3);
            flat(rms_norm(y, x[1].clone(), 1e-3))
        };
        battery(op, &[normal(1, 30), normal(2, 5), normal(3, 5)], 3e-6);
    }

    #[test]
    fn nan_passes_and_threads_change_nothing() {
        nan_reaches(layer([2, 40]), &inputs([2, 40]), 3, 39);
        nan_reaches(rms([2, 40]), &inputs([2, 40]), 3, 39);
        same_for_any_thread_count(layer([301, 257]), &inputs([301, 257]));
        same_for_any_thread_count(rms([301, 257]), &inputs([301, 257])[..2]);
    }
}
