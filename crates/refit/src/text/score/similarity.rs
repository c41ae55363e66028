//! Numbers for texts or pairs of texts: a regression head, or the cosine of two vectors.

use super::{
    TextData,
    classes::{SECOND, TEXT},
    column,
};
use crate::text::{Embedder, TextClassifier, TextModelError};
use refit_core::Progress;
use refit_io::data::{Header, TextColumn, TextRows, read_columns};
use refit_math::metric::{pearson, spearman};
use serde::Serialize;

/// How well numbers of a model go with those of a file.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SimilarityScore {
    /// Texts or pairs.
    pub texts: usize,
    /// Correlation, in `[-1, 1]`.
    pub pearson: f64,
    /// Correlation of ranks.
    pub spearman: f64,
    /// How many texts were as long as the model reads and may have been cut.
    pub cut: usize,
}

const NUMBER: TextColumn = TextColumn::needed(&["score", "label", "similarity"]);

/// The number that a model with one output gives every text, or pair of texts.
///
/// # Errors
/// A row that cannot be read or has no number; when `progress` asks for a stop.
pub fn score_numbers(
    model: &TextClassifier,
    data: TextData<'_>,
    progress: &dyn Progress,
) -> Result<SimilarityScore, TextModelError> {
    let (rows, expected) = numbers(data, SECOND)?;
    let found = model.scores(column(&rows, 1), rows.columns[2].as_deref(), progress)?;
    let numbers: Vec<f64> = found.scores.iter().map(|scores| scores[0].into()).collect();
    Ok(of(&expected, &numbers, found.cut))
}

/// Checks the rows of [`score_numbers`].
///
/// # Errors
/// A row that cannot be read or has no number.
pub fn check_numbers(data: TextData<'_>) -> Result<(), TextModelError> {
    numbers(data, SECOND).map(drop)
}

/// Checks the rows of [`score_similarity`].
///
/// # Errors
/// A row that cannot be read or has no number.
pub fn check_similarity(data: TextData<'_>) -> Result<(), TextModelError> {
    numbers(data, TextColumn::needed(SECOND.names)).map(drop)
}

/// The rows and their numbers.
fn numbers(data: TextData<'_>, second: TextColumn) -> Result<(TextRows, Vec<f64>), TextModelError> {
    let wanted = [NUMBER, TEXT, second];
    let rows = read_columns(data.path, data.part, &wanted, Header::Needed)?;
    let expected = data.numbers(&rows, 0, "score")?;
    Ok((rows, expected))
}

/// The cosine of the vectors of the two texts of every row.
///
/// # Errors
/// A row that cannot be read or has no number; when `progress` asks for a stop.
pub fn score_similarity(
    model: &Embedder,
    data: TextData<'_>,
    progress: &dyn Progress,
) -> Result<SimilarityScore, TextModelError> {
    let (rows, expected) = numbers(data, TextColumn::needed(SECOND.names))?;
    let [a, b] = [1, 2].map(|at| model.embed(column(&rows, at), progress));
    let (a, b) = (a?, b?);
    let pairs = a.values.chunks(a.width).zip(b.values.chunks(b.width));
    let cosines: Vec<f64> = pairs.map(|(a, b)| cosine(a, b)).collect();
    Ok(of(&expected, &cosines, a.cut + b.cut))
}

fn of(expected: &[f64], found: &[f64], cut: usize) -> SimilarityScore {
    SimilarityScore {
        texts: expected.len(),
        pearson: pearson(expected, found),
        spearman: spearman(expected, found),
        cut,
    }
}

/// 0 for a vector without a direction.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum()
    };
    let length = (dot(a, a) * dot(b, b)).sqrt();
    if length > 0.0 {
        dot(a, b) / length
    } else {
        0.0
    }
}
