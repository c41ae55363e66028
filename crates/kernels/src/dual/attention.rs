//! Scaled dot-product attention.

use super::{Dual, activation::softmax_tangent, sum};
use crate::Spans;
use burn::tensor::{Bool, Device, Tensor};

/// [`crate::AttentionMask`], whose added scores may carry a tangent too (learned position biases do).
#[derive(Clone, Debug)]
pub enum AttentionMask {
    /// Every key.
    None,
    /// Keys at or before the query; with more keys than queries the queries are the last ones.
    Causal,
    /// `[batch, keys]`, `true` where a key is padding and must not be seen.
    Padding(Tensor<2, Bool>),
    /// `[batch or 1, heads or 1, queries, keys]`, added to the scaled scores.
    Additive(Dual<4>),
    /// Keys in a span of each query's own.
    Spans(Spans),
    /// Spans, and `[heads, queries + keys - 1]` added to the scaled scores by how far a key stands from a query.
    Distances(Dual<2>, Spans),
}

impl From<crate::AttentionMask> for AttentionMask {
    fn from(mask: crate::AttentionMask) -> Self {
        match mask {
            crate::AttentionMask::None => Self::None,
            crate::AttentionMask::Causal => Self::Causal,
            crate::AttentionMask::Padding(padding) => Self::Padding(padding),
            crate::AttentionMask::Additive(scores) => Self::Additive(scores.into()),
            crate::AttentionMask::Spans(spans) => Self::Spans(spans),
            crate::AttentionMask::Distances(scores, spans) => Self::Distances(scores.into(), spans),
        }
    }
}

impl AttentionMask {
    fn into_parts(self) -> (crate::AttentionMask, Option<Tensor<4>>) {
        match self {
            Self::None => (crate::AttentionMask::None, None),
            Self::Causal => (crate::AttentionMask::Causal, None),
            Self::Padding(padding) => (crate::AttentionMask::Padding(padding), None),
            Self::Additive(scores) => {
                let (scores, tangent) = scores.into_parts();
                (crate::AttentionMask::Additive(scores), tangent)
            }
            Self::Spans(spans) => (crate::AttentionMask::Spans(spans), None),
            Self::Distances(scores, spans) => {
                let (scores, tangent) = scores.into_parts();
                let [_, queries, keys] = spans.dims();
                let tangent =
                    tangent.map(|tangent| crate::attention::by_pair(tangent, queries, keys));
                (crate::AttentionMask::Distances(scores, spans), tangent)
            }
        }
    }
}

/// [`attention`](crate::attention): with `o = p v`, `p = softmax(s)` and `s = q k / sqrt(d) + mask`, head by head,
/// the tangent is `p' v + p v'`, where `p' = p (s' - <p, s'>)` and `s' = (q' k + q k') / sqrt(d) + mask'`.
///
/// # Cost
/// With a tangent the weights `p [b, heads, n, m]` are stored; without one they are not.
#[must_use]
pub fn attention(
    q: Dual<3>,
    k: Dual<3>,
    v: Dual<3>,
    heads: usize,
    kv_heads: usize,
    mask: impl Into<AttentionMask>,
) -> Dual<3> {
    let (mask, dmask) = mask.into().into_parts();
    let ((q, dq), (k, dk), (v, dv)) = (q.into_parts(), k.into_parts(), v.into_parts());
    let moves = dq.is_some() || dk.is_some() || dv.is_some() || dmask.is_some();
    if !moves {
        return Dual::constant(crate::attention(q, k, v, heads, kv_heads, mask));
    }
    let value = crate::attention(
        q.clone(),
        k.clone(),
        v.clone(),
        heads,
        kv_heads,
        mask.clone(),
    );
    let layout = Layout::new(q.dims(), k.dims(), heads, kv_heads);
    if layout.is_empty() {
        return Dual::with_tangent(value.clone(), value.zeros_like());
    }
    let (q, dq) = (layout.queries(q), dq.map(|dq| layout.queries(dq)));
    let (k, dk) = (layout.keys(k), dk.map(|dk| layout.keys(dk)));
    let p = probabilities(layout.scores(q.clone(), k.clone()), mask);

    let by_query = dq.map(|dq| layout.scores(dq, k));
    let by_key = dk.map(|dk| layout.scores(q, dk));
    let dp = sum([by_query, by_key, dmask], p.dims()).map(|ds| softmax_tangent(p.clone(), ds));
    let by_score = dp.map(|dp| layout.mix(dp, v));
    let by_value = dv.map(|dv| layout.mix(p, dv));
    let tangent = sum([by_score, by_value], value.dims());
    Dual::new(value, tangent)
}

