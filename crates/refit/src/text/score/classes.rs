//! Classes of texts.

use super::{TextData, class_of, column, unknown_label};
use crate::{
    text::{TextClassifier, TextFolder, TextHead, TextModelError},
    told::Chances,
};
use refit_core::Progress;
use refit_io::data::{Header, TextColumn, TextRows, read_columns};
use refit_math::metric::Confusion;
use serde::Serialize;
use std::collections::BTreeMap;

/// Names of columns with texts, which several readers share.
pub(super) const TEXT: TextColumn =
    TextColumn::needed(&["text", "text_a", "sentence", "sentence1", "premise"]);
pub(super) const SECOND: TextColumn =
    TextColumn::optional(&["text_b", "text_pair", "sentence2", "hypothesis"]);

/// How often classes are told rightly; shares in `[0, 1]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassScore {
    /// Texts looked at.
    pub texts: u64,
    /// Texts whose class was told rightly.
    pub correct: u64,
    /// `correct / texts`.
    pub accuracy: f64,
    /// Mean of the harmonic means of precision and recall of the classes that occur.
    pub macro_f1: f64,
    /// Correlation of classes that are and that were told, in `[-1, 1]`.
    pub matthews: f64,
    /// Share of the largest class: what constant guessing reaches.
    pub majority: f64,
    /// Harmonic mean of precision and recall by class.
    pub per_class: BTreeMap<String, f64>,
    /// How many texts were as long as the model reads and may have been cut.
    pub cut: usize,
}

/// Tells the class of every text of a file. Labels of the file are names of classes, or their numbers.
///
/// # Errors
/// A row that cannot be read, a label that the model does not have; when `progress` asks for a stop.
pub fn score_classes(
    model: &TextClassifier,
    data: TextData<'_>,
    progress: &dyn Progress,
) -> Result<ClassScore, TextModelError> {
    let labels = model.labels();
    let (rows, expected) = classes(data, labels)?;
    let seconds = rows.columns[2].as_deref();
    let found = model.scores(column(&rows, 1), seconds, progress)?;
    let mut counts = Confusion::new(labels.len());
    for (&expected, found) in expected.iter().zip(found.classes()) {
        counts.add(expected, found);
    }
    Ok(ClassScore {
        texts: counts.len(),
        correct: counts.correct(),
        accuracy: counts.accuracy(),
        macro_f1: counts.macro_f1(),
        matthews: counts.matthews(),
        majority: counts.majority(),
        per_class: labels
            .iter()
            .cloned()
            .zip((0..).map(|class| counts.f1(class)))
            .collect(),
        cut: found.cut,
    })
}

/// Checks that a model of [`score_classes`] chooses one label of all.
///
/// # Errors
/// One that gives every label a probability of its own.
pub fn check_one_label(folder: &TextFolder, head: Option<&TextHead>) -> Result<(), TextModelError> {
    if head.is_some() || folder.chances()? == Chances::OneOf {
        return Ok(());
    }
    Err(TextModelError::OtherTask {
        folder: folder.path().into(),
        does: "gives every label a probability of its own",
        expected: "chooses one label of all",
    })
}

/// Checks the rows of [`score_classes`] for a model of these classes.
///
/// # Errors
/// A row that cannot be read, a label that the model does not have.
pub fn check_classes(data: TextData<'_>, labels: &[String]) -> Result<(), TextModelError> {
    classes(data, labels).map(drop)
}

/// The rows and their classes.
fn classes(
    data: TextData<'_>,
    labels: &[String],
) -> Result<(TextRows, Vec<usize>), TextModelError> {
    let label = TextColumn::needed(&["label"]);
    let wanted = [label, TEXT, SECOND];
    let rows = read_columns(data.path, data.part, &wanted, Header::Optional)?;
    let class = |label: &String| {
        class_of(label, labels).ok_or_else(|| unknown_label(data.path, label, labels))
    };
    let expected = column(&rows, 0).iter().map(class);
    let expected = expected.collect::<Result<_, _>>()?;
    Ok((rows, expected))
}
