//! One repetition of the job, for one seed.

use super::{
    FusionConfig, JobError, Variation,
    batches::Drawer,
    encoder::MultiTask,
    files::Form,
    found::{Found, Notes},
    images::{Split, corrupt},
    merging::Ground,
    scoring::Candidate,
    store::Shelf,
};
use burn::tensor::Device;
use refit_core::{Progress, Seed, StopReason};
use refit_io::data::{Augment, ImageSet, Normalise, Task};
use refit_nn::Weights;
use refit_train::{Fit, TrainError, TrainState};
use std::sync::Arc;

/// The parts of one repetition that do not change while it runs.
pub(super) struct Repetition<'a> {
    pub(super) config: &'a FusionConfig,
    pub(super) tasks: &'a [Task],
    pub(super) shelf: Shelf<'a>,
    pub(super) progress: &'a dyn Progress,
    pub(super) model: MultiTask,
    pub(super) normalise: Normalise,
    pub(super) device: Device,
    pub(super) parts: Vec<Split>,
    pub(super) corrupted: Vec<Vec<ImageSet>>,
}

impl<'a> Repetition<'a> {
    pub(super) fn new(
        config: &'a FusionConfig,
        tasks: &'a [Task],
        shelf: Shelf<'a>,
        progress: &'a dyn Progress,
    ) -> Self {
        let seed = shelf.seed();
        let split = |task| Split::new(config, task, seed);
        let parts: Vec<Split> = tasks.iter().map(split).collect();
        Self {
            config,
            tasks,
            shelf,
            progress,
            model: MultiTask {
                encoder: config.encoder.clone(),
                width: config.encoder.num_outputs(),
                classes: tasks.iter().map(Task::class_count).collect(),
                scale: config.head_scale,
            },
            normalise: Normalise::measured(tasks.iter().map(|t| t.train().as_ref())),
            device: Device::flex(),
            corrupted: corrupt(config, &parts, seed),
            parts,
        }
    }

    pub(super) fn run(&self) -> Result<Found, JobError> {
        let mut found = Found::default();
        let free = Notes::default();
        let (base, heads) = self.base(&mut found)?;
        let candidate = Candidate::Shared(&base);
        self.score(&mut found, "base", &heads, &candidate, &free)?;
        let experts = self.experts(&mut found, &base, &heads)?;
        let candidate = Candidate::PerTask(&experts);
        self.score(&mut found, "experts", &heads, &candidate, &free)?;
        let (joint, notes) = self.joint(&mut found, &base, &heads)?;
        let candidate = Candidate::Shared(&joint);
        self.score(&mut found, "joint", &heads, &candidate, &notes)?;
        let ground = Ground::new(self.tasks, &base, &heads, &experts)?;
        self.merge_without_data(&mut found, &ground)?;
        self.merge_with_entropy(&mut found, &ground)?;
        Ok(found)
    }

    /// Takes a stage that was finished before, or makes it now and keeps it.
    pub(super) fn stage(
        &self,
        found: &mut Found,
        name: &str,
        phase: &str,
        form: Form<'_>,
        make: impl FnOnce(&mut Notes) -> Result<Weights, JobError>,
    ) -> Result<(Weights, Notes), JobError> {
        if self.progress.cancelled() {
            return Err(JobError::Interrupted);
        }
        let read = |folder: &std::path::Path| self.model.load(form, folder, &self.device);
        if let Some((weights, notes)) = self.shelf.load(name, read)? {
            self.shelf.forget(name)?;
            found.spared += notes.seconds;
            found.take(phase, &notes);
            return Ok((weights, notes));
        }
        let clock = self.shelf.clock(name)?;
        found.spared += clock.before();
        let mut notes = Notes::default();
        let weights = make(&mut notes)?;
        notes.seconds = clock.seconds();
        notes.peak_bytes = crate::run::peak_bytes().unwrap_or(0);
        let notes = self.shelf.keep(name, notes, |folder| {
            self.model.save(&weights, form, &self.normalise, folder)
        })?;
        self.shelf.forget(name)?;
        found.take(phase, &notes);
        Ok((weights, notes))
    }

    pub(super) fn seed(&self) -> Seed {
        self.shelf.seed()
    }

    /// Progress under the name of a stage.
    pub(super) fn named<'b>(&'b self, name: &'b str) -> Named<'b> {
        Named {
            name,
            inner: self.progress,
        }
    }

    pub(super) fn drawer(
        &self,
        sets: Vec<(usize, Arc<ImageSet>)>,
        name: &str,
        variation: Variation,
    ) -> Result<Drawer, JobError> {
        let augment = Augment::try_from(variation.config())?;
        let (normalise, seed) = (self.normalise.clone(), self.seed().fork(name));
        Ok(Drawer::new(sets, normalise, seed, augment))
    }

    /// One kind of images of every task, with its number.
    pub(super) fn every(
        &self,
        part: impl Fn(&Split) -> &Arc<ImageSet>,
    ) -> Vec<(usize, Arc<ImageSet>)> {
        let parts = self.parts.iter().map(|split| Arc::clone(part(split)));
        parts.enumerate().collect()
    }
}

/// What a training that came to its end gives: the weights, and the state that made them.
pub(super) fn finished(
    fit: Result<Fit, TrainError>,
    stage: &str,
) -> Result<(Weights, TrainState), JobError> {
    let stage = || stage.to_owned();
    let fit = fit.map_err(|source| JobError::Train {
        stage: stage(),
        source,
    })?;
    match fit.stop {
        StopReason::Diverged => Err(JobError::Diverged { stage: stage() }),
        StopReason::Interrupted => Err(JobError::Interrupted),
        _ => Ok((fit.weights, fit.state)),
    }
}

/// Passes progress on under another phase name.
pub(super) struct Named<'a> {
    pub(super) name: &'a str,
    pub(super) inner: &'a dyn Progress,
}

impl Progress for Named<'_> {
    fn begin(&self, _phase: &str, total: Option<u64>) {
        self.inner.begin(self.name, total);
    }

    fn advance(&self, units: u64) {
        self.inner.advance(units);
    }

    fn note(&self, text: &str) {
        self.inner.note(text);
    }

    fn cancelled(&self) -> bool {
        self.inner.cancelled()
    }
}
