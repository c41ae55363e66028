//! Pre-norm transformer encoder blocks, in the names of Hugging Face's `ViT`.

use super::{LayerNorm, Linear};
use crate::{Init, NnError, Scope};
use refit_kernels::dual::{self, AttentionMask, Dual};

/// Deviation of fresh transformer weights (Dosovitskiy et al. 2021 and its successors).
pub(crate) const DEVIATION: f64 = 0.02;

/// Extents that every block of a transformer shares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TransformerSize {
    /// Width of a token.
    pub hidden: usize,
    /// Attention heads; divides `hidden`.
    pub heads: usize,
    /// Width inside the perceptron.
    pub intermediate: usize,
    /// Added to variances in layer norm.
    pub eps: f64,
}

/// A linear map that starts as transformers' do.
pub(crate) fn dense(scope: &Scope<'_>, inputs: usize, outputs: usize) -> Result<Linear, NnError> {
    Linear::bind_with(scope, inputs, outputs, Init::Normal(DEVIATION), Init::Zeros)
}

/// Multi-head self-attention with separate query, key and value maps.
#[derive(Clone, Debug)]
pub struct SelfAttention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    heads: usize,
}

impl SelfAttention {
    /// Binds `attention.{query,key,value}` and `output.dense`.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub fn bind(scope: &Scope<'_>, size: TransformerSize) -> Result<Self, NnError> {
        let (d, inner) = (size.hidden, scope.at("attention"));
        Ok(Self {
            query: dense(&inner.at("query"), d, d)?,
            key: dense(&inner.at("key"), d, d)?,
            value: dense(&inner.at("value"), d, d)?,
            output: dense(&scope.at("output.dense"), d, d)?,
            heads: size.heads,
        })
    }

    /// `x [n, tokens, d]` -> the same shape.
    pub fn forward(&self, x: Dual<3>) -> Dual<3> {
        let q = self.query.forward(x.clone());
        let k = self.key.forward(x.clone());
        let v = self.value.forward(x);
        let mixed = dual::attention(q, k, v, self.heads, self.heads, AttentionMask::None);
        self.output.forward(mixed)
    }
}

/// `x + attention(norm(x))`, then `x + perceptron(norm(x))`.
#[derive(Clone, Debug)]
pub struct EncoderBlock {
    before: LayerNorm,
    attention: SelfAttention,
    after: LayerNorm,
    up: Linear,
    down: Linear,
}

impl EncoderBlock {
    /// Binds `layernorm_before`, `attention`, `layernorm_after`, `intermediate.dense`, `output.dense`.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub fn bind(scope: &Scope<'_>, size: TransformerSize) -> Result<Self, NnError> {
        let (d, wide) = (size.hidden, size.intermediate);
        Ok(Self {
            before: LayerNorm::bind(&scope.at("layernorm_before"), d, size.eps)?,
            attention: SelfAttention::bind(&scope.at("attention"), size)?,
            after: LayerNorm::bind(&scope.at("layernorm_after"), d, size.eps)?,
            up: dense(&scope.at("intermediate.dense"), d, wide)?,
            down: dense(&scope.at("output.dense"), wide, d)?,
        })
    }

    /// `x [n, tokens, d]` -> the same shape.
    pub fn forward(&self, x: Dual<3>) -> Dual<3> {
        let x = x.clone() + self.attention.forward(self.before.forward(x));
        let hidden = dual::gelu(self.up.forward(self.after.forward(x.clone())));
        x + self.down.forward(hidden)
    }
}
