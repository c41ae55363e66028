//! Texts to vectors.

use super::{
    Reader, TextFolder, TextModelError, TextRole,
    reader::{check_finite, rows},
};
use burn::tensor::Device;
use refit_core::Progress;
use refit_nn::{
    blocks::unit_rows,
    to_host,
    zoo::{Pool, TokenBatch},
};
use std::borrow::Cow;

/// A model that turns texts into vectors.
#[derive(Debug)]
pub struct Embedder(Reader);

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
        Reader::load(folder, device).map(Self)
    }

    /// Entries of a vector.
    pub fn width(&self) -> usize {
        self.0.folder.config.size().hidden
    }

    /// The vector of every text, behind the prompt that the model has for all. Texts of like length are read together, so
    /// their order does not matter.
    ///
    /// # Errors
    /// When a text cannot be cut or has no token, a vector is not finite, or `progress` asks for a stop.
    pub fn embed(
        &self,
        texts: &[String],
        progress: &dyn Progress,
    ) -> Result<Embeddings, TextModelError> {
        self.embed_as(TextRole::Text, texts, progress)
    }

    /// [`embed`](Self::embed), behind the prompt that the model has for texts of this role.
    ///
    /// # Errors
    /// Those of [`embed`](Self::embed).
    pub fn embed_as(
        &self,
        role: TextRole,
        texts: &[String],
        progress: &dyn Progress,
    ) -> Result<Embeddings, TextModelError> {
        let prompt = self.0.folder.prompts.of(role);
        let whole = match prompt {
            "" => Cow::Borrowed(texts),
            prompt => texts.iter().map(|text| format!("{prompt}{text}")).collect(),
        };
        let encoded = self.0.encode(&whole, None)?;
        let lead = self.lead(prompt)?;
        let width = self.width();
        let vectors = |batch: &TokenBatch| Ok(rows(&self.vectors(batch, lead)?, width));
        let vectors = self.0.each("embed", &encoded, progress, vectors)?;
        check_finite(&vectors)?;
        Ok(Embeddings {
            width,
            values: vectors.concat(),
            cut: self.0.cut(&encoded),
        })
    }

    /// The tokens in front of a text that take no part in its vector: those of the prompt, where the model says so, with what
    /// is added before it.
    fn lead(&self, prompt: &str) -> Result<usize, TextModelError> {
        let folder = &self.0.folder;
        // The last token stands for a text whatever is before it.
        if prompt.is_empty() || !folder.prompts.left_out() || folder.pool == Pool::Last {
            return Ok(0);
        }
        let tokens = folder.tokenizer.encode(prompt, None)?;
        let behind = matches!(tokens.sequences(), [_, .., None]);
        Ok(tokens.ids().len() - usize::from(behind))
    }

    fn vectors(&self, batch: &TokenBatch, lead: usize) -> Result<Vec<f32>, TextModelError> {
        let folder = &self.0.folder;
        let states = self.0.model.states(batch)?;
        let pooled = match lead {
            0 => folder.pool.apply(states, batch),
            lead => folder.pool.apply(states, &batch.hide_first(lead)),
        };
        let pooled = if folder.unit {
            unit_rows(pooled)
        } else {
            pooled
        };
        Ok(to_host(pooled.into_value()))
    }
}
