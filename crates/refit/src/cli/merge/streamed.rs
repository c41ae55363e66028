//! Merges by recipes of recipe tools: planned on headers, streamed, and gone on with after a stop.

use super::{Done, MergeArgs, paused};
use crate::{
    cli::{
        args::{check_not_input, overwrite},
        error::{CliError, Exit},
        hub::hub_env,
        resume::recorded,
        ui::{Show, Ui},
    },
    merging::{JobSummary, MergeJob, MergeOptions, MergingError, parse_bytes},
    report::bytes,
    run::{InputFile, RunError, RunFolder, RunRecord, Unfinished, same_inputs},
};
use clap::ValueEnum;
use refit_core::StopReason;
use refit_io::atomic::check_room;
use refit_merge::{MergeError, NotFinite};
use serde::{Deserialize, Serialize};
use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

/// What only such merges take.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Recipes with a merge_method")]
pub(super) struct StreamArgs {
    /// Most memory for values, such as 2GiB; a method that has to see a whole tensor may need more [default: 512MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    memory: Option<u64>,
    /// Most bytes of weights per file of the output (as Hugging Face's tools) [default: 5GB]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    shard_size: Option<u64>,
    /// What happens to NaN and infinities in models and result [default: refuse]
    #[arg(long, value_enum)]
    nan: Option<NanName>,
}

/// What happens to values that are not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum NanName {
    /// An error that names tensor, model and position
    Refuse,
    /// They pass, and spoil the entries they meet
    Allow,
}

impl StreamArgs {
    /// Recipes of this project's own kind have settings of their own for these things.
    pub(super) fn refuse_for_own_recipes(&self) -> Result<(), CliError> {
        let given = [
            ("--memory", self.memory.is_some()),
            ("--shard-size", self.shard_size.is_some()),
            ("--nan", self.nan.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((flag, _)) => {
                let words = format!("{flag} is for recipes with a `merge_method`");
                Err(CliError::plain(Exit::Usage, words))
            }
        }
    }

    fn options(&self, seed: refit_core::Seed) -> MergeOptions {
        let default = MergeOptions::default();
        MergeOptions {
            seed,
            memory_bytes: self.memory.unwrap_or(default.memory_bytes),
            shard_bytes: self.shard_size.or(default.shard_bytes),
            not_finite: match self.nan {
                Some(NanName::Allow) => NotFinite::Allow,
                _ => NotFinite::Refuse,
            },
            cache: hub_env().cache,
        }
    }
}

/// What a run is gone on with.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Settings {
    recipe: PathBuf,
    options: MergeOptions,
    /// For the page.
    #[serde(skip_deserializing)]
    plan: Option<JobSummary>,
}

pub(super) fn begin(args: &MergeArgs, recipe: &Path, out: &Path, ui: &Ui) -> Result<(), CliError> {
    args.run.start_threads()?;
    let options = args.streamed.options(args.run.seed());
    let hub = &args.hub;
    hub.bring(&args.run, ui, |env| MergeJob::download(recipe, env, ui))?;
    let job = MergeJob::open(recipe, options.clone()).map_err(|error| hub.absent(error))?;
    let read = [job.files(), job.folders()].concat();
    check_not_input(out, read.iter().map(PathBuf::as_path))?;
    let plan = job.summary();
    check_room(out, plan.written_bytes)?;
    if args.run.dry_run {
        return ui.show(&plan);
    }
    let settings = Settings {
        recipe: recipe.into(),
        options,
        plan: Some(plan),
    };
    let settings = serde_json::to_value(&settings).unwrap_or_default();
    let (device, threads) = (args.run.device.to_string(), args.run.thread_count());
    let mut record = RunRecord::start("merge", device, threads, args.run.seed(), settings);
    record.inputs = inputs(&job)?;
    let folder = RunFolder::create_resumable(out, overwrite(args.force), record)?;
    work(&job, folder, false, ui)
}

