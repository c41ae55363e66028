//! `metrics.jsonl`: one JSON object per line, written while the work goes on.

use super::RunError;
use refit_core::Seed;
use refit_io::{
    atomic::{Overwrite, write_file},
    file::open_file,
};
use refit_train::Step;
use serde_json::{Map, Number, Value};
use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
};

/// File name inside a run folder.
pub const METRICS: &str = "metrics.jsonl";

/// Lines longer than this are no metrics.
const MAX_LINE_BYTES: u64 = 1 << 16;
/// More lines than this are left unread: charts need no more.
const MAX_LINES: usize = 1 << 20;

/// Steps between two lines of a training.
const LOG_EVERY: u64 = 10;

/// Whether a step of a training of `steps` steps gets a line: every tenth, and the last.
pub(crate) const fn is_logged(step: &Step, steps: u64) -> bool {
    step.step.is_multiple_of(LOG_EVERY) || step.step == steps
}

/// What a line says about a step of training.
pub(crate) const fn step_values(step: &Step) -> [(&'static str, f64); 3] {
    [
        ("loss", step.loss),
        ("learning rate", step.rate),
        ("gradient norm", step.gradient_norm),
    ]
}

/// Appends measurements, one flushed line each, so that a killed run keeps all but the last.
#[derive(Debug)]
pub struct MetricsWriter {
    file: File,
    path: PathBuf,
}

impl MetricsWriter {
    /// Opens `metrics.jsonl` in `folder`, after what it holds already.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn append(folder: &Path) -> Result<Self, RunError> {
        let path = folder.join(METRICS);
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(RunError::io("open", &path))?;
        Ok(Self { file, path })
    }

    /// Writes `{"series": .., "step": .., key: value, ..}`; a value that is not finite is written as `null`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(
        &mut self,
        series: &str,
        step: u64,
        values: &[(&str, f64)],
    ) -> Result<(), RunError> {
        self.line(&[("series", series.into()), ("step", step.into())], values)
    }

    /// Writes a line as [`write`](Self::write) does, with `"seed": ..` of the repetition that it belongs to.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write_of_seed(
        &mut self,
        seed: Seed,
        series: &str,
        step: u64,
        values: &[(&str, f64)],
    ) -> Result<(), RunError> {
        let keys = [
            ("series", series.into()),
            ("seed", seed.get().into()),
            ("step", step.into()),
        ];
        self.line(&keys, values)
    }

    fn line(&mut self, keys: &[(&str, Value)], values: &[(&str, f64)]) -> Result<(), RunError> {
        let keys = keys.iter().map(|(k, v)| ((*k).to_owned(), v.clone()));
        let number = |value| Number::from_f64(value).map_or(Value::Null, Value::Number);
        let values = values.iter().map(|&(k, v)| (k.to_owned(), number(v)));
        let line: Map<String, Value> = keys.chain(values).collect();
        let mut bytes = Value::Object(line).to_string().into_bytes();
        bytes.push(b'\n');
        // One call per line: a line is on disk whole, or it is the torn last one that the reader skips.
        self.file
            .write_all(&bytes)
            .and_then(|()| self.file.flush())
            .map_err(RunError::io("write", &self.path))
    }
}

/// One line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// What was measured, such as `experts/digits`; empty where the line does not say.
    pub series: String,
    /// Seed of the repetition, where a run has several.
    pub seed: Option<u64>,
    /// Optimiser step.
    pub step: u64,
    /// Finite numbers by name.
    pub values: Vec<(String, f64)>,
}

impl Metric {
    /// Reads an object with a `step`; anything else is `None`.
    fn from_line(line: &str) -> Option<Self> {
        let Value::Object(object) = serde_json::from_str(line).ok()? else {
            return None;
        };
        let text = |key| object.get(key).and_then(Value::as_str);
        let place = ["seed", "step"];
        let numbers = object
            .iter()
            .filter(|(key, _)| !place.contains(&key.as_str()));
        Some(Self {
            series: text("series").unwrap_or_default().to_owned(),
            seed: object.get("seed").and_then(Value::as_u64),
            step: object.get("step")?.as_u64()?,
            values: numbers
                .filter_map(|(key, value)| Some((key.clone(), value.as_f64()?)))
                .collect(),
        })
    }
}

