//! `metrics.jsonl`: one JSON object per line, written while the work goes on.

use super::RunError;
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
        let mut line = Map::new();
        line.insert("series".into(), series.into());
        line.insert("step".into(), step.into());
        for &(key, value) in values {
            line.insert(
                key.into(),
                Number::from_f64(value).map_or(Value::Null, Value::Number),
            );
        }
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
        let numbers = object.iter().filter(|(key, _)| key.as_str() != "step");
        Some(Self {
            series: text("series").unwrap_or_default().to_owned(),
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
    let path = folder.join(METRICS);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(RunError::io("open", &path)(e)),
    };
    let mut reader = BufReader::new(file);
    let mut metrics = Vec::new();
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
        metrics.extend(std::str::from_utf8(&line).ok().and_then(Metric::from_line));
    }
    Ok(metrics)
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
            step,
            values: vec![("loss".into(), loss)],
        };
        assert_eq!(read, [metric(0, 2.5), metric(10, 1.25)]);
    }

    #[test]
    fn a_folder_without_metrics_has_none() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(read_metrics(home.path()).unwrap(), []);
    }
}
