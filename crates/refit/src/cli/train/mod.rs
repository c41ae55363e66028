//! `refit train`.

mod args;
mod plan;
mod show;
mod state;

pub(super) use args::TrainArgs;

use super::{
    args::overwrite,
    error::{CliError, Exit},
    ui::Ui,
};
use crate::{
    classifier::Fitted,
    run::{METRICS, RunFolder, RunRecord},
};
use plan::Plan;
use refit_core::StopReason;
use refit_io::data::Task;
use show::Trained;
use std::{fs, path::Path};

/// File of an interrupted run that holds what is needed to go on.
const STATE: &str = "state.safetensors";

pub(super) fn run(args: &TrainArgs, ui: &Ui) -> Result<(), CliError> {
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
    ui.listen();
    let (fitted, task) = plan.train(&folder, ui)?;
    finish(&fitted, &task, folder, ui, &args.out.out)
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
