//! Multi-head attention: every model's, with what some of them add.

use super::{Cache, Linear, Norm, Rotation};
use crate::{Init, NnError, Scope};
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
    /// Factor on queries beside that of every attention, the root of a head's width.
    scale: f64,
}

/// What a layer has read of another text: keys and values, `[n, tokens, heads * width]`.
#[derive(Clone, Debug)]
pub struct Source {
    keys: Dual<3>,
    values: Dual<3>,
    /// Which of its tokens may be seen.
    mask: AttentionMask,
}

impl Source {
    /// How many texts there are.
    pub fn rows(&self) -> usize {
        self.keys.dims()[0]
    }
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
    /// Another text, for layers that look at one.
    pub source: Option<&'a Source>,
}

impl Look<'_> {
    /// At all tokens that the mask allows.
    pub fn at(mask: impl Into<AttentionMask>) -> Self {
        Self {
            mask: mask.into(),
            rotation: None,
            cache: None,
            source: None,
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
            scale: 1.0,
        }
    }

    /// With scores that are not divided by the root of a head's width.
    #[must_use]
    pub fn unscaled(self) -> Self {
        let scale = (self.heads.width as f64).sqrt();
        Self { scale, ..self }
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
        let (mut q, mut k) = (self.queries(x.clone()), self.key.forward(x.clone()));
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
        self.mix(q, k, v, look.mask)
    }

    /// Reads another text, `states [n, tokens, d]`, of which the mask says what may be seen.
    pub fn read(&self, states: Dual<3>, mask: AttentionMask) -> Source {
        Source {
            keys: self.key.forward(states.clone()),
            values: self.value.forward(states),
            mask,
        }
    }

    /// Tokens attend to another text: `x [n, tokens, d]` -> the same shape.
    pub fn look_up(&self, x: Dual<3>, source: &Source) -> Dual<3> {
        let (k, v) = (source.keys.clone(), source.values.clone());
        self.mix(self.queries(x), k, v, source.mask.clone())
    }

    #[expect(clippy::float_cmp, reason = "exactly 1 leaves queries alone")]
    fn queries(&self, x: Dual<3>) -> Dual<3> {
        let q = self.query.forward(x);
        if self.scale == 1.0 {
            return q;
        }
        q.mul_scalar(self.scale)
    }

    fn mix(&self, q: Dual<3>, k: Dual<3>, v: Dual<3>, mask: AttentionMask) -> Dual<3> {
        let Heads { queries, keys, .. } = self.heads;
        self.output
            .forward(dual::attention(q, k, v, queries, keys, mask))
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
