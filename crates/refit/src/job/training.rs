//! Everything that sees labels: the base with its heads, the experts, the joint model.

use super::{
    Heads, JobError, Stage,
    batches::Drawer,
    encoder::{MultiTask, Supervised},
    files::Form,
    found::{Found, Notes},
    head_rows::Features,
    heads::FrozenHeads,
    images::{Split, auxiliary, few_shot},
    repetition::{Repetition, finished},
};
use crate::{
    classifier::{ClassifierError, save_weights, weights_file},
    run::{is_logged, step_values},
};
use burn::tensor::{Tensor, TensorData};
use refit_core::Seed;
use refit_io::{
    ckpt::Checkpoint,
    data::{ImageSet, Task},
};
use refit_kernels::dual::Dual;
use refit_nn::{Weights, blocks::CosineHead};
use refit_train::{SaveEvery, Step, TrainState, Trainer};
use std::{path::Path, sync::Arc};

/// Most labelled training images of a task that the sureness of its probe is fitted on.
const CALIBRATION_IMAGES: usize = 1000;

/// With fewer of them for each class, a probe stays as it is: a few images that are all right say "quite sure".
const LEAST_PER_CLASS: usize = 10;

/// What one stage trains.
struct Training<'a> {
    model: &'a MultiTask,
    settings: &'a Stage,
    /// Its folder, and its series among the measurements.
    name: &'a str,
    start: &'a Weights,
    /// Frozen heads; trained with the model where there are none.
    heads: Option<&'a [CosineHead]>,
    drawer: Drawer,
}

