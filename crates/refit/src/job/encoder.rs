//! One encoder with a frozen head for each task.

use super::{JobError, batches::MixedBatch};
use crate::classifier::Hits;
use burn::tensor::{Device, Tensor, TensorData};
use refit_core::Seed;
use refit_io::data::{Batch, ImageSet, Normalise};
use refit_kernels::dual::Dual;
use refit_nn::{
    ImageConfig, ImageModel, Init, NnError, Pass, Scope, Weights,
    blocks::{CosineHead, unit_rows},
};
use refit_train::{Objective, loss};

/// The shape of the model: an encoder, and how many classes each task has.
#[derive(Clone, Debug)]
pub(super) struct MultiTask {
    pub(super) encoder: ImageConfig,
    pub(super) width: usize,
    pub(super) classes: Vec<usize>,
    pub(super) scale: f64,
}

impl MultiTask {
    /// Fresh weights: those of the encoder, then one direction per class of every task.
    pub(super) fn create(&self, seed: Seed, device: &Device) -> Result<Weights, NnError> {
        Weights::create(seed, device, |scope| {
            self.encoder.bind(scope)?;
            self.directions(scope)
        })
    }

    fn directions(&self, scope: &Scope<'_>) -> Result<Vec<Dual<2>>, NnError> {
        let init = Init::Normal(1.0);
        (0..self.classes.len())
            .map(|k| {
                scope
                    .at("heads")
                    .at(k)
                    .tensor("weight", [self.classes[k], self.width], init)
            })
            .collect()
    }

    /// The rows of every head, of unit length times the scale.
    pub(super) fn head_rows(&self, weights: &Weights) -> Result<Vec<Dual<2>>, NnError> {
        let directions = weights.bind(|scope| self.directions(scope))?;
        let rows = directions.into_iter().map(unit_rows);
        Ok(rows.map(|rows| rows.mul_scalar(self.scale)).collect())
    }

    /// The encoder's weights alone.
    pub(super) fn encoder_weights(&self, weights: &Weights) -> Result<Weights, NnError> {
        let device = weights.device();
        let mut alone = Weights::create(Seed::new(0), &device, |s| self.encoder.bind(s))?;
        for (i, spec) in alone.layout().clone().specs().iter().enumerate() {
            let value = weights
                .get(spec.path.as_str())
                .ok_or_else(|| NnError::Missing {
                    path: spec.path.clone(),
                    expected: spec.shape.clone(),
                })?;
            alone.set(i, value.clone());
        }
        Ok(alone)
    }

    /// Logits of every part of a batch, in the order of its parts.
    pub(super) fn logits(
        &self,
        weights: &Weights,
        heads: &[CosineHead],
        batch: &mut MixedBatch,
        pass: &mut Pass,
    ) -> Result<Vec<Tensor<2>>, NnError> {
        let model = weights.bind(|scope| self.encoder.bind(scope))?;
        let pixels = TensorData::new(std::mem::take(&mut batch.pixels), batch.shape);
        let pixels = Tensor::<4>::from_data(pixels, &weights.device());
        let features = model.forward(pixels.into(), pass);
        Ok(batch
            .parts
            .iter()
            .map(|part| {
                let rows = features.clone().narrow(0, part.rows.start, part.rows.len());
                heads[part.task].forward(rows).into_value()
            })
            .collect())
    }
}

/// Mean cross-entropy over the tasks of a batch. Heads are trained with the encoder, or given and frozen.
pub(super) struct Supervised<'a> {
    pub(super) model: &'a MultiTask,
    pub(super) heads: Option<&'a [CosineHead]>,
    pub(super) smoothing: f32,
}

impl Objective for Supervised<'_> {
    type Batch = MixedBatch;
    type Error = NnError;

    fn loss(
        &mut self,
        weights: &Weights,
        mut batch: MixedBatch,
        pass: &mut Pass,
    ) -> Result<Tensor<1>, NnError> {
        let trained = match self.heads {
            Some(_) => Vec::new(),
            None => {
                let rows = self.model.head_rows(weights)?;
                rows.into_iter().map(CosineHead::new).collect()
            }
        };
        let heads = self.heads.unwrap_or(&trained);
        let logits = self.model.logits(weights, heads, &mut batch, pass)?;
        let count = logits.len() as f32;
        let losses = logits.into_iter().zip(&batch.parts).map(|(logits, part)| {
            let targets = loss::targets(&part.labels, &logits.device());
            loss::mean_cross_entropy(logits, targets, self.smoothing)
        });
        let total = losses
            .reduce(|a, b| a + b)
            .expect("a batch has at least one part");
        Ok(total / count)
    }
}

/// Features of a batch, without a graph.
pub(super) fn features(model: &ImageModel, batch: Batch, device: &Device) -> Tensor<2> {
    let pixels = Tensor::<4>::from_data(TensorData::new(batch.pixels, batch.shape), device);
    model.forward(pixels.into(), &mut Pass::eval()).into_value()
}

/// Balanced accuracy of `weights` on a set of the task of `head`; where classes are equally frequent, the accuracy.
pub(super) fn balanced_accuracy(
    model: &MultiTask,
    weights: &Weights,
    head: &CosineHead,
    set: &ImageSet,
    normalise: &Normalise,
) -> Result<f64, JobError> {
    let bound = weights.bind(|scope| model.encoder.bind(scope))?;
    let mut hits = Hits::new(set.class_count());
    for batch in Batch::chunks(set, 250, normalise) {
        let labels = batch.labels.clone();
        let features = features(&bound, batch, &weights.device());
        hits.count(head.forward(features.into()).into_value(), &labels);
    }
    Ok(hits.balanced(&set.class_counts()))
}
