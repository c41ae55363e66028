//! Scaled dot-product attention over heads stored side by side.
//!
//! Sources: Vaswani et al. 2017, arXiv:1706.03762, eq. 1; grouped queries: Ainslie et al. 2023,
//! arXiv:2305.13245; recomputed probabilities: Dao et al. 2022, arXiv:2205.14135. The forward pass
//! keeps one number per query and head; the backward pass computes the probabilities again, tile by
//! tile, so memory grows with the tokens and not with their square.

mod host;
mod reference;
mod spans;
#[cfg(test)]
mod tests;

use crate::memory::contiguous;
use crate::route::{is_host, is_host_f32};
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::{BoolTensor, FloatTensor};
use burn::backend::{Autodiff, Backend, Dispatch, ExtensionType, Flex, backend_extension};
use burn::tensor::{Bool, Tensor};
use host::{HostMask, Problem};
pub use spans::Spans;
pub(crate) use spans::by_pair;

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
    /// Keys in a span of each query's own.
    Spans(Spans),
    /// Spans, and `[heads, queries + keys - 1]` added to the scaled scores: entry `j - i + queries - 1` to that of query `i`
    /// and key `j`; differentiable.
    Distances(Tensor<2>, Spans),
}

/// Scaled dot-product attention, `softmax(q k' / sqrt(d) + mask) v` for each head.
///
/// A query that may see no key gives zeros. With fewer `kv_heads` than `heads`, each of them serves
/// the `heads / kv_heads` consecutive heads of its group.
///
/// # Shapes
/// `q [b, n, heads * d]`, `k` and `v [b, m, kv_heads * d]` -> `[b, n, heads * d]`; `kv_heads` divides
/// `heads`. Head `h` is columns `h d .. (h + 1) d`; slices of a joint projection are read in place.
/// # Panics
/// If the shapes do not fit.
/// # Cost
/// `4 b heads n m d` operations forward, 2.5 times that backward, less where spans leave out keys; `b heads n` numbers are
/// kept beside the inputs. On other devices than a CPU, and in other types than f32, a score is held for every pair.
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use refit_kernels::{AttentionMask, attention};
/// let x = Tensor::<3>::from_floats([[[1.0, 0.0], [0.0, 1.0]]], &Device::flex());
/// let y = attention(x.clone(), x.clone(), x, 2, 2, AttentionMask::Causal);
/// let y = y.into_data().try_to_vec::<f32>().unwrap();
/// assert_eq!(y[..2], [1.0, 0.0]); // the first query sees the first key alone
/// ```
pub fn attention(
    q: Tensor<3>,
    k: Tensor<3>,
    v: Tensor<3>,
    heads: usize,
    kv_heads: usize,
    mask: AttentionMask,
) -> Tensor<3> {
    let problem = Problem::new(q.dims(), k.dims(), v.dims(), heads, kv_heads);
    let Some(problem) = problem.filter(|p| p.admits(&mask)) else {
        return reference::attention(q, k, v, heads, kv_heads, mask);
    };
    let inputs = [q.into_dispatch(), k.into_dispatch(), v.into_dispatch()];
    let mask = match mask {
        AttentionMask::None => Masking::None,
        AttentionMask::Causal => Masking::Causal,
        AttentionMask::Padding(hidden) => Masking::Padding(hidden.into_dispatch()),
        AttentionMask::Additive(bias) => Masking::Additive(bias.into_dispatch()),
        AttentionMask::Spans(spans) => Masking::Spans(spans),
        AttentionMask::Distances(scores, spans) => {
            Masking::Distances(scores.into_dispatch(), spans)
        }
    };
    let mask_fits = match &mask {
        Masking::None | Masking::Causal | Masking::Spans(_) => true,
        Masking::Padding(hidden) => is_host(hidden),
        Masking::Additive(bias) | Masking::Distances(bias, _) => is_host_f32([bias]),
    };
    if mask_fits && is_host_f32(&inputs) {
        let [q, k, v] = inputs;
        return Tensor::from_dispatch(<Dispatch as AttentionExtension>::attend(
            q, k, v, mask, problem,
        ));
    }
    let [q, k, v] = inputs.map(Tensor::from_dispatch);
    let mask = match mask {
        Masking::None => AttentionMask::None,
        Masking::Causal => AttentionMask::Causal,
        Masking::Padding(hidden) => AttentionMask::Padding(Tensor::from_dispatch(hidden)),
        Masking::Additive(bias) => AttentionMask::Additive(Tensor::from_dispatch(bias)),
        Masking::Spans(spans) => AttentionMask::Spans(spans),
        Masking::Distances(scores, spans) => {
            AttentionMask::Distances(Tensor::from_dispatch(scores), spans)
        }
    };
    reference::attention(q, k, v, heads, kv_heads, mask)
}

