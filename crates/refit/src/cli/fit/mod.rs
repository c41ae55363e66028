//! `refit fit`.

mod args;
mod idle;
mod inputs;
mod settings;
mod show;

pub(super) use args::FitArgs;

use super::{
    args::{check_not_input, check_place, overwrite},
    error::{CliError, Exit},
    resume::recorded,
    solvers::{check_memory, work},
    ui::Ui,
};
use crate::{
    fitting::{Fit, FitSettings, done},
    run::{RunFolder, RunRecord, Unfinished},
};
use show::Plan;
use std::path::Path;

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
    check_memory(fit.settings(), fit.objective().dim(), fit.stored().0)?;
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
        return ui.show(&Plan::of(&fit, &found.target, done(&found.path)?));
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
    settings.save_every = args.solvers.save_every.unwrap_or(settings.save_every);
    let fit = Fit::new(settings)?;
    check_memory(fit.settings(), fit.objective().dim(), fit.stored().0)?;
    Ok(fit)
}
