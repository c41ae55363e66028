//! `refit fit`.

mod args;
mod idle;
mod inputs;
mod settings;
mod show;

pub(super) use args::{BaselineArgs, FitArgs, SETTLED, SampleArgs, SecondArgs, StopArgs};
pub(super) use idle::of_solvers as idle_flags;
pub(super) use settings::{ArmFlags, checked};
pub(super) use show::Done;

use super::{
    args::{check_not_input, check_place, overwrite},
    error::{CliError, Exit},
    resume::recorded,
    ui::Ui,
};
use crate::{
    fitting::{Fit, FitError, FitOutcome, FitSettings, STATE, Verdict},
    report::bytes,
    run::{RunFolder, RunRecord, Unfinished, total_bytes},
};
use refit_core::StopReason;
use refit_train::optim::second::SecondOrderError;
use show::Plan;
use std::{fs, path::Path};

pub(super) fn run(args: &FitArgs, ui: &Ui) -> Result<(), CliError> {
    match (&args.resume, &args.out) {
        (Some(run), _) => go_on(args, run, ui),
        (None, Some(out)) => begin(args, out, ui),
        (None, None) => Err(CliError::plain(Exit::Usage, "no --out was given")),
    }
}

fn begin(args: &FitArgs, out: &Path, ui: &Ui) -> Result<(), CliError> {
    check_place(out, args.force)?;
    let settings = settings::of(args, out)?;
    check_not_input(out, inputs::paths(&settings)?.iter().map(AsRef::as_ref))?;
    args.run.start_threads()?;
    let fit = Fit::new(settings)?;
    check_memory(&fit)?;
    for words in idle::of_fit(args) {
        ui.say(format_args!("warning: {words}"));
    }
    if args.run.dry_run {
        return ui.show(&Plan::of(&fit, out, (0, 0)));
    }
    let settings = serde_json::to_value(fit.settings()).unwrap_or_default();
    let (device, threads) = (args.run.device.to_string(), args.run.thread_count());
    let mut record = RunRecord::start("fit", device, threads, fit.settings().seed, settings);
    record.dtype = "F64 on rows of F32".into();
    record.inputs = inputs::read(fit.settings())?;
    let folder = RunFolder::create_resumable(out, overwrite(args.force), record)?;
    ui.show(&work(&fit, folder, "fit", ui, |_, _| Ok(()))?)
}

/// Goes on from the last saved state; from the beginning, where a run was killed before its first save.
fn go_on(args: &FitArgs, run: &Path, ui: &Ui) -> Result<(), CliError> {
    if args.run.dry_run {
        let found = Unfinished::find(run)?;
        check_place(&found.target, args.force)?;
        let fit = rest(args, run, &found.record)?;
        let done = fit.done(&found.path)?;
        return ui.show(&Plan::of(&fit, &found.target, done));
    }
    let mut folder = RunFolder::resume(run, overwrite(args.force))?;
    let fit = rest(args, run, folder.record())?;
    folder.record_mut().settings = serde_json::to_value(fit.settings()).unwrap_or_default();
    ui.show(&work(&fit, folder, "fit", ui, |_, _| Ok(()))?)
}

/// What is left to do of the unfinished run `run`; what is done of it is found on the way.
fn rest(args: &FitArgs, run: &Path, record: &RunRecord) -> Result<Fit, CliError> {
    let mut settings: FitSettings = recorded(record, run, "fit")?;
    args.run.start_threads()?;
    inputs::check(record, &settings)?;
    settings.save_every = args.save_every.unwrap_or(settings.save_every);
    let fit = Fit::new(settings)?;
    check_memory(&fit)?;
    Ok(fit)
}

/// Refuses what this machine cannot hold.
pub(super) fn check_memory(fit: &Fit) -> Result<(), CliError> {
    let most = show::memory(fit).iter().sum();
    match total_bytes().filter(|&total| most > total) {
        None => Ok(()),
        Some(total) => {
            let (most, total) = (bytes(most), bytes(total));
            let words = format!("the fit may need {most} of memory, this machine has {total}");
            Err(CliError::plain(Exit::BadInput, words)
                .hint("lower --products, for lbfgs --memory, or fit fewer parameters"))
        }
    }
}

