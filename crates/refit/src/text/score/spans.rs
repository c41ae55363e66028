//! Answers that are a part of a text.

use super::{AnswerScore, TextData, column};
use crate::text::{Reader, TextFolder, TextModelError};
use burn::tensor::Device;
use refit_core::Progress;
use refit_io::data::{Header, TextColumn, TextRows, read_columns};
use refit_nn::{
    to_host,
    zoo::{TextTask, TokenBatch},
};
use refit_text::Encoded;

/// Most tokens of an answer, as the reference evaluation has it.
const LONGEST_ANSWER: usize = 30;

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

/// Finds the answer to every question of a file in its context.
///
/// # Errors
/// A model that marks no answers, a row that cannot be read; when `progress` asks for a stop.
pub fn score_spans(
    folder: TextFolder,
    data: TextData<'_>,
    device: &Device,
    progress: &dyn Progress,
) -> Result<AnswerScore, TextModelError> {
    let rows = marked(&folder, data)?;
    let reader = Reader::load(folder, device)?;
    let encoded = reader.encode(column(&rows, 0), Some(column(&rows, 1)))?;
    let scores = |batch: &TokenBatch| {
        let scores = reader.model.forward(batch)?;
        let [_, tokens, _] = scores.dims();
        let scores = to_host(scores.into_value());
        Ok(scores.chunks(2 * tokens).map(<[f32]>::to_vec).collect())
    };
    let found = reader.each("answer", &encoded, progress, scores)?;
    let contexts = column(&rows, 1).iter().zip(&encoded).zip(&found);
    let answers = contexts.map(|((context, text), scores)| answer(context, text, scores));
    let expected = column(&rows, 2).iter().map(String::as_str);
    Ok(AnswerScore::of(answers.zip(expected)))
}

/// The part of the context between the first and the last token of the highest sum of scores.
fn answer<'c>(context: &'c str, text: &Encoded, scores: &[f32]) -> &'c str {
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
    let span = best.and_then(|(_, [first, last])| {
        context.get(text.offsets()[first].0..text.offsets()[last].1)
    });
    span.unwrap_or_default()
}
