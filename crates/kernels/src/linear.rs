//! Affine maps `y = x W' + b`, through one matrix product for each of `y`, `dx` and `dW`.

use crate::gemm::{Halves, Mat, product};
use crate::memory::{buffer, contiguous, floats, halves, tensor, width};
use crate::parallel::sum_rows;
use crate::route::{is_half, is_host_f32, is_plain_half};
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Autodiff, Backend, Dispatch, DispatchTensor, DispatchTensorKind, Flex, TensorMetadata,
    backend_extension,
};
use burn::tensor::{Shape, Tensor, module};

/// Affine map of the last axis: `y = x W' + b`.
///
/// # Shapes
/// `x [.., in]`, `weight [out, in]`, `bias [out]` -> `[.., out]`. A transposed view of a weight stored
/// as `[in, out]` is read in place. A weight of half precision beside an `x` of `f32` is a constant, all of whose values
/// are finite: it is widened in the cache on the CPU (rows one after the other, `x` outside of any graph), otherwise before
/// the product.
/// # Panics
/// If the shapes do not fit.
/// # Cost
/// `2 rows in out` operations forward, twice that backward; the backward pass keeps `x` and `weight`.
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// let device = Device::flex();
/// let x = Tensor::<2>::from_floats([[1.0, 2.0]], &device);
/// let weight = Tensor::from_floats([[3.0, 4.0], [5.0, 6.0], [0.0, 1.0]], &device);
/// let bias = Tensor::from_floats([0.5, 0.0, 0.0], &device);
/// let y = refit_kernels::linear(x, weight, Some(bias));
/// assert_eq!(y.into_data().try_to_vec::<f32>().unwrap(), [11.5, 17.0, 2.0]);
/// ```
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let fits = fits(&x.dims(), weight.dims(), bias.as_ref().map(Tensor::dims));
    if is_half(weight.dtype()) && !is_half(x.dtype()) {
        return by_half(x, weight, bias, fits);
    }
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    let bias = bias.map(Tensor::into_dispatch);
    if fits && is_host_f32([&x, &weight].into_iter().chain(&bias)) {
        return Tensor::from_dispatch(match bias {
            Some(bias) => <Dispatch as LinearExtension>::affine(x, weight, bias),
            None => <Dispatch as LinearExtension>::product(x, weight),
        });
    }
    let weight = Tensor::<2>::from_dispatch(weight).transpose();
    let x = Tensor::<D>::from_dispatch(x);
    if x.dims()[..D - 1].contains(&0) {
        // Burn's product of an empty batch reads memory that is not there.
        let mut shape = x.dims();
        shape[D - 1] = weight.dims()[1];
        return Tensor::empty(shape, (&x.device(), x.dtype()));
    }
    module::linear(x, weight, bias.map(Tensor::from_dispatch))
}

/// [`linear`] by a weight of half precision.
fn by_half<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    fits: bool,
) -> Tensor<D> {
    let dtype = x.dtype();
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    let bias = bias.map(Tensor::into_dispatch);
    let plain = |t: &DispatchTensor| matches!(t.kind, DispatchTensorKind::Flex(_));
    let is_plain =
        is_host_f32([&x].into_iter().chain(&bias)) && [&x].into_iter().chain(&bias).all(plain);
    if fits && is_plain && is_plain_half(&weight) {
        return Tensor::from_dispatch(match bias {
            Some(bias) => <Dispatch as LinearExtension>::affine(x, weight, bias),
            None => <Dispatch as LinearExtension>::product(x, weight),
        });
    }
    let weight = Tensor::<2>::from_dispatch(weight).cast(dtype);
    linear(
        Tensor::from_dispatch(x),
        weight,
        bias.map(Tensor::from_dispatch),
    )
}

fn fits(x: &[usize], weight: [usize; 2], bias: Option<[usize; 1]>) -> bool {
    x.last() == Some(&weight[1]) && bias.is_none_or(|bias| bias == [weight[0]])
}

