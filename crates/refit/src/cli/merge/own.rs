//! Merges by recipes of this project's own kind; one that learns is gone on with after a stop.

use super::{Done, MergeArgs, paused};
use crate::{
    cli::{
        args::{check_not_input, overwrite},
        error::{CliError, Exit},
        ui::{Show, Ui},
    },
    outcome::{Curve, Outcome, TaskSummary},
    recipe::{ADAPTATION, MergePlan, Merged, NamedPath, PlanSummary, Recipe, RecipeError},
    report::bytes,
    run::{InputFile, RunError, RunFolder, RunRecord, Unfinished, peak_bytes, same_inputs},
    trace,
};
use refit_core::{Seed, StopReason};
use serde::Serialize;
use std::{fmt::Write, fs, path::Path};

/// What the record says: the recipe to go on with, and what came of it.
#[derive(Serialize)]
struct Settings<'a> {
    recipe: &'a Path,
    #[serde(flatten)]
    plan: &'a PlanSummary,
}

pub(super) fn begin(args: &MergeArgs, path: &Path, out: &Path, ui: &Ui) -> Result<(), CliError> {
    let plan = plan(args, path, args.run.given_seed(), |recipe| {
        check_not_input(out, recipe.paths())
    })?;
    for warning in plan.warnings() {
        ui.say(warning);
    }
    let summary = plan.summary();
    if args.run.dry_run {
        plan.check_data()?;
        return ui.show(&summary);
    }
    let settings = Settings {
        recipe: path,
        plan: &summary,
    };
    let settings = serde_json::to_value(&settings).unwrap_or_default();
    let (device, threads) = (args.run.device.to_string(), args.run.thread_count());
    let mut record = RunRecord::start("merge", device, threads, plan.recipe().seed, settings);
    record.inputs = inputs(&plan)?;
    let overwrite = overwrite(args.force);
    // Without learning there is nothing to go on with.
    let folder = if summary.learns {
        RunFolder::create_resumable(out, overwrite, record)?
    } else {
        RunFolder::create(out, overwrite, record)?
    };
    work(&plan, folder, ui)
}

pub(super) fn go_on(
    args: &MergeArgs,
    path: &Path,
    run: &Path,
    found: &Unfinished,
    ui: &Ui,
) -> Result<(), CliError> {
    let plan = plan(args, path, Some(found.record.seed), |_| Ok(()))?;
    same_inputs(&found.record.inputs, &inputs(&plan)?)?;
    if args.run.dry_run {
        plan.check_data()?;
        return ui.show(&plan.summary());
    }
    let folder = RunFolder::resume(run, overwrite(args.force))?;
    work(&plan, folder, ui)
}

fn plan(
    args: &MergeArgs,
    path: &Path,
    seed: Option<Seed>,
    check: impl Fn(&Recipe) -> Result<(), CliError>,
) -> Result<MergePlan, CliError> {
    let recipe = Recipe::load(path)?;
    check(&recipe)?;
    args.run.start_threads()?;
    let recipe = match seed {
        Some(seed) => recipe.with_seed(seed),
        None => recipe,
    };
    Ok(recipe.plan()?)
}

/// Every file with its hash.
fn inputs(plan: &MergePlan) -> Result<Vec<InputFile>, RunError> {
    let files = plan.files().into_iter().map(|file| InputFile::hash(&file));
    let data = plan
        .data()
        .map(|(path, files)| InputFile::hash_data(path, &files));
    files.chain(data).collect()
}

fn work(plan: &MergePlan, mut folder: RunFolder, ui: &Ui) -> Result<(), CliError> {
    ui.listen();
    let merged = match plan.run(folder.path(), ui) {
        Ok(merged) => merged,
        Err(error) => return Err(stopped(error, folder)),
    };
    for remark in &merged.remarks {
        ui.say(remark);
    }
    if merged.stop == StopReason::Interrupted {
        let what = format!("the state after step {}", merged.steps);
        return Err(paused(&what, folder));
    }
    let (seconds, method) = (folder.elapsed(), plan.summary().method);
    if let Some(outcome) = outcome(plan, &method, &merged, seconds) {
        folder.set_outcome(outcome);
    }
    let next = folder.how_to_go_on("merge");
    let out = match folder.finish_or_return(merged.stop) {
        Ok(out) => out,
        Err((error, None)) => return Err(error.into()),
        Err((error, Some(_))) => return Err(CliError::from(error).hint(next)),
    };
    // Nobody goes on with a complete run. It goes last: whoever is killed before can still go on.
    let _ = fs::remove_file(out.join(ADAPTATION));
    ui.show(&Done {
        out,
        method,
        seconds,
    })
}

/// What the page shows of learning.
fn outcome(plan: &MergePlan, method: &str, merged: &Merged, seconds: f64) -> Option<Outcome> {
    let learned = merged.coefficients.as_ref()?;
    let recipe = plan.recipe();
    let name = recipe.path.file_name().unwrap_or_default();
    let task = |name: &String| TaskSummary {
        name: name.clone(),
        ..TaskSummary::default()
    };
    Some(Outcome {
        suite: name.to_string_lossy().into_owned(),
        seeds: vec![recipe.seed.get()],
        tasks: learned.experts.iter().map(task).collect(),
        coefficients: vec![trace::table(method, learned)],
        curves: vec![Curve {
            method: method.to_owned(),
            points: merged.curve.clone(),
        }],
        seconds,
        peak_bytes: peak_bytes().unwrap_or(0),
        ..Outcome::default()
    })
}

/// Keeps what is there where another try can go on with it.
fn stopped(error: RecipeError, folder: RunFolder) -> CliError {
    let next = folder.how_to_go_on("merge");
    // To go on after a divergence would lead to the same place.
    let diverged = matches!(error, RecipeError::Diverged { .. });
    let error = CliError::from(error);
    let saved = folder.path().join(ADAPTATION).is_file();
    if saved && !diverged {
        let _ = folder.pause();
        return match error.exit() {
            Exit::Failed => error.hint(format!("when the cause is mended, {next}")),
            _ => error,
        };
    }
    // What went wrong first is what the user should hear of.
    let _ = folder.discard();
    error
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
