//! How good a model that reads text is, by what its head is for.

mod answers;
mod classes;
mod language;
mod retrieval;
mod similarity;
mod spans;
mod tags;

pub use answers::{AnswerScore, check_answers, score_answers};
pub use classes::{ClassScore, check_classes, check_one_label, score_classes};
pub use language::{LanguageConfig, LanguageScore, score_language};
pub use retrieval::{RetrievalScore, check_retrieval, score_retrieval};
pub use similarity::{
    SimilarityScore, check_numbers, check_similarity, score_numbers, score_similarity,
};
pub use spans::{check_spans, score_spans};
pub use tags::{TagScore, check_tags, score_tags};

use super::{TextModelError, folder::setting};
use refit_core::ConfigError;
use refit_io::data::{DataError, TextProblem, TextRows};
use std::path::Path;

/// A file of texts, and which part of it is looked at.
#[derive(Clone, Copy, Debug)]
pub struct TextData<'a> {
    /// The file.
    pub path: &'a Path,
    /// The part that a column `split` names; all rows where there is no such column.
    pub part: &'a str,
}

impl TextData<'_> {
    /// What is wrong with a row.
    fn problem(&self, rows: &TextRows, row: usize, problem: TextProblem) -> TextModelError {
        let line = rows.lines.get(row).copied().unwrap_or_default();
        TextModelError::Data(DataError::Text {
            at: self.path.into(),
            line,
            problem,
        })
    }

    /// A column of finite numbers.
    fn numbers(
        &self,
        rows: &TextRows,
        column: usize,
        name: &'static str,
    ) -> Result<Vec<f64>, TextModelError> {
        let texts = rows.columns[column].iter().flatten().enumerate();
        let number = |(row, text): (usize, &String)| {
            let number = text.trim().parse::<f64>().ok().filter(|x| x.is_finite());
            number.ok_or_else(|| {
                let found = text.chars().take(40).collect();
                self.problem(rows, row, TextProblem::NotNumber { name, found })
            })
        };
        texts.map(number).collect()
    }
}

/// The column at a place, which was asked for as needed.
fn column(rows: &TextRows, at: usize) -> &[String] {
    rows.columns[at].as_deref().unwrap_or_default()
}

/// The class that a label of a file means: by its name, else by its number.
fn class_of(label: &str, labels: &[String]) -> Option<usize> {
    let label = label.trim();
    let named = labels.iter().position(|known| known == label);
    named.or_else(|| label.parse().ok().filter(|&class| class < labels.len()))
}

/// Refuses a label that the model does not have.
fn unknown_label(path: &Path, label: &str, labels: &[String]) -> TextModelError {
    let known = labels.iter().map(String::as_str);
    setting(path)(ConfigError::unknown("label", label, known))
}
