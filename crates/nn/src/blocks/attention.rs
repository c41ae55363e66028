//! Multi-head attention: every model's, with what some of them add.

use super::{Cache, Linear, Norm, Rotation};
use crate::{Init, NnError, Scope};
use burn::tensor::{Bool, Device, Tensor, TensorData};
use refit_kernels::dual::{self, AttentionMask, Dual};

/// Heads of an attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Heads of queries.
    pub queries: usize,
    /// Heads of keys and values; divides `queries`.
    pub keys: usize,
    /// Width of each.
    pub width: usize,
}

impl Heads {
    /// As many heads for keys as for queries, which share a token of width `hidden`.
    pub const fn even(hidden: usize, heads: usize) -> Self {
        Self {
            queries: heads,
            keys: heads,
            width: hidden / heads,
        }
    }
}

/// Where the maps of an attention stand below its layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionNames {
    /// From tokens to queries.
    pub query: &'static str,
    /// From tokens to keys.
    pub key: &'static str,
    /// From tokens to values.
    pub value: &'static str,
    /// From the heads side by side to tokens.
    pub output: &'static str,
}

/// Attention with maps of its own for queries, keys, values and the output.
#[derive(Clone, Debug)]
pub struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    heads: Heads,
    /// Norms of each head's queries and keys, before they are turned.
    norms: Option<[Norm; 2]>,
}

/// What one call of [`Attention::forward`] may see, and what it remembers.
#[derive(Debug)]
pub struct Look<'a> {
    /// Which keys a query may attend to.
    pub mask: AttentionMask,
    /// How queries and keys are turned by their positions.
    pub rotation: Option<&'a Rotation>,
    /// Keys and values of earlier tokens, to which those of this call are added.
    pub cache: Option<&'a mut Cache>,
}

impl Look<'_> {
    /// At all tokens that the mask allows.
    pub fn at(mask: impl Into<AttentionMask>) -> Self {
        Self {
            mask: mask.into(),
            rotation: None,
            cache: None,
        }
    }
}

impl Attention {
    /// Binds the four maps between tokens of width `d`. `biases`: whether queries, keys and values have one, and
    /// whether the output has.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub fn bind(
        scope: &Scope<'_>,
        names: AttentionNames,
        d: usize,
        heads: Heads,
        biases: [bool; 2],
    ) -> Result<Self, NnError> {
        let map = |name, [inputs, outputs]: [usize; 2], bias| {
            dense(&scope.at(name), inputs, outputs, bias)
        };
        let [queries, keys] = [heads.queries, heads.keys].map(|count| count * heads.width);
        Ok(Self::new(
            map(names.query, [d, queries], biases[0])?,
            map(names.key, [d, keys], biases[0])?,
            map(names.value, [d, keys], biases[0])?,
            map(names.output, [queries, d], biases[1])?,
            heads,
        ))
    }

    /// Attention by maps that are bound already.
    pub fn new(query: Linear, key: Linear, value: Linear, output: Linear, heads: Heads) -> Self {
        Self {
            query,
            key,
            value,
            output,
            heads,
            norms: None,
        }
    }

    /// With norms over each head's queries and keys.
    #[must_use]
    pub fn with_norms(self, query: Norm, key: Norm) -> Self {
        Self {
            norms: Some([query, key]),
            ..self
        }
    }

    /// Tokens attend to tokens: `x [n, tokens, d]` -> the same shape.
    pub fn forward(&self, x: Dual<3>, look: Look<'_>) -> Dual<3> {
        let (mut q, mut k) = (self.query.forward(x.clone()), self.key.forward(x.clone()));
        if let Some([query, key]) = &self.norms {
            let width = self.heads.width;
            q = by_head(q, width, |q| query.forward(q));
            k = by_head(k, width, |k| key.forward(k));
        }
        if let Some(rotation) = look.rotation {
            q = rotation.turn(q);
            k = rotation.turn(k);
        }
        let v = self.value.forward(x);
        let (k, v) = match look.cache {
            Some(cache) => cache.extend(k, v),
            None => (k, v),
        };
        let Heads { queries, keys, .. } = self.heads;
        let mixed = dual::attention(q, k, v, queries, keys, look.mask);
        self.output.forward(mixed)
    }
}

/// Applies `map` to each head of `x [n, tokens, heads * width]` by itself.
pub(super) fn by_head(x: Dual<3>, width: usize, map: impl FnOnce(Dual<4>) -> Dual<4>) -> Dual<3> {
    let [n, tokens, d] = x.dims();
    map(x.reshape([n, tokens, d / width, width])).reshape([n, tokens, d])
}

/// Deviation of fresh transformer weights (Dosovitskiy et al. 2021 and its successors).
pub(crate) const DEVIATION: f64 = 0.02;

/// A linear map that starts as transformers' do.
pub(crate) fn dense(
    scope: &Scope<'_>,
    inputs: usize,
    outputs: usize,
    bias: bool,
) -> Result<Linear, NnError> {
    let start = Init::Normal(DEVIATION);
    if bias {
        return Linear::bind_with(scope, inputs, outputs, start, Init::Zeros);
    }
    Linear::bind_plain(scope, inputs, outputs, start)
}

/// What the last `queries` of `keys` tokens may see: no later token, no padding, and none further back than `window`.
///
/// `padding [n, keys]`: `true` where a token is padding.
pub fn causal_mask(
    padding: Option<&Tensor<2, Bool>>,
    queries: usize,
    keys: usize,
    window: Option<usize>,
    device: &Device,
) -> AttentionMask {
    let window = window.filter(|&window| keys > window);
    if padding.is_none() && window.is_none() {
        return AttentionMask::Causal;
    }
    let first = keys - queries;
    let hidden = (0..queries * keys).map(|at| {
        let (query, key) = (first + at / keys, at % keys);
        key > query || window.is_some_and(|window| key + window <= query)
    });
    let hidden = TensorData::new(hidden.collect::<Vec<bool>>(), [1, 1, queries, keys]);
    let mut hidden = Tensor::<4, Bool>::from_data(hidden, device);
    if let Some(padding) = padding {
        let [n, _] = padding.dims();
        let shape = [n, 1, queries, keys];
        let padding = padding.clone().reshape([n, 1, 1, keys]).expand(shape);
        hidden = hidden.expand(shape).bool_or(padding);
    }
    let scores = Tensor::<4>::zeros(hidden.dims(), device);
    AttentionMask::Additive(scores.mask_fill(hidden, f64::NEG_INFINITY).into())
}
