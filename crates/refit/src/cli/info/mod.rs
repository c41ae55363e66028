//! `refit info`.

mod adapter;
mod checkpoint;
mod model;
mod recipe;

use super::{
    args::UiArgs,
    error::{CliError, Exit},
    ui::{Show, Ui},
};
use crate::{
    merging::{AdapterJob, MergeJob},
    recipe::MAX_COEFFICIENTS_BYTES,
    run::{RECORD, RunFiles},
};
use adapter::AdapterInfo;
use recipe::{AdaptersInfo, RecipesInfo, recipe_info};
use refit_io::{adapter::CONFIG_FILE, file::read_file};
use refit_merge::Coefficients;
use serde::Serialize;
use std::{
    fmt::Write,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// Say what is in a checkpoint, an adapter, a run folder, a recipe or a file of coefficients
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Of a model's folder its family, task, sizes and labels are told, whether the tensors are those of the model (up to ten \
that are missing or belong nowhere are named), and which verbs read it. Long lists are cut; -v prints them whole. Health: how many values are NaN, infinite or zero.

Examples:
  refit info runs/digits
  refit info recipes/ties.yaml --json")]
pub(super) struct InfoArgs {
    /// Checkpoint (.safetensors, .bin, .pt, .gguf, an index or a folder), adapter (folder), recipe (.yaml), coefficients (.json)
    path: PathBuf,
    #[command(flatten)]
    pub(super) ui: UiArgs,
}

pub(super) fn run(args: &InfoArgs, ui: &Ui) -> Result<(), CliError> {
    let path = &args.path;
    let extension = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default();
    let meta = fs::metadata(path).map_err(|e| cannot_open(path, &e))?;
    match extension.to_ascii_lowercase().as_str() {
        _ if meta.is_dir() && !has_checkpoint(path) && path.join(CONFIG_FILE).is_file() => {
            ui.show(&AdapterInfo::read(path, ui)?)
        }
        _ if meta.is_dir() && !has_checkpoint(path) && path.join(RECORD).is_file() => {
            ui.show(&run_info(path)?)
        }
        _ if meta.is_dir() => ui.show(&checkpoint::read(path, ui)?),
        "yaml" | "yml" if AdapterJob::is_meant(path)? => ui.show(&AdaptersInfo::read(path)?),
        "yaml" | "yml" if MergeJob::is_meant(path)? => ui.show(&RecipesInfo::read(path)?),
        "yaml" | "yml" => ui.show(&recipe_info(path)?),
        "html" | "md" | "csv" => Err(no_checkpoint(path)),
        "json" => match JsonKind::of(path)? {
            JsonKind::Index => ui.show(&checkpoint::read(path, ui)?),
            JsonKind::Coefficients => ui.show(&coefficients_info(path)?),
            JsonKind::Other => Err(no_json_of_ours(path)),
        },
        _ => ui.show(&checkpoint::read(path, ui)?),
    }
}

/// What a JSON file is, by its keys: whatever its name, an index is an index.
enum JsonKind {
    Index,
    Coefficients,
    Other,
}

impl JsonKind {
    fn of(path: &Path) -> Result<Self, CliError> {
        if path.to_string_lossy().ends_with(".index.json") {
            return Ok(Self::Index);
        }
        let bytes = read_file(path, MAX_COEFFICIENTS_BYTES).map_err(|e| CliError::bad_input(&e))?;
        let keys: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&bytes).unwrap_or_default();
        Ok(if keys.contains_key("weight_map") {
            Self::Index
        } else if keys.contains_key("format") || keys.contains_key("groups") {
            Self::Coefficients
        } else {
            Self::Other
        })
    }
}

fn no_json_of_ours(path: &Path) -> CliError {
    let words = format!(
        "`{}` is neither the index of a checkpoint nor a file of coefficients",
        path.display()
    );
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    CliError::plain(Exit::BadInput, words).hint(format!(
        "a model, an adapter or a run is looked at by its folder, `{}`",
        folder.display()
    ))
}

fn no_checkpoint(path: &Path) -> CliError {
    let words = format!("`{}` holds no weights", path.display());
    CliError::plain(Exit::BadInput, words)
        .hint("pages and tables are for a browser; give a folder of weights")
}

