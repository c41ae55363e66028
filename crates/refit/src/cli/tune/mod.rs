//! `refit tune`.

mod args;
mod settings;
mod show;

pub(super) use args::TuneArgs;

use super::{
    args::{check_not_input, check_place, overwrite},
    error::{CliError, Exit},
    fit::{check_memory, idle_flags, work},
    resume::recorded,
    ui::Ui,
};
use crate::{
    report::count,
    run::{InputFile, RunError, RunFolder, RunRecord, Unfinished, same_inputs},
    tuning::{TuneError, TuneSettings, Tuning},
};
use refit_io::ckpt::Checkpoint;
use show::{Done, Plan};
use std::path::{Path, PathBuf};

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
    let tuning = Tuning::new(settings)?;
    for words in idle(args) {
        ui.say(format_args!("warning: {words}"));
    }
    if args.run.dry_run {
        return ui.show(&Plan::of(&tuning, out));
    }
    let settings = serde_json::to_value(tuning.settings()).unwrap_or_default();
    let (device, threads) = (args.run.device.to_string(), args.run.thread_count());
    let seed = tuning.settings().fit.seed;
    let mut record = RunRecord::start("tune", device, threads, seed, settings);
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
        settings.fit.save_every = args.save_every.unwrap_or(settings.fit.save_every);
        Ok(Tuning::new(settings)?)
    };
    if args.run.dry_run {
        let unfinished = Unfinished::find(run)?;
        check_place(&unfinished.target, args.force)?;
        let tuning = found(&unfinished.record)?;
        return ui.show(&Plan::of(&tuning, &unfinished.target));
    }
    let mut folder = RunFolder::resume(run, overwrite(args.force))?;
    let tuning = found(folder.record())?;
    folder.record_mut().settings = serde_json::to_value(tuning.settings()).unwrap_or_default();
    rest(args, &tuning, folder, ui)
}

fn rest(args: &TuneArgs, tuning: &Tuning, folder: RunFolder, ui: &Ui) -> Result<(), CliError> {
    ui.listen();
    let fit = tuning.fit(&args.run.device.open(), ui);
    let fit = fit.map_err(CliError::from);
    let fit = fit.and_then(|(fit, cut)| check_memory(&fit).map(|()| (fit, cut)));
    let (fit, cut) = match fit {
        Ok(found) => found,
        Err(error) => {
            // Nothing was fitted yet by a new run; an older one stays as it was.
            if !folder.path().join(crate::fitting::STATE).is_file() {
                let _ = folder.discard();
            }
            return Err(error);
        }
    };
    if cut > 0 {
        ui.say(format_args!(
            "{} texts have {} tokens or more; what came after was not read",
            count(cut as u64),
            count(tuning.longest() as u64)
        ));
    }
    match tuning.shared() {
        0 => {}
        shared => ui.say(format_args!(
            "warning: {} of the texts to test on are also among those to fit",
            count(shared as u64)
        )),
    }
    let write = |folder: &Path, _: &_| tuning.write(folder).map_err(CliError::from);
    let done = work(&fit, folder, "tune", ui, write)?;
    ui.show(&Done::of(tuning, done))
}

/// Flags that were given and change nothing.
fn idle(args: &TuneArgs) -> Vec<String> {
    let (stop, samples) = (&args.stop, &args.samples);
    let mut found = idle_flags(&args.solver, stop, samples, &args.second, &args.baselines);
    found.extend(args.lora.idle(args.method));
    found
}

/// Everything that is read, with its hashes.
fn inputs(settings: &TuneSettings) -> Result<Vec<InputFile>, CliError> {
    let mut files = vec![PathBuf::from(&settings.fit.data)];
    files.extend(settings.fit.test.clone());
    for name in [
        "config.json",
        "tokenizer.json",
        "modules.json",
        "sentence_bert_config.json",
        "1_Pooling/config.json",
    ] {
        let file = settings.model.join(name);
        files.extend(file.is_file().then_some(file));
    }
    files.extend(Checkpoint::open(&settings.model)?.files().map(Into::into));
    let inputs: Result<_, RunError> = files.iter().map(|file| InputFile::sample(file)).collect();
    Ok(inputs?)
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
