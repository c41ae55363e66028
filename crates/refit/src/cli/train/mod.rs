//! `refit train`.

mod show;
mod state;

use super::{
    args::{OutArgs, RunArgs, overwrite},
    error::{CliError, Exit},
    model::parse_source,
    ui::Ui,
};
use crate::{
    classifier::{
        AugmentName, Classifier, FitSettings, Fitted, ModelFolder, OptimizerName, TrainingRun,
        read_config,
    },
    run::{METRICS, RunFiles, RunFolder, RunRecord, is_logged, step_values},
    source::{TaskSource, folder_options},
};
use refit_core::{Seed, StopReason};
use refit_io::data::Task;
use refit_train::TrainState;
use serde::{Deserialize, Serialize};
use show::{Summary, Trained};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

/// File of an interrupted run that holds what is needed to go on.
const STATE: &str = "state.safetensors";

/// Train an image classifier
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Data: an .npz file with train, val and test parts, a folder of pictures (DIR/CLASS/*.png), of IDX files or of \
CIFAR binaries, or generated:NAME (digits, letters, shapes, textures, counting, arrows, faces, scripts). The \
number of classes comes from the data. Ctrl-C saves the state; --resume goes on from it bit for bit.

Examples:
  refit train --data generated:shapes --model recipes/models/mlp.json \\
      --out runs/base
  refit train --data generated:digits --init runs/base --out runs/digits")]
pub(super) struct TrainArgs {
    /// Images to learn from
    #[arg(long, value_name = "DATA", value_parser = parse_source, required_unless_present = "resume")]
    data: Option<TaskSource>,
    /// Architecture (JSON); `recipes/models/` holds some
    #[arg(long, value_name = "CONFIG.json", required_unless_present_any = ["resume", "init"])]
    model: Option<PathBuf>,
    /// Start from this model instead of from fresh weights
    #[arg(long, value_name = "MODEL", conflicts_with = "model")]
    init: Option<PathBuf>,
    /// Go on with an interrupted run, its data and its settings
    #[arg(long, value_name = "RUN", conflicts_with_all = [
        "data", "model", "init", "seed", "steps", "batch", "optimizer", "rate", "decay", "warmup", "smoothing", "augment",
    ])]
    resume: Option<PathBuf>,
    #[command(flatten)]
    fit: FitArgs,
    #[command(flatten)]
    out: OutArgs,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Training")]
struct FitArgs {
    /// Optimiser steps; the origin of defaults is in brackets (ours)
    #[arg(long, value_name = "N", default_value_t = FitSettings::default().steps)]
    steps: u64,
    /// Images per step (ours)
    #[arg(long, value_name = "N", default_value_t = FitSettings::default().batch)]
    batch: usize,
    /// Optimiser (ours)
    #[arg(long, value_enum, default_value_t = OptimizerName::Adamw)]
    optimizer: OptimizerName,
    /// Peak learning rate (usual for AdamW)
    #[arg(long, value_name = "X", default_value_t = FitSettings::default().rate)]
    rate: f64,
    /// Weight decay (ours)
    #[arg(long, value_name = "X", default_value_t = FitSettings::default().decay)]
    decay: f64,
    /// Steps until the peak is reached; a cosine follows (ours)
    #[arg(long, value_name = "N", default_value_t = FitSettings::default().warmup)]
    warmup: u64,
    /// Label smoothing, a share in [0, 1) (ours)
    #[arg(long, value_name = "X", default_value_t = FitSettings::default().smoothing)]
    smoothing: f32,
    /// How training images are varied (ours)
    #[arg(long, value_enum, default_value_t = AugmentName::None)]
    augment: AugmentName,
}

impl FitArgs {
    const fn settings(&self) -> FitSettings {
        FitSettings {
            steps: self.steps,
            batch: self.batch,
            optimizer: self.optimizer,
            rate: self.rate,
            decay: self.decay,
            warmup: self.warmup,
            smoothing: self.smoothing,
            augment: self.augment,
        }
    }
}

/// What `run.json` says about a training, and what `--resume` reads back.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    data: String,
    model: Option<PathBuf>,
    init: Option<PathBuf>,
    fit: FitSettings,
    seed: Seed,
}

/// A checked training.
struct Plan {
    settings: Settings,
    source: TaskSource,
    task: Task,
    model: Classifier,
    state: Option<TrainState>,
    afresh: Vec<String>,
}

pub(super) fn run(args: &TrainArgs, ui: &Ui) -> Result<(), CliError> {
    args.run.start_threads();
    args.out.check()?;
    let plan = Plan::make(args)?;
    if args.run.dry_run {
        return ui.show(&plan.summary(&args.out.out));
    }
    let settings = serde_json::to_value(&plan.settings).unwrap_or_default();
    let record = RunRecord::start(
        "train",
        args.run.device.as_str(),
        args.run.thread_count(),
        plan.settings.seed,
        settings,
    );
    let mut folder = RunFolder::create(&args.out.out, overwrite(args.out.force), record)?;
    if let Some(file) = plan.source.file() {
        folder.add_input(file)?;
    }
    if let Some(before) = &args.resume {
        // The new folder tells the whole story.
        let _ = fs::copy(before.join(METRICS), folder.path().join(METRICS));
    }
    if !plan.afresh.is_empty() {
        ui.say(format_args!(
            "started afresh, other shape than in --init: {}",
            plan.afresh.join(", ")
        ));
    }
    let (fitted, task) = plan.train(&folder, ui)?;
    finish(&fitted, &task, folder, ui, &args.out.out)
}

impl Plan {
    fn make(args: &TrainArgs) -> Result<Self, CliError> {
        let device = args.run.device.open();
        let settings = match &args.resume {
            Some(run) => resumed_settings(run)?,
            None => Settings {
                data: args
                    .data
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                model: args.model.clone(),
                init: args.init.clone(),
                fit: args.fit.settings(),
                seed: args.run.seed(),
            },
        };
        settings.fit.check()?;
        let source = TaskSource::parse(&settings.data)?;
        let config = match (&settings.init, &settings.model) {
            (Some(init), _) => ModelFolder::open(init)?.config,
            (None, Some(path)) => read_config(path)?,
            (None, None) => return Err(CliError::plain(Exit::Usage, "no architecture was given")),
        };
        let task = source.read(&folder_options(&config))?;
        let seed = settings.seed.fork("init");
        let mut model = Classifier::create(config, &task, seed, &device)?;
        let mut afresh = Vec::new();
        if let Some(init) = &settings.init {
            afresh = model.start_from(&ModelFolder::open(init)?)?;
        }
        let state = match &args.resume {
            Some(run) => Some(state::read(&run.join(STATE), &model)?),
            None => None,
        };
        Ok(Self {
            settings,
            source,
            task,
            model,
            state,
            afresh,
        })
    }

    fn train(self, folder: &RunFolder, ui: &Ui) -> Result<(Fitted, Task), CliError> {
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
        };
        let fitted = self.model.fit(run, ui)?;
        match failed {
            Some(error) => Err(error.into()),
            None => Ok((fitted, self.task)),
        }
    }

    fn summary(&self, out: &Path) -> Summary {
        let parameters = self.model.weights.layout().num_values() as u64;
        Summary {
            data: self.settings.data.clone(),
            images: [self.task.train(), self.task.val(), self.task.test()].map(|set| set.len()),
            classes: self.task.class_count(),
            parameters,
            settings: self.settings.clone(),
            done: self.state.as_ref().map_or(0, TrainState::step),
            // Weights, gradient and two moments, all f32.
            state_bytes: 16 * parameters,
            out: out.to_path_buf(),
        }
    }
}

/// Writes everything and says what was reached.
fn finish(
    fitted: &Fitted,
    task: &Task,
    folder: RunFolder,
    ui: &Ui,
    out: &Path,
) -> Result<(), CliError> {
    fitted.model.save(folder.path())?;
    let step = fitted.state.step();
    match fitted.stop {
        StopReason::Interrupted => {
            state::write(&folder.path().join(STATE), &fitted.state)?;
            let path = folder.finish(StopReason::Interrupted)?;
            let words = format!(
                "interrupted after step {step}; the state is in `{}`",
                path.display()
            );
            let go_on = format!("refit train --resume {0} --out {0}-2", path.display());
            Err(CliError::plain(Exit::Interrupted, words).hint(format!("go on with `{go_on}`")))
        }
        StopReason::Diverged => {
            let words =
                format!("the loss stopped being finite after step {step}; nothing was written");
            Err(CliError::plain(Exit::Failed, words).hint("lower --rate, or raise --warmup"))
        }
        stop => {
            let val = fitted.model.score(task.val(), 250, ui)?;
            let mut metrics = folder.metrics()?;
            metrics.write("validation", step, &[("accuracy", val.accuracy)])?;
            let seconds = folder.elapsed();
            folder.finish(stop)?;
            let result = Trained {
                out: out.to_path_buf(),
                steps: step,
                loss: fitted.last.map(|last| last.loss),
                val_accuracy: val.accuracy,
                seconds,
            };
            ui.show(&result)
        }
    }
}

fn resumed_settings(run: &Path) -> Result<Settings, CliError> {
    let record = RunFiles::read(run)?.record;
    if record.verb != "train" || !run.join(STATE).is_file() {
        let words = format!("`{}` holds no interrupted training", run.display());
        return Err(CliError::plain(Exit::BadInput, words)
            .hint("only a run that was stopped by Ctrl-C can go on"));
    }
    serde_json::from_value(record.settings).map_err(|e| {
        CliError::plain(
            Exit::BadInput,
            format!("`{}` has unknown settings: {e}", run.display()),
        )
    })
}