fn cannot_open(path: &Path, error: &std::io::Error) -> CliError {
    let words = format!("cannot open `{}`: {}", path.display(), reason(error));
    let shown = CliError::plain(Exit::BadInput, words);
    match neighbour(path) {
        Some(name) if error.kind() == ErrorKind::NotFound => shown.hint(format!(
            "did you mean `{}`?",
            path.with_file_name(name).display()
        )),
        None if error.kind() == ErrorKind::PermissionDenied => {
            shown.hint("ask its owner, or make a copy that you may read")
        }
        _ => shown,
    }
}

fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "there is no such file or folder".into(),
        ErrorKind::PermissionDenied => "permission denied".into(),
        _ => error.to_string(),
    }
}

/// The entry of the same folder whose name is closest.
fn neighbour(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let parent = path
        .parent()
        .filter(|p| *p != Path::new(""))
        .unwrap_or(Path::new("."));
    let names: Vec<String> = fs::read_dir(parent)
        .ok()?
        .flatten()
        .take(10_000)
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    refit_core::nearest(name, names.iter().map(String::as_str)).map(str::to_owned)
}

fn has_checkpoint(folder: &Path) -> bool {
    ["model.safetensors", "model.safetensors.index.json"]
        .iter()
        .any(|n| folder.join(n).is_file())
}

/// A run folder without a model.
#[derive(Serialize)]
struct RunInfo {
    kind: &'static str,
    verb: String,
    command: String,
    refit: String,
    started: String,
    seconds: f64,
    stop: String,
    methods: Vec<(String, f64)>,
}

fn run_info(path: &Path) -> Result<RunInfo, CliError> {
    let RunFiles {
        record, outcome, ..
    } = RunFiles::read(path)?;
    let methods = outcome
        .into_iter()
        .flat_map(|o| o.methods)
        .map(|m| (m.label, m.mean))
        .collect();
    Ok(RunInfo {
        kind: "run",
        command: record.shell_command(),
        verb: record.verb,
        refit: record.refit,
        started: record.started,
        seconds: record.seconds,
        stop: record.stop.to_string(),
        methods,
    })
}

impl Show for RunInfo {
    fn text(&self, _: &Ui) -> String {
        let took = crate::report::duration(self.seconds);
        let mut text = format!(
            "run         refit {} {}\ncommand     {}\nstarted     {}, took {took}, {}\n",
            self.refit, self.verb, self.command, self.started, self.stop
        );
        for (label, mean) in &self.methods {
            let _ = writeln!(text, "  {label:<40}{:.1} %", 100.0 * mean);
        }
        text
    }
}

/// A file of coefficients.
#[derive(Serialize)]
struct CoefficientsInfo {
    kind: &'static str,
    base: String,
    experts: Vec<String>,
    groups: usize,
    /// Least, mean and greatest coefficient of every expert.
    range: Vec<[f32; 3]>,
}

fn coefficients_info(path: &Path) -> Result<CoefficientsInfo, CliError> {
    let bytes = read_file(path, MAX_COEFFICIENTS_BYTES).map_err(|e| CliError::bad_input(&e))?;
    let table = Coefficients::load(&bytes[..]).map_err(|e| {
        let words = format!("`{}`: {e}", path.display());
        CliError::plain(Exit::BadInput, words)
            .hint("give `coefficients.json` of a merge, as it was written")
    })?;
    let column = |k: usize| -> Vec<f32> { table.groups.iter().map(|g| g.values[k]).collect() };
    let range = |k: usize| {
        let values = column(k);
        let mean = values.iter().sum::<f32>() / values.len().max(1) as f32;
        let low = values.iter().copied().fold(f32::INFINITY, f32::min);
        [
            low,
            mean,
            values.iter().copied().fold(f32::NEG_INFINITY, f32::max),
        ]
    };
    Ok(CoefficientsInfo {
        kind: "coefficients",
        groups: table.groups.len(),
        range: (0..table.experts.len()).map(range).collect(),
        base: table.base,
        experts: table.experts,
    })
}

impl Show for CoefficientsInfo {
    fn text(&self, _: &Ui) -> String {
        let mut text = format!(
            "coefficients of {} groups, base {}\n",
            self.groups, self.base
        );
        let _ = writeln!(
            text,
            "{:<24}{:>8}{:>8}{:>8}",
            "expert", "least", "mean", "most"
        );
        for (expert, [low, mean, high]) in self.experts.iter().zip(&self.range) {
            let _ = writeln!(text, "{expert:<24}{low:>8.3}{mean:>8.3}{high:>8.3}");
        }
        text
    }
}
