//! The models of the job as folders that every other verb reads.

use super::{encoder::MultiTask, heads::FrozenHeads};
use crate::classifier::{CONFIG, Classifier, ClassifierError, ModelFolder, with_classes};
use burn::tensor::{Device, Tensor};
use refit_core::Seed;
use refit_io::data::Normalise;
use refit_nn::{ImageConfig, NnError, Weights};
use std::path::Path;

/// What is on disk beside the encoder.
#[derive(Clone, Copy)]
pub(super) enum Form<'a> {
    /// Nothing: the model of all tasks, to which each task brings its head.
    Encoder,
    /// The head of one task as a linear classifier without bias. It predicts the same classes: a cosine is the same
    /// product over the length of the features, which does not change which class is largest.
    Classifier(&'a FrozenHeads, usize),
}

impl MultiTask {
    fn config(&self, form: Form<'_>) -> ImageConfig {
        let encoder = self.encoder.clone();
        match form {
            Form::Encoder => encoder,
            Form::Classifier(_, task) => with_classes(encoder, self.classes[task])
                .expect("checked: an encoder takes a classifier"),
        }
    }

    /// Writes an encoder into `folder`, with or without a head.
    pub(super) fn save(
        &self,
        encoder: &Weights,
        form: Form<'_>,
        normalise: &Normalise,
        folder: &Path,
    ) -> Result<(), ClassifierError> {
        let config = self.config(form);
        let weights = match form {
            Form::Encoder => encoder.clone(),
            Form::Classifier(heads, task) => with_head(&config, encoder, heads, task)?,
        };
        let model = Classifier {
            config,
            weights,
            normalise: normalise.clone(),
        };
        model.save(folder)
    }

    /// Reads the encoder back; its head, if there is one, is checked and left aside.
    pub(super) fn load(
        &self,
        form: Form<'_>,
        folder: &Path,
        device: &Device,
    ) -> Result<Weights, ClassifierError> {
        let stored = ModelFolder::open(folder)?;
        if stored.config != self.config(form) {
            let path = folder.join(CONFIG);
            return Err(ClassifierError::OtherModel { path });
        }
        let weights = stored.load(device)?.weights;
        Ok(match form {
            Form::Encoder => weights,
            Form::Classifier(..) => self.encoder_weights(&weights)?,
        })
    }
}

fn with_head(
    config: &ImageConfig,
    encoder: &Weights,
    heads: &FrozenHeads,
    task: usize,
) -> Result<Weights, NnError> {
    let device = encoder.device();
    let mut whole = Weights::create(Seed::new(0), &device, |scope| config.bind(scope))?;
    for (i, spec) in whole.layout().clone().specs().iter().enumerate() {
        let value = match (encoder.get(spec.path.as_str()), spec.shape.len()) {
            (Some(value), _) => value.clone(),
            // What the encoder lacks is the classifier.
            (None, 2) => heads.rows(task).clone(),
            (None, _) => Tensor::<1>::zeros([spec.len()], &device).into(),
        };
        whole.set(i, value);
    }
    Ok(whole)
}
