//! `refit merge`.

mod streamed;

use super::{
    args::{RunArgs, check_not_input, check_place, overwrite},
    error::{CliError, Exit},
    ui::{Show, Ui},
};
use crate::{
    merging::MergeJob,
    recipe::{NamedPath, PlanSummary, Recipe},
    report::{bytes, duration},
    run::{InputFile, RunFolder, RunRecord},
};
use refit_core::StopReason;
use serde::Serialize;
use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

/// Combine fine-tuned checkpoints of one base into one model
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A recipe that names a `merge_method` is read as mergekit reads it: models, slices or modules, settings that vary \
with depth and by tensor, several recipes in one file. Such a merge streams: models may be larger than memory, and \
one that was stopped, by Ctrl-C or otherwise, is in RUN.part; --resume goes on. A recipe that names a `method` is \
of this project's own kind: it trims over the whole model, and can learn coefficients from inputs without labels. \
`recipes/` holds a commented recipe for every method; they merge runs/digits and runs/letters, trained from \
runs/base as `refit train --help` shows. Paths in a recipe are relative to the current folder. A recipe may have a \
seed of its own; --seed wins.

Examples:
  refit merge recipes/ties.yaml --out runs/merged --dry-run
  refit merge recipes/task-arithmetic.yaml --out runs/merged")]
pub(super) struct MergeArgs {
    /// Recipe (YAML); `recipes/ties.yaml` is a commented default
    #[arg(value_name = "RECIPE.yaml", required_unless_present = "resume")]
    recipe: Option<PathBuf>,
    /// New folder for everything that is written; appears complete or not at all
    #[arg(short, long, value_name = "DIR", required_unless_present = "resume")]
    out: Option<PathBuf>,
    /// Replace the output of an earlier run
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    pub(super) run: RunArgs,
    // Last: its heading holds for all that follows.
    #[command(flatten)]
    streamed: streamed::StreamArgs,
}

pub(super) fn run(args: &MergeArgs, ui: &Ui) -> Result<(), CliError> {
    if let Some(run) = &args.streamed.resume {
        return streamed::go_on(args, run, ui);
    }
    let (Some(recipe), Some(out)) = (&args.recipe, &args.out) else {
        return Err(CliError::plain(
            Exit::Usage,
            "no recipe or no --out was given",
        ));
    };
    check_place(out, args.force)?;
    if MergeJob::is_meant(recipe)? {
        return streamed::begin(args, recipe, out, ui);
    }
    args.streamed.refuse_for_own_recipes()?;
    own(args, recipe, out, ui)
}

/// Runs a recipe of this project's own kind.
fn own(args: &MergeArgs, recipe: &Path, out: &Path, ui: &Ui) -> Result<(), CliError> {
    let recipe = Recipe::load(recipe)?;
    check_not_input(out, recipe.paths())?;
    args.run.start_threads()?;
    let recipe = match args.run.given_seed() {
        Some(seed) => recipe.with_seed(seed),
        None => recipe,
    };
    let seed = recipe.seed;
    let plan = recipe.plan()?;
    for warning in plan.warnings() {
        ui.say(warning);
    }
    let summary = plan.summary();
    if args.run.dry_run {
        plan.check_data()?;
        return ui.show(&summary);
    }
    let settings = serde_json::to_value(&summary).unwrap_or_default();
    let (device, threads) = (args.run.device.as_str(), args.run.thread_count());
    let record = RunRecord::start("merge", device, threads, seed, settings);
    let mut folder = RunFolder::create(out, overwrite(args.force), record)?;
    for file in plan.files() {
        folder.add_input(InputFile::hash(&file)?);
    }
    for (path, files) in plan.data() {
        folder.add_input(InputFile::hash_data(path, &files)?);
    }
    ui.listen();
    let merged = plan.run(folder.path(), ui)?;
    for remark in &merged.remarks {
        ui.say(remark);
    }
    let seconds = folder.elapsed();
    let path = folder.finish(merged.stop)?;
    if merged.stop == StopReason::Interrupted {
        let words = format!(
            "interrupted; `{}` holds the merge as far as it came",
            path.display()
        );
        return Err(CliError::plain(Exit::Interrupted, words));
    }
    ui.show(&Done {
        out: path,
        method: summary.method,
        seconds,
    })
}

impl Show for PlanSummary {
    fn text(&self, ui: &Ui) -> String {
        let mut text = String::new();
        let mut line = |key: &str, value: String| {
            let _ = writeln!(text, "{key:<12}{value}");
        };
        line("method", self.method.clone());
        if let Some(settings) = self.settings.as_object() {
            let pairs = settings.iter().filter(|(key, _)| *key != "method");
            let pairs: Vec<String> = pairs.map(|(key, value)| format!("{key} {value}")).collect();
            line("settings", pairs.join(", "));
        }
        line("base", self.base.clone());
        let shown = if ui.verbose() { self.experts.len() } else { 8 };
        for NamedPath { name, path } in self.experts.iter().take(shown) {
            line("expert", format!("{name} ({})", path.display()));
        }
        if self.experts.len() > shown {
            line("", format!("and {} more", self.experts.len() - shown));
        }
        line(
            "tensors",
            format!(
                "{} merged, {} kept from the base",
                self.merged_tensors, self.kept_tensors
            ),
        );
        line("reads", bytes(self.input_bytes));
        line("writes", bytes(self.output_bytes));
        // Beside that, one block of every model per thread.
        let memory = bytes(self.memory_bytes);
        line(
            "memory",
            if self.learns {
                format!("at least {memory}, and the activations of one batch")
            } else {
                format!("about {memory}")
            },
        );
        text + "nothing was written (dry run)"
    }
}

/// What a merge prints.
#[derive(Serialize)]
struct Done {
    out: PathBuf,
    method: String,
    seconds: f64,
}

impl Show for Done {
    fn text(&self, _: &Ui) -> String {
        format!(
            "{}: merged by {} in {}",
            self.out.display(),
            self.method,
            duration(self.seconds)
        )
    }
}
