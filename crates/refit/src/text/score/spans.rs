//! Answers that are a part of a text.

use super::{AnswerScore, TextData, column};
use crate::text::{Reader, TextFolder, TextModelError};
use burn::tensor::Device;
use rayon::prelude::*;
use refit_core::Progress;
use refit_io::data::{Header, TextColumn, TextRows, read_columns};
use refit_nn::{
    to_host,
    zoo::{TextTask, TokenBatch},
};
use refit_text::Encoded;

/// Most tokens of an answer, as the reference evaluation has it.
const LONGEST_ANSWER: usize = 30;

/// Tokens that two windows of a context share, as the reference evaluation has it.
const SHARED: usize = 128;

/// Checks model and rows of [`score_spans`].
///
/// # Errors
/// A model that marks no answers, a row that cannot be read.
pub fn check_spans(folder: &TextFolder, data: TextData<'_>) -> Result<(), TextModelError> {
    marked(folder, data).map(drop)
}

/// Questions, what is asked about, and answers.
fn marked(folder: &TextFolder, data: TextData<'_>) -> Result<TextRows, TextModelError> {
    if folder.config.task() != TextTask::Span {
        return Err(TextModelError::OtherTask {
            folder: folder.path().into(),
            does: "marks no answers",
            expected: "does (ForQuestionAnswering)",
        });
    }
    let wanted = [&["question"][..], &["context"], &["answer"]].map(TextColumn::needed);
    Ok(read_columns(data.path, data.part, &wanted, Header::Needed)?)
}

/// Finds the answer to every question of a file in its context, of which the model reads one window after the other.
///
/// # Errors
/// A model that marks no answers, a row that cannot be read, a question that leaves no room for a context; when `progress` asks for a stop.
pub fn score_spans(
    folder: TextFolder,
    data: TextData<'_>,
    device: &Device,
    progress: &dyn Progress,
) -> Result<AnswerScore, TextModelError> {
    let rows = marked(&folder, data)?;
    let reader = Reader::load(folder, device)?;
    let (encoded, of) = windows(&reader, &rows)?;
    let scores = |batch: &TokenBatch| {
        let scores = reader.model.forward(batch)?;
        let [_, tokens, _] = scores.dims();
        let scores = to_host(scores.into_value());
        Ok(scores.chunks(2 * tokens).map(<[f32]>::to_vec).collect())
    };
    let found = reader.each("answer", &encoded, progress, scores)?;
    let contexts = column(&rows, 1);
    let mut best: Vec<Option<(f32, &str)>> = vec![None; contexts.len()];
    for ((&row, text), scores) in of.iter().zip(&encoded).zip(&found) {
        let Some(found) = answer(&contexts[row], text, scores) else {
            continue;
        };
        if best[row].is_none_or(|(highest, _)| found.0 > highest) {
            best[row] = Some(found);
        }
    }
    let answers = best
        .into_iter()
        .map(|found| found.map_or("", |(_, answer)| answer));
    let expected = column(&rows, 2).iter().map(String::as_str);
    Ok(AnswerScore::of(answers.zip(expected)))
}

/// Questions with a window of their context each, and which row each is of.
fn windows(reader: &Reader, rows: &TextRows) -> Result<(Vec<Encoded>, Vec<usize>), TextModelError> {
    let longest = reader.folder.longest;
    let tokenizer = reader.folder.tokenizer.clone().uncut();
    let (questions, contexts) = (column(rows, 0), column(rows, 1));
    let cut = |row: usize| {
        let pair = tokenizer.encode(&questions[row], Some(&contexts[row]))?;
        let windows = pair.windows(longest, SHARED);
        if windows.is_empty() {
            return Err(TextModelError::LongPrompt {
                prompt: row + 1,
                tokens: tokenizer.encode(&questions[row], None)?.ids().len(),
                longest,
            });
        }
        Ok(windows)
    };
    let cut: Result<Vec<Vec<Encoded>>, _> = (0..questions.len()).into_par_iter().map(cut).collect();
    let (mut encoded, mut of) = (Vec::new(), Vec::new());
    for (row, windows) in cut?.into_iter().enumerate() {
        of.resize(of.len() + windows.len(), row);
        encoded.extend(windows);
    }
    Ok((encoded, of))
}

/// The part of the context between the first and the last token of the highest sum of scores, with that sum.
fn answer<'c>(context: &'c str, text: &Encoded, scores: &[f32]) -> Option<(f32, &'c str)> {
    let inside = |at: &usize| text.sequences()[*at] == Some(1);
    let places: Vec<usize> = (0..text.ids().len()).filter(inside).collect();
    let mut best: Option<(f32, [usize; 2])> = None;
    for (at, &first) in places.iter().enumerate() {
        for &last in places[at..].iter().take(LONGEST_ANSWER) {
            let score = scores[2 * first] + scores[2 * last + 1];
            if best.is_none_or(|(highest, _)| score > highest) {
                best = Some((score, [first, last]));
            }
        }
    }
    let (score, [first, last]) = best?;
    let span = context.get(text.offsets()[first].0..text.offsets()[last].1)?;
    Some((score, span))
}
