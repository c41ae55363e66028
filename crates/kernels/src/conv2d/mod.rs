//! 2-D convolution with hand-written forward and gradients for the CPU.

#![expect(
    clippy::inline_always,
    reason = "only what is inlined into `dispatch` is vectorized"
)]
#![expect(
    clippy::needless_range_loop,
    reason = "register tiles are arrays walked by number"
)]

mod correlate;
mod geometry;
mod grid;
mod pack;
mod passes;
#[cfg(test)]
mod tests;
mod tile;
mod weight_grad;

use burn::backend::autodiff::NodeId;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Tensor, module};

use crate::memory::{contiguous, floats, tensor};
use crate::route::is_host_f32;
use geometry::ConvShape;

/// 2-D convolution (cross-correlation): `y[b, o, i, j] = bias[o] + sum_{c, u, v} weight[o, c, u, v]
/// x[b, c, i s_0 + u - p_0, j s_1 + v - p_1]`, with zeros outside of the image.
///
/// # Shapes
/// `x [b, c, h, w]`, `weight [o, c, kh, kw]`, `bias [o]` -> `[b, o, h', w']` with
/// `h' = (h + 2 p_0 - kh) / s_0 + 1`, rounded down, and `w'` alike.
/// # Panics
/// If the shapes do not fit, as Burn's own operator does, which also serves every device and type other
/// than `f32` on the CPU.
/// # Cost
/// `2 b o h' w' c kh kw` operations forward and for each of the gradients of `x` and `weight`, which are
/// only computed when they are asked for. Working memory is about 1 MiB for each thread. Results do not
/// depend on the number of threads.
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// let device = Device::flex();
/// let x = Tensor::<4>::from_floats([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]], &device);
/// let weight = Tensor::<4>::from_floats([[[[1.0, -1.0]]]], &device);
/// let y = refit_kernels::conv2d(x, weight, None, [1, 1], [0, 0]);
/// assert_eq!(y.dims(), [1, 1, 2, 2]);
/// assert_eq!(y.into_data().to_vec::<f32>().unwrap(), [-1.0; 4]);
/// ```
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: [usize; 2],
    padding: [usize; 2],
) -> Tensor<4> {
    let outputs = bias.as_ref().map(|bias| bias.dims()[0]);
    let shape = ConvShape::new(x.dims(), weight.dims(), outputs, stride, padding);
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    let bias = bias.map(Tensor::into_dispatch);
    match shape {
        Some(shape) if is_host_f32([&x, &weight].into_iter().chain(&bias)) => {
            Tensor::from_dispatch(match bias {
                Some(bias) => <Dispatch as ConvExtension>::convolve_bias(x, weight, bias, shape),
                None => <Dispatch as ConvExtension>::convolve(x, weight, shape),
            })
        }
        _ => {
            let options = ConvOptions::new(stride, padding, [1, 1], 1);
            let (x, weight) = (Tensor::from_dispatch(x), Tensor::from_dispatch(weight));
            module::conv2d(x, weight, bias.map(Tensor::from_dispatch), options)
        }
    }
}

/// The convolution of checked tensors as operators of the backend; an extension takes no optional
/// tensor.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait ConvExtension: Backend {
    /// Without bias.
    fn convolve(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        shape: ConvShape,
    ) -> FloatTensor<Self>;

    /// With bias.
    fn convolve_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        shape: ConvShape,
    ) -> FloatTensor<Self>;
}

impl ConvExtension for Flex {
    fn convolve(x: FlexTensor, weight: FlexTensor, shape: ConvShape) -> FlexTensor {
        forward(x, weight, None, &shape)
    }

    fn convolve_bias(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        shape: ConvShape,
    ) -> FlexTensor {
        forward(x, weight, Some(bias), &shape)
    }
}

impl<C: CheckpointStrategy> ConvExtension for Autodiff<Flex, C> {
    fn convolve(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        shape: ConvShape,
    ) -> FloatTensor<Self> {
        track::<C, 2>([x.node(), weight.node()], x, weight, None, shape)
    }

    fn convolve_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        shape: ConvShape,
    ) -> FloatTensor<Self> {
        let (bias, bias_node) = bias.into_parts();
        track::<C, 3>(
            [x.node(), weight.node(), bias_node],
            x,
            weight,
            Some(bias),
            shape,
        )
    }
}

fn forward(
    x: FlexTensor,
    weight: FlexTensor,
    bias: Option<FlexTensor>,
    shape: &ConvShape,
) -> FlexTensor {
    let (x, weight, bias) = (contiguous(x), contiguous(weight), bias.map(contiguous));
    let bias = bias.as_ref().map(floats);
    let y = passes::forward(shape, floats(&x), floats(&weight), bias);
    tensor(y, shape.output_dims().into())
}

/// A tensor of the graph, under any checkpointing strategy.
type Tracked = FloatTensor<Autodiff<Flex>>;

/// Computes the output and records the operator over its `N` parents.
fn track<C: CheckpointStrategy, const N: usize>(
    nodes: [NodeGuard; N],
    x: Tracked,
    weight: Tracked,
    bias: Option<FlexTensor>,
    shape: ConvShape,
) -> Tracked {
    let run = |x: Tracked, weight: Tracked| {
        forward(x.into_primitive(), weight.into_primitive(), bias, &shape)
    };
    match Convolution.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let state = (prep.checkpoint(&x), prep.checkpoint(&weight), shape);
            prep.finish(state, run(x, weight))
        }
        OpsKind::UnTracked(prep) => prep.finish(run(x, weight)),
    }
}

/// Gradients of `x`, `weight` and, with three parents, `bias`.
#[derive(Debug)]
struct Convolution;

impl<const N: usize> Backward<Flex, N> for Convolution {
    type State = (NodeId, NodeId, ConvShape);

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let grad = contiguous(grads.consume::<Flex>(&ops.node));
        let (x, weight, shape) = ops.state;
        // Both are fetched whether they are needed or not: the checkpointer counts its readers.
        let x: FlexTensor = checkpointer.retrieve_node_output(x);
        let weight: FlexTensor = checkpointer.retrieve_node_output(weight);
        let mut parents = ops.parents.into_iter();
        if let Some(node) = parents.next().flatten() {
            let weight = contiguous(weight.clone());
            let dx = passes::input_grad(&shape, floats(&weight), floats(&grad));
            grads.register::<Flex>(node.id, tensor(dx, x.shape()));
        }
        let weight_node = parents.next().flatten();
        let bias_node = parents.next().flatten();
        let bias_grad = match weight_node {
            Some(node) => {
                let x = contiguous(x);
                let (dw, db) = weight_grad::weight_grad(&shape, floats(&x), floats(&grad));
                grads.register::<Flex>(node.id, tensor(dw, weight.shape()));
                Some(db)
            }
            None => None,
        };
        if let Some(node) = bias_node {
            let db = bias_grad.unwrap_or_else(|| passes::bias_grad(&shape, floats(&grad)));
            grads.register::<Flex>(node.id, tensor(db, [shape.channels_out].into()));
        }
    }
}
