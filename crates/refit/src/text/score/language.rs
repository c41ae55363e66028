//! How well a decoder guesses the next word of running text.

use crate::text::{Reader, TextModelError};
use burn::tensor::{Int, Tensor, TensorData};
use refit_core::{ConfigError, Progress};
use refit_kernels::cross_entropy;
use refit_nn::{
    NnError, to_host,
    zoo::{Side, TextModel, TokenBatch},
};
use serde::Serialize;

/// Tokens whose scores are held together: a row has a score for every word of the vocabulary.
const ROWS: usize = 128;

/// How long texts are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LanguageConfig {
    /// Tokens that the model sees at once; `None` as many as it can.
    pub window: Option<usize>,
    /// Tokens by which the window moves on: those are scored, the ones before are what they follow; `None` half a window.
    pub stride: Option<usize>,
}

impl LanguageConfig {
    /// Window and stride for a model that reads `longest` tokens.
    ///
    /// # Errors
    /// One that is out of range.
    pub fn sizes(self, longest: usize) -> Result<[usize; 2], TextModelError> {
        let check = |key, found: usize, least: usize, most: usize| {
            if (least..=most).contains(&found) {
                return Ok(found);
            }
            let expected = format!("{least} to {most}");
            Err(NnError::from(ConfigError::range(key, found, expected)))
        };
        let window = check("window", self.window.unwrap_or(longest), 2, longest)?;
        let stride = self.stride.unwrap_or(window / 2);
        Ok([window, check("stride", stride, 1, window - 1)?])
    }
}

/// Perplexity, in a sliding window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LanguageScore {
    /// Tokens that were guessed: all but the first.
    pub tokens: usize,
    /// Mean of `-ln p` of the right token.
    pub nats_per_token: f64,
    /// Its exponential.
    pub perplexity: f64,
    /// Bits for every byte of the text that was guessed: comparable between tokenizers.
    pub bits_per_byte: f64,
    /// Perplexity of guessing every word of the vocabulary alike.
    pub uniform: f64,
    /// Tokens that the model saw at once.
    pub window: usize,
    /// Tokens by which the window moved on. The last window is as long as the others, so it moves on by what is left; a
    /// recipe that begins every window at a multiple of the stride shows the model less of the text before the end.
    pub stride: usize,
}

/// Guesses every token of a text but the first from those before it, as far as the window reaches.
///
/// # Errors
/// A model whose tokens see those behind them, a window or stride out of range, a text of fewer than two tokens; when `progress` asks for a stop.
pub(crate) fn score(
    reader: &Reader,
    text: &str,
    config: LanguageConfig,
    progress: &dyn Progress,
) -> Result<LanguageScore, TextModelError> {
    let TextModel::Decoder(model) = &reader.model else {
        return Err(TextModelError::OtherTask {
            folder: reader.folder.path().into(),
            does: "guesses no next word",
            expected: "does (ForCausalLM)",
        });
    };
    model.check_causal().map_err(NnError::from)?;
    let size = reader.folder.config.size();
    let [window, stride] = config.sizes(size.longest)?;
    let encoded = reader.folder.tokenizer.clone().uncut().encode(text, None)?;
    let ids = encoded.ids();
    if ids.len() < 2 {
        let found = format!("{} tokens", ids.len());
        return Err(NnError::from(ConfigError::range("text", found, "two or more")).into());
    }
    progress.begin("perplexity", Some(ids.len() as u64 - 1));
    let (mut nats, mut scored) = (0.0, 1);
    while scored < ids.len() {
        if progress.cancelled() {
            return Err(TextModelError::Interrupted);
        }
        // The first window is scored whole; every other by what it moved on.
        let end = if scored == 1 { window } else { scored + stride }.min(ids.len());
        let start = end.saturating_sub(window);
        let seen = TokenBatch::new(&[&ids[start..end - 1]], 0, Side::Right);
        let states = model.states(&seen, None)?;
        let device = states.device();
        for first in (scored..end).step_by(ROWS) {
            let targets = &ids[first..end.min(first + ROWS)];
            let scores = model.read(states.clone().narrow(1, first - 1 - start, targets.len()));
            let [_, rows, words] = scores.dims();
            let numbers: Vec<i64> = targets.iter().map(|&id| id.into()).collect();
            let targets = TensorData::new(numbers, [rows]);
            let targets = Tensor::<1, Int>::from_data(targets, &device);
            let losses = cross_entropy(scores.into_value().reshape([rows, words]), targets, 0.0);
            nats += to_host(losses).into_iter().map(f64::from).sum::<f64>();
        }
        progress.advance((end - scored) as u64);
        scored = end;
    }
    let tokens = ids.len() - 1;
    let mean = nats / tokens as f64;
    // Bytes of the first token, which nothing stands before; none where it was added.
    let (_, unscored) = encoded.offsets()[0];
    Ok(LanguageScore {
        tokens,
        nats_per_token: mean,
        perplexity: mean.exp(),
        bits_per_byte: nats / std::f64::consts::LN_2 / (text.len() - unscored).max(1) as f64,
        uniform: size.words as f64,
        window,
        stride,
    })
}

/// Perplexity of a decoder on a text.
///
/// # Errors
/// A model that guesses no next word, a window or stride out of range, a text of fewer than two tokens; when `progress`
/// asks for a stop.
pub fn score_language(
    folder: crate::text::TextFolder,
    text: &str,
    config: LanguageConfig,
    device: &burn::tensor::Device,
    progress: &dyn Progress,
) -> Result<LanguageScore, TextModelError> {
    score(&Reader::load(folder, device)?, text, config, progress)
}
