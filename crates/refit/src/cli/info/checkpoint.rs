//! What is in a checkpoint.

use super::{
    super::{
        error::CliError,
        ui::{Show, Ui},
    },
    model::ModelInfo,
};
use crate::{classifier::CONFIG, report, visible::visible_name};
use refit_io::{
    ckpt::{CkptError, Health, TensorHealth, TensorReader, health},
    file::read_file,
};
use serde::Serialize;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt::Write,
    path::{Path, PathBuf},
};

/// Numbers and words of a configuration that are printed without `-v`.
const SCALARS: usize = 8;
/// Tensors that are printed without `-v`.
const SHOWN: usize = 24;
/// A larger architecture file is not one.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// A checkpoint with the health of every tensor.
#[derive(Serialize)]
pub(super) struct CheckpointInfo {
    kind: &'static str,
    path: PathBuf,
    files: Vec<PathBuf>,
    architecture: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<ModelInfo>,
    metadata: BTreeMap<String, String>,
    #[serde(flatten)]
    health: Health,
}

/// Opens a checkpoint and looks at every value once.
pub(super) fn read(path: &Path, ui: &Ui) -> Result<CheckpointInfo, CliError> {
    // Of weights that are packed in an unknown way the parts are shown.
    let checkpoint = TensorReader::open(path).or_else(|error| match error {
        CkptError::Packing { .. } => TensorReader::open_stored(path),
        error => Err(error),
    })?;
    let config = architecture(path, CONFIG);
    let config = config.or_else(|| checkpoint.config().cloned().map(Value::Object));
    let model = path.is_dir().then(|| ModelInfo::read(path)).flatten();
    let info = look(path, "checkpoint", config, &checkpoint, ui)?;
    Ok(CheckpointInfo { model, ..info })
}

/// Looks at every value once.
pub(super) fn look(
    path: &Path,
    kind: &'static str,
    architecture: Option<Value>,
    checkpoint: &TensorReader,
    ui: &Ui,
) -> Result<CheckpointInfo, CliError> {
    ui.listen();
    let health = health(checkpoint, ui).map_err(|error| match error {
        CkptError::Cancelled { .. } => CliError::interrupted(),
        error => CliError::bad_input(&error),
    })?;
    Ok(CheckpointInfo {
        kind,
        path: path.into(),
        files: checkpoint.files().map(Path::to_path_buf).collect(),
        architecture,
        model: None,
        metadata: checkpoint.metadata().clone(),
        health,
    })
}

/// The configuration `name` beside the weights, whoever wrote it.
pub(super) fn architecture(path: &Path, name: &str) -> Option<Value> {
    let folder = if path.is_dir() { path } else { path.parent()? };
    let bytes = read_file(&folder.join(name), MAX_CONFIG_BYTES).ok()?;
    serde_json::from_slice(&bytes).ok()
}

impl Show for CheckpointInfo {
    fn text(&self, ui: &Ui) -> String {
        let mut text = self.head(ui);
        text += &self.body(ui);
        text
    }
}

impl CheckpointInfo {
    /// What it is and where.
    pub(super) fn head(&self, ui: &Ui) -> String {
        let mut text = format!("{:<12}{}\n", self.kind, self.path.display());
        let known = self.model.as_ref().is_some_and(ModelInfo::is_known);
        if let Some(config) = self
            .architecture
            .as_ref()
            .filter(|_| ui.verbose() || !known)
        {
            let _ = writeln!(text, "model       {}", one_line(config, ui.verbose()));
        }
        if let Some(model) = &self.model {
            text += &model.text(ui.verbose());
        }
        text
    }

    /// What is in it.
    pub(super) fn body(&self, ui: &Ui) -> String {
        let (health, mut text) = (&self.health, String::new());
        let _ = writeln!(
            text,
            "tensors     {}, {} values, {} in {}",
            health.tensors.len(),
            report::count(health.parameters),
            report::bytes(health.bytes),
            files(self.files.len())
        );
        for total in &health.by_dtype {
            let values = report::count(total.parameters);
            let _ = writeln!(
                text,
                "  {:<10}{} tensors, {values} values",
                total.dtype.name(),
                total.tensors
            );
        }
        for (key, value) in &self.metadata {
            let (key, value) = (visible_name(key), visible_name(value));
            let _ = writeln!(text, "  {key} = {value}");
        }
        let _ = writeln!(text, "health      {}", verdict(health));
        self.tensors(&mut text, ui.verbose());
        text
    }

