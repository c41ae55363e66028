//! Operators that decide the speed, as plain functions on Burn tensors.

pub mod dual;

use burn::tensor::{Bool, Int, Tensor, activation, module};

/// What a query may attend to.
#[derive(Clone, Debug)]
pub enum AttentionMask {
    /// Every key.
    None,
    /// Keys at or before the query; with more keys than queries the queries are the last ones.
    Causal,
    /// `[batch, keys]`, `true` where a key is padding and must not be seen.
    Padding(Tensor<2, Bool>),
    /// `[batch or 1, heads or 1, queries, keys]`, added to the scaled scores; differentiable.
    Additive(Tensor<4>),
}

/// `y = x W' + b`, with `x [.., in]`, `weight [out, in]`, `bias [out]` -> `[.., out]`.
pub fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<D> {
    module::linear(x, weight.transpose(), bias)
}

/// Exact GELU, `x Phi(x)`.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activation::gelu(x)
}

/// GELU in the tanh form of GPT-2.
pub fn gelu_tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activation::gelu_approximate(x)
}

/// `x sigmoid(x)`.
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activation::silu(x)
}

/// Softmax over the last axis.
pub fn softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activation::softmax(x, D - 1)
}

/// Log-softmax over the last axis.
pub fn log_softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activation::log_softmax(x, D - 1)
}

/// Cross-entropy of each row: `logits [n, c]`, `targets [n]` in `0..c`, label smoothing in `[0, 1)` -> `[n]`.
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>, smoothing: f32) -> Tensor<1> {
    let [n, _] = logits.dims();
    let log_p = log_softmax(logits);
    let hit = log_p.clone().gather(1, targets.reshape([n, 1])).reshape([n]);
    let even = log_p.mean_dim(1).reshape([n]);
    (hit * (1.0 - smoothing) + even * smoothing).neg()
}

/// Layer norm over the last axis: `x [.., d]`, `weight [d]`, `bias [d]`.
pub fn layer_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, bias: Tensor<1>, eps: f64) -> Tensor<D> {
    module::layer_norm(x, weight, Some(bias), eps)
}

/// RMS norm over the last axis: `x [.., d]`, `weight [d]`.
pub fn rms_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, eps: f64) -> Tensor<D> {
    let scale = (x.clone().powf_scalar(2.0).mean_dim(D - 1) + eps).sqrt().recip();
    x * scale * weight.unsqueeze()
}

/// Scaled dot-product attention over heads stored side by side, without a transpose:
/// `q [b, n, heads * d]`, `k` and `v [b, m, kv_heads * d]` -> `[b, n, heads * d]`; `kv_heads` divides `heads`.
pub fn attention(
    q: Tensor<3>,
    k: Tensor<3>,
    v: Tensor<3>,
    heads: usize,
    kv_heads: usize,
    mask: AttentionMask,
) -> Tensor<3> {
    assert_eq!(heads, kv_heads, "placeholder");
    assert!(matches!(mask, AttentionMask::None), "placeholder");
    let [b, n, e] = q.dims();
    let m = k.dims()[1];
    let d = e / heads;
    let split = |t: Tensor<3>, len| t.reshape([b, len, heads, d]).swap_dims(1, 2);
    let (q, k, v) = (split(q, n), split(k, m), split(v, m));
    let scores = q.matmul(k.transpose()) / (d as f32).sqrt();
    softmax(scores).matmul(v).swap_dims(1, 2).reshape([b, n, e])
}

/// 2-D convolution: `x [b, c, h, w]`, `weight [o, c, kh, kw]`, `bias [o]` -> `[b, o, h', w']`.
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: [usize; 2],
    padding: [usize; 2],
) -> Tensor<4> {
    let options = burn::tensor::ops::ConvOptions::new(stride, padding, [1, 1], 1);
    module::conv2d(x, weight, bias, options)
}

/// Rows of a table: `table [vocabulary, d]`, `ids [b, n]` -> `[b, n, d]`.
pub fn embedding(table: Tensor<2>, ids: Tensor<2, Int>) -> Tensor<3> {
    module::embedding(table, ids)
}
