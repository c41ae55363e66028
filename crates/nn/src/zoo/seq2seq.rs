//! Models that read one text and write another.

use super::{Decoding, Side, TextDecoder, TextEncoder, TokenBatch};
use crate::NnError;
use refit_kernels::dual::Dual;

/// An encoder and a decoder bound to weights.
#[derive(Clone, Debug)]
pub struct Seq2Seq {
    pub(super) encoder: TextEncoder,
    pub(super) decoder: TextDecoder,
    /// The word in front of every answer.
    pub(super) start: u32,
}

impl Seq2Seq {
    /// States of all tokens that are read, `[rows, tokens, d]`.
    ///
    /// # Errors
    /// A token or a length that the model does not have.
    pub fn read(&self, batch: &TokenBatch) -> Result<Dual<3>, NnError> {
        self.encoder.states(batch)
    }

    /// The word in front of every answer.
    pub fn start(&self) -> u32 {
        self.start
    }

    /// What writes answers.
    pub fn decoder(&self) -> &TextDecoder {
        &self.decoder
    }

    /// Reads texts into a memory with which the [`decoder`](Self::decoder) answers them.
    ///
    /// # Errors
    /// A token or a length that the model does not have.
    pub fn remember(&self, batch: &TokenBatch) -> Result<Decoding, NnError> {
        Ok(self.decoder.read_source(&self.read(batch)?, batch))
    }

    /// Scores of the words of answers and of the word after each: `[rows, 1 + longest answer, words]`, where token `i`
    /// has read the start and `i` words.
    ///
    /// # Errors
    /// A token or a length that the model does not have, or not as many answers as texts.
    pub fn forward(
        &self,
        batch: &TokenBatch,
        answers: &[impl AsRef<[u32]>],
    ) -> Result<Dual<3>, NnError> {
        let mut memory = self.remember(batch)?;
        let start = |answer: &[u32]| [&[self.start], answer].concat();
        let answers: Vec<Vec<u32>> = answers.iter().map(|a| start(a.as_ref())).collect();
        let answers = TokenBatch::new(&answers, self.start, Side::Right);
        let states = self.decoder.states(&answers, Some(&mut memory))?;
        Ok(self.decoder.read(states))
    }
}