    /// One line per tensor, the ill ones first; the rest is counted.
    fn tensors(&self, text: &mut String, all: bool) {
        let tensors = &self.health.tensors;
        let (ill, well): (Vec<_>, Vec<_>) = tensors.iter().partition(|t| is_ill(t));
        let ordered: Vec<&TensorHealth> = if all {
            tensors.iter().collect()
        } else {
            ill.into_iter().chain(well).collect()
        };
        let shown = if all {
            ordered.len()
        } else {
            SHOWN.min(ordered.len())
        };
        let width = ordered[..shown]
            .iter()
            .map(|t| t.path.as_str().chars().count())
            .max();
        let width = width.unwrap_or(0).min(60);
        for tensor in &ordered[..shown] {
            let shape = format!("{:?}", tensor.shape);
            let name = tensor.path.as_str();
            let _ = writeln!(
                text,
                "  {name:<width$}  {:<5}{shape:<18}{}",
                tensor.dtype.name(),
                values(tensor)
            );
        }
        if ordered.len() > shown {
            let _ = writeln!(text, "  and {} more (-v shows all)", ordered.len() - shown);
        }
    }
}

fn is_ill(tensor: &TensorHealth) -> bool {
    tensor.values.is_some_and(|v| v.nan + v.inf > 0)
}

fn files(count: usize) -> String {
    if count == 1 {
        "1 file".into()
    } else {
        format!("{count} files")
    }
}

/// What a configuration calls the kind of a model, and of an adapter.
const KINDS: [&str; 2] = ["model_type", "peft_type"];

/// `vit, hidden_size 128, ..`: scalars of the architecture on one line.
fn one_line(config: &Value, all: bool) -> String {
    let Some(object) = config.as_object() else {
        return config.to_string();
    };
    let kind = KINDS
        .iter()
        .find_map(|key| object.get(*key))
        .and_then(Value::as_str)
        .unwrap_or("unnamed");
    let scalars = object
        .iter()
        .filter(|(key, value)| {
            !KINDS.contains(&key.as_str()) && (value.is_number() || value.is_string())
        })
        .take(if all { usize::MAX } else { SCALARS })
        .map(|(key, value)| format!("{key} {value}"));
    std::iter::once(kind.to_owned())
        .chain(scalars)
        .collect::<Vec<_>>()
        .join(", ")
}

fn verdict(health: &Health) -> String {
    let sum = |part: fn(&refit_io::ckpt::ValueStats) -> u64| -> u64 {
        health
            .tensors
            .iter()
            .filter_map(|t| t.values.as_ref())
            .map(part)
            .sum()
    };
    let (nan, inf, zero) = (sum(|v| v.nan), sum(|v| v.inf), sum(|v| v.zero));
    let zeros = 100.0 * zero as f64 / health.parameters.max(1) as f64;
    let unknown = health.tensors.iter().filter(|t| t.values.is_none()).count();
    if nan + inf == 0 {
        return match unknown {
            0 => format!("all values are finite, {zeros:.1} % are zero"),
            n if n == health.tensors.len() => "unknown: no tensor can be decoded".to_owned(),
            n => format!(
                "unknown for {n} tensors that cannot be decoded; all other values are finite"
            ),
        };
    }
    let ill = health.tensors.iter().filter(|t| is_ill(t)).count();
    format!("{nan} NaN and {inf} infinite values in {ill} tensors, {zeros:.1} % are zero")
}

fn values(tensor: &TensorHealth) -> String {
    let Some(v) = &tensor.values else {
        return "not decoded".into();
    };
    let range = match (v.min, v.mean, v.max) {
        (Some(min), Some(mean), Some(max)) => format!("{min:.4} .. {max:.4}, mean {mean:.4}"),
        _ => "no finite value".into(),
    };
    let mut text = range;
    if v.nan > 0 {
        let _ = write!(text, ", {} NaN", v.nan);
    }
    if v.inf > 0 {
        let _ = write!(text, ", {} infinite", v.inf);
    }
    text
}
