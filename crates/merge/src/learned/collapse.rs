//! Entropy can be minimised by calling everything the same: this watches for it.

use super::entropy::{EntropyReport, TaskEntropy};
use serde::{Deserialize, Serialize};

/// How much of the past a smoothed entropy keeps per step; about the last ten steps count.
const MEMORY: f64 = 0.9;

/// Steps before a verdict: below that the smoothed values hang on a few images.
const PATIENCE: u64 = 10;

/// A task whose predictions fell into few classes.
///
/// Watched is the class-marginal entropy, that of the mean prediction over the images of a step, smoothed over about
/// ten steps. It is at most `ln C` for `C` classes, and about `ln n` if `n` images are all predicted with certainty.
/// A task counts as collapsed once the smoothed value falls below a share (`collapse-share`, default 0.2) of
/// `ln min(C, n)`. The mean entropy never exceeds the marginal one, so predictions are confident *and* alike then.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Collapse {
    /// Position of the task in the reports.
    pub task: usize,
    /// First step at which it was seen.
    pub step: u64,
    /// Smoothed class-marginal entropy in the first steps of the run, in nats: if it was low then, the adaptation did
    /// not cause it.
    pub initial_marginal: f64,
    /// Smoothed class-marginal entropy now, in nats.
    pub marginal: f64,
    /// Smoothed mean entropy now, in nats.
    pub mean: f64,
    /// Number of classes.
    pub classes: usize,
    /// Whether it lasts; `false` if the task has recovered since.
    pub lasting: bool,
}

/// Smoothed entropies of all tasks. Sums are exponentially weighted from zero and corrected for it when read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct CollapseWatch {
    pub(crate) steps: u64,
    pub(crate) tasks: Vec<WatchedTask>,
}

/// Smoothed entropies of one task.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct WatchedTask {
    pub(crate) marginal: f64,
    pub(crate) mean: f64,
    pub(crate) initial_marginal: f64,
    pub(crate) first_seen: Option<u64>,
    pub(crate) collapsed: bool,
    pub(crate) classes: usize,
}

impl CollapseWatch {
    /// Takes in the report of `step`.
    pub(crate) fn observe(&mut self, step: u64, report: &EntropyReport, share: f64) {
        self.tasks
            .resize_with(report.tasks.len(), WatchedTask::default);
        self.steps += 1;
        let (steps, correction) = (self.steps, self.correction());
        for (watched, seen) in self.tasks.iter_mut().zip(&report.tasks) {
            watched.marginal += (1.0 - MEMORY) * (seen.marginal - watched.marginal);
            watched.mean += (1.0 - MEMORY) * (seen.mean - watched.mean);
            watched.classes = seen.classes;
            if steps <= PATIENCE {
                watched.initial_marginal = watched.marginal / correction;
            }
            watched.collapsed =
                steps >= PATIENCE && watched.marginal / correction < share * ceiling(seen);
            if watched.collapsed {
                watched.first_seen.get_or_insert(step);
            }
        }
    }

    /// `1 - memory^steps`: what an average that started at zero has seen.
    fn correction(&self) -> f64 {
        1.0 - (0..self.steps).fold(1.0, |power, _| power * MEMORY)
    }

    /// Tasks that collapsed at some time.
    pub(crate) fn collapses(&self) -> Vec<Collapse> {
        let correction = self.correction();
        let collapse = |(task, watched): (usize, &WatchedTask)| {
            Some(Collapse {
                task,
                step: watched.first_seen?,
                initial_marginal: watched.initial_marginal,
                marginal: watched.marginal / correction,
                mean: watched.mean / correction,
                classes: watched.classes,
                lasting: watched.collapsed,
            })
        };
        self.tasks.iter().enumerate().filter_map(collapse).collect()
    }
}

/// The marginal entropy of confident, evenly spread predictions.
fn ceiling(task: &TaskEntropy) -> f64 {
    (task.classes.min(task.images).max(1) as f64).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(marginals: impl IntoIterator<Item = f64>) -> Vec<Collapse> {
        let mut watch = CollapseWatch::default();
        for (step, marginal) in marginals.into_iter().enumerate() {
            let (classes, images) = (10, 32);
            let task = TaskEntropy {
                loss: 0.0,
                mean: 0.5 * marginal,
                marginal,
                classes,
                images,
            };
            watch.observe(step as u64, &EntropyReport { tasks: vec![task] }, 0.2);
        }
        watch.collapses()
    }

    #[test]
    fn a_collapse_is_seen_and_a_healthy_run_is_not() {
        let healthy = std::iter::repeat_n(2.1, 50);
        assert_eq!(watch(healthy.clone()), []);
        let collapsed = watch(healthy.chain(std::iter::repeat_n(0.05, 50)));
        let [collapse] = collapsed[..] else {
            panic!("{collapsed:?}")
        };
        // 0.2 ln 10 = 0.46; smoothed 0.05 + 2.05 * 0.9^n falls below it at n = 16
        assert_eq!(
            (collapse.task, collapse.step, collapse.lasting),
            (0, 65, true)
        );
        assert!(collapse.initial_marginal > 2.0 && collapse.marginal < 0.1);
    }

    #[test]
    fn one_odd_batch_is_no_collapse_and_recovery_shows() {
        let odd = (0..40).map(|i| if i == 20 { 0.0 } else { 2.1 });
        assert_eq!(watch(odd), []);
        assert_eq!(
            watch(std::iter::repeat_n(0.0, 9)),
            [],
            "nine steps are too few for a verdict"
        );
        let recovered = watch((0..80).map(|i| if i < 20 { 0.0 } else { 2.1 }));
        assert!(!recovered[0].lasting && recovered[0].step == 9);
        assert!(recovered[0].initial_marginal < 0.1);
    }

    #[test]
    fn few_images_and_single_classes_are_not_accused() {
        let task = |classes, images, marginal| TaskEntropy {
            loss: 0.0,
            mean: 0.0,
            marginal,
            classes,
            images,
        };
        let mut watch = CollapseWatch::default();
        for step in 0..20 {
            // 397 classes seen through 3 images, spread evenly: ln 3 = 1.10 < 0.2 ln 397 = 1.20;
            // and one class that can only be itself.
            let tasks = vec![task(397, 3, 3f64.ln()), task(1, 32, 0.0)];
            watch.observe(step, &EntropyReport { tasks }, 0.2);
        }
        assert_eq!(watch.collapses(), []);
    }
}