/// Scores for distances, `[heads, queries + keys - 1]`, as scores for pairs, `[1, heads, queries, keys]`: entry `(i, j)` is
/// that of the distance `j - i + queries - 1`.
#[must_use]
pub fn by_pair(by_distance: Dual<2>, queries: usize, keys: usize) -> Dual<4> {
    let (value, tangent) = by_distance.into_parts();
    let pairs = |scores| crate::attention::by_pair(scores, queries, keys);
    Dual::new(pairs(value), tangent.map(pairs))
}

/// Extents of one call. The heads that share a key head lie side by side, so they are folded into its query axis.
#[derive(Clone, Copy)]
struct Layout {
    batch: usize,
    queries: usize,
    keys: usize,
    heads: usize,
    kv_heads: usize,
    width: usize,
}

impl Layout {
    fn new(q: [usize; 3], k: [usize; 3], heads: usize, kv_heads: usize) -> Self {
        let [batch, queries, width] = q;
        Self {
            batch,
            queries,
            keys: k[1],
            heads,
            kv_heads,
            width: width / heads,
        }
    }

    /// Whether there is nothing to compute; Burn does not reshape empty axes.
    fn is_empty(self) -> bool {
        self.batch * self.queries * self.keys * self.heads * self.width == 0
    }

    /// `[b, n, heads * d]` -> `[b, kv_heads, group * n, d]`.
    fn queries(self, q: Tensor<3>) -> Tensor<4> {
        let Self {
            batch,
            queries,
            heads,
            kv_heads,
            width,
            ..
        } = self;
        let per_head = q.reshape([batch, queries, heads, width]).swap_dims(1, 2);
        per_head.reshape([batch, kv_heads, heads / kv_heads * queries, width])
    }

    /// `[b, m, kv_heads * d]` -> `[b, kv_heads, m, d]`.
    fn keys(self, k: Tensor<3>) -> Tensor<4> {
        k.reshape([self.batch, self.keys, self.kv_heads, self.width])
            .swap_dims(1, 2)
    }

    /// `q k / sqrt(d)` -> `[b, heads, n, m]`.
    fn scores(self, q: Tensor<4>, k: Tensor<4>) -> Tensor<4> {
        let scores = q.matmul(k.transpose()) * (self.width as f64).sqrt().recip();
        scores.reshape([self.batch, self.heads, self.queries, self.keys])
    }

    /// `p [b, heads, n, m]` times `v [b, m, kv_heads * d]` -> `[b, n, heads * d]`.
    fn mix(self, p: Tensor<4>, v: Tensor<3>) -> Tensor<3> {
        let Self {
            batch,
            queries,
            keys,
            heads,
            kv_heads,
            width,
        } = self;
        let p = p.reshape([batch, kv_heads, heads / kv_heads * queries, keys]);
        let per_head = p
            .matmul(self.keys(v))
            .reshape([batch, heads, queries, width]);
        per_head
            .swap_dims(1, 2)
            .reshape([batch, queries, heads * width])
    }
}

/// Softmax of the masked scores; zeros for a query that may see no key.
fn probabilities(scores: Tensor<4>, mask: crate::AttentionMask) -> Tensor<4> {
    if matches!(mask, crate::AttentionMask::None) {
        return crate::softmax(scores);
    }
    let scores = masked(scores, mask);
    let largest = scores.clone().detach().max_dim(3);
    let unseen = largest
        .equal_scalar(f64::NEG_INFINITY)
        .expand(scores.dims());
    // Both fills stop the gradient, so no NaN of such a row gets anywhere.
    crate::softmax(scores.mask_fill(unseen.clone(), 0.0)).mask_fill(unseen, 0.0)
}

/// Scores with the mask applied: `-inf` where a key must not be seen.
fn masked(scores: Tensor<4>, mask: crate::AttentionMask) -> Tensor<4> {
    let dims = scores.dims();
    let hidden = match mask {
        crate::AttentionMask::None => return scores,
        crate::AttentionMask::Additive(added) => return scores + added,
        crate::AttentionMask::Padding(padding) => padding.unsqueeze_dims::<4>(&[1, 2]),
        crate::AttentionMask::Causal => future(dims[2], dims[3], &scores.device()).unsqueeze(),
        crate::AttentionMask::Spans(spans) => spans.hidden(&scores.device()),
        crate::AttentionMask::Distances(added, spans) => {
            let scores = scores + crate::attention::by_pair(added, dims[2], dims[3]);
            return masked(scores, crate::AttentionMask::Spans(spans));
        }
    };
    scores.mask_fill(hidden.expand(dims), f64::NEG_INFINITY)
}

/// `true` where key `j` comes after query `i`, which stands at position `m - n + i`.
fn future(n: usize, m: usize, device: &Device) -> Tensor<2, Bool> {
    let first = m.cast_signed() - n.cast_signed();
    Tensor::tril_mask([n, m], first as i64, &device.clone().inner())
}
