//! `refit train`.

mod args;
mod inputs;
mod plan;
mod show;

pub(super) use args::TrainArgs;

use super::{
    args::{check_apart, check_not_input, check_place, overwrite},
    error::{CliError, Exit},
    resume::recorded,
    ui::Ui,
};
use crate::{
    classifier::{ClassifierError, Fitted, remove_model, save_state},
    run::{RunFolder, RunRecord, Unfinished, keep_metrics, same_inputs},
    source::TaskSource,
};
use plan::{Plan, Settings};
use refit_core::StopReason;
use refit_io::data::Task;
use refit_train::{TrainError, TrainState};
use show::Trained;
use std::{fs, path::Path};

/// File of an unfinished run that holds what is needed to go on.
const STATE: &str = "state.safetensors";

pub(super) fn run(args: &TrainArgs, ui: &Ui) -> Result<(), CliError> {
    match (&args.resume, &args.out) {
        (Some(run), _) => go_on(args, run, ui),
        (None, Some(out)) => begin(args, out, ui),
        (None, None) => Err(CliError::plain(Exit::Usage, "no --out was given")),
    }
}

fn begin(args: &TrainArgs, out: &Path, ui: &Ui) -> Result<(), CliError> {
    check_not_input(out, args.init.as_deref())?;
    check_place(out, args.force)?;
    if let Some(TaskSource::Path(data)) = &args.data {
        check_apart(out, data)?;
        check_not_input(out, [data.as_path()])?;
    }
    args.run.start_threads()?;
    let plan = Plan::make(Settings::of(args), args)?;
    if args.run.dry_run {
        return ui.show(&plan.summary(out));
    }
    let settings = serde_json::to_value(&plan.settings).unwrap_or_default();
    let (device, threads) = (args.run.device.to_string(), args.run.thread_count());
    let mut record = RunRecord::start("train", device, threads, plan.settings.seed, settings);
    record.inputs = inputs::read(&plan.settings)?;
    let folder = RunFolder::create_resumable(out, overwrite(args.force), record)?;
    if !plan.afresh.is_empty() {
        ui.say(format_args!(
            "started afresh, other shape than in --init: {}",
            plan.afresh.join(", ")
        ));
    }
    work(plan, folder, ui)
}

/// Goes on from the last saved state; from the beginning, where a run was killed before its first save.
fn go_on(args: &TrainArgs, run: &Path, ui: &Ui) -> Result<(), CliError> {
    if args.run.dry_run {
        let found = Unfinished::find(run)?;
        check_place(&found.target, args.force)?;
        let plan = rest(args, run, &found.record, [&found.path, &found.target])?;
        return ui.show(&plan.summary(&found.target));
    }
    let mut folder = RunFolder::resume(run, overwrite(args.force))?;
    let plan = rest(args, run, folder.record(), [folder.path(), folder.target()])?;
    folder.record_mut().settings = serde_json::to_value(&plan.settings).unwrap_or_default();
    // What was measured after the state was saved is measured again.
    let done = plan.done();
    keep_metrics(folder.path(), |m| m.series == "train" && m.step <= done)?;
    remove_model(folder.path())?;
    work(plan, folder, ui)
}

/// What is left to do of the unfinished run `run` in the folder `part`, which will be `target`.
fn rest(
    args: &TrainArgs,
    run: &Path,
    record: &RunRecord,
    [part, target]: [&Path; 2],
) -> Result<Plan, CliError> {
    let mut settings: Settings = recorded(record, run, "train")?;
    args.run.start_threads()?;
    inputs::read(&settings)
        .and_then(|now| Ok(same_inputs(&record.inputs, &now)?))
        .map_err(|error| inputs::told_where(error, &settings, target))?;
    settings.save_every = args.save_every.unwrap_or(settings.save_every);
    let mut plan = Plan::make(settings, args)?;
    let state = part.join(STATE);
    if state.is_file() {
        plan.go_on_from(&state)?;
    }
    Ok(plan)
}

fn work(plan: Plan, folder: RunFolder, ui: &Ui) -> Result<(), CliError> {
    ui.listen();
    let (fitted, task) = match plan.train(&folder, ui) {
        Ok(trained) => trained,
        Err(error) => return Err(failed(error, None, folder)),
    };
    let state = &fitted.state;
    let step = state.step();
    match fitted.stop {
        // The loop saved the state when it stopped.
        StopReason::Interrupted => return Err(paused(step, folder)),
        StopReason::Diverged => return Err(diverged(step, folder)),
        _ => {}
    }
    let val_accuracy = match complete(&fitted, &task, &folder, ui) {
        Ok(accuracy) => accuracy,
        Err(error) if error.exit() == Exit::Interrupted => {
            return Err(match save(&folder, state) {
                Ok(()) => paused(step, folder),
                Err(error) => failed(error, None, folder),
            });
        }
        Err(error) => return Err(failed(error, Some(state), folder)),
    };
    let seconds = folder.elapsed();
    let out = match folder.finish_or_return(fitted.stop) {
        Ok(out) => out,
        Err((error, Some(folder))) => return Err(failed(error.into(), Some(state), *folder)),
        Err((error, None)) => return Err(error.into()),
    };
    // Nobody goes on with a complete run. It goes last: whoever is killed before can still go on.
    let _ = fs::remove_file(out.join(STATE));
    ui.show(&Trained {
        out,
        steps: step,
        loss: fitted.last.map(|last| last.loss),
        val_accuracy,
        seconds,
    })
}

/// Writes the model and its accuracy on validation images.
fn complete(fitted: &Fitted, task: &Task, folder: &RunFolder, ui: &Ui) -> Result<f64, CliError> {
    let val = fitted.model.score(task.val(), 250, ui)?;
    fitted.model.save(folder.path())?;
    let mut metrics = folder.metrics()?;
    let accuracy = val.accuracy;
    metrics.write("validation", fitted.state.step(), &[("accuracy", accuracy)])?;
    Ok(accuracy)
}

/// Saves the state outside the loop.
fn save(folder: &RunFolder, state: &TrainState) -> Result<(), CliError> {
    save_state(&folder.path().join(STATE), state, [])
        .map_err(|error| ClassifierError::from(TrainError::Save(error)).into())
}

/// The user wants to stop here.
fn paused(step: u64, folder: RunFolder) -> CliError {
    let next = folder.how_to_go_on("train");
    match folder.pause() {
        Err(error) => error.into(),
        Ok(path) => {
            let words = format!(
                "interrupted after step {step}; the state is in `{}`",
                path.display()
            );
            CliError::plain(Exit::Interrupted, words).hint(next)
        }
    }
}

/// To go on would lead to the same place.
fn diverged(step: u64, folder: RunFolder) -> CliError {
    let words = format!("the loss stopped being finite after step {step}; nothing was written");
    let error = CliError::plain(Exit::Failed, words).hint("lower --rate, or raise --warmup");
    folder.discard().err().map_or(error, Into::into)
}

/// Keeps a run that has a saved state, or whose `state` can still be saved; another one leaves nothing.
fn failed(error: CliError, state: Option<&TrainState>, folder: RunFolder) -> CliError {
    if let Some(state) = state {
        // Where the disk refuses this too, the state that was saved before stays.
        let _ = save(&folder, state);
    }
    if !folder.path().join(STATE).is_file() {
        // What went wrong first is what the user should hear of.
        let _ = folder.discard();
        return error;
    }
    let next = folder.how_to_go_on("train");
    // Without it the record still says `interrupted`, as it did from the beginning.
    let _ = folder.pause();
    error.hint(format!(
        "the last saved state is kept; when the cause is mended, {next}"
    ))
}
