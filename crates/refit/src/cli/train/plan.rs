//! What a training will do.

use super::{STATE, args::TrainArgs, show::Summary};
use crate::{
    classifier::{
        Classifier, FitSettings, Fitted, ModelFolder, TrainingRun, load_state, read_config,
        save_state,
    },
    cli::{
        error::{CliError, Exit},
        ui::Ui,
    },
    run::{RunFolder, SAVE_EVERY_SECS, is_logged, step_values},
    source::{TaskSource, folder_options},
};
use refit_core::Seed;
use refit_io::data::Task;
use refit_train::{SaveEvery, TrainState};
use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// What `run.json` says about a training, and what `--resume` reads back.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    pub(super) data: String,
    pub(super) model: Option<PathBuf>,
    pub(super) init: Option<PathBuf>,
    pub(super) fit: FitSettings,
    pub(super) seed: Seed,
    /// Seconds between saved states.
    pub(super) save_every: u64,
    /// Where the run was to be written: relative paths are relative to the same folder.
    pub(super) out: PathBuf,
}

impl Settings {
    /// What the command line says.
    pub(super) fn of(args: &TrainArgs) -> Self {
        let data = args.data.as_ref().map(ToString::to_string);
        Self {
            data: data.unwrap_or_default(),
            model: args.model.clone(),
            init: args.init.clone(),
            fit: args.fit.settings(),
            seed: args.run.seed(),
            save_every: args.save_every.unwrap_or(SAVE_EVERY_SECS),
            out: args.out.clone().unwrap_or_default(),
        }
    }
}

/// A checked training.
pub(super) struct Plan {
    pub(super) settings: Settings,
    task: Task,
    model: Classifier,
    state: Option<TrainState>,
    pub(super) afresh: Vec<String>,
}

impl Plan {
    pub(super) fn make(settings: Settings, args: &TrainArgs) -> Result<Self, CliError> {
        let device = args.run.device.open();
        settings.fit.check()?;
        let source = TaskSource::parse(&settings.data)?;
        let config = match (&settings.init, &settings.model) {
            (Some(init), _) => ModelFolder::open(init)?.config,
            (None, Some(path)) => read_config(path)?,
            (None, None) => return Err(CliError::plain(Exit::Usage, "no architecture was given")),
        };
        let task = source.read(&folder_options(&config))?;
        if task.class_count() < 2 {
            let words = format!("`{source}` has one class, expected at least two");
            return Err(CliError::plain(Exit::BadInput, words)
                .hint("put the images of every class into a folder of their own"));
        }
        let seed = settings.seed.fork("init");
        let mut model = Classifier::create(config, &task, seed, &device)?;
        let mut afresh = Vec::new();
        if let Some(init) = &settings.init {
            afresh = model.start_from(&ModelFolder::open(init)?)?;
        }
        Ok(Self {
            settings,
            task,
            model,
            state: None,
            afresh,
        })
    }

    /// Takes a saved state.
    pub(super) fn go_on_from(&mut self, file: &Path) -> Result<(), CliError> {
        self.state = Some(load_state(file, self.model.weights.layout())?);
        Ok(())
    }

    /// Steps that are done already.
    pub(super) fn done(&self) -> u64 {
        self.state.as_ref().map_or(0, TrainState::step)
    }

    pub(super) fn train(self, folder: &RunFolder, ui: &Ui) -> Result<(Fitted, Task), CliError> {
        let file = folder.path().join(STATE);
        let every = SaveEvery::Time(Duration::from_secs(self.settings.save_every));
        let mut metrics = folder.metrics()?;
        let (steps, mut failed) = (self.settings.fit.steps, None);
        let on_step = |step: &refit_train::Step| {
            if is_logged(step, steps) && failed.is_none() {
                let values = step_values(step);
                failed = metrics.write("train", step.step, &values).err();
            }
        };
        let run = TrainingRun {
            settings: &self.settings.fit,
            set: Arc::clone(self.task.train()),
            seed: self.settings.seed,
            resume: self.state,
            on_step: Box::new(on_step),
            save: Some((every, Box::new(|state| save_state(&file, state, [])))),
        };
        let fitted = self.model.fit(run, ui)?;
        match failed {
            Some(error) => Err(error.into()),
            None => Ok((fitted, self.task)),
        }
    }

    pub(super) fn summary(&self, out: &Path) -> Summary {
        let parameters = self.model.weights.layout().num_values() as u64;
        Summary {
            data: self.settings.data.clone(),
            images: [self.task.train(), self.task.val(), self.task.test()].map(|set| set.len()),
            classes: self.task.class_count(),
            parameters,
            settings: self.settings.clone(),
            done: self.done(),
            state_bytes: self.settings.fit.state_bytes(parameters),
            out: out.to_path_buf(),
        }
    }
}
