//! Answers that are written after a question.

use super::{TextData, column};
use crate::text::{Prompts, TextModelError, Writer, Writing};
use refit_core::Progress;
use refit_io::data::{Header, TextColumn, TextRows, read_columns};
use refit_math::metric::{exact_match, token_f1};
use serde::Serialize;
use std::ops::ControlFlow;

/// How often answers are those that were expected; shares in `[0, 1]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AnswerScore {
    /// Questions asked.
    pub questions: usize,
    /// Share of answers that are the same but for case, punctuation, articles and spaces.
    pub exact_match: f64,
    /// Mean of the harmonic means of the shares of words that answers share with those expected.
    pub token_f1: f64,
}

impl AnswerScore {
    pub(super) fn of<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let (mut questions, mut exact, mut f1) = (0, 0.0, 0.0);
        for (found, expected) in pairs {
            questions += 1;
            exact += f64::from(u8::from(exact_match(found, expected)));
            f1 += token_f1(found, expected);
        }
        let count = f64::from(questions.max(1));
        Self {
            questions: questions as usize,
            exact_match: exact / count,
            token_f1: f1 / count,
        }
    }
}

/// Lets a decoder write on after every question of a file.
///
/// # Errors
/// A row that cannot be read, a question longer than the model reads; when `progress` asks for a stop.
pub fn score_answers(
    model: &Writer,
    data: TextData<'_>,
    progress: &dyn Progress,
) -> Result<AnswerScore, TextModelError> {
    let (rows, prompts) = asked(model.job(), data)?;
    let found = model.write(&prompts, &mut |_| ControlFlow::Continue(()), progress)?;
    let found = found.iter().map(|answer| answer.text.as_str());
    let expected = column(&rows, 1).iter().map(String::as_str);
    Ok(AnswerScore::of(found.zip(expected)))
}

/// Checks the rows of [`score_answers`].
///
/// # Errors
/// A row that cannot be read, a question longer than the model reads.
pub fn check_answers(job: &Writing, data: TextData<'_>) -> Result<(), TextModelError> {
    asked(job, data).map(drop)
}

/// The rows, and their questions as the model reads them.
fn asked(job: &Writing, data: TextData<'_>) -> Result<(TextRows, Prompts), TextModelError> {
    let question = TextColumn::needed(&["prompt", "question", "input"]);
    let answer = TextColumn::needed(&["answer", "target", "output"]);
    let wanted = [question, answer];
    let rows = read_columns(data.path, data.part, &wanted, Header::Needed)?;
    let prompts = job.prompts(column(&rows, 0).to_vec())?;
    Ok((rows, prompts))
}
