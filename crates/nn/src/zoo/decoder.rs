//! What decoders of text have in common once their tensors are named.

use super::{TextSize, TextTask, TokenBatch};
use crate::{
    Init, NnError, Scope,
    blocks::{Cache, DEVIATION, Embedding, Layer, Linear, Look, Norm, Rotary, causal_mask},
};
use burn::tensor::{Bool, Device, Tensor, TensorData};
use refit_core::ConfigError;
use refit_kernels::dual::Dual;

/// A decoder of text bound to weights.
#[derive(Clone, Debug)]
pub struct TextDecoder {
    pub(super) size: TextSize,
    pub(super) words: Embedding,
    pub(super) places: Places,
    /// From the width of words to that of the layers, where they differ.
    pub(super) widen: Option<Linear>,
    pub(super) layers: Vec<Layer>,
    pub(super) norm: Option<Norm>,
    /// Back to the width of words.
    pub(super) narrow: Option<Linear>,
    pub(super) head: Option<Linear>,
    /// How many tokens back a token can see.
    pub(super) window: Option<usize>,
}

/// The map from states to words: the table of words once more, or one of its own; none where states are the answer.
pub(super) fn head(
    scope: &Scope<'_>,
    task: TextTask,
    words: &Embedding,
    [d, outputs]: [usize; 2],
    tied: bool,
) -> Result<Option<Linear>, NnError> {
    if task != TextTask::NextWord {
        return Ok(None);
    }
    // A file that holds a head of its own means it, whatever the configuration says.
    if tied && !scope.holds("lm_head.weight") {
        return Ok(Some(Linear::tied(words.weight())));
    }
    let init = Init::Normal(DEVIATION);
    Linear::bind_plain(&scope.at("lm_head"), d, outputs, init).map(Some)
}

/// How a decoder knows where a token stands.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "bound once per step and never moved again"
)]
pub(super) enum Places {
    /// By a table whose row `first` is that of the first token.
    Table { rows: Embedding, first: u32 },
    /// By turning queries and keys.
    Turn(Rotary),
}

/// What a decoder remembers of the tokens it has read.
#[derive(Clone, Debug, Default)]
pub struct Decoding {
    layers: Vec<Cache>,
    /// Whether tokens were padding, one list per row.
    padding: Vec<Vec<bool>>,
}

impl Decoding {
    /// Tokens so far, padding included.
    pub fn len(&self) -> usize {
        self.padding.first().map_or(0, Vec::len)
    }

    /// Whether no token was read.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Refuses another number of texts, or another model, than those that were read.
    fn check(&self, batch: &TokenBatch, layers: usize) -> Result<(), ConfigError> {
        if self.is_empty() || (self.padding.len(), self.layers.len()) == (batch.rows(), layers) {
            return Ok(());
        }
        let (rows, kept) = (self.padding.len(), self.layers.len());
        let expected = format!("{rows} texts in a model of {kept} layers, as before");
        let found = format!("{} texts, {layers} layers", batch.rows());
        Err(ConfigError::range("memory", found, expected))
    }

    /// Adds the tokens of `batch`; the place of each in its sequence.
    fn read(&mut self, batch: &TokenBatch) -> Vec<u32> {
        self.padding.resize(batch.rows(), Vec::new());
        let mut places = Vec::with_capacity(batch.ids().len());
        let rows = batch.padding().chunks(batch.tokens().max(1));
        for (seen, new) in self.padding.iter_mut().zip(rows) {
            let mut next = seen.iter().filter(|&&padding| !padding).count() as u32;
            for &padding in new {
                places.push(if padding { 0 } else { next });
                next += u32::from(!padding);
            }
            seen.extend_from_slice(new);
        }
        places
    }

    fn padding_on(&self, device: &Device) -> Option<Tensor<2, Bool>> {
        let any = self.padding.iter().any(|row| row.contains(&true));
        any.then(|| {
            let shape = [self.padding.len(), self.len()];
            Tensor::from_data(TensorData::new(self.padding.concat(), shape), device)
        })
    }
}

impl TextDecoder {
    /// States of the tokens of `batch` after the last norm, `[rows, tokens, d]`; with a memory they follow the tokens
    /// that it holds, and are added to them.
    ///
    /// # Errors
    /// A token or a length that the model does not have. The memory is then as it was.
    pub fn states(
        &self,
        batch: &TokenBatch,
        memory: Option<&mut Decoding>,
    ) -> Result<Dual<3>, NnError> {
        self.size.check_batch(batch)?;
        if let Some(memory) = &memory {
            memory.check(batch, self.layers.len())?;
        }
        let tokens = memory.as_ref().map_or(0, |memory| memory.len()) + batch.tokens();
        let longest = self.size.longest;
        if tokens > longest {
            return Err(NnError::TooLong { tokens, longest });
        }
        let mut own = Decoding::default();
        let remembers = memory.is_some();
        let memory = memory.unwrap_or(&mut own);
        let device = self.words.weight().device();
        let places = memory.read(batch);
        let mask = causal_mask(
            memory.padding_on(&device).as_ref(),
            batch.tokens(),
            tokens,
            self.window,
            &device,
        );
        let mut x = self.words.forward(batch.ids_on(&device));
        if let Some(widen) = &self.widen {
            x = widen.forward(x);
        }
        let rotation = match &self.places {
            Places::Table { rows, first } => {
                let rows_of: Vec<u32> = places.iter().map(|place| first + place).collect();
                x = x + rows.forward(batch.numbers(&rows_of, &device));
                None
            }
            Places::Turn(rotary) => Some(rotary.at(&places, batch.rows(), &device)),
        };
        memory.layers.resize_with(self.layers.len(), Cache::default);
        for (layer, cache) in self.layers.iter().zip(&mut memory.layers) {
            let look = Look {
                mask: mask.clone(),
                rotation: rotation.as_ref(),
                cache: remembers.then_some(cache),
            };
            x = layer.forward(x, look);
        }
        if let Some(norm) = &self.norm {
            x = norm.forward(x);
        }
        Ok(match &self.narrow {
            Some(narrow) => narrow.forward(x),
            None => x,
        })
    }

    /// Scores of every word as the next, `[.., words]`; the states themselves in a model without a head.
    pub fn read(&self, states: Dual<3>) -> Dual<3> {
        match &self.head {
            Some(head) => head.forward(states),
            None => states,
        }
    }
}
