//! Texts to vectors.

use super::{TextFolder, TextModelError};
use burn::tensor::Device;
use rayon::prelude::*;
use refit_core::Progress;
use refit_nn::{
    blocks::unit_rows,
    to_host,
    zoo::{Side, TextModel, TokenBatch},
};
use refit_text::Encoded;

/// Tokens of a batch: enough to keep the matrix products busy, few enough to stay in the cache.
const BATCH_TOKENS: usize = 2048;

/// A model that turns texts into vectors.
#[derive(Debug)]
pub struct Embedder {
    folder: TextFolder,
    model: TextModel,
}

/// The vectors of texts.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    /// Entries of a vector.
    pub width: usize,
    /// The vectors, one after the other.
    pub values: Vec<f32>,
    /// How many texts were as long as the model reads and may have been cut.
    pub cut: usize,
}

impl Embedder {
    /// Reads the weights of a model.
    ///
    /// # Errors
    /// When they do not fit the architecture or are not finite.
    pub fn load(folder: TextFolder, device: &Device) -> Result<Self, TextModelError> {
        let weights = folder.load(device)?;
        let model = weights.bind(|scope| folder.config.bind(scope))?;
        Ok(Self { folder, model })
    }

    /// The vector of every text. Texts of like length are read together, so their order does not matter.
    ///
    /// # Errors
    /// When a text cannot be cut or has no token, or `progress` asks for a stop.
    pub fn embed(
        &self,
        texts: &[String],
        progress: &dyn Progress,
    ) -> Result<Embeddings, TextModelError> {
        let tokenizer = &self.folder.tokenizer;
        let encoded = texts.par_iter().map(|text| tokenizer.encode(text, None));
        let encoded: Vec<Encoded> = encoded.collect::<Result<_, _>>()?;
        let length = |at: &usize| encoded[*at].ids().len();
        if let Some(at) = (0..texts.len()).find(|at| length(at) == 0) {
            return Err(TextModelError::NoToken { text: at + 1 });
        }
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(length);
        let width = self.folder.config.size().hidden;
        let mut values = vec![0.0; texts.len() * width];
        progress.begin("embed", Some(texts.len() as u64));
        let mut left = &order[..];
        while let Some(first) = left.last() {
            if progress.cancelled() {
                return Err(TextModelError::Interrupted);
            }
            // From the longest down: if memory does not suffice, that shows at once.
            let rows = (BATCH_TOKENS / length(first).max(1)).clamp(1, left.len());
            let (rest, batch) = left.split_at(left.len() - rows);
            let vectors = self.vectors(batch.iter().map(|&at| &encoded[at]))?;
            for (&at, vector) in batch.iter().zip(vectors.chunks(width)) {
                values[at * width..][..width].copy_from_slice(vector);
            }
            progress.advance(rows as u64);
            left = rest;
        }
        let cut = order.iter().filter(|at| length(at) >= self.folder.longest);
        Ok(Embeddings {
            width,
            values,
            cut: cut.count(),
        })
    }

    fn vectors<'a>(
        &self,
        rows: impl Iterator<Item = &'a Encoded>,
    ) -> Result<Vec<f32>, TextModelError> {
        let (ids, types): (Vec<&[u32]>, Vec<&[u32]>) =
            rows.map(|text| (text.ids(), text.types())).unzip();
        let batch = TokenBatch::new(&ids, self.folder.tokenizer.pad(), Side::Right);
        let batch = match self.folder.config.size().segments {
            0 | 1 => batch,
            _ => batch.with_types(&types, Side::Right),
        };
        let states = self.model.states(&batch)?;
        let pooled = self.folder.pool.apply(states, &batch);
        let pooled = if self.folder.unit {
            unit_rows(pooled)
        } else {
            pooled
        };
        Ok(to_host(pooled.into_value()))
    }
}
