//! Entropy of predictions: its value, its gradient, and what a step reports of it.

use serde::{Deserialize, Serialize};

/// What a step observed, task by task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EntropyReport {
    /// One entry per task, always in the same order.
    pub tasks: Vec<TaskEntropy>,
}

impl EntropyReport {
    /// The objective: sum over tasks of [`TaskEntropy::loss`], without weights.
    pub fn loss(&self) -> f64 {
        self.tasks.iter().map(|task| task.loss).sum()
    }
}

/// What a step observed for one task. Entropies are in nats.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskEntropy {
    /// Sum over batches of the mean entropy in a batch.
    pub loss: f64,
    /// Mean entropy of a prediction, over all images of the step.
    pub mean: f64,
    /// Entropy of the mean prediction over all images of the step; never below `mean`.
    pub marginal: f64,
    /// Number of classes.
    pub classes: usize,
    /// Number of images in the step.
    pub images: usize,
}

/// Measures the predictions of one task in one step, and differentiates their entropy.
///
/// ```
/// use refit_merge::EntropyMeter;
/// let mut meter = EntropyMeter::new(2);
/// // Two undecided images and two that are sure of different classes.
/// let gradient = meter.add(&[0.0, 0.0, 1.0, 1.0, 40.0, 0.0, 0.0, 40.0]);
/// let task = meter.finish();
/// assert!((task.mean - 0.5 * 2f64.ln()).abs() < 1e-9);
/// assert!((task.marginal - 2f64.ln()).abs() < 1e-9);
/// assert!(gradient.iter().all(|g| g.abs() < 1e-9)); // all four are stationary points
/// ```
#[derive(Clone, Debug)]
pub struct EntropyMeter {
    classes: usize,
    images: usize,
    loss: f64,
    entropy: f64,
    /// Sum of predicted probabilities, class by class.
    mass: Vec<f64>,
}

impl EntropyMeter {
    /// Starts with no image; `classes` is the width of a row of logits.
    pub fn new(classes: usize) -> Self {
        Self {
            classes,
            images: 0,
            loss: 0.0,
            entropy: 0.0,
            mass: vec![0.0; classes],
        }
    }

    /// Adds one batch and returns the gradient of its mean entropy with respect to the logits:
    /// `-p_j (log p_j + H) / n`, with `log p` from log-softmax.
    ///
    /// # Shapes
    /// `logits [n, classes]`, row by row; an incomplete last row is ignored -> `[n, classes]`.
    pub fn add<L: Copy + Into<f64>>(&mut self, logits: &[L]) -> Vec<f64> {
        if self.classes == 0 {
            return vec![];
        }
        let rows = logits.chunks_exact(self.classes);
        let images = rows.len();
        let mut gradient = Vec::with_capacity(images * self.classes);
        let mut batch = 0.0;
        for row in rows {
            batch += self.add_row(row, images as f64, &mut gradient);
        }
        self.images += images;
        self.entropy += batch;
        self.loss += if images == 0 {
            0.0
        } else {
            batch / images as f64
        };
        gradient
    }

    fn add_row<L: Copy + Into<f64>>(
        &mut self,
        logits: &[L],
        images: f64,
        gradient: &mut Vec<f64>,
    ) -> f64 {
        let largest = logits
            .iter()
            .fold(f64::NEG_INFINITY, |m, &z| m.max(z.into()));
        let sum: f64 = logits.iter().map(|&z| (z.into() - largest).exp()).sum();
        let log_p = |&z: &L| z.into() - largest - sum.ln();
        // `p log p` tends to 0 where a logit is minus infinity.
        let weighted = |log_p: f64, x: f64| {
            if log_p == f64::NEG_INFINITY {
                0.0
            } else {
                log_p.exp() * x
            }
        };
        let entropy: f64 = -logits
            .iter()
            .map(log_p)
            .map(|l| weighted(l, l))
            .sum::<f64>();
        for (log_p, mass) in logits.iter().map(log_p).zip(&mut self.mass) {
            *mass += log_p.exp();
            gradient.push(-weighted(log_p, log_p + entropy) / images);
        }
        entropy
    }

    /// What was measured.
    pub fn finish(&self) -> TaskEntropy {
        let n = self.images.max(1) as f64;
        let term = |&mass: &f64| {
            if mass == 0.0 {
                0.0
            } else {
                mass / n * (mass / n).ln()
            }
        };
        TaskEntropy {
            loss: self.loss,
            mean: self.entropy / n,
            marginal: -self.mass.iter().map(term).sum::<f64>(),
            classes: self.classes,
            images: self.images,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_of_the_entropy_is_that_of_central_differences() {
        let logits = [0.3, -1.2, 2.0, 0.1, 0.0, -0.4];
        let loss = |logits: &[f64]| {
            let mut meter = EntropyMeter::new(3);
            meter.add(logits);
            meter.finish().loss
        };
        let gradient = EntropyMeter::new(3).add(&logits);
        for (i, g) in gradient.iter().enumerate() {
            let shifted = |h: f64| {
                let mut moved = logits;
                moved[i] += h;
                loss(&moved)
            };
            let difference = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
            assert!((g - difference).abs() < 1e-9, "{i}: {g} {difference}");
        }
    }

    #[test]
    fn batches_add_losses_and_share_the_marginal() {
        let mut meter = EntropyMeter::new(2);
        meter.add(&[50.0f32, 0.0]);
        meter.add(&[0.0f32, 50.0]);
        meter.add(&[0.0f32, 0.0]);
        let task = meter.finish();
        let ln2 = 2f64.ln();
        assert!((task.loss - ln2).abs() < 1e-9 && (task.mean - ln2 / 3.0).abs() < 1e-9);
        assert!((task.marginal - ln2).abs() < 1e-9);
        assert_eq!((task.images, task.classes), (3, 2));
    }

    #[test]
    fn a_forbidden_class_adds_nothing_and_nan_shows() {
        let mut meter = EntropyMeter::new(3);
        let gradient = meter.add(&[0.0, 0.0, f64::NEG_INFINITY]);
        assert!(gradient.iter().all(|g| g.is_finite()));
        assert!((meter.finish().mean - 2f64.ln()).abs() < 1e-12);
        meter.add(&[f64::NAN, 0.0, 0.0]);
        assert!(meter.finish().loss.is_nan());
    }
}
