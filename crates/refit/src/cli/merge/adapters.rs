//! Merges of adapters, without their base.

use super::{Done, MergeArgs};
use crate::{
    cli::{
        args::{check_not_input, overwrite},
        error::CliError,
        hub::hub_env,
        ui::{Show, Ui},
    },
    merging::{AdapterJob, AdapterSummary, MergingError},
    report::bytes,
    run::{InputFile, RunError, RunFolder, RunRecord},
};
use refit_core::StopReason;
use refit_io::atomic::check_room;
use refit_merge::adapter::CombineError;
use serde::Serialize;
use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

/// What the record says.
#[derive(Serialize)]
struct Settings<'a> {
    recipe: &'a Path,
    #[serde(flatten)]
    plan: &'a AdapterSummary,
}

pub(super) fn begin(args: &MergeArgs, recipe: &Path, out: &Path, ui: &Ui) -> Result<(), CliError> {
    args.run.start_threads()?;
    let hub = &args.hub;
    hub.bring(&args.run, ui, |env| AdapterJob::download(recipe, env, ui))?;
    let cache = hub_env().cache;
    let job = AdapterJob::open(recipe, cache.as_deref()).map_err(|error| hub.absent(error))?;
    let files = job.files();
    check_not_input(out, files.iter().map(PathBuf::as_path))?;
    let bases = job.bases();
    if bases.len() > 1 {
        let bases = bases.join("`, `");
        ui.say(format_args!(
            "warning: the adapters name different bases: `{bases}`"
        ));
    }
    // Small, and the only way to know that they go together.
    ui.listen();
    let merged = job
        .merge(args.run.seed(), ui)
        .map_err(|error| match error {
            MergingError::Combine(error) if matches!(*error, CombineError::Cancelled) => {
                CliError::interrupted()
            }
            error => error.into(),
        })?;
    let summary = job.summary(&merged);
    check_room(out, summary.written_bytes)?;
    if args.run.dry_run {
        return ui.show(&summary);
    }
    let settings = Settings {
        recipe,
        plan: &summary,
    };
    let settings = serde_json::to_value(&settings).unwrap_or_default();
    let (device, threads) = (args.run.device.to_string(), args.run.thread_count());
    let mut record = RunRecord::start("merge", device, threads, args.run.seed(), settings);
    let inputs = files.iter().map(|file| InputFile::sample(file));
    record.inputs = inputs.collect::<Result<_, RunError>>()?;
    let folder = RunFolder::create(out, overwrite(args.force), record)?;
    if let Err(error) = job.write(folder.path(), &merged) {
        let _ = folder.discard();
        return Err(error.into());
    }
    let seconds = folder.elapsed();
    let out = folder.finish(StopReason::Done)?;
    ui.show(&Done {
        out,
        method: job.method().to_owned(),
        seconds,
    })
}

impl Show for AdapterSummary {
    fn text(&self, _: &Ui) -> String {
        let mut text = String::new();
        let mut line = |key: &str, value: String| {
            let _ = writeln!(text, "{key:<12}{value}");
        };
        line("method", self.method.name().to_owned());
        let settings = serde_json::to_value(&self.method).unwrap_or_default();
        let settings = settings.as_object().into_iter().flatten();
        let settings = settings.filter(|(key, value)| *key != "adapter_method" && !value.is_null());
        let settings: Vec<String> = settings
            .map(|(key, value)| format!("{key} {value}"))
            .collect();
        if !settings.is_empty() {
            line("settings", settings.join(", "));
        }
        for (name, weight) in &self.adapters {
            line("adapter", format!("{name}, weight {weight}"));
        }
        for base in &self.bases {
            line("base", base.clone());
        }
        line("tensors", format!("{} merged", self.tensors));
        line("reads", bytes(self.input_bytes));
        line("writes", bytes(self.written_bytes));
        line("memory", format!("about {}", bytes(self.memory_bytes)));
        text + "nothing was written (dry run)"
    }
}
