//! The model side of AdaMerging: what the caller computes in each step, and the buffers it shares.

use crate::{
    error::{MergeError, ModelName},
    layout::Layout,
    simd,
    task_vector::TaskVectors,
};
use serde::{Deserialize, Serialize};
use std::{error::Error, sync::Arc};

/// A model that can be run at merged weights on unlabelled inputs of all tasks.
///
/// In each step the implementation takes `theta`, runs its batches, and hands over the gradient of
/// `sum over tasks, sum over batches of the mean entropy in a batch` with respect to `theta`, in one of three ways:
///
/// - [`Gradient::give`] moves whole buffers in (no copy; the caller accumulated over batches itself);
/// - [`Gradient::add`] accumulates slices into buffers that are kept here (`P` values);
/// - [`Gradient::project`] uses a slice at once and forgets it (extra memory: one tensor instead of `P`).
///
/// Tensors that receive nothing have no gradient; their coefficients stay where they are.
///
/// With an engine whose tensors own a `Vec`, no weight is copied: [`Theta::take`] the buffers, wrap each as a leaf
/// tensor, run forward and backward, `give` the gradients, unwrap the leaves and [`Theta::give_back`] the buffers.
/// Buffers that do not come back are allocated anew; their content does not matter.
pub trait EntropyModel {
    /// Why a step failed.
    type Error: Error + Send + Sync + 'static;

    /// Runs the batches of `step` (counted from 0) at `theta`.
    ///
    /// Batches should be a function of `step`, so that a resumed run sees the same ones.
    ///
    /// # Errors
    /// When the model or its data fails; the run stops there, and its state is that before the step.
    fn entropy_gradient(
        &mut self,
        step: u64,
        theta: &mut Theta,
        gradient: &mut Gradient<'_>,
    ) -> Result<EntropyReport, Self::Error>;
}

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

/// The merged weights of a step.
#[derive(Clone, Debug)]
pub struct Theta {
    layout: Arc<Layout>,
    pub(crate) values: Vec<Vec<f32>>,
}

impl Theta {
    pub(crate) fn new(layout: Arc<Layout>) -> Self {
        Self {
            layout,
            values: vec![],
        }
    }

    /// Names and shapes.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// The weights, tensor by tensor.
    pub fn tensors(&self) -> &[Vec<f32>] {
        &self.values
    }

    /// Moves the weights out, to be wrapped by another engine without a copy.
    pub fn take(&mut self) -> Vec<Vec<f32>> {
        std::mem::take(&mut self.values)
    }

    /// Returns buffers for the next step; their order should be that of [`take`](Self::take), their content is
    /// overwritten.
    pub fn give_back(&mut self, buffers: Vec<Vec<f32>>) {
        self.values = buffers;
    }

    /// The buffers, one per tensor whatever came back.
    pub(crate) fn buffers(&mut self) -> &mut [Vec<f32>] {
        self.values.resize_with(self.layout.len(), Vec::new);
        &mut self.values
    }
}

/// Gradients of one step with respect to the merged weights.
#[derive(Debug)]
pub struct Gradient<'s> {
    pub(crate) tasks: &'s TaskVectors<'s>,
    pub(crate) buffers: &'s mut GradientBuffers,
}

/// What a [`Gradient`] collects into; lives as long as the run.
#[derive(Debug, Default)]
pub(crate) struct GradientBuffers {
    slots: Vec<Slot>,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    values: Vec<f32>,
    filled: bool,
    /// Came from the caller, so it is dropped after the step instead of being kept beside the caller's next one.
    given: bool,
    /// `<gradient, tau_k>` of what was projected at once.
    projected: Option<Vec<f64>>,
}

impl GradientBuffers {
    pub(crate) fn new(tensors: usize) -> Self {
        Self {
            slots: vec![Slot::default(); tensors],
        }
    }

    /// The gradient of each tensor, where there is one.
    pub(crate) fn filled(&self) -> Vec<Option<&[f32]>> {
        self.slots
            .iter()
            .map(|slot| slot.filled.then_some(slot.values.as_slice()))
            .collect()
    }

    /// Projections that were made at once, tensor by tensor.
    pub(crate) fn projected(&self, tensor: usize) -> Option<&[f64]> {
        self.slots[tensor].projected.as_deref()
    }

    /// Ends the step.
    pub(crate) fn clear(&mut self) {
        for slot in &mut self.slots {
            if slot.given {
                slot.values = Vec::new();
            }
            (slot.filled, slot.given, slot.projected) = (false, false, None);
        }
    }
}

impl Gradient<'_> {
    /// Names and shapes.
    pub fn layout(&self) -> &Arc<Layout> {
        self.tasks.layout()
    }

    /// Accumulates `part` into the gradient of `tensor`.
    ///
    /// # Errors
    /// [`MergeError::Size`] when `part` is not as long as the tensor, or there is no such tensor.
    pub fn add(&mut self, tensor: usize, part: &[f32]) -> Result<(), MergeError> {
        self.check(tensor, part.len())?;
        let slot = &mut self.buffers.slots[tensor];
        if slot.filled {
            simd::add(&mut slot.values, part);
        } else {
            slot.values.clear();
            slot.values.extend_from_slice(part);
            slot.filled = true;
        }
        Ok(())
    }

    /// Accumulates a whole buffer, without a copy if it is the first for `tensor`.
    ///
    /// # Errors
    /// Those of [`add`](Self::add).
    pub fn give(&mut self, tensor: usize, part: Vec<f32>) -> Result<(), MergeError> {
        self.check(tensor, part.len())?;
        let slot = &mut self.buffers.slots[tensor];
        if slot.filled {
            simd::add(&mut slot.values, &part);
        } else {
            (slot.values, slot.filled, slot.given) = (part, true, true);
        }
        Ok(())
    }

    /// Projects `part` on the task vectors at once; nothing of it is kept.
    ///
    /// # Errors
    /// Those of [`add`](Self::add).
    /// # Cost
    /// One pass over the task vectors of this tensor per call, instead of one per step.
    pub fn project(&mut self, tensor: usize, part: &[f32]) -> Result<(), MergeError> {
        self.check(tensor, part.len())?;
        let mut views = vec![None; self.tasks.layout().len()];
        views[tensor] = Some(part);
        let dots = super::project::group_dots(self.tasks, &[tensor], &views);
        let slot = &mut self.buffers.slots[tensor];
        match &mut slot.projected {
            None => slot.projected = Some(dots),
            Some(sums) => sums.iter_mut().zip(dots).for_each(|(sum, dot)| *sum += dot),
        }
        Ok(())
    }

    fn check(&self, tensor: usize, found: usize) -> Result<(), MergeError> {
        let entry = self.tasks.layout().entries().get(tensor);
        let expected = entry.map_or(0, |entry| entry.len);
        if entry.is_some() && found == expected {
            return Ok(());
        }
        let path = entry.map_or_else(|| format!("tensor {tensor}").into(), |e| e.path.clone());
        let model = ModelName::Gradient;
        Err(MergeError::Size {
            path,
            model,
            found,
            expected,
            unit: "values",
        })
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
