//! `refit report`.

use super::{
    args::{UiArgs, overwrite},
    error::CliError,
    ui::Ui,
};
use crate::{
    report,
    run::{REPORT, RunFiles},
};
use refit_io::atomic::{Overwrite, write_file};
use std::path::PathBuf;

/// Rebuild the page of a run from its files
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without --out the page inside the run folder is replaced: it is made from run.json, results.json and \
metrics.jsonl alone, so nothing is lost.

Examples:
  refit report runs/digits
  refit report runs/digits --out digits.html --force")]
pub(super) struct ReportArgs {
    /// Folder that a verb wrote with --out
    run: PathBuf,
    /// Write the page here instead
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the file given with --out
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    pub(super) ui: UiArgs,
}

pub(super) fn run(args: &ReportArgs, ui: &Ui) -> Result<(), CliError> {
    let files = RunFiles::read(&args.run)?;
    let page = report::render(&files);
    let (path, mode) = match &args.out {
        Some(path) => (path.clone(), overwrite(args.force)),
        None => (args.run.join(REPORT), Overwrite::Replace),
    };
    write_file(&path, page.as_bytes(), mode)?;
    if ui.json() {
        return ui.print_json(&serde_json::json!({ "report": path }));
    }
    ui.print(&path.display().to_string())
}
