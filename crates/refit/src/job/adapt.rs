//! The model side of AdaMerging.

use super::{batches::Drawer, encoder::MultiTask};
use burn::tensor::Device;
use refit_merge::{EntropyMeter, EntropyModel, EntropyReport, Gradient, MergeError, Theta};
use refit_nn::{NnError, ParamLayout, Pass, Weights, blocks::CosineHead, to_host};
use refit_train::{loss::mean_entropy, value_and_gradient};
use std::sync::Arc;

/// Runs the shared encoder on unlabelled images of all tasks, each through its own frozen head.
pub(super) struct EncoderEntropy<'a> {
    pub(super) model: &'a MultiTask,
    pub(super) layout: Arc<ParamLayout>,
    pub(super) heads: &'a [CosineHead],
    pub(super) drawer: Drawer,
    pub(super) batches: u64,
    pub(super) batch_size: usize,
    pub(super) device: Device,
}

/// A step of adaptation failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdaptError {
    /// The model does not fit the weights.
    #[error(transparent)]
    Model(#[from] NnError),
    /// A gradient does not fit the task vectors.
    #[error(transparent)]
    Merge(#[from] MergeError),
}

impl EntropyModel for EncoderEntropy<'_> {
    type Error = AdaptError;

    fn entropy_gradient(
        &mut self,
        step: u64,
        theta: &mut Theta,
        gradient: &mut Gradient<'_>,
    ) -> Result<EntropyReport, AdaptError> {
        let weights = Weights::from_host(&self.layout, theta.take(), &self.device);
        let mut meters: Vec<_> = self
            .model
            .classes
            .iter()
            .map(|&classes| EntropyMeter::new(classes))
            .collect();
        for i in 0..self.batches {
            let batch = self.drawer.draw(step * self.batches + i, self.batch_size);
            let (_, part, ()) = value_and_gradient(&weights, |tracked| {
                let mut batch = batch;
                let logits =
                    self.model
                        .logits(tracked, self.heads, &mut batch, &mut Pass::eval())?;
                let mut total = None;
                for (logits, part) in logits.into_iter().zip(&batch.parts) {
                    meters[part.task].add(&to_host(logits.clone().inner()));
                    let entropy = mean_entropy(logits);
                    total = Some(match total {
                        None => entropy,
                        Some(sum) => sum + entropy,
                    });
                }
                Ok::<_, NnError>((total.expect("at least one task"), ()))
            })?;
            for (at, buffer) in part.into_buffers().into_iter().enumerate() {
                if !buffer.is_empty() {
                    gradient.give(at, buffer)?;
                }
            }
        }
        theta.give_back(weights.into_host());
        Ok(EntropyReport {
            tasks: meters.iter().map(EntropyMeter::finish).collect(),
        })
    }
}