pub(super) fn go_on(
    args: &MergeArgs,
    run: &Path,
    found: &Unfinished,
    ui: &Ui,
) -> Result<(), CliError> {
    let mut settings: Settings = recorded(&found.record, run, "merge")?;
    settings.options.cache = hub_env().cache;
    args.run.start_threads()?;
    let job = MergeJob::open(&settings.recipe, settings.options)?;
    same_inputs(&found.record.inputs, &inputs(&job)?)?;
    if args.run.dry_run {
        return ui.show(&job.summary());
    }
    let folder = RunFolder::resume(run, overwrite(args.force))?;
    work(&job, folder, true, ui)
}

/// Every file with its hash; large ones are sampled.
fn inputs(job: &MergeJob) -> Result<Vec<InputFile>, RunError> {
    job.files()
        .iter()
        .map(|file| InputFile::sample(file))
        .collect()
}

fn work(job: &MergeJob, folder: RunFolder, resumed: bool, ui: &Ui) -> Result<(), CliError> {
    ui.listen();
    for tensor in job.left_out() {
        ui.say(format_args!("warning: {tensor} has no place in the result"));
    }
    for warning in job.warnings() {
        ui.say(format_args!("warning: {warning}"));
    }
    if let Err(error) = job.run(folder.path(), ui) {
        return Err(stopped(error, folder, resumed));
    }
    let seconds = folder.elapsed();
    let next = folder.how_to_go_on("merge");
    let out = match folder.finish_or_return(StopReason::Done) {
        Ok(out) => out,
        Err((error, _)) => return Err(CliError::from(error).hint(next)),
    };
    ui.show(&Done {
        out,
        method: job.method().to_owned(),
        seconds,
    })
}

/// Keeps what is there where another try can go on with it, and whatever was kept before.
fn stopped(error: MergingError, folder: RunFolder, resumed: bool) -> CliError {
    let next = folder.how_to_go_on("merge");
    let interrupted = matches!(error, MergingError::Merge(MergeError::Cancelled));
    let error = CliError::from(error);
    if interrupted {
        return paused("what is merged", folder);
    }
    if error.exit() == Exit::Failed {
        // A full disk, a device that failed: nothing that the user gave is wrong.
        let _ = folder.pause();
        return error.hint(format!("when the cause is mended, {next}"));
    }
    // What went wrong first is what the user should hear of.
    if resumed {
        let _ = folder.pause();
        return error.hint(format!(
            "what was merged is kept: mend the cause and {next}"
        ));
    }
    let _ = folder.discard();
    error
}

impl Show for JobSummary {
    fn text(&self, ui: &Ui) -> String {
        let mut text = String::new();
        let mut line = |key: &str, value: String| {
            let _ = writeln!(text, "{key:<12}{value}");
        };
        for step in &self.steps {
            if let Some(name) = &step.recipe.name {
                line("recipe", name.clone());
            }
            let card = step.recipe.method.card;
            line("method", format!("{} ({})", card.name, card.summary));
            let models = step.recipe.models();
            let shown = if ui.verbose() { models.len() } else { 8 };
            for model in models.iter().take(shown) {
                let base = step.recipe.base_model.as_ref() == Some(*model);
                line(if base { "base" } else { "model" }, model.to_string());
            }
            if models.len() > shown {
                line("", format!("and {} more", models.len() - shown));
            }
            let (merged, copied) = (step.merged_tensors, step.copied_tensors);
            let folded = match step.folded_tensors {
                0 => String::new(),
                folded => format!("{folded} changed by adapters, "),
            };
            line(
                "tensors",
                format!("{merged} merged, {folded}{copied} copied"),
            );
            let dtypes = step.dtypes.join(", ");
            line(
                "result",
                format!("{} of {dtypes}", bytes(step.output_bytes)),
            );
            if let Some(tokenizer) = &step.tokenizer {
                line("tokenizer", tokenizer.to_string());
            }
            for tensor in step.left_out.iter().take(shown) {
                line("left out", tensor.clone());
            }
        }
        for warning in &self.warnings {
            line("warning", warning.clone());
        }
        line("reads", bytes(self.input_bytes));
        line(
            "writes",
            format!("{} in {}", bytes(self.written_bytes), files(self.shards)),
        );
        line("memory", format!("about {}", bytes(self.memory_bytes)));
        text + "nothing was written (dry run)"
    }
}

fn files(count: usize) -> String {
    match count {
        1 => "one file".to_owned(),
        n => format!("{n} files"),
    }
}