impl Repetition<'_> {
    /// The encoder of the base, and one frozen head per task.
    pub(super) fn base(&self, found: &mut Found) -> Result<(Weights, FrozenHeads), JobError> {
        let mut fresh = None;
        let (base, _) = self.stage(found, "base", "base and heads", Form::Encoder, |_| {
            let (base, heads) = self.train_base()?;
            // Kept first: where there is a base, there are heads.
            let save = |folder: &Path| save_weights(&weights_file(folder), heads.weights());
            self.shelf.keep("heads", Notes::default(), save)?;
            fresh = Some(heads);
            Ok(base)
        })?;
        match fresh {
            Some(heads) => Ok((base, heads)),
            None => Ok((base, self.finished_heads()?)),
        }
    }

    fn train_base(&self) -> Result<(Weights, FrozenHeads), JobError> {
        let stage = &self.config.base;
        let mut model = self.model.clone();
        let mut sets = match self.config.base_images {
            0 => Vec::new(),
            _ => self.every(|s| &s.base),
        };
        for task in auxiliary(self.config.auxiliary_images, self.seed()) {
            sets.push((model.classes.len(), Arc::clone(task.train())));
            model.classes.push(task.class_count());
        }
        let all = self.train(Training {
            model: &model,
            settings: stage,
            name: "base",
            start: &model.create(self.seed().fork("base"), &self.device)?,
            heads: None,
            drawer: self.drawer(sets, "base batches", stage.augment)?.balanced(),
        })?;
        let base = self.model.encoder_weights(&all)?;
        let rows = match self.config.heads {
            Heads::Trained => {
                let rows = model.head_rows(&all)?.into_iter();
                rows.take(self.tasks.len()).map(Dual::into_value).collect()
            }
            Heads::Prototypes(per_class) => self.heads_on(&base, |task, seed| {
                let [picked, _] = few_shot(task.train(), per_class, seed);
                Ok(self.features(&picked, &base)?.prototypes(self.model.scale))
            })?,
            Heads::Probe(per_class) => self.heads_on(&base, |task, seed| {
                let [fitted, others] = few_shot(task.train(), per_class, seed);
                let held_out = others.sample_stratified(CALIBRATION_IMAGES, seed);
                let enough = held_out.len() >= LEAST_PER_CLASS * task.class_count();
                let rows = self.features(&fitted, &base)?.probe(
                    self.model.scale,
                    &self.device,
                    &self.named(&format!("heads/{}", task.name())),
                )?;
                let factor = if enough {
                    self.features(&held_out, &base)?.temperature(&rows)
                } else {
                    1.0
                };
                Ok(rows
                    .iter()
                    .map(|&x| (f64::from(x) * factor) as f32)
                    .collect())
            })?,
        };
        Ok((base, FrozenHeads::new(self.tasks, rows, &self.device)?))
    }

    /// The rows of every head on the features of `base`.
    fn heads_on(
        &self,
        base: &Weights,
        rows: impl Fn(&Task, Seed) -> Result<Vec<f32>, JobError>,
    ) -> Result<Vec<Tensor<2>>, JobError> {
        let seed = self.seed().fork("heads");
        let head = |task: &Task| {
            let rows = rows(task, seed.fork(task.name()))?;
            let data = TensorData::new(rows, [task.class_count(), self.model.width]);
            Ok(Tensor::from_data(data, &base.device()))
        };
        self.tasks.iter().map(head).collect()
    }

    fn features(&self, set: &ImageSet, base: &Weights) -> Result<Features, JobError> {
        Features::of(set, &self.model, base, &self.normalise)
    }

    fn finished_heads(&self) -> Result<FrozenHeads, JobError> {
        let read = |folder: &Path| {
            let checkpoint = Checkpoint::open(weights_file(folder))?;
            let width = self.model.width;
            FrozenHeads::load(&checkpoint, self.tasks, width, &self.device)
                .map_err(ClassifierError::from)
        };
        Ok(self.shelf.load_beside("base", "heads", read)?)
    }

    /// One expert per task, each fine-tuned from the base under its frozen head.
    pub(super) fn experts(
        &self,
        found: &mut Found,
        base: &Weights,
        heads: &FrozenHeads,
    ) -> Result<Vec<Weights>, JobError> {
        let seed = self.seed().fork("expert rates");
        let stages = self.config.expert_stages(self.tasks.len(), seed);
        let expert = |(k, split): (usize, &Split)| {
            let settings = &stages[k];
            let name = format!("experts/{}", self.tasks[k].name());
            let make = |notes: &mut Notes| {
                notes.settings = format!("learning rate {:.1e}", settings.rate);
                self.train(Training {
                    model: &self.model,
                    settings,
                    name: &name,
                    start: base,
                    heads: Some(heads),
                    drawer: self
                        .drawer(
                            vec![(k, Arc::clone(&split.train))],
                            "expert batches",
                            settings.augment,
                        )?
                        .balanced(),
                })
            };
            let form = Form::Classifier(heads, k);
            let (weights, _) = self.stage(found, &name, "experts", form, make)?;
            Ok(weights)
        };
        self.parts.iter().enumerate().map(expert).collect()
    }

    /// One model trained on the labelled images of all tasks.
    pub(super) fn joint(
        &self,
        found: &mut Found,
        base: &Weights,
        heads: &FrozenHeads,
    ) -> Result<(Weights, Notes), JobError> {
        let settings = &self.config.joint;
        self.stage(found, "joint", "joint training", Form::Encoder, |_| {
            self.train(Training {
                model: &self.model,
                settings,
                name: "joint",
                start: base,
                heads: Some(heads),
                drawer: self
                    .drawer(self.every(|s| &s.train), "joint batches", settings.augment)?
                    .balanced(),
            })
        })
    }

    fn train(&self, training: Training<'_>) -> Result<Weights, JobError> {
        let Training {
            model,
            settings,
            name,
            start,
            heads,
            drawer,
        } = training;
        let per_set = settings.batch.div_ceil(drawer.sets());
        let mut objective = Supervised {
            model,
            heads,
            smoothing: settings.smoothing,
        };
        let log = |step: &Step| {
            if is_logged(step, settings.steps) {
                self.shelf.log(name, step.step, &step_values(step));
            }
        };
        let clock = self.shelf.clock(name)?;
        let save = |state: &TrainState| self.shelf.save_training(name, state, &clock);
        let mut trainer = Trainer::new(settings.trainer())?
            .on_step(log)
            .save_every(SaveEvery::Time(clock.every()), save);
        if let Some(state) = self.shelf.saved_training(name, start.layout())? {
            trainer = trainer.resume(state);
        }
        let fit = trainer.fit(
            start.clone(),
            &mut objective,
            |i| drawer.draw(i, per_set),
            &self.named(name),
        );
        self.shelf.check()?;
        let (weights, state) = finished(fit, name)?;
        if heads.is_none() {
            // The stage goes on after the training. Where the disk refuses, an earlier state stays.
            let _ = save(&state);
        }
        Ok(weights)
    }
}
