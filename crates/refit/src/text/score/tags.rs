//! Tags of words.

use super::{class_of, unknown_label};
use crate::text::{Reader, TextFolder, TextModelError, setting};
use burn::tensor::Device;
use refit_core::{ConfigError, Progress};
use refit_io::data::{TaggedSentence, read_tagged};
use refit_math::metric::SpanCounts;
use refit_nn::{
    to_host,
    zoo::{TextTask, TokenBatch},
};
use refit_text::Encoded;
use serde::Serialize;
use std::path::Path;

/// How often tags and the spans that they mark are told rightly; shares in `[0, 1]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TagScore {
    /// Sentences looked at.
    pub sentences: usize,
    /// Words looked at.
    pub words: usize,
    /// Share of words whose tag was told rightly.
    pub accuracy: f64,
    /// Share of words with the most common tag: what constant guessing reaches.
    pub majority: f64,
    /// Spans that the tags mark.
    pub spans: u64,
    /// Share of found spans with the right words and kind.
    pub precision: f64,
    /// Share of spans that were found.
    pub recall: f64,
    /// Harmonic mean of both.
    pub f1: f64,
    /// Words beyond what the model reads, which count as tagged `O`.
    pub unread: usize,
}

/// Checks model and sentences of [`score_tags`].
///
/// # Errors
/// A model without classes of tokens, a line that cannot be read, a tag that the model does not have.
pub fn check_tags(folder: &TextFolder, path: &Path) -> Result<(), TextModelError> {
    tagged(folder, path).map(drop)
}

/// The tags of the model, and sentences with no others.
fn tagged(
    folder: &TextFolder,
    path: &Path,
) -> Result<(Vec<String>, Vec<TaggedSentence>), TextModelError> {
    let TextTask::Token { classes } = folder.config.task() else {
        return Err(TextModelError::OtherTask {
            folder: folder.path().into(),
            does: "does not tag words",
            expected: "does (ForTokenClassification)",
        });
    };
    let labels = folder.labels(classes)?;
    let sentences = read_tagged(path)?;
    for tag in sentences.iter().flat_map(|sentence| &sentence.tags) {
        class_of(tag, &labels).ok_or_else(|| unknown_label(path, tag, &labels))?;
    }
    Ok((labels, sentences))
}

/// Tags the words of every sentence of a file; a word has the tag of its first token.
///
/// # Errors
/// A model without classes of tokens, a line that cannot be read, a tag that the model does not have; when `progress`
/// asks for a stop.
pub fn score_tags(
    folder: TextFolder,
    path: &Path,
    device: &Device,
    progress: &dyn Progress,
) -> Result<TagScore, TextModelError> {
    let (labels, sentences) = tagged(&folder, path)?;
    let tags = sentences.iter().flat_map(|sentence| &sentence.tags);
    let expected: Vec<&str> = tags.map(String::as_str).collect();
    let reader = Reader::load(folder, device)?;
    let encoded = sentences
        .iter()
        .map(|sentence| reader.folder.tokenizer.encode_words(&sentence.words));
    let encoded: Vec<Encoded> = encoded.collect::<Result<_, _>>()?;
    let best = |batch: &TokenBatch| {
        let scores = reader.model.forward(batch)?;
        let [_, tokens, classes] = scores.dims();
        let scores = to_host(scores.into_value());
        let of = |scores: &[f32]| {
            let better = |best: usize, at: usize| if scores[at] > scores[best] { at } else { best };
            (0..classes).fold(0, better)
        };
        let rows = scores.chunks(tokens * classes);
        Ok(rows
            .map(|row| row.chunks(classes).map(of).collect::<Vec<usize>>())
            .collect())
    };
    let found = reader.each("tag", &encoded, progress, best)?;
    let (mut counts, mut right, mut unread) = (SpanCounts::default(), 0, 0);
    for ((sentence, text), classes) in sentences.iter().zip(&encoded).zip(found) {
        let tags = tags_of(sentence, text, &classes, &labels, &mut unread);
        let same = |(a, b): &(&String, &&str)| class_of(a, &labels) == class_of(b, &labels);
        right += sentence.tags.iter().zip(&tags).filter(same).count();
        let named = sentence.tags.iter().map(|tag| name(tag, &labels));
        counts.add(&named.collect::<Vec<_>>(), &tags);
    }
    if counts.expected == 0
        && let Some(tag) = expected.iter().find(|tag| name(tag, &labels) != "O")
    {
        let expected = "tags that mark spans, such as `B-person` and `I-person`";
        return Err(setting(path)(ConfigError::range(
            "tag",
            format_args!("`{tag}`"),
            expected,
        )));
    }
    let words = expected.len();
    Ok(TagScore {
        sentences: sentences.len(),
        words,
        accuracy: right as f64 / words as f64,
        majority: majority(expected),
        spans: counts.expected,
        precision: counts.precision(),
        recall: counts.recall(),
        f1: counts.f1(),
        unread,
    })
}

/// A tag by its name, where a file gives its number.
fn name<'a>(tag: &'a str, labels: &'a [String]) -> &'a str {
    class_of(tag, labels).map_or(tag, |class| &labels[class])
}

/// The tag of each word: that of its first token.
fn tags_of<'l>(
    sentence: &TaggedSentence,
    text: &Encoded,
    classes: &[usize],
    labels: &'l [String],
    unread: &mut usize,
) -> Vec<&'l str> {
    let mut first = vec![None; sentence.words.len()];
    for (word, &class) in text.words().iter().zip(classes) {
        if let Some(slot) = word.and_then(|word| first.get_mut(word as usize)) {
            slot.get_or_insert(class);
        }
    }
    let tag = |class: Option<usize>| {
        *unread += usize::from(class.is_none());
        class.map_or("O", |class| &labels[class])
    };
    first.into_iter().map(tag).collect()
}

fn majority(mut tags: Vec<&str>) -> f64 {
    tags.sort_unstable();
    let most = tags.chunk_by(|a, b| a == b).map(<[&str]>::len).max();
    most.unwrap_or(0) as f64 / tags.len().max(1) as f64
}
