//! How good a candidate is.

use super::{
    JobError,
    encoder::balanced_accuracy,
    found::{Found, Notes, Scored},
    images::Split,
    repetition::Repetition,
};
use refit_io::data::ImageSet;
use refit_nn::{Weights, blocks::CosineHead};

/// One candidate for every task: shared weights, or one set of weights per task.
pub(super) enum Candidate<'a> {
    Shared(&'a Weights),
    PerTask(&'a [Weights]),
}

impl Candidate<'_> {
    fn of(&self, task: usize) -> &Weights {
        match self {
            Self::Shared(weights) => weights,
            Self::PerTask(weights) => &weights[task],
        }
    }
}

impl Repetition<'_> {
    /// Scores a finished candidate on test images; nothing is decided by what is found.
    pub(super) fn score(
        &self,
        found: &mut Found,
        name: &str,
        heads: &[CosineHead],
        candidate: &Candidate<'_>,
        notes: &Notes,
    ) -> Result<(), JobError> {
        let scored: Scored = self.shelf.measured(name, || {
            Ok::<_, JobError>(Scored {
                name: name.to_owned(),
                settings: notes.settings.clone(),
                per_task: self.per_task(name, heads, candidate)?,
                per_corruption: self.per_corruption(heads, candidate)?,
                seconds: notes.seconds,
            })
        })?;
        let percent = 100.0 * mean(&scored.per_task);
        self.progress.note(&format!("{name}: {percent:.1} %"));
        found.methods.push(scored);
        Ok(())
    }

    fn per_task(
        &self,
        name: &str,
        heads: &[CosineHead],
        candidate: &Candidate<'_>,
    ) -> Result<Vec<f64>, JobError> {
        let count = self.parts.len() as u64;
        self.progress.begin(&format!("scoring {name}"), Some(count));
        let score = |(k, split): (usize, &Split)| {
            if self.progress.cancelled() {
                return Err(JobError::Interrupted);
            }
            let score = self.accuracy(candidate.of(k), heads, k, &split.test);
            self.progress.advance(1);
            score
        };
        self.parts.iter().enumerate().map(score).collect()
    }

    fn per_corruption(
        &self,
        heads: &[CosineHead],
        candidate: &Candidate<'_>,
    ) -> Result<Vec<f64>, JobError> {
        let score = |sets: &Vec<ImageSet>| {
            if self.progress.cancelled() {
                return Err(JobError::Interrupted);
            }
            let each = sets.iter().enumerate();
            let scores: Result<Vec<f64>, _> = each
                .map(|(k, set)| self.accuracy(candidate.of(k), heads, k, set))
                .collect();
            scores.map(|scores| mean(&scores))
        };
        self.corrupted.iter().map(score).collect()
    }

    fn accuracy(
        &self,
        weights: &Weights,
        heads: &[CosineHead],
        task: usize,
        set: &ImageSet,
    ) -> Result<f64, JobError> {
        balanced_accuracy(&self.model, weights, &heads[task], set, &self.normalise)
    }

    /// Mean accuracy on the labelled validation images that settings are tuned on.
    pub(super) fn tuning_accuracy(
        &self,
        weights: &Weights,
        heads: &[CosineHead],
    ) -> Result<f64, JobError> {
        let scores: Result<Vec<f64>, _> = (0..self.parts.len())
            .map(|k| self.accuracy(weights, heads, k, &self.parts[k].tune))
            .collect();
        Ok(mean(&scores?))
    }
}

pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}
