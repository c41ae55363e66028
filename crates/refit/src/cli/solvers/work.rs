//! The way of a fit on the command line: checks, work, and what is left where it stops.

use super::show::{Done, memory, warning};
use crate::{
    cli::{
        error::{CliError, Exit},
        ui::Ui,
    },
    fitting::{ArmFound, Fit, FitError, FitOutcome, FitSettings, STATE, Verdict},
    report::bytes,
    run::{RunFolder, total_bytes},
};
use refit_core::StopReason;
use refit_train::optim::second::SecondOrderError;
use std::{fs, path::Path};

/// Refuses what this machine cannot hold: rows, or whatever stands for them, and steps in `dim` parameters.
pub(in crate::cli) fn check_memory(
    settings: &FitSettings,
    dim: usize,
    rows: u64,
) -> Result<(), CliError> {
    let most = rows.saturating_add(memory(settings, dim));
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
pub(in crate::cli) fn work(
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
        if let Some(words) = warning(arm) {
            ui.say(format_args!("warning: `{}` {words}", arm.name));
        }
    }
    Ok(Done::of(out, outcome))
}

/// Why the run ended: for the best of reasons that one of its arms had.
fn stop(outcome: &FitOutcome) -> StopReason {
    let converged =
        |arm: &ArmFound| matches!(arm.verdict, Verdict::SecondOrder | Verdict::FirstOrderOnly);
    if outcome.arms.iter().all(converged) {
        return StopReason::Converged;
    }
    let limit = |arm: &ArmFound| arm.verdict == Verdict::BudgetExhausted;
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
