//! Small convolution nets, shared by `cargo bench` and by the example that `bench/torch_kernels.py` runs.

use burn::tensor::{Device, Tensor, activation::relu};
use refit_kernels::conv2d;
use refit_testkit::normal;

/// Convolutions in a row, with `relu` between them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stack {
    /// Name in tables.
    pub(crate) name: &'static str,
    /// `[batch, channels, height, width]`.
    pub(crate) input: [usize; 4],
    /// Output channels, kernel side, stride and padding of each layer.
    pub(crate) layers: &'static [[usize; 4]],
    /// Whether the input takes part in the backward pass.
    pub(crate) inner: bool,
}

/// The pixel encoder of reinforcement learning, and single layers of ResNet-20.
pub(crate) const STACKS: [Stack; 5] = [
    Stack {
        name: "conv-stack",
        input: [64, 9, 84, 84],
        layers: &[[32, 3, 2, 0], [32, 3, 1, 0], [32, 3, 1, 0], [32, 3, 1, 0]],
        inner: false,
    },
    Stack {
        name: "conv-16x32",
        input: [64, 16, 32, 32],
        layers: &[[16, 3, 1, 1]],
        inner: true,
    },
    Stack {
        name: "conv-32x16",
        input: [64, 32, 16, 16],
        layers: &[[32, 3, 1, 1]],
        inner: true,
    },
    Stack {
        name: "conv-64x8",
        input: [64, 64, 8, 8],
        layers: &[[64, 3, 1, 1]],
        inner: true,
    },
    Stack {
        name: "conv-1x1",
        input: [64, 64, 16, 16],
        layers: &[[64, 1, 1, 0]],
        inner: true,
    },
];

/// A stack with weights and an input.
pub(crate) struct Net {
    stack: Stack,
    input: Tensor<4>,
    weights: Vec<(Tensor<4>, Tensor<1>)>,
}

impl Net {
    /// Normal weights, drawn from a fixed seed.
    pub(crate) fn new(stack: Stack, device: &Device) -> Self {
        let mut channels = stack.input[1];
        let mut weights = Vec::new();
        for (&[out, side, ..], seed) in stack.layers.iter().zip(2..) {
            let scale = 1.0 / ((channels * side * side) as f32).sqrt();
            let weight = normal(seed, [out, channels, side, side]) * scale;
            weights.push((leaf(weight, device), leaf(normal(9, [out]), device)));
            channels = out;
        }
        let input = normal(1, stack.input);
        let input = if stack.inner {
            leaf(input, device)
        } else {
            on(input, device)
        };
        Self {
            stack,
            input,
            weights,
        }
    }

    /// The features of the last layer.
    pub(crate) fn forward(&self) -> Tensor<4> {
        let mut x = self.input.clone();
        for (i, (&[_, _, s, p], (w, b))) in self.stack.layers.iter().zip(&self.weights).enumerate()
        {
            let y = conv2d(x, w.clone(), Some(b.clone()), [s; 2], [p; 2]);
            x = if i + 1 < self.weights.len() {
                relu(y)
            } else {
                y
            };
        }
        x
    }

    /// Forward and backward; the number of gradients.
    pub(crate) fn train(&self) -> usize {
        let grads = self.forward().sum().backward();
        let weights = self
            .weights
            .iter()
            .filter_map(|(w, _)| w.grad(&grads))
            .count();
        let biases = self
            .weights
            .iter()
            .filter_map(|(_, b)| b.grad(&grads))
            .count();
        weights + biases + usize::from(self.stack.inner && self.input.grad(&grads).is_some())
    }

    /// Operations of a forward pass, a product and a sum counted apart.
    pub(crate) fn operations(&self) -> usize {
        let [batch, mut channels, mut height, mut width] = self.stack.input;
        let mut total = 0;
        for &[out, side, stride, padding] in self.stack.layers {
            height = (height + 2 * padding - side) / stride + 1;
            width = (width + 2 * padding - side) / stride + 1;
            total += 2 * batch * out * height * width * channels * side * side;
            channels = out;
        }
        total
    }
}

fn on<const D: usize>(t: Tensor<D>, device: &Device) -> Tensor<D> {
    Tensor::from_data(t.into_data(), device)
}

/// A tensor that gets a gradient where the device keeps a graph.
fn leaf<const D: usize>(t: Tensor<D>, device: &Device) -> Tensor<D> {
    let t = on(t, device);
    if device.is_autodiff() {
        t.require_grad()
    } else {
        t
    }
}