/// Reads the metrics of the run folder `folder`; none if it has no such file. Lines that are no metrics are skipped:
/// a run that was killed may have torn its last one.
///
/// # Errors
/// When the file exists and cannot be read.
pub fn read_metrics(folder: &Path) -> Result<Vec<Metric>, RunError> {
    let mut metrics = Vec::new();
    each_line(folder, |_, metric| metrics.push(metric))?;
    Ok(metrics)
}

/// Drops every line of the run folder `folder` that `keep` does not want, and torn ones; does nothing where there is no
/// such file.
///
/// # Errors
/// When the file cannot be read or written.
pub fn keep_metrics(folder: &Path, keep: impl Fn(&Metric) -> bool) -> Result<(), RunError> {
    let mut kept = Vec::new();
    let found = each_line(folder, |line, metric| {
        if keep(&metric) {
            kept.extend_from_slice(line);
        }
    })?;
    if found {
        write_file(folder.join(METRICS), &kept, Overwrite::Replace)?;
    }
    Ok(())
}

/// Hands over every line that is a metric; whether there is a file.
fn each_line(folder: &Path, mut take: impl FnMut(&[u8], Metric)) -> Result<bool, RunError> {
    let path = folder.join(METRICS);
    let file = match open_file(&path) {
        Err(error) if error.is_not_found() => return Ok(false),
        file => file?,
    };
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    for _ in 0..MAX_LINES {
        line.clear();
        let read = (&mut reader)
            .take(MAX_LINE_BYTES)
            .read_until(b'\n', &mut line)
            .map_err(RunError::io("read", &path))?;
        if read == 0 {
            break;
        }
        if let Some(metric) = std::str::from_utf8(&line).ok().and_then(Metric::from_line) {
            take(&line, metric);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_torn_lines_are_skipped() {
        let home = tempfile::tempdir().unwrap();
        let mut writer = MetricsWriter::append(home.path()).unwrap();
        writer
            .write("base", 0, &[("loss", 2.5), ("rate", f64::NAN)])
            .unwrap();
        drop(writer);
        let mut writer = MetricsWriter::append(home.path()).unwrap();
        writer.write("base", 10, &[("loss", 1.25)]).unwrap();
        writer
            .file
            .write_all(b"[1]\n{\"loss\": 3}\n{\"step\": 20, \"lo")
            .unwrap();
        let read = read_metrics(home.path()).unwrap();
        let metric = |step, loss| Metric {
            series: "base".into(),
            seed: None,
            step,
            values: vec![("loss".into(), loss)],
        };
        assert_eq!(read, [metric(0, 2.5), metric(10, 1.25)]);
    }

    #[test]
    fn a_folder_without_metrics_has_none() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(read_metrics(home.path()).unwrap(), []);
        keep_metrics(home.path(), |_| true).unwrap();
        assert!(!home.path().join(METRICS).exists());
    }

    #[test]
    fn lines_are_dropped_by_series_and_seed_and_the_others_stay_as_they_are() {
        let home = tempfile::tempdir().unwrap();
        let mut writer = MetricsWriter::append(home.path()).unwrap();
        for seed in 0..2 {
            for series in ["base", "joint"] {
                writer
                    .write_of_seed(Seed::new(seed), series, 10, &[("loss", 0.5)])
                    .unwrap();
            }
        }
        writer.file.write_all(b"{\"torn").unwrap();
        keep_metrics(home.path(), |m| m.seed == Some(1) && m.series == "base").unwrap();
        let text = std::fs::read_to_string(home.path().join(METRICS)).unwrap();
        assert_eq!(
            text,
            "{\"loss\":0.5,\"seed\":1,\"series\":\"base\",\"step\":10}\n"
        );
    }
}