/// [`AttentionMask`] over the tensors of a backend.
#[derive(ExtensionType)]
pub(crate) enum Masking<B: Backend> {
    None,
    Causal,
    Padding(BoolTensor<B>),
    Additive(FloatTensor<B>),
    Spans(Spans),
    Distances(FloatTensor<B>, Spans),
}

/// Attention as one operator of the backend.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait AttentionExtension: Backend {
    /// Attention of every head.
    fn attend(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        #[extension_type] mask: Masking<Self>,
        problem: Problem,
    ) -> FloatTensor<Self>;
}

impl AttentionExtension for Flex {
    fn attend(
        q: FlexTensor,
        k: FlexTensor,
        v: FlexTensor,
        mask: Masking<Self>,
        problem: Problem,
    ) -> FlexTensor {
        let mask = match mask {
            Masking::None => HostMask::None,
            Masking::Causal => HostMask::Causal,
            Masking::Padding(hidden) => HostMask::Padding(contiguous(hidden)),
            Masking::Additive(bias) => HostMask::Additive(contiguous(bias)),
            Masking::Spans(spans) => HostMask::Spans(spans),
            Masking::Distances(scores, spans) => HostMask::Distances(contiguous(scores), spans),
        };
        problem.forward(&State::new(q, k, v, mask)).0
    }
}

impl<C: CheckpointStrategy> AttentionExtension for Autodiff<Flex, C> {
    fn attend(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        mask: Masking<Self>,
        problem: Problem,
    ) -> FloatTensor<Self> {
        let ((q, q_node), (k, k_node)) = (q.into_parts(), k.into_parts());
        let (v, v_node) = v.into_parts();
        let (mask, mask_node) = match mask {
            Masking::None => (HostMask::None, None),
            Masking::Causal => (HostMask::Causal, None),
            Masking::Padding(hidden) => (HostMask::Padding(contiguous(hidden)), None),
            Masking::Additive(bias) => {
                let (bias, node) = bias.into_parts();
                (HostMask::Additive(contiguous(bias)), Some(node))
            }
            Masking::Spans(spans) => (HostMask::Spans(spans), None),
            Masking::Distances(scores, spans) => {
                let (scores, node) = scores.into_parts();
                (HostMask::Distances(contiguous(scores), spans), Some(node))
            }
        };
        let mut state = State::new(q, k, v, mask);
        let (y, log_sums) = problem.forward(&state);
        state.log_sums = log_sums;
        let backward = Attention(problem);
        if let Some(mask_node) = mask_node {
            let nodes = [q_node, k_node, v_node, mask_node];
            return match backward.prepare::<C>(nodes).compute_bound().stateful() {
                OpsKind::Tracked(prep) => prep.finish(state, y),
                OpsKind::UnTracked(prep) => prep.finish(y),
            };
        }
        match backward
            .prepare::<C>([q_node, k_node, v_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => prep.finish(state, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}

/// What the backward pass needs.
#[derive(Clone, Debug)]
struct State {
    q: FlexTensor,
    k: FlexTensor,
    v: FlexTensor,
    mask: HostMask,
    /// `log sum_j exp(score_j)` for each batch entry, head and query.
    log_sums: Vec<f32>,
}

impl State {
    /// Columns must be adjacent; tokens and batch entries may be strided.
    fn new(q: FlexTensor, k: FlexTensor, v: FlexTensor, mask: HostMask) -> Self {
        let [q, k, v] = [q, k, v].map(|t| {
            let adjacent = t.layout().strides().last() == Some(&1);
            if adjacent { t } else { contiguous(t) }
        });
        Self {
            q,
            k,
            v,
            mask,
            log_sums: Vec::new(),
        }
    }
}

/// Gradients of `q`, `k`, `v` and, with four parents, of what the mask adds.
#[derive(Debug)]
struct Attention(Problem);

impl<const N: usize> Backward<Flex, N> for Attention {
    type State = State;

    fn backward(self, ops: Ops<State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = contiguous(grads.consume::<Flex>(&ops.node));
        let of_mask = ops.parents.get(3).is_some_and(Option::is_some);
        let parts = self.0.backward(&ops.state, &grad, of_mask);
        for (parent, part) in ops.parents.into_iter().zip(parts) {
            if let (Some(parent), Some(part)) = (parent, part) {
                grads.register::<Flex>(parent.id, part);
            }
        }
    }
}
