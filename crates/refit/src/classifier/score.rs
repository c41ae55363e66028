//! How good a classifier is.

use super::{Classifier, ClassifierError, check_images, pixels};
use burn::tensor::{Device, Tensor};
use refit_core::Progress;
use refit_io::data::{Batch, ImageSet, Normalise};
use refit_nn::{ImageConfig, Pass};
use refit_train::loss::is_correct;
use serde::Serialize;
use std::collections::BTreeMap;

/// Accuracy on one set of images; shares in `[0, 1]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    /// Images looked at.
    pub images: usize,
    /// Images whose largest logit is at their label.
    pub correct: usize,
    /// `correct / images`.
    pub accuracy: f64,
    /// Mean of the accuracies of the classes that occur: fair where classes are unbalanced.
    pub balanced_accuracy: f64,
    /// Accuracy by class.
    pub per_class: BTreeMap<String, f64>,
    /// Share of the largest class: what constant guessing reaches.
    pub majority: f64,
}

impl Classifier {
    /// Classifies every image of `set`, `batch_size` at a time.
    ///
    /// # Errors
    /// When the images or their classes do not fit the model, or the listener asks for a stop.
    ///
    /// # Panics
    /// When `batch_size` is 0.
    pub fn score(
        &self,
        set: &ImageSet,
        batch_size: usize,
        progress: &dyn Progress,
    ) -> Result<Score, ClassifierError> {
        self.check(set)?;
        let model = self.weights.bind(|scope| self.config.bind(scope))?;
        let batches = Batch::chunks(set, batch_size, &self.normalise);
        score_batches(set, batches, &self.device(), progress, |pixels| {
            Ok(model.forward(pixels.into(), &mut Pass::eval()).into_value())
        })
    }

    /// Checks that images and classes fit.
    ///
    /// # Errors
    /// The first thing that does not.
    pub fn check(&self, set: &ImageSet) -> Result<(), ClassifierError> {
        check_set(&self.config, &self.normalise, set)
    }
}

/// Scores the images of `set`, which come in batches, by what `logits` says of their pixels.
pub(crate) fn score_batches(
    set: &ImageSet,
    batches: impl Iterator<Item = Batch>,
    device: &Device,
    progress: &dyn Progress,
    logits: impl Fn(Tensor<4>) -> Result<Tensor<2>, ClassifierError>,
) -> Result<Score, ClassifierError> {
    let mut hits = Hits::new(set.class_count());
    progress.begin("score", Some(set.len() as u64));
    for mut batch in batches {
        if progress.cancelled() {
            return Err(ClassifierError::Interrupted);
        }
        hits.count(logits(pixels(&mut batch, device))?, &batch.labels);
        progress.advance(batch.len() as u64);
    }
    Ok(Score::of(set, &hits))
}

/// Checks that images and classes fit a model whose weights need not be there.
pub(crate) fn check_set(
    config: &ImageConfig,
    normalise: &Normalise,
    set: &ImageSet,
) -> Result<(), ClassifierError> {
    check_images(config, set.shape())?;
    let (found, expected) = (set.shape().channels, normalise.mean().len());
    if found != expected {
        return Err(ClassifierError::Channels { found, expected });
    }
    let (found, expected) = (set.class_count(), config.num_outputs());
    if found == expected {
        Ok(())
    } else {
        Err(ClassifierError::Classes { found, expected })
    }
}

/// Images of each class that were classified correctly.
#[derive(Debug)]
pub(crate) struct Hits(Vec<usize>);

impl Hits {
    pub(crate) fn new(classes: usize) -> Self {
        Self(vec![0; classes])
    }

    /// Counts a batch: `logits [n, classes]`.
    pub(crate) fn count(&mut self, logits: Tensor<2>, labels: &[u32]) {
        for (&label, hit) in labels.iter().zip(is_correct(logits, labels)) {
            self.0[label as usize] += usize::from(hit);
        }
    }

    /// Mean of the accuracies of the classes that occur, in sets with `counts` images of each class.
    pub(crate) fn balanced(&self, counts: &[usize]) -> f64 {
        let present = counts.iter().filter(|&&n| n > 0).count();
        let shares = self.0.iter().zip(counts).map(|(&h, &n)| share(h, n));
        shares.sum::<f64>() / present.max(1) as f64
    }
}

fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

impl Score {
    /// The score of as many hits on `set`.
    pub(crate) fn of(set: &ImageSet, hits: &Hits) -> Self {
        let counts = set.class_counts();
        let classes = set.classes().iter().zip(hits.0.iter().zip(&counts));
        let per_class: BTreeMap<String, f64> = classes
            .filter(|(_, (_, count))| **count > 0)
            .map(|(name, (&hits, &count))| (name.clone(), share(hits, count)))
            .collect();
        let correct = hits.0.iter().sum();
        Self {
            images: set.len(),
            correct,
            accuracy: share(correct, set.len()),
            balanced_accuracy: hits.balanced(&counts),
            per_class,
            majority: share(counts.iter().copied().max().unwrap_or(0), set.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use refit_io::data::ImageShape;

    #[test]
    fn balance_counts_every_class_once_and_leaves_absent_ones_out() {
        let shape = ImageShape {
            channels: 1,
            height: 1,
            width: 1,
        };
        let classes = ["a", "b", "c"].map(String::from);
        let set = ImageSet::new("s", classes, shape, vec![0; 5], vec![0, 0, 0, 0, 1]).unwrap();
        let score = Score::of(&set, &Hits(vec![3, 1, 0]));
        assert_eq!((score.images, score.correct), (5, 4));
        assert!((score.accuracy - 0.8).abs() < 1e-12 && (score.majority - 0.8).abs() < 1e-12);
        assert!((score.balanced_accuracy - 0.875).abs() < 1e-12);
        assert_eq!(score.per_class.len(), 2);
    }
}
