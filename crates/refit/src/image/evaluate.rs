//! Scoring a classifier.

use super::{ClassifierFolder, ImageError};
use burn::tensor::{Tensor, TensorData};
use refit_core::Progress;
use refit_io::data::{Batch, ImageSet};
use refit_nn::{Pass, to_host};
use refit_train::loss::count_correct;
use serde::Serialize;

/// Images per forward pass.
const BATCH: usize = 250;

/// What a classifier reaches on one set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Number of images.
    pub images: usize,
    /// Share of images whose largest logit is at the label.
    pub accuracy: f64,
    /// Mean over classes of the share of their images that is right; classes without images are left out.
    pub balanced_accuracy: f64,
    /// Share of the largest class: what constant guessing reaches.
    pub majority: f64,
    /// Mean cross-entropy in nats.
    pub loss: f64,
}

/// Scores `model` on `set`.
///
/// # Errors
/// Images of another shape, or labels the model does not know; weights that do not bind.
pub fn evaluate(
    model: &ClassifierFolder,
    set: &ImageSet,
    progress: &dyn Progress,
) -> Result<Evaluation, ImageError> {
    let outputs = model.config.num_outputs();
    if set.class_count() > outputs {
        let (found, expected) = (set.class_count().to_string(), outputs.to_string());
        return Err(ImageError::Mismatch {
            what: "the number of classes",
            found,
            expected,
        });
    }
    check_shape(model, set)?;
    let bound = model.weights.bind(|scope| model.config.bind(scope))?;
    let device = model.weights.device();
    let mut right = vec![0usize; outputs];
    let mut loss = 0.0;
    progress.begin("score", Some(set.len() as u64));
    for batch in Batch::chunks(set, BATCH, &model.normalise) {
        let pixels = Tensor::<4>::from_data(TensorData::new(batch.pixels, batch.shape), &device);
        let logits = bound.forward(pixels.into(), &mut Pass::eval()).into_value();
        let rows = to_host(logits);
        for (row, &label) in rows.chunks_exact(outputs).zip(&batch.labels) {
            let one = Tensor::<2>::from_data(TensorData::new(row.to_vec(), [1, outputs]), &device);
            right[label as usize] += count_correct(one, &[label]);
            loss += cross_entropy(row, label as usize);
        }
        progress.advance(batch.labels.len() as u64);
    }
    let counts = set.class_counts();
    let shares: Vec<f64> = counts
        .iter()
        .zip(&right)
        .filter(|(count, _)| **count > 0)
        .map(|(&count, &right)| right as f64 / count as f64)
        .collect();
    let images = set.len().max(1) as f64;
    Ok(Evaluation {
        images: set.len(),
        accuracy: right.iter().sum::<usize>() as f64 / images,
        balanced_accuracy: shares.iter().sum::<f64>() / shares.len().max(1) as f64,
        majority: counts.iter().copied().max().unwrap_or(0) as f64 / images,
        loss: loss / images,
    })
}

/// Refuses images that the normalisation or the architecture cannot take.
fn check_shape(model: &ClassifierFolder, set: &ImageSet) -> Result<(), ImageError> {
    let found = set.shape();
    let expected = super::train::expected_shape(&model.config, found);
    if found != expected || model.normalise.mean().len() != found.channels {
        let (found, expected) = (found.to_string(), expected.to_string());
        return Err(ImageError::Mismatch {
            what: "the image shape",
            found,
            expected,
        });
    }
    Ok(())
}

fn cross_entropy(logits: &[f32], label: usize) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&z| f64::from(z - largest).exp()).sum();
    sum.ln() - f64::from(logits[label] - largest)
}
