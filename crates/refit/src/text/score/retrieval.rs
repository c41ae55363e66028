//! Finding the text that belongs to a query, among all texts of a file.

use super::{TextData, column};
use crate::text::{Embedder, TextModelError, TextRole};
use burn::tensor::{Device, Tensor, TensorData};
use refit_core::Progress;
use refit_io::data::{Header, TextColumn, TextRows, read_columns};
use refit_kernels::linear;
use refit_math::metric::Ranking;
use refit_nn::{blocks::unit_rows, to_host};
use serde::Serialize;
use std::collections::HashMap;

/// Answers that are looked at.
const DEPTH: usize = 10;
/// Queries whose scores are held together.
const ROWS: usize = 256;

/// How high right texts stand; shares in `[0, 1]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RetrievalScore {
    /// Different queries.
    pub queries: u64,
    /// Different texts, among which is looked.
    pub documents: usize,
    /// Share of queries whose first text is right.
    pub accuracy: f64,
    /// Mean share of the right texts that stand among the first ten.
    pub recall_at_10: f64,
    /// Mean of one over the place of the first right text, among the first ten.
    pub mrr_at_10: f64,
    /// Discounted gain against the best order, among the first ten.
    pub ndcg_at_10: f64,
    /// What any order reaches in the mean for a query with one right text: `10 / documents`.
    pub chance_recall_at_10: f64,
    /// How many texts were as long as the model reads and may have been cut.
    pub cut: usize,
}

/// Checks the rows of [`score_retrieval`].
///
/// # Errors
/// A row that cannot be read.
pub fn check_retrieval(data: TextData<'_>) -> Result<(), TextModelError> {
    pairs(data).map(drop)
}

/// Queries and texts.
fn pairs(data: TextData<'_>) -> Result<TextRows, TextModelError> {
    let query = TextColumn::needed(&["query", "question", "anchor"]);
    let text = TextColumn::needed(&["text", "document", "passage", "positive", "answer"]);
    let wanted = [query, text];
    Ok(read_columns(data.path, data.part, &wanted, Header::Needed)?)
}

/// Ranks all texts of a file by their cosine with each query; right are those that stand in a row with it. Queries and
/// texts are read behind the prompts that the model has for them.
///
/// # Errors
/// A row that cannot be read; when `progress` asks for a stop.
pub fn score_retrieval(
    model: &Embedder,
    data: TextData<'_>,
    progress: &dyn Progress,
) -> Result<RetrievalScore, TextModelError> {
    let rows = pairs(data)?;
    let (queries, which_query) = different(column(&rows, 0));
    let (documents, which_document) = different(column(&rows, 1));
    let mut right = vec![Vec::new(); queries.len()];
    for (query, document) in which_query.into_iter().zip(which_document) {
        right[query].push(document);
    }
    for right in &mut right {
        right.sort_unstable();
        right.dedup();
    }
    let found = model.embed_as(TextRole::Query, &queries, progress)?;
    let texts = model.embed_as(TextRole::Document, &documents, progress)?;
    let unit = |values: &[f32], width| {
        let values = TensorData::new(values.to_vec(), [values.len() / width, width]);
        unit_rows(Tensor::<2>::from_data(values, &Device::flex()).into()).into_value()
    };
    let corpus = unit(&texts.values, texts.width);
    let mut ranking = Ranking::new(DEPTH);
    let chunks = found.values.chunks(ROWS * found.width);
    progress.begin("rank", Some(queries.len() as u64));
    for (vectors, right) in chunks.zip(right.chunks(ROWS)) {
        if progress.cancelled() {
            return Err(TextModelError::Interrupted);
        }
        let scores = to_host(linear(unit(vectors, found.width), corpus.clone(), None));
        for (scores, right) in scores.chunks(documents.len()).zip(right) {
            ranking.add(&places(scores, right));
        }
        progress.advance(right.len() as u64);
    }
    Ok(RetrievalScore {
        queries: ranking.questions(),
        documents: documents.len(),
        accuracy: ranking.accuracy(),
        recall_at_10: ranking.recall(),
        mrr_at_10: ranking.mean_reciprocal_rank(),
        ndcg_at_10: ranking.ndcg(),
        chance_recall_at_10: (DEPTH as f64 / documents.len() as f64).min(1.0),
        cut: found.cut + texts.cut,
    })
}

/// Different texts in the order in which they come, and which of them each is.
fn different(texts: &[String]) -> (Vec<String>, Vec<usize>) {
    let mut known: HashMap<&str, usize> = HashMap::new();
    let mut found = Vec::new();
    let which = texts.iter().map(|text| {
        *known.entry(text).or_insert_with(|| {
            found.push(text.clone());
            found.len() - 1
        })
    });
    let which = which.collect();
    (found, which)
}

/// Places of the right texts, which ascend, in the order of scores. A tie counts against the model: equal texts stand before.
fn places(scores: &[f32], right: &[usize]) -> Vec<usize> {
    let mut order = right.to_vec();
    // Of equal right ones, those that come first in the file.
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    // Before how many of the right ones each other text stands.
    let mut before = vec![0; order.len() + 1];
    let others = (0..scores.len()).filter(|at| right.binary_search(at).is_err());
    for score in others.map(|at| scores[at]) {
        before[order.partition_point(|&at| scores[at] > score)] += 1;
    }
    let mut others = 0;
    let place = |(at, more): (usize, &usize)| {
        others += more;
        at + others
    };
    before[..order.len()]
        .iter()
        .enumerate()
        .map(place)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_count_against_the_model() {
        assert_eq!(places(&[0.5, 0.9, 0.5, 0.1], &[0]), [2]);
        assert_eq!(places(&[0.5, 0.9, 0.5, 0.1], &[0, 2]), [1, 2]);
        assert_eq!(places(&[0.5, 0.9, 0.5, 0.1], &[1]), [0]);
        assert_eq!(places(&[0.5, 0.9, 0.5, 0.1], &[1, 3]), [0, 3]);
    }

    #[test]
    fn texts_that_come_twice_are_one() {
        let texts = ["a", "b", "a"].map(str::to_owned);
        assert_eq!(
            different(&texts),
            (vec!["a".into(), "b".into()], vec![0, 1, 0])
        );
    }
}
