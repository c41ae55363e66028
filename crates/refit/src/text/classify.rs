//! Texts to classes, by the head of a model or one that was fitted to its vectors.

use super::{
    Embedder, Labelled, Reader, TextFolder, TextHead, TextModelError,
    reader::{check_finite, rows},
};
use crate::told::Chances;
use burn::tensor::Device;
use refit_core::Progress;
use refit_nn::{
    to_host,
    zoo::{TextTask, TokenBatch},
};
use std::path::Path;

/// A model that tells classes of texts.
#[derive(Debug)]
pub struct TextClassifier {
    kind: Kind,
    labels: Vec<String>,
    chances: Chances,
}

#[derive(Debug)]
enum Kind {
    /// The model has a head of its own.
    Whole(Reader),
    /// A head reads the vectors of an encoder.
    Beside(Embedder, TextHead),
}

/// Scores of classes, text by text.
#[derive(Clone, Debug, PartialEq)]
pub struct TextScores {
    /// A score for every class of every text.
    pub scores: Vec<Vec<f32>>,
    /// How many texts were as long as the model reads and may have been cut.
    pub cut: usize,
}

impl TextScores {
    /// The class of the highest score of every text; of equal ones the first.
    pub fn classes(&self) -> impl Iterator<Item = usize> {
        self.scores.iter().map(|scores| {
            let better = |best: usize, at: usize| if scores[at] > scores[best] { at } else { best };
            (0..scores.len()).fold(0, better)
        })
    }
}

impl TextClassifier {
    /// Checks what headers say, before weights are read: the names of the classes.
    ///
    /// # Errors
    /// A model that has neither classes nor a head beside it; a head for another model.
    pub fn check(
        folder: &TextFolder,
        head: Option<&TextHead>,
    ) -> Result<Vec<String>, TextModelError> {
        match (folder.config.task(), head) {
            (TextTask::Sequence { classes }, None) => folder.labels(classes),
            (TextTask::States, Some(head)) => {
                head.check(folder)?;
                Ok(head.labels().to_vec())
            }
            (TextTask::States, None) => Err(TextModelError::OtherTask {
                folder: folder.path().into(),
                does: "gives vectors",
                expected: "has classes (ForSequenceClassification), or a head with --head",
            }),
            (_, head) => Err(TextModelError::OtherTask {
                folder: folder.path().into(),
                does: "has a head of another kind",
                expected: if head.is_some() {
                    "gives vectors"
                } else {
                    "has classes (ForSequenceClassification)"
                },
            }),
        }
    }

    /// Reads weights.
    ///
    /// # Errors
    /// Those of [`check`](Self::check); weights that do not fit the architecture or are not finite.
    pub fn load(
        folder: TextFolder,
        head: Option<TextHead>,
        device: &Device,
    ) -> Result<Self, TextModelError> {
        let labels = Self::check(&folder, head.as_ref())?;
        let chances = match head {
            None => folder.chances()?,
            Some(_) => Chances::OneOf,
        };
        let kind = match head {
            None => Kind::Whole(Reader::load(folder, device)?),
            Some(head) => Kind::Beside(Embedder::load(head.settle(folder)?, device)?, head),
        };
        Ok(Self {
            kind,
            labels,
            chances,
        })
    }

    /// The names of the classes.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Scores of every text, or pair of texts.
    ///
    /// # Errors
    /// When a text cannot be cut or has no token, a score is not finite, pairs for a head that reads vectors, or `progress` asks for a stop.
    pub fn scores(
        &self,
        texts: &[String],
        seconds: Option<&[String]>,
        progress: &dyn Progress,
    ) -> Result<TextScores, TextModelError> {
        match &self.kind {
            Kind::Whole(reader) => {
                let encoded = reader.encode(texts, seconds)?;
                let scores = |batch: &TokenBatch| {
                    let scores = reader.model.forward(batch)?;
                    Ok(rows(&to_host(scores.into_value()), self.labels.len()))
                };
                let scores = reader.each("classify", &encoded, progress, scores)?;
                check_finite(&scores)?;
                let cut = reader.cut(&encoded);
                Ok(TextScores { scores, cut })
            }
            Kind::Beside(_, head) if seconds.is_some() => Err(head.pairs()),
            Kind::Beside(embedder, head) => {
                let found = embedder.embed(texts, progress)?;
                let vectors = found.values.chunks(found.width);
                Ok(TextScores {
                    scores: vectors.map(|vector| head.scores(vector)).collect(),
                    cut: found.cut,
                })
            }
        }
    }
}

impl TextClassifier {
    /// The label of every text, and how many may have been cut.
    ///
    /// # Errors
    /// When a text cannot be cut or has no token, or `progress` asks for a stop.
    pub fn label(
        &self,
        texts: &[String],
        progress: &dyn Progress,
    ) -> Result<(Vec<Labelled>, usize), TextModelError> {
        let found = self.scores(texts, None, progress)?;
        let label = |(text, scores): (&String, &Vec<f32>)| {
            Labelled::new(text, &self.labels, self.chances.probabilities(scores))
        };
        Ok((
            texts.iter().zip(&found.scores).map(label).collect(),
            found.cut,
        ))
    }
}

/// Opens the folder of a head, as `refit tune` writes it.
///
/// # Errors
/// Those of [`TextHead::open`].
pub fn open_head(path: Option<&Path>) -> Result<Option<TextHead>, TextModelError> {
    path.map(TextHead::open).transpose()
}
