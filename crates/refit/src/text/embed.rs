//! Texts to vectors.

use super::{Reader, TextFolder, TextModelError, reader::rows};
use burn::tensor::Device;
use refit_core::Progress;
use refit_nn::{blocks::unit_rows, to_host, zoo::TokenBatch};

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

    /// The vector of every text. Texts of like length are read together, so their order does not matter.
    ///
    /// # Errors
    /// When a text cannot be cut or has no token, or `progress` asks for a stop.
    pub fn embed(
        &self,
        texts: &[String],
        progress: &dyn Progress,
    ) -> Result<Embeddings, TextModelError> {
        let encoded = self.0.encode(texts, None)?;
        let width = self.width();
        let vectors = |batch: &TokenBatch| Ok(rows(&self.vectors(batch)?, width));
        let vectors = self.0.each("embed", &encoded, progress, vectors)?;
        Ok(Embeddings {
            width,
            values: vectors.concat(),
            cut: self.0.cut(&encoded),
        })
    }

    fn vectors(&self, batch: &TokenBatch) -> Result<Vec<f32>, TextModelError> {
        let folder = &self.0.folder;
        let pooled = folder.pool.apply(self.0.model.states(batch)?, batch);
        let pooled = if folder.unit {
            unit_rows(pooled)
        } else {
            pooled
        };
        Ok(to_host(pooled.into_value()))
    }
}
