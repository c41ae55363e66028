//! `refit demo`.

mod inputs;
mod plan;
mod settings;
mod show;

pub(super) use settings::keys as setting_keys;

use super::{
    args::{RunArgs, check_apart, check_not_input, check_place, overwrite},
    error::{CliError, Exit},
    resume::recorded,
    ui::Ui,
};
use crate::{
    job::{self, JobError, Store, StoreError},
    report::text_table,
    run::{REPORT, RunFolder, RunRecord, Unfinished},
};
use plan::{Plan, Settings, free_name};
use refit_core::StopReason;
use refit_train::TrainError;
use show::JsonOutcome;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Watch one base become eight experts, and the experts one model without labels
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without --data the eight tasks are generated; nothing is downloaded. A folder for --data holds one .npz file or \
one folder of pictures (CLASS/*.png) per task, all of one size. Every model is kept in the run folder. A run that \
was stopped, by Ctrl-C or otherwise, is in RUN.part; --resume goes on from its last saved state. A --config file \
may hold settings of the job beside flags: `config` in the output of --dry-run --json, whole or in part.

Examples:
  refit demo --quick --out runs/quick
  refit demo --dry-run")]
pub(super) struct DemoArgs {
    /// A small run: enough to see every part move, too little to conclude from
    #[arg(long)]
    quick: bool,
    /// Folder of tasks instead of the generated ones
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Repeat with this many seeds, from --seed on [default: 1; 3 with --data]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100))]
    seeds: Option<u64>,
    /// Go on with an interrupted run, its data and its settings
    #[arg(long, value_name = "RUN", conflicts_with_all = ["quick", "data", "seeds", "seed", "out", "config"])]
    resume: Option<PathBuf>,
    /// Seconds of work that a kill may cost: the state is saved that often; 0 is after every step (ours) [default: 60]
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u64).range(..=86_400))]
    save_every: Option<u64>,
    /// New folder for results, models, record and page [default: runs/demo, or runs/demo-2, .. if that exists]
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace the output of an earlier run
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

pub(super) fn run(args: &DemoArgs, ui: &Ui) -> Result<(), CliError> {
    match &args.resume {
        None => begin(args, ui),
        Some(run) => go_on(args, run, ui),
    }
}

fn begin(args: &DemoArgs, ui: &Ui) -> Result<(), CliError> {
    if let Some(out) = &args.out {
        check_place(out, args.force)?;
    }
    let settings = Settings::of(args)?;
    args.run.start_threads()?;
    let out = match &args.out {
        Some(out) => out.clone(),
        None => free_name(Path::new("runs"), "demo"),
    };
    if let Some(data) = &args.data {
        check_apart(&out, data)?;
        check_not_input(&out, [data.as_path()])?;
    }
    let plan = Plan::make(settings)?;
    if args.run.dry_run {
        return ui.show(&plan.summary(&out));
    }
    let settings = serde_json::to_value(&plan.settings).unwrap_or_default();
    let (device, threads) = (args.run.device.to_string(), args.run.thread_count());
    let mut record = RunRecord::start("demo", device, threads, args.run.seed(), settings);
    record.inputs = inputs::read(plan.settings.data.as_deref())?;
    let folder = RunFolder::create_resumable(&out, overwrite(args.force), record)?;
    work(&plan, folder, ui)
}

fn go_on(args: &DemoArgs, run: &Path, ui: &Ui) -> Result<(), CliError> {
    if args.run.dry_run {
        let found = Unfinished::find(run)?;
        check_place(&found.target, args.force)?;
        let plan = rest(args, run, &found.record)?;
        return ui.show(&plan.summary(&found.target));
    }
    let mut folder = RunFolder::resume(run, overwrite(args.force))?;
    let plan = rest(args, run, folder.record())?;
    folder.record_mut().settings = serde_json::to_value(&plan.settings).unwrap_or_default();
    work(&plan, folder, ui)
}

/// What the unfinished run `run` does; what is done of it is found on the way.
fn rest(args: &DemoArgs, run: &Path, record: &RunRecord) -> Result<Plan, CliError> {
    let mut settings: Settings = recorded(record, run, "demo")?;
    args.run.start_threads()?;
    inputs::check(record, settings.data.as_deref())?;
    settings.save_every = args.save_every.unwrap_or(settings.save_every);
    Plan::make(settings)
}

fn work(plan: &Plan, mut folder: RunFolder, ui: &Ui) -> Result<(), CliError> {
    ui.listen();
    let Settings {
        job,
        seeds,
        save_every,
        ..
    } = &plan.settings;
    let store = Store::open(folder.path())?.save_every(Duration::from_secs(*save_every));
    let suite = plan.settings.suite();
    let outcome = match job::fusion(&suite, job, &plan.tasks, seeds, &store, ui) {
        Ok(outcome) => outcome,
        Err(error) => return Err(stopped(error, folder, &store)),
    };
    folder.set_outcome(outcome.clone());
    let next = folder.how_to_go_on("demo");
    let path = folder
        .finish(StopReason::Done)
        .map_err(|error| CliError::from(error).hint(format!("free some space and {next}")))?;
    if ui.json() {
        return ui.print_json(&JsonOutcome::of(&outcome));
    }
    ui.print(&text_table(&outcome, ui.style()))?;
    ui.say(format_args!("page: {}", path.join(REPORT).display()));
    Ok(())
}

/// Keeps what is done and says how to go on; a run that failed before anything was saved leaves nothing.
fn stopped(error: JobError, folder: RunFolder, store: &Store) -> CliError {
    let interrupted = matches!(error, JobError::Interrupted);
    if !interrupted && store.is_empty() {
        return folder
            .discard()
            .err()
            .map_or_else(|| error.into(), Into::into);
    }
    let next = folder.how_to_go_on("demo");
    let disk = matches!(
        error,
        JobError::Store(StoreError::Keep { .. } | StoreError::Run(_))
            | JobError::Train {
                source: TrainError::Save(_),
                ..
            }
    );
    match folder.pause() {
        // What went wrong first is what the user should hear of.
        _ if disk => {
            CliError::from(error).hint(format!("what is done is kept; free some space and {next}"))
        }
        _ if !interrupted => error.into(),
        Err(error) => error.into(),
        Ok(path) => {
            let words = format!("interrupted; what is done is in `{}`", path.display());
            CliError::plain(Exit::Interrupted, words).hint(next)
        }
    }
}