/// The affine map, with and without a bias, as operators of the backend.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait LinearExtension: Backend {
    /// `x weight' + bias`.
    fn affine(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// `x weight'`.
    fn product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl LinearExtension for Flex {
    fn affine(x: FlexTensor, weight: FlexTensor, bias: FlexTensor) -> FlexTensor {
        forward(&contiguous(x), &weight, Some(bias))
    }

    fn product(x: FlexTensor, weight: FlexTensor) -> FlexTensor {
        forward(&contiguous(x), &weight, None)
    }
}

impl<C: CheckpointStrategy> LinearExtension for Autodiff<Flex, C> {
    fn affine(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let (bias, bias_node) = bias.into_parts();
        let x = contiguous(x);
        let y = forward(&x, &weight, Some(bias));
        match Affine
            .prepare::<C>([x_node, weight_node, bias_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish((x, weight), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let x = contiguous(x);
        let y = forward(&x, &weight, None);
        match Affine
            .prepare::<C>([x_node, weight_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish((x, weight), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}

/// Gradients of `x`, `weight` and, with three parents, `bias`.
#[derive(Debug)]
struct Affine;

impl<const N: usize> Backward<Flex, N> for Affine {
    type State = (FlexTensor, FlexTensor);

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = contiguous(grads.consume::<Flex>(&ops.node));
        let (x, weight) = ops.state;
        for (parent, which) in ops.parents.into_iter().zip(0..) {
            let Some(parent) = parent else { continue };
            let part = match which {
                0 => input_gradient(&grad, &weight, x.shape()),
                1 => weight_gradient(&grad, &x, weight.shape()),
                _ => bias_gradient(&grad),
            };
            grads.register::<Flex>(parent.id, part);
        }
    }
}

/// The view of a two-dimensional tensor, whatever its strides.
fn matrix(t: &FlexTensor) -> Mat<'_> {
    let (dims, strides) = (t.shape(), t.layout().strides());
    let (dims, strides) = ([dims[0], dims[1]], [strides[0], strides[1]]);
    Mat::new(t.storage(), t.layout().start_offset(), dims, strides)
}

/// The view of a row-major tensor as rows of `width` entries.
fn rows(t: &FlexTensor) -> Mat<'_> {
    let width = width(t);
    let count = t.shape().iter().rev().skip(1).product();
    Mat::rows(floats(t), [count, width])
}

fn forward(x: &FlexTensor, weight: &FlexTensor, bias: Option<FlexTensor>) -> FlexTensor {
    let input = rows(x);
    let [outputs, inner] = [weight.shape()[0], weight.shape()[1]];
    let mut y = buffer(input.dims()[0] * outputs);
    let bias = bias.map(contiguous);
    let bias = bias.as_ref().map(floats);
    if is_half(weight.dtype()) {
        let weight = contiguous(weight.clone());
        let (bits, kind) = halves(&weight);
        product(&mut y, input, Halves::new(bits, kind, outputs, inner), bias);
    } else {
        product(&mut y, input, matrix(weight).transposed(), bias);
    }
    tensor(y, with_width(x.shape(), outputs))
}

fn with_width(mut shape: Shape, width: usize) -> Shape {
    if let Some(last) = shape.last_mut() {
        *last = width;
    }
    shape
}

/// `dx = dy W`.
fn input_gradient(grad: &FlexTensor, weight: &FlexTensor, shape: Shape) -> FlexTensor {
    let (grad, weight) = (rows(grad), matrix(weight));
    let dims = [grad.dims()[0], weight.dims()[1]];
    let mut dx = buffer(dims[0] * dims[1]);
    product(&mut dx, grad, weight, None);
    tensor(dx, shape)
}

/// `dW = dy' x`.
fn weight_gradient(grad: &FlexTensor, x: &FlexTensor, shape: Shape) -> FlexTensor {
    let (grad, x) = (rows(grad), rows(x));
    let dims = [grad.dims()[1], x.dims()[1]];
    let mut dw = buffer(dims[0] * dims[1]);
    product(&mut dw, grad.transposed(), x, None);
    tensor(dw, shape)
}

/// `db`: the sum of the rows of `dy`.
fn bias_gradient(grad: &FlexTensor) -> FlexTensor {
    let width = width(grad);
    let sum = sum_rows(floats(grad), width);
    tensor(sum, Shape::from([width]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{
        battery, flat, host, nan_reaches, normal, same_for_any_thread_count, shaped,
    };
    use refit_testkit::{close_in_norm, reference};

    /// `[rows, in, out]`.
    const SIZES: [[usize; 3]; 8] = [
        [1, 1, 1],
        [3, 5, 7],
        [31, 13, 17],
        [0, 3, 2],
        [3, 0, 2],
        [3, 2, 0],
        [17, 64, 33],
        [9, 5, 65],
    ];

    fn inputs([n, k, o]: [usize; 3]) -> Vec<Vec<f64>> {
        vec![normal(1, n * k), normal(2, o * k), normal(3, o)]
    }

    fn op([n, k, o]: [usize; 3], biased: bool) -> impl Fn(&[Tensor<1>]) -> Tensor<1> {
        move |x| {
            let bias = biased.then(|| x[2].clone());
            let y = linear(shaped(&x[0], [n, k]), shaped(&x[1], [o, k]), bias);
            flat(y)
        }
    }

    #[test]
    fn values_agree_with_a_naive_product() {
        for [n, k, o] in SIZES {
            let x = inputs([n, k, o]);
            let mut expected =
                reference::matmul(&x[0], &reference::transpose(&x[1], [o, k]), [n, k, o]);
            expected
                .iter_mut()
                .enumerate()
                .for_each(|(i, y)| *y += x[2][i % o]);
            let leaves = crate::testing::tensors(
                &x,
                burn::tensor::DType::F32,
                &burn::tensor::Device::default(),
            );
            let found = host(&op([n, k, o], true)(&leaves));
            close_in_norm(found, expected, 1e-6, 0.0).unwrap();
        }
    }

    #[test]
    fn gradients_agree_with_f64() {
        for size in SIZES {
            if size[1] > 0 {
                battery(op(size, true), &inputs(size), 2e-6);
                battery(op(size, false), &inputs(size), 2e-6);
            }
        }
    }

    #[test]
    fn views_of_input_and_weight_are_read_in_their_own_order() {
        let op = |x: &[Tensor<1>]| {
            let input = shaped(&x[0], [5, 2, 3]).swap_dims(0, 1);
            let weight = shaped(&x[1], [3, 4]).transpose();
            flat(linear(input, weight, None))
        };
        battery(op, &[normal(1, 30), normal(2, 12)], 2e-6);
    }

    #[test]
    fn a_weight_of_half_precision_is_the_one_it_is_widened_to() {
        use burn::tensor::{DType, Device};
        let device = Device::flex();
        for dtype in [DType::F16, DType::BF16] {
            let sizes = SIZES.into_iter().filter(|size| size[2] > 0);
            for [n, k, o] in sizes.chain([[1, 1100, 70], [40, 1100, 70]]) {
                let x = crate::testing::tensors(&inputs([n, k, o]), DType::F32, &device);
                let (input, bias) = (shaped::<2>(&x[0], [n, k]), x[2].clone());
                let half = shaped::<2>(&x[1], [o, k]).cast(dtype);
                // Rows of a joint weight are a view of it.
                let views = [half.clone(), half.clone().narrow(0, o / 2, o - o / 2)];
                for half in views {
                    let bias = bias.clone().narrow(0, 0, half.dims()[0]);
                    let wide = half.clone().cast(DType::F32);
                    for bias in [None, Some(bias)] {
                        let expected =
                            host(&flat(linear(input.clone(), wide.clone(), bias.clone())));
                        let found = host(&flat(linear(input.clone(), half.clone(), bias.clone())));
                        close_in_norm(&found, &expected, 1e-6, 1e-12).unwrap();
                        // In a graph it is widened first.
                        let tracked = input.clone().autodiff().require_grad();
                        let bias = bias.map(Tensor::autodiff);
                        let y = linear(tracked, half.clone().autodiff(), bias).inner();
                        close_in_norm(host(&flat(y)), &expected, 1e-6, 1e-12).unwrap();
                    }
                }
                let turned = half_of_turned(&x[1], [o, k], dtype);
                let expected = host(&flat(linear(
                    input.clone(),
                    turned.clone().cast(DType::F32),
                    None,
                )));
                let found = host(&flat(linear(input, turned, None)));
                close_in_norm(found, expected, 1e-6, 1e-12).unwrap();
            }
        }
    }

    /// The transposed view of a weight stored the other way.
    fn half_of_turned(x: &Tensor<1>, [o, k]: [usize; 2], dtype: burn::tensor::DType) -> Tensor<2> {
        shaped::<2>(x, [k, o]).cast(dtype).transpose()
    }

    #[test]
    fn nan_passes_and_threads_change_nothing() {
        nan_reaches(op([3, 5, 7], true), &inputs([3, 5, 7]), 6, 8);
        same_for_any_thread_count(op([257, 129, 130], true), &inputs([257, 129, 130]));
        same_for_any_thread_count(op([1000, 64, 96], true), &inputs([1000, 64, 96]));
        same_for_any_thread_count(op([390, 1100, 200], true), &inputs([390, 1100, 200]));
    }
}
