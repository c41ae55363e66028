//! The timed work, shared by `cargo bench` and by the example that `bench/torch_kernels.py` runs.

use burn::tensor::{DType, Device, Tensor};
use refit_kernels::{AttentionMask, attention, gelu, layer_norm, linear};
use refit_testkit::{normal_vec, tensor};

/// The sizes of a transformer block on a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// Name in tables.
    pub(crate) name: &'static str,
    /// Columns of the residual stream.
    pub(crate) width: usize,
    /// Tokens per sequence.
    pub(crate) tokens: usize,
    /// Sequences.
    pub(crate) batch: usize,
    /// Attention heads.
    pub(crate) heads: usize,
}

/// A ViT-B/32 block, a small and a middle one.
pub(crate) const CASES: [Case; 3] = [
    Case {
        name: "block-768",
        width: 768,
        tokens: 50,
        batch: 16,
        heads: 12,
    },
    Case {
        name: "block-128",
        width: 128,
        tokens: 32,
        batch: 32,
        heads: 4,
    },
    Case {
        name: "block-384",
        width: 384,
        tokens: 64,
        batch: 8,
        heads: 6,
    },
];

impl Case {
    /// The residual stream that enters the block.
    pub(crate) fn input(&self, device: &Device) -> Tensor<3> {
        random(1, [self.batch, self.tokens, self.width], 1.0, device)
    }
}

/// A pre-norm transformer block with a GELU network of four times the width.
pub(crate) struct Block {
    case: Case,
    norms: [[Tensor<1>; 2]; 2],
    /// Query, key, value, output.
    attention: [(Tensor<2>, Tensor<1>); 4],
    /// Up, down.
    network: [(Tensor<2>, Tensor<1>); 2],
}

impl Block {
    /// Normal weights of standard deviation 0.02, drawn from a fixed seed.
    pub(crate) fn new(case: Case, device: &Device) -> Self {
        let (w, wide) = (case.width, 4 * case.width);
        let affine = |seed, [o, i]: [usize; 2]| {
            (
                leaf(random(seed, [o, i], 0.02, device)),
                leaf(random(seed + 50, [o], 0.02, device)),
            )
        };
        let norm = || {
            [
                leaf(Tensor::ones([w], device)),
                leaf(Tensor::zeros([w], device)),
            ]
        };
        Self {
            case,
            norms: [norm(), norm()],
            attention: [2, 3, 4, 5].map(|seed| affine(seed, [w, w])),
            network: [affine(6, [wide, w]), affine(7, [w, wide])],
        }
    }

    /// The residual stream after the block.
    pub(crate) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [before, after] = &self.norms;
        let x = x.clone() + self.attend(&norm(x, before));
        let hidden = gelu(affine(norm(x.clone(), after), &self.network[0]));
        x + affine(hidden, &self.network[1])
    }

    fn attend(&self, x: &Tensor<3>) -> Tensor<3> {
        let [q, k, v, out] = &self.attention;
        let [q, k, v] = [q, k, v].map(|weights| affine(x.clone(), weights));
        let heads = self.case.heads;
        affine(attention(q, k, v, heads, heads, AttentionMask::None), out)
    }

    /// Forward and backward: gradients of every weight and of the input.
    pub(crate) fn train(&self, x: &Tensor<3>) -> usize {
        let x = leaf(x.clone());
        let grads = self.forward(x.clone()).sum().backward();
        let affine = self.attention.iter().chain(&self.network);
        let weights = affine.clone().filter_map(|(w, _)| w.grad(&grads)).count();
        let biases = affine.map(|(_, b)| b).chain(self.norms.iter().flatten());
        weights
            + biases.filter_map(|b| b.grad(&grads)).count()
            + usize::from(x.grad(&grads).is_some())
    }
}

/// Normal values times `scale`.
fn random<const D: usize>(seed: u64, shape: [usize; D], scale: f64, device: &Device) -> Tensor<D> {
    let values = normal_vec(seed, shape.iter().product());
    tensor(
        values.iter().map(|x| x * scale).collect(),
        shape,
        DType::F32,
        device,
    )
}

fn leaf<const D: usize>(t: Tensor<D>) -> Tensor<D> {
    if t.device().is_autodiff() {
        t.require_grad()
    } else {
        t
    }
}

fn norm(x: Tensor<3>, [weight, bias]: &[Tensor<1>; 2]) -> Tensor<3> {
    layer_norm(x, weight.clone(), bias.clone(), 1e-5)
}

fn affine(x: Tensor<3>, (weight, bias): &(Tensor<2>, Tensor<1>)) -> Tensor<3> {
    linear(x, weight.clone(), Some(bias.clone()))
}
