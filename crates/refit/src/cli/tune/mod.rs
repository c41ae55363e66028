//! `refit tune`.

mod args;
mod settings;
mod show;

pub(super) use args::TuneArgs;

use super::{
    args::{check_not_input, check_place, overwrite},
    error::{CliError, Exit},
    resume::recorded,
    solvers::{check_memory, work},
    ui::Ui,
};
use crate::{
    fitting::{STATE, done},
    run::{InputFile, RunError, RunFolder, RunRecord, Unfinished, same_inputs},
    tuning::{TuneError, TuneMethod, TuneSettings, Tuning},
};
use refit_io::ckpt::Checkpoint;
use show::{Plan, remarks};
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

pub(super) fn run(args: &TuneArgs, ui: &Ui) -> Result<(), CliError> {
    match (&args.resume, &args.model, &args.data, &args.out) {
        (Some(run), ..) => go_on(args, run, ui),
        (None, Some(model), Some(data), Some(out)) => begin(args, model, data, out, ui),
        _ => Err(CliError::plain(
            Exit::Usage,
            "MODEL, --data or --out was not given",
        )),
    }
}

fn begin(args: &TuneArgs, model: &Path, data: &Path, out: &Path, ui: &Ui) -> Result<(), CliError> {
    check_place(out, args.force)?;
    let settings = settings::of(args, model, data, out)?;
    let given = [model, data].into_iter().chain(args.test.as_deref());
    check_not_input(out, given)?;
    args.run.start_threads()?;
    let tuning = checked(settings)?;
    for words in args.idle() {
        ui.say(format_args!("warning: {words}"));
    }
    if args.run.dry_run {
        return ui.show(&Plan::of(&tuning, out, (0, 0)));
    }
    let settings = serde_json::to_value(tuning.settings()).unwrap_or_default();
    let (device, threads) = (args.run.device.to_string(), args.run.thread_count());
    let seed = tuning.settings().fit.seed;
    let mut record = RunRecord::start("tune", device, threads, seed, settings);
    record.dtype = match tuning.settings().method {
        TuneMethod::Head => "F64 on vectors of F32",
        TuneMethod::Lora(_) => "F32, sums over rows F64",
    }
    .into();
    record.inputs = inputs(tuning.settings())?;
    let folder = RunFolder::create_resumable(out, overwrite(args.force), record)?;
    rest(args, &tuning, folder, ui)
}

/// Goes on from the last saved state; from the beginning, where a run was killed before its first save.
fn go_on(args: &TuneArgs, run: &Path, ui: &Ui) -> Result<(), CliError> {
    let found = |record: &RunRecord| -> Result<Tuning, CliError> {
        let mut settings: TuneSettings = recorded(record, run, "tune")?;
        args.run.start_threads()?;
        same_inputs(&record.inputs, &inputs(&settings)?)?;
        settings.fit.save_every = args.solvers.save_every.unwrap_or(settings.fit.save_every);
        checked(settings)
    };
    if args.run.dry_run {
        let unfinished = Unfinished::find(run)?;
        check_place(&unfinished.target, args.force)?;
        let tuning = found(&unfinished.record)?;
        let done = done(&unfinished.path)?;
        return ui.show(&Plan::of(&tuning, &unfinished.target, done));
    }
    let mut folder = RunFolder::resume(run, overwrite(args.force))?;
    let tuning = found(folder.record())?;
    folder.record_mut().settings = serde_json::to_value(tuning.settings()).unwrap_or_default();
    rest(args, &tuning, folder, ui)
}

/// A tuning that this machine can hold.
fn checked(settings: TuneSettings) -> Result<Tuning, CliError> {
    let tuning = Tuning::new(settings)?;
    let rows = tuning.memory().iter().sum();
    check_memory(&tuning.settings().fit, tuning.parameters(), rows)?;
    Ok(tuning)
}

fn rest(args: &TuneArgs, tuning: &Tuning, folder: RunFolder, ui: &Ui) -> Result<(), CliError> {
    ui.listen();
    let fit = match tuning.fit(&args.run.device.open(), ui) {
        Ok(fit) => fit,
        // Nothing was fitted yet by a new run; an older one stays as it was.
        Err(error) if folder.path().join(STATE).is_file() => {
            let next = folder.how_to_go_on("tune");
            return Err(CliError::from(error).hint(next));
        }
        Err(error) => {
            let _ = folder.discard();
            return Err(error.into());
        }
    };
    let first = &tuning.settings().fit.arms[0].label;
    let write = |folder: &Path, _: &_| match tuning.write(folder)? {
        Some(label) if label == first => Ok(()),
        // Invariant: of a fit whose solvers all diverged nothing is written.
        label => {
            let label = label.unwrap_or("none");
            ui.say(format_args!(
                "warning: `head` is what {label} found, as {first} diverged"
            ));
            Ok(())
        }
    };
    for words in fit
        .texts()
        .iter()
        .flat_map(|texts| remarks(texts, tuning.longest()))
    {
        ui.say(words);
    }
    ui.show(&work(&fit, folder, "tune", ui, write)?)
}

/// Everything that is read, with its hashes.
fn inputs(settings: &TuneSettings) -> Result<Vec<InputFile>, CliError> {
    let mut files = vec![PathBuf::from(&settings.fit.data)];
    files.extend(settings.fit.test.clone());
    files.extend(documents(&settings.model)?);
    files.extend(Checkpoint::open(&settings.model)?.files().map(Into::into));
    let inputs: Result<_, RunError> = files.iter().map(|file| InputFile::sample(file)).collect();
    Ok(inputs?)
}

/// The small files of a model and of the folders of its modules, some of which are read: all of `.json` and `.jinja`.
fn documents(model: &Path) -> Result<Vec<PathBuf>, CliError> {
    let read = |folder: &Path| -> Result<Vec<PathBuf>, CliError> {
        let entries = fs::read_dir(folder).map_err(RunError::io("read", folder))?;
        let entries = entries.map(|entry| entry.map(|entry| entry.path()));
        let entries: Result<Vec<PathBuf>, _> = entries.collect();
        Ok(entries.map_err(RunError::io("read", folder))?)
    };
    let is_document = |path: &PathBuf| {
        let extension = path.extension().and_then(OsStr::to_str);
        path.is_file() && matches!(extension, Some("json" | "jinja"))
    };
    let top = read(model)?;
    let modules = top.iter().filter(|path| path.join("config.json").is_file());
    let of_modules = modules.map(|path| path.join("config.json"));
    let mut found: Vec<PathBuf> = of_modules.collect();
    found.extend(top.into_iter().filter(is_document));
    found.sort();
    Ok(found)
}

impl From<TuneError> for CliError {
    fn from(error: TuneError) -> Self {
        match error {
            TuneError::Model(error) => (*error).into(),
            TuneError::Fit(error) => (*error).into(),
            TuneError::Weights(error) => (*error).into(),
            TuneError::Run(error) => error.into(),
            error => Self::bad_input(&error),
        }
    }
}
