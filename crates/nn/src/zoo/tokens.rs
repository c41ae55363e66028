//! Batches of token sequences.

use crate::{NnError, blocks::Sight};
use burn::tensor::{Device, Int, Tensor, TensorData};

/// On which side short sequences are filled up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// After the last token, as encoders are used to.
    Right,
    /// Before the first, so that all sequences of a decoder end together.
    Left,
}

/// Sequences of one length, filled up with padding, on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenBatch {
    rows: usize,
    tokens: usize,
    ids: Vec<u32>,
    types: Vec<u32>,
    padding: Vec<bool>,
}

impl TokenBatch {
    /// Fills sequences up to the longest with `pad`.
    ///
    /// ```
    /// use refit_nn::zoo::{Side, TokenBatch};
    /// let batch = TokenBatch::new(&[vec![5, 6, 7], vec![8]], 0, Side::Left);
    /// assert_eq!((batch.rows(), batch.tokens()), (2, 3));
    /// assert_eq!(batch.ids(), [5, 6, 7, 0, 0, 8]);
    /// ```
    pub fn new(sequences: &[impl AsRef<[u32]>], pad: u32, side: Side) -> Self {
        let rows = sequences.len();
        let lengths = sequences.iter().map(|sequence| sequence.as_ref().len());
        let tokens = lengths.max().unwrap_or(0);
        let (mut ids, mut padding) = (vec![pad; rows * tokens], vec![true; rows * tokens]);
        for (row, sequence) in sequences.iter().enumerate() {
            let sequence = sequence.as_ref();
            let start = row * tokens
                + match side {
                    Side::Right => 0,
                    Side::Left => tokens - sequence.len(),
                };
            ids[start..start + sequence.len()].copy_from_slice(sequence);
            padding[start..start + sequence.len()].fill(false);
        }
        let types = vec![0; ids.len()];
        Self {
            rows,
            tokens,
            ids,
            types,
            padding,
        }
    }

    /// Says of each token which segment it belongs to; sequences as long as those given to [`new`](Self::new) and
    /// filled up on the same side.
    ///
    /// # Panics
    /// If there are not as many sequences, or a longer one.
    #[must_use]
    pub fn with_types(self, types: &[impl AsRef<[u32]>], side: Side) -> Self {
        assert_eq!(types.len(), self.rows, "one sequence of segments per row");
        let filled = Self::new(types, 0, side);
        assert_eq!(filled.tokens, self.tokens, "as many segments as tokens");
        Self {
            types: filled.ids,
            ..self
        }
    }

    /// Sequences.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Tokens of each, padding included.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// All tokens, row by row.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Whether each token is padding, row by row.
    pub fn padding(&self) -> &[bool] {
        &self.padding
    }

    /// The same batch whose first `count` tokens of every sequence count as padding.
    #[must_use]
    pub fn hide_first(&self, count: usize) -> Self {
        let mut hidden = self.clone();
        for row in hidden.padding.chunks_mut(self.tokens.max(1)) {
            let real = row.iter_mut().filter(|padding| !**padding);
            real.take(count).for_each(|padding| *padding = true);
        }
        hidden
    }

    /// Places of tokens within their sequence, padding not counted; that of padding is 0.
    pub fn places(&self) -> Vec<u32> {
        let rows = self.padding.chunks(self.tokens.max(1));
        rows.flat_map(|row| places(0, row)).collect()
    }

    /// Refuses a batch without tokens, tokens that a vocabulary of `words` lacks, segments beyond `segments`, and sequences of more than
    /// `longest` tokens.
    pub(crate) fn check(
        &self,
        words: usize,
        segments: usize,
        longest: usize,
    ) -> Result<(), NnError> {
        if self.ids.is_empty() {
            return Err(NnError::Empty { rows: self.rows });
        }
        if let Some(&token) = self.ids.iter().find(|&&id| id as usize >= words) {
            return Err(NnError::Token { token, words });
        }
        if let Some(&found) = self
            .types
            .iter()
            .find(|&&kind| kind as usize >= segments.max(1))
        {
            return Err(NnError::Segment { found, segments });
        }
        let tokens = self
            .places()
            .iter()
            .max()
            .map_or(0, |&last| last as usize + 1);
        if tokens > longest {
            return Err(NnError::TooLong { tokens, longest });
        }
        Ok(())
    }

    /// All tokens on a device, `[rows, tokens]`.
    pub(crate) fn ids_on(&self, device: &Device) -> Tensor<2, Int> {
        self.numbers(&self.ids, device)
    }

    /// Segments on a device, `[rows, tokens]`.
    pub(crate) fn types_on(&self, device: &Device) -> Tensor<2, Int> {
        self.numbers(&self.types, device)
    }

    /// Numbers of tokens on a device, `[rows, tokens]`.
    pub(crate) fn numbers(&self, values: &[u32], device: &Device) -> Tensor<2, Int> {
        let values: Vec<i64> = values.iter().map(|&value| value.into()).collect();
        Tensor::from_data(TensorData::new(values, [self.rows, self.tokens]), device)
    }

    /// Every token sees every other that is no padding.
    pub(crate) fn sight(&self) -> Sight<'_> {
        Sight {
            rows: self.rows,
            queries: self.tokens,
            keys: self.tokens,
            padding: &self.padding,
            causal: false,
            window: None,
        }
    }
}

/// Places of tokens that follow `before` others of their sequence, padding not counted; that of padding is 0.
pub(super) fn places(before: u32, padding: &[bool]) -> impl Iterator<Item = u32> {
    let mut next = before;
    padding.iter().map(move |&padding| {
        let place = if padding { 0 } else { next };
        next += u32::from(!padding);
        place
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_tokens_and_not_padding() {
        let sequences = [vec![5, 6, 7], vec![8], vec![]];
        let right = TokenBatch::new(&sequences, 1, Side::Right);
        assert_eq!(right.places(), [0, 1, 2, 0, 0, 0, 0, 0, 0]);
        assert_eq!(right.ids()[3..], [8, 1, 1, 1, 1, 1]);
        let left = TokenBatch::new(&sequences[..2], 1, Side::Left);
        assert_eq!(left.places(), [0, 1, 2, 0, 0, 0]);
        assert_eq!(left.padding()[3..], [true, true, false]);
        let hidden = TokenBatch::new(&sequences[..2], 1, Side::Right).hide_first(2);
        assert_eq!(hidden.padding(), [true, true, false, true, true, true]);
    }

    #[test]
    fn what_a_model_cannot_read_is_refused_by_name() {
        let batch = TokenBatch::new(&[vec![5, 6, 7]], 0, Side::Right);
        assert!(batch.check(8, 1, 3).is_ok());
        let text = |words, longest| batch.check(words, 1, longest).unwrap_err().to_string();
        assert_eq!(text(7, 3), "token 7 is not among the 7 of the model");
        assert_eq!(text(8, 2), "a sequence has 3 tokens, expected at most 2");
        let second = batch.clone().with_types(&[[0, 0, 1]], Side::Right);
        assert!(second.check(8, 2, 3).is_ok() && second.check(8, 1, 3).is_err());
    }
}
