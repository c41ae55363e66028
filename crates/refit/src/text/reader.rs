//! Texts through a model, those of like length together.

use super::{TextFolder, TextModelError};
use burn::tensor::Device;
use rayon::prelude::*;
use refit_core::Progress;
use refit_nn::zoo::{Side, TextModel, TokenBatch};
use refit_text::{Encoded, Tokenizer};

/// Tokens of a batch: enough to keep the matrix products busy, few enough to stay in the cache.
const BATCH_TOKENS: usize = 2048;

/// A model with its weights, and what cuts its texts.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) folder: TextFolder,
    pub(crate) model: TextModel,
}

impl Reader {
    /// Reads the weights.
    ///
    /// # Errors
    /// When they do not fit the architecture or are not finite.
    pub(crate) fn load(folder: TextFolder, device: &Device) -> Result<Self, TextModelError> {
        let weights = folder.load_as_stored(device)?;
        let model = weights.bind(|scope| folder.config.bind(scope))?;
        Ok(Self { folder, model })
    }

    /// Cuts texts, or pairs of them, into tokens.
    ///
    /// # Errors
    /// When a text cannot be cut or has no token.
    pub(crate) fn encode(
        &self,
        texts: &[String],
        seconds: Option<&[String]>,
    ) -> Result<Vec<Encoded>, TextModelError> {
        encode(&self.folder.tokenizer, texts, seconds)
    }

    /// How many texts are as long as the model reads and may have been cut.
    pub(crate) fn cut(&self, encoded: &[Encoded]) -> usize {
        count_cut(encoded, self.folder.longest)
    }

    /// What `map` makes of every text, one value for each row of its batch. Texts of like length are read together, so
    /// their order does not matter.
    ///
    /// # Errors
    /// Those of `map`, or `progress` asks for a stop.
    pub(crate) fn each<T: Clone>(
        &self,
        phase: &str,
        encoded: &[Encoded],
        progress: &dyn Progress,
        map: impl Fn(&TokenBatch) -> Result<Vec<T>, TextModelError>,
    ) -> Result<Vec<T>, TextModelError> {
        by_length(phase, encoded, progress, |batch| map(&self.batch(batch)))
    }

    fn batch(&self, rows: &[&Encoded]) -> TokenBatch {
        let (ids, types): (Vec<&[u32]>, Vec<&[u32]>) =
            rows.iter().map(|text| (text.ids(), text.types())).unzip();
        let batch = TokenBatch::new(&ids, self.folder.tokenizer.pad(), Side::Right);
        match self.folder.config.size().segments {
            0 | 1 => batch,
            _ => batch.with_types(&types, Side::Right),
        }
    }
}

/// Cuts texts, or pairs of them, into tokens.
///
/// # Errors
/// When a text cannot be cut or has no token.
pub(crate) fn encode(
    tokenizer: &Tokenizer,
    texts: &[String],
    seconds: Option<&[String]>,
) -> Result<Vec<Encoded>, TextModelError> {
    let second = |at: usize| seconds.map(|seconds| seconds[at].as_str());
    let encoded = texts.par_iter().enumerate();
    let encoded = encoded.map(|(at, text)| tokenizer.encode(text, second(at)));
    let encoded: Vec<Encoded> = encoded.collect::<Result<_, _>>()?;
    match encoded.iter().position(|text| text.ids().is_empty()) {
        Some(at) => Err(TextModelError::NoToken { text: at + 1 }),
        None => Ok(encoded),
    }
}

/// How many texts have `longest` tokens or more.
pub(crate) fn count_cut(encoded: &[Encoded], longest: usize) -> usize {
    let cut = |text: &&Encoded| text.ids().len() >= longest;
    encoded.iter().filter(cut).count()
}

/// What `map` makes of every text, one value for each of those that it is shown together, which are of like length.
///
/// # Errors
/// Those of `map`, or `progress` asks for a stop.
pub(crate) fn by_length<T: Clone>(
    phase: &str,
    encoded: &[Encoded],
    progress: &dyn Progress,
    map: impl Fn(&[&Encoded]) -> Result<Vec<T>, TextModelError>,
) -> Result<Vec<T>, TextModelError> {
    let length = |at: &usize| encoded[*at].ids().len();
    let mut order: Vec<usize> = (0..encoded.len()).collect();
    order.sort_by_key(length);
    let mut found: Vec<Option<T>> = vec![None; encoded.len()];
    progress.begin(phase, Some(encoded.len() as u64));
    let mut left = &order[..];
    while let Some(longest) = left.last() {
        if progress.cancelled() {
            return Err(TextModelError::Interrupted);
        }
        // From the longest down: if memory does not suffice, that shows at once.
        let rows = (BATCH_TOKENS / length(longest).max(1)).clamp(1, left.len());
        let (rest, batch) = left.split_at(left.len() - rows);
        let texts: Vec<&Encoded> = batch.iter().map(|&at| &encoded[at]).collect();
        for (&at, value) in batch.iter().zip(map(&texts)?) {
            found[at] = Some(value);
        }
        progress.advance(rows as u64);
        left = rest;
    }
    // Invariant: every text was in one batch, and `map` gives a value for each row.
    Ok(found.into_iter().flatten().collect())
}

/// Rows of `width` values each.
pub(crate) fn rows(values: &[f32], width: usize) -> Vec<Vec<f32>> {
    values.chunks(width.max(1)).map(<[f32]>::to_vec).collect()
}

/// Refuses what a model makes of a text that is no number.
pub(crate) fn check_finite(rows: &[Vec<f32>]) -> Result<(), TextModelError> {
    let finite = |row: &Vec<f32>| row.iter().all(|value| value.is_finite());
    match rows.iter().position(|row| !finite(row)) {
        None => Ok(()),
        Some(at) => Err(TextModelError::NotFinite { text: at + 1 }),
    }
}
