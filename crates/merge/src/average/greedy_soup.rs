//! Greedy soup: add models to an average in the order of their scores, and keep those that do not lower it.
//! Source: Wortsman et al. 2022, arXiv:2203.05482, recipe 1.

use crate::{error::MergeError, layout::Entry, rule::finite, simd::kernel, tensor_set::TensorSet};
use std::sync::Arc;

/// The result of [`greedy_soup`].
#[derive(Clone, Debug, PartialEq)]
pub struct GreedySoup {
    /// The mean of the models that were kept.
    pub model: TensorSet,
    /// Its score.
    pub score: f64,
    /// What was tried, in order; the first is the best single model.
    pub trials: Vec<Trial>,
}

/// One model that was offered to the soup.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// Position of the model in the caller's list.
    pub model: usize,
    /// Score of the soup with it.
    pub score: f64,
    /// Whether it stayed.
    pub kept: bool,
}

/// Averages models greedily: begins with the best, offers the others in the order of their scores, and keeps one if
/// the score of the average with it is not below the score without it.
///
/// `scores` are those of single models on held-out data, larger is better; `load` brings a model when its turn comes;
/// `evaluate` scores a candidate on the same data. Equal scores are offered in the order of the list. A candidate whose
/// score is NaN is not kept.
///
/// # Errors
/// [`MergeError::NoExperts`] without scores, [`MergeError::Config`] when a score is not finite, [`MergeError::Names`]
/// when models differ, and those of `load` and `evaluate`.
///
/// # Cost
/// `K` models loaded and `K - 1` evaluations. In memory: the sum in double precision, one candidate and the model of
/// the turn, whatever `K`.
///
/// # Example
/// ```
/// use refit_merge::{MergeError, TensorSet, greedy_soup};
/// let models = [1.0, 4.0, 3.0].map(|w| TensorSet::from_values([("w", vec![1], vec![w])]).unwrap());
/// // The nearer to 2, the better.
/// let score = |model: &TensorSet| -f64::from((model.tensors()[0][0] - 2.0).abs());
/// let scores: Vec<f64> = models.iter().map(score).collect();
/// let soup = greedy_soup::<MergeError>(&scores, |k| Ok(models[k].clone()), |model| Ok(score(model)))?;
/// assert_eq!(soup.model.tensors()[0], [2.0]); // the mean of 1 and 3, without 4
/// assert_eq!(soup.trials.iter().map(|t| (t.model, t.kept)).collect::<Vec<_>>(), [(0, true), (2, true), (1, false)]);
/// # Ok::<(), MergeError>(())
/// ```
///
/// # Source
/// arXiv:2203.05482
pub fn greedy_soup<E: From<MergeError>>(
    scores: &[f64],
    mut load: impl FnMut(usize) -> Result<TensorSet, E>,
    mut evaluate: impl FnMut(&TensorSet) -> Result<f64, E>,
) -> Result<GreedySoup, E> {
    for &score in scores {
        finite("scores", score).map_err(MergeError::from)?;
    }
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let Some((&best, others)) = order.split_first() else {
        let base = "greedy soup".into();
        return Err(MergeError::NoExperts { base }.into());
    };
    let model = load(best)?;
    let mut sum = Sum::new(&model);
    let (mut soup, mut score) = (model, scores[best]);
    let mut trials = vec![Trial {
        model: best,
        score,
        kept: true,
    }];
    for &k in others {
        let model = load(k)?;
        check_alike(&soup, &model)?;
        let candidate = sum.mean_with(&model);
        let found = evaluate(&candidate)?;
        let kept = found >= score;
        if kept {
            sum.add(&model);
            (soup, score) = (candidate, found);
        }
        trials.push(Trial {
            model: k,
            score: found,
            kept,
        });
    }
    Ok(GreedySoup {
        model: soup,
        score,
        trials,
    })
}

fn check_alike(soup: &TensorSet, model: &TensorSet) -> Result<(), MergeError> {
    let (ours, theirs) = (soup.layout().entries(), model.layout().entries());
    let differs = (0..ours.len().max(theirs.len())).find(|&i| ours.get(i) != theirs.get(i));
    let Some(at) = differs else {
        return Ok(());
    };
    let name = |entries: &[Entry]| entries.get(at).map(|e| format!("{} {:?}", e.path, e.shape));
    Err(MergeError::Names {
        what: "the tensors of a model in the soup".into(),
        missing: name(ours).into_iter().collect(),
        unexpected: name(theirs).into_iter().collect(),
    })
}

/// The sum of the models that were kept.
struct Sum {
    values: Vec<Vec<f64>>,
    models: f64,
}

impl Sum {
    fn new(model: &TensorSet) -> Self {
        let wide = |tensor: &Vec<f32>| tensor.iter().map(|&v| f64::from(v)).collect();
        Self {
            values: model.tensors().iter().map(wide).collect(),
            models: 1.0,
        }
    }