/// Fits all arms, has `write` add to the folder what a verb has beside that, and finishes the run.
pub(super) fn work(
    fit: &Fit,
    mut folder: RunFolder,
    verb: &str,
    ui: &Ui,
    write: impl FnOnce(&Path, &FitOutcome) -> Result<(), CliError>,
) -> Result<Done, CliError> {
    ui.listen();
    let outcome = match fit.run(folder.path(), ui) {
        Ok(outcome) => outcome,
        Err(error) => return Err(stopped(error, folder, verb)),
    };
    if let Some(error) = nothing_found(&outcome) {
        return Err(folder.discard().err().map_or(error, Into::into));
    }
    let next = folder.how_to_go_on(verb);
    let hint = |error: CliError| error.hint(format!("free some space and {next}"));
    write(folder.path(), &outcome).map_err(hint)?;
    folder.set_fit(outcome.clone());
    let out = folder
        .finish(stop(&outcome))
        .map_err(|error| hint(error.into()))?;
    // Nobody goes on with a complete run. It goes last: whoever is killed before can still go on.
    let _ = fs::remove_file(out.join(STATE));
    for arm in &outcome.arms {
        if let Some(words) = show::warning(arm) {
            ui.say(format_args!("warning: `{}` {words}", arm.name));
        }
    }
    Ok(Done::of(out, outcome))
}

/// Why the run ended: for the best of reasons that one of its arms had.
fn stop(outcome: &FitOutcome) -> StopReason {
    let converged = |arm: &crate::fitting::ArmFound| {
        matches!(arm.verdict, Verdict::SecondOrder | Verdict::FirstOrderOnly)
    };
    if outcome.arms.iter().all(converged) {
        return StopReason::Converged;
    }
    let limit = |arm: &crate::fitting::ArmFound| arm.verdict == Verdict::BudgetExhausted;
    if outcome.arms.iter().any(limit) {
        StopReason::BudgetExhausted
    } else {
        StopReason::Done
    }
}

/// The error of a run of which nothing is worth keeping.
fn nothing_found(outcome: &FitOutcome) -> Option<CliError> {
    let diverged = outcome
        .arms
        .iter()
        .all(|arm| arm.verdict == Verdict::Diverged);
    diverged.then(|| {
        CliError::plain(
            Exit::Failed,
            "the loss stopped being finite; nothing was written",
        )
        .hint("lower --rate")
    })
}

/// Keeps what is done and says how to go on; a run that failed before anything was saved leaves nothing.
fn stopped(error: FitError, folder: RunFolder, verb: &str) -> CliError {
    let interrupted = matches!(error, FitError::Interrupted { .. });
    if !folder.path().join(STATE).is_file() {
        // What went wrong first is what the user should hear of.
        let _ = folder.discard();
        return error.into();
    }
    let next = folder.how_to_go_on(verb);
    match folder.pause() {
        Ok(path) if interrupted => {
            let words = format!("{error}; the state is in `{}`", path.display());
            CliError::plain(Exit::Interrupted, words).hint(next)
        }
        Err(error) if interrupted => error.into(),
        // Without it the record still says `interrupted`, as it did from the beginning.
        _ => CliError::from(error).hint(format!(
            "the last saved state is kept; when the cause is mended, {next}"
        )),
    }
}

impl From<FitError> for CliError {
    fn from(error: FitError) -> Self {
        match error {
            FitError::Interrupted { .. } => Self::interrupted(),
            FitError::Run(error) => error.into(),
            FitError::Weights(error) => (*error).into(),
            FitError::Arm { ref source, .. } => {
                let exit = match **source {
                    SecondOrderError::Model { .. } => Exit::Failed,
                    _ => Exit::BadInput,
                };
                Self::new(exit, &error)
            }
            error => Self::bad_input(&error),
        }
    }
}
