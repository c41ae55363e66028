//! Labelled texts: lines of `label<TAB>text`, with or without a header, or of JSON objects; Parquet files.

use super::{
    columns::{Header, TextColumn, at_line, read_columns},
    text_problem::TextProblem,
};
use crate::data::DataError;
use std::{collections::HashMap, path::Path};

/// Most different labels; more are no classes.
const MOST_LABELS: usize = 10_000;

/// Texts with a class each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledTexts {
    /// The texts.
    pub texts: Vec<String>,
    /// Second texts, where rows are pairs.
    pub seconds: Option<Vec<String>>,
    /// The class of each, a place in `labels`.
    pub classes: Vec<u32>,
    /// The label of each class, as it was written: ascending as numbers where all are whole numbers, else as text.
    pub labels: Vec<String>,
}

const LABEL: TextColumn = TextColumn::needed(&["label", "labels"]);
const TEXT: TextColumn =
    TextColumn::needed(&["text", "text_a", "sentence", "sentence1", "premise"]);
const SECOND: TextColumn =
    TextColumn::optional(&["text_b", "text_pair", "sentence2", "hypothesis"]);

/// Reads labelled texts or pairs of texts in one of the layouts of [`read_columns`]: a column `label` (or `labels`), a column `text`
/// (or `text_a`, `sentence`, `sentence1`, `premise`) and for pairs `text_b` (or `text_pair`, `sentence2`,
/// `hypothesis`); a table without a header has `label<TAB>text`, and the text keeps its tabs.
///
/// `known` are the labels that there may be, in the order of the classes; without, they are those found.
///
/// # Errors
/// The first line that is no row, with its number; a label that is not `known`; no row at all; fewer than two labels
/// where none are known; a file beyond 2 GiB.
///
/// # Example
/// ```
/// use refit_io::{atomic, data::read_texts};
/// let home = tempfile::tempdir()?;
/// let path = home.path().join("toy.tsv");
/// atomic::write_file(&path, b"good\ta fine film\nbad\ttoo long\n", atomic::Overwrite::Refuse)?;
/// let found = read_texts(&path, "train", None)?;
/// assert_eq!(found.labels, ["bad", "good"]);
/// assert_eq!(found.classes, [1, 0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read_texts(
    path: impl AsRef<Path>,
    part: &str,
    known: Option<&[String]>,
) -> Result<LabelledTexts, DataError> {
    let path = path.as_ref();
    let rows = read_columns(path, part, &[LABEL, TEXT, SECOND], Header::Optional)?;
    let failed = |row: usize, problem| at_line(path, rows.lines[row])(problem);
    let mut columns = rows.columns.into_iter();
    // Invariant: needed columns are there.
    let written = columns.next().flatten().unwrap_or_default();
    let texts = columns.next().flatten().unwrap_or_default();
    let seconds = columns.next().flatten();
    let written: Vec<&str> = written.iter().map(|label| label.trim()).collect();
    for (row, (label, text)) in written.iter().zip(&texts).enumerate() {
        for (name, value) in [("label", *label), ("text", text.trim())] {
            if value.is_empty() {
                return Err(failed(row, TextProblem::Empty { name }));
            }
        }
    }
    let labels = match known {
        Some(known) => known.to_vec(),
        None => labels(&written)
            .map_err(|row| failed(row, TextProblem::TooManyLabels { most: MOST_LABELS }))?,
    };
    if let [label] = &labels[..] {
        return Err(DataError::OneLabel {
            at: path.into(),
            label: label.clone(),
        });
    }
    let places: HashMap<&str, u32> = labels.iter().map(String::as_str).zip(0..).collect();
    let class = |(row, label): (usize, &&str)| {
        places.get(label).copied().ok_or_else(|| {
            let found = shown(label);
            failed(row, TextProblem::NewLabel { found })
        })
    };
    let classes = written.iter().enumerate().map(class);
    let classes = classes.collect::<Result<_, DataError>>()?;
    Ok(LabelledTexts {
        texts,
        seconds,
        classes,
        labels,
    })
}

/// The different labels in order, or the row with one too many.
fn labels(written: &[&str]) -> Result<Vec<String>, usize> {
    let mut labels: Vec<&str> = Vec::new();
    for (row, label) in written.iter().enumerate() {
        if let Err(at) = labels.binary_search(label) {
            if labels.len() == MOST_LABELS {
                return Err(row);
            }
            labels.insert(at, label);
        }
    }
    let numbers: Option<Vec<i64>> = labels.iter().map(|label| label.parse().ok()).collect();
    if numbers.is_some() {
        labels.sort_by_key(|label| label.parse::<i64>().unwrap_or_default());
    }
    Ok(labels.into_iter().map(str::to_owned).collect())
}

/// A label as messages show it.
fn shown(label: &str) -> String {
    let mut text: String = label.chars().take(40).collect();
    if text.len() < label.len() {
        text += "..";
    }
    text.escape_debug().to_string()
}