    /// The mean with one model more.
    fn mean_with(&self, model: &TensorSet) -> TensorSet {
        let share = 1.0 / (self.models + 1.0);
        let pairs = self.values.iter().zip(model.tensors());
        let values = pairs.map(|(sum, model)| {
            let mut out = vec![0.0; model.len()];
            mean(&mut out, sum, model, share);
            out
        });
        TensorSet::from_parts(Arc::clone(model.layout()), values.collect())
    }

    fn add(&mut self, model: &TensorSet) {
        for (sum, model) in self.values.iter_mut().zip(model.tensors()) {
            crate::simd::add_scaled(sum, 1.0, model);
        }
        self.models += 1.0;
    }
}

kernel! {
    /// `out_i = share (sum_i + b_i)`, rounded once.
    fn mean(out: &'a mut [f32], sum: &'a [f64], b: &'a [f32], share: f64) {
        for ((out, &sum), &b) in out.iter_mut().zip(sum).zip(b) {
            *out = (share * (sum + f64::from(b))) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(values: &[f32]) -> TensorSet {
        TensorSet::from_values([("w", vec![values.len()], values.to_vec())]).unwrap()
    }

    fn soup(
        scores: &[f64],
        models: &[TensorSet],
        evaluate: impl FnMut(&TensorSet) -> Result<f64, MergeError>,
    ) -> Result<GreedySoup, MergeError> {
        greedy_soup(scores, |k| Ok(models[k].clone()), evaluate)
    }

    #[test]
    fn a_draw_is_kept_and_every_mean_is_over_what_was_kept() {
        let models = [model(&[0.0]), model(&[6.0]), model(&[3.0]), model(&[3.0])];
        let mut seen = vec![];
        let found = soup(&[0.1, 0.9, 0.5, 0.7], &models, |candidate| {
            seen.push(candidate.tensors()[0][0]);
            // Scores of the trials in order: a drop, a draw, a rise.
            Ok([0.8, 0.9, 1.0][seen.len() - 1])
        })
        .unwrap();
        assert_eq!(seen, [4.5, 4.5, 3.0]); // (6 + 3)/2 twice, (6 + 3 + 0)/3
        let trials: Vec<_> = found.trials.iter().map(|t| (t.model, t.kept)).collect();
        assert_eq!(trials, [(1, true), (3, false), (2, true), (0, true)]);
        assert_eq!(
            (found.model, found.score.to_bits()),
            (model(&[3.0]), 1f64.to_bits())
        );
    }

    #[test]
    fn one_model_is_the_soup_and_equal_scores_keep_their_order() {
        let models = [model(&[2.0, -1.0]), model(&[0.0, 0.0])];
        let found = soup(&[0.5], &models, |_| unreachable!()).unwrap();
        assert_eq!((found.model, found.trials.len()), (models[0].clone(), 1));
        let found = soup(&[0.5, 0.5], &models, |_| Ok(f64::NAN)).unwrap();
        assert_eq!(found.model, models[0]);
        assert!(!found.trials[1].kept);
    }

    #[test]
    fn the_order_of_the_list_does_not_matter() {
        let models = [1.0f32, 2.5, 4.0, -3.0].map(|w| model(&[w]));
        let score = |m: &TensorSet| -f64::from((m.tensors()[0][0] - 2.0).abs());
        let scores: Vec<f64> = models.iter().map(score).collect();
        let found = soup(&scores, &models, |m| Ok(score(m))).unwrap();
        let turned: Vec<TensorSet> = models.iter().rev().cloned().collect();
        let scores: Vec<f64> = turned.iter().map(score).collect();
        assert_eq!(
            soup(&scores, &turned, |m| Ok(score(m))).unwrap().model,
            found.model
        );
        assert!(found.score >= score(&models[1])); // never below the best single model
    }

    #[test]
    fn what_cannot_be_averaged_is_refused() {
        let models = [model(&[1.0]), model(&[1.0, 2.0])];
        let none = soup(&[], &models, |_| Ok(0.0)).unwrap_err();
        assert!(matches!(none, MergeError::NoExperts { .. }));
        let nan = soup(&[f64::NAN], &models, |_| Ok(0.0)).unwrap_err();
        assert_eq!(nan.to_string(), "`scores` is NaN, expected a finite number");
        let shapes = soup(&[1.0, 0.5], &models, |_| Ok(0.0)).unwrap_err();
        assert!(matches!(shapes, MergeError::Names { .. }), "{shapes}");
        let failed: Result<GreedySoup, MergeError> = greedy_soup(
            &[1.0, 0.5],
            |_| Ok(model(&[1.0])),
            |_| Err(MergeError::Cancelled),
        );
        assert!(matches!(failed, Err(MergeError::Cancelled)));
    }
}
