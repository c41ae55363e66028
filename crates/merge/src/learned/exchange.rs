//! The model side of AdaMerging: what the caller computes in each step, and the buffers it shares.

use super::entropy::EntropyReport;
use crate::{
    error::{MergeError, ModelName},
    layout::Layout,
    simd,
    task_vector::TaskVectors,
};
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
