//! Attention from Burn's own operators, for every device and type.

use super::{AttentionMask, by_pair};
use burn::tensor::{Bool, Int, Tensor};

/// As [`crate::attention`].
pub(super) fn attention(
    q: Tensor<3>,
    k: Tensor<3>,
    v: Tensor<3>,
    heads: usize,
    kv_heads: usize,
    mask: AttentionMask,
) -> Tensor<3> {
    let [b, n, e] = q.dims();
    if b * n * e * k.dims()[1] == 0 {
        return q.zeros_like(); // Burn does not expand empty axes
    }
    let d = e / heads;
    let q = q.reshape([b, n, heads, d]).swap_dims(1, 2);
    let [k, v] = [k, v].map(|t| per_head(t, heads, kv_heads, d));
    let scores = q.matmul(k.transpose()) * (d as f64).sqrt().recip();
    let probabilities = softmax_or_zero(masked(scores, mask));
    probabilities.matmul(v).swap_dims(1, 2).reshape([b, n, e])
}

/// `[b, m, kv_heads * d]` -> `[b, heads, m, d]`, each head repeated for its group.
fn per_head(t: Tensor<3>, heads: usize, kv_heads: usize, d: usize) -> Tensor<4> {
    let [b, m, _] = t.dims();
    t.reshape([b, m, kv_heads, 1, d])
        .expand([b, m, kv_heads, heads / kv_heads, d])
        .reshape([b, m, heads, d])
        .swap_dims(1, 2)
}

fn masked(scores: Tensor<4>, mask: AttentionMask) -> Tensor<4> {
    match mask {
        AttentionMask::None => scores,
        AttentionMask::Causal => {
            let [b, heads, n, m] = scores.dims();
            let hidden = future(n, m, &scores).expand([b, heads, n, m]);
            scores.mask_fill(hidden, f64::NEG_INFINITY)
        }
        AttentionMask::Padding(hidden) => {
            let [b, heads, n, m] = scores.dims();
            let hidden = hidden.reshape([b, 1, 1, m]).expand([b, heads, n, m]);
            scores.mask_fill(hidden, f64::NEG_INFINITY)
        }
        AttentionMask::Additive(bias) => scores + bias,
        AttentionMask::Spans(spans) => {
            let hidden = spans.hidden(&scores.device()).expand(scores.dims());
            scores.mask_fill(hidden, f64::NEG_INFINITY)
        }
        AttentionMask::Distances(added, spans) => {
            let [_, _, n, m] = scores.dims();
            masked(scores + by_pair(added, n, m), AttentionMask::Spans(spans))
        }
    }
}

/// `true` where key `j` comes after query `i`, which stands at position `m - n + i`.
fn future(n: usize, m: usize, like: &Tensor<4>) -> Tensor<4, Bool> {
    let device = like.device().inner();
    let (n, m) = (n.cast_signed() as i64, m.cast_signed() as i64);
    let queries = Tensor::<1, Int>::arange(m - n..m, &device).reshape([1, 1, n, 1]);
    let keys = Tensor::<1, Int>::arange(0..m, &device).reshape([1, 1, 1, m]);
    let shape = [1, 1, n, m];
    keys.expand(shape).greater(queries.expand(shape))
}

/// Softmax over the last axis; zeros where every score is `-inf`.
fn softmax_or_zero(scores: Tensor<4>) -> Tensor<4> {
    let largest = scores.clone().detach().max_dim(3);
    let unseen = largest.clone().equal_elem(f64::NEG_INFINITY);
    let powers = (scores - largest.mask_fill(unseen, 0.0)).exp();
    let sum = powers.clone().sum_dim(3);
    let none = sum.clone().equal_elem(0.0);
    powers / sum.mask_fill(none, 1.0)
}
