//! What encoders of text have in common once their tensors are named.

use super::{Pool, TextSize, TokenBatch};
use crate::{
    NnError,
    blocks::{Embedding, Layer, Linear, Look, Norm, RelativeBias},
};
use burn::tensor::{Device, Int, Tensor};
use refit_kernels::dual::Dual;
use std::ops::Range;

/// Words, and where a model has them positions, segments and a norm over their sum.
#[derive(Clone, Debug)]
pub(super) struct TextEmbeddings {
    pub(super) words: Embedding,
    pub(super) positions: Option<Embedding>,
    pub(super) segments: Option<Embedding>,
    pub(super) norm: Option<Norm>,
    /// Row of the first token's position. Above 0 padding has the row before it, as RoBERTa counts.
    pub(super) first: u32,
}

impl TextEmbeddings {
    fn forward(&self, batch: &TokenBatch, device: &Device) -> Dual<3> {
        let mut sum = self.words.forward(batch.ids_on(device));
        if let Some(positions) = &self.positions {
            sum = sum + positions.forward(self.rows(batch, device));
        }
        if let Some(segments) = &self.segments {
            sum = sum + segments.forward(batch.types_on(device));
        }
        match &self.norm {
            Some(norm) => norm.forward(sum),
            None => sum,
        }
    }

    fn rows(&self, batch: &TokenBatch, device: &Device) -> Tensor<2, Int> {
        let places = batch.places().into_iter().zip(batch.padding());
        let row = |(place, &padding)| match self.first {
            0 => place,
            first => first - u32::from(padding) + place,
        };
        let rows: Vec<u32> = places.map(row).collect();
        batch.numbers(&rows, device)
    }
}

/// An encoder of text bound to weights.
#[derive(Clone, Debug)]
pub struct TextEncoder {
    pub(super) size: TextSize,
    pub(super) embeddings: TextEmbeddings,
    /// Scores for distances between tokens, where a model has them in place of positions.
    pub(super) distances: Option<RelativeBias>,
    pub(super) layers: Vec<Layer>,
    /// After the last layer.
    pub(super) norm: Option<Norm>,
    pub(super) head: TextHead,
}

/// What reads the states of an encoder.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "bound once per step and never moved again"
)]
pub(super) enum TextHead {
    /// Nothing.
    None,
    /// Classes of a sequence from its first token, by maps with a curve between them.
    Sequence(Vec<(Linear, Option<crate::blocks::Activation>)>),
    /// Classes of every token.
    Token(Linear),
    /// Words for every token.
    Words {
        dense: Linear,
        activation: crate::blocks::Activation,
        norm: Norm,
        words: Linear,
        bias: Dual<1>,
    },
}

impl TextEncoder {
    /// States of all tokens after the last layer, `[rows, tokens, d]`.
    ///
    /// # Errors
    /// A token or a length that the model does not have.
    pub fn states(&self, batch: &TokenBatch) -> Result<Dual<3>, NnError> {
        let embedded = self.embedded(batch)?;
        Ok(self.pass(0..self.layers.len(), embedded, batch))
    }

    /// What the first layer reads.
    pub(super) fn embedded(&self, batch: &TokenBatch) -> Result<Dual<3>, NnError> {
        self.size.check_batch(batch)?;
        let device = self.embeddings.words.weight().device();
        Ok(self.embeddings.forward(batch, &device))
    }

    /// Some of the layers, one after the other, and what comes after the last.
    pub(super) fn pass(&self, layers: Range<usize>, x: Dual<3>, batch: &TokenBatch) -> Dual<3> {
        let scores = |distances: &RelativeBias| distances.scores(batch.tokens(), batch.tokens());
        let bias = self.distances.as_ref().map(scores);
        let mask = batch.sight().mask(bias, &x);
        let ends = layers.end == self.layers.len();
        let x = self.layers[layers]
            .iter()
            .fold(x, |x, layer| layer.forward(x, Look::at(mask.clone())));
        match &self.norm {
            Some(norm) if ends => norm.forward(x),
            _ => x,
        }
    }

    /// What the head makes of the states of a batch: `[rows, classes]` of sequences, as `[rows, 1, classes]`; `[rows, tokens,
    /// classes]` of tokens; the states themselves without a head.
    pub fn read(&self, states: Dual<3>, batch: &TokenBatch) -> Dual<3> {
        match &self.head {
            TextHead::None => states,
            TextHead::Sequence(maps) => {
                let first = Pool::First.apply(states, batch).unsqueeze_dim(1);
                maps.iter().fold(first, |x, (map, curve)| {
                    let x = map.forward(x);
                    match curve {
                        Some(curve) => curve.apply(x),
                        None => x,
                    }
                })
            }
            TextHead::Token(map) => map.forward(states),
            TextHead::Words {
                dense,
                activation,
                norm,
                words,
                bias,
            } => {
                let x = norm.forward(activation.apply(dense.forward(states)));
                words.forward(x) + bias.clone().unsqueeze()
            }
        }
    }
}
