//! `refit merge`.

mod adapters;
mod own;
mod streamed;

use super::{
    args::{RunArgs, check_place},
    error::{CliError, Exit},
    hub::HubArgs,
    resume::recorded,
    ui::{Show, Ui},
};
use crate::{
    merging::{AdapterJob, MergeJob},
    report::duration,
    run::{RunFolder, Unfinished},
};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Combine fine-tuned checkpoints of one base into one model
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A recipe that names a `merge_method` is read as mergekit reads it: models, slices or modules, settings that vary \
with depth and by tensor, several recipes in one file. Such a merge streams: models may be larger than memory. \
A recipe that names a `method` is of this project's own kind: it trims over the whole model, and can learn \
coefficients from inputs without labels. One that names an `adapter_method` makes one adapter of several, without \
their base. A merge that streams or learns and was stopped, by Ctrl-C or otherwise, is \
in RUN.part; --resume goes on, to the same bits as without a break. \
`recipes/` holds commented recipes of both kinds; they merge models trained from runs/base as `refit train --help` \
shows. Paths in a recipe are relative to the current folder. A recipe may have a \
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
    /// Go on with an interrupted merge, its recipe and its settings
    #[arg(long, value_name = "RUN", conflicts_with_all = ["recipe", "out", "seed", "memory", "shard_size", "nan"])]
    resume: Option<PathBuf>,
    /// Replace the output of an earlier run
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    hub: HubArgs,
    #[command(flatten)]
    pub(super) run: RunArgs,
    // Last: its heading holds for all that follows.
    #[command(flatten)]
    streamed: streamed::StreamArgs,
}

pub(super) fn run(args: &MergeArgs, ui: &Ui) -> Result<(), CliError> {
    if let Some(run) = &args.resume {
        let found = Unfinished::find(run)?;
        check_place(&found.target, args.force)?;
        let Named { recipe } = recorded(&found.record, run, "merge")?;
        return if MergeJob::is_meant(&recipe)? {
            streamed::go_on(args, run, &found, ui)
        } else {
            own::go_on(args, &recipe, run, &found, ui)
        };
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
    if AdapterJob::is_meant(recipe)? {
        return adapters::begin(args, recipe, out, ui);
    }
    args.hub.refuse_for_own_recipes()?;
    own::begin(args, recipe, out, ui)
}

/// What the record of every merge says.
#[derive(Deserialize)]
struct Named {
    recipe: PathBuf,
}

/// The user wants to stop here: what there is stays.
fn paused(what: &str, folder: RunFolder) -> CliError {
    let next = folder.how_to_go_on("merge");
    match folder.pause() {
        Err(error) => error.into(),
        Ok(path) => {
            let words = format!("interrupted; {what} is in `{}`", path.display());
            CliError::plain(Exit::Interrupted, words).hint(next)
        }
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
