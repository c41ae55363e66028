//! The folder of a run: `run.json`, `results.json`, `metrics.jsonl`, outputs and `report.html`.
//!
//! A folder is written under a temporary name and renamed when it is complete, so that whoever finds it finds all of
//! it. The page is made from the other files alone, so it can be made again at any time.
//!
//! ```
//! use refit::run::{RunFolder, RunRecord};
//! use refit_core::{Seed, StopReason};
//! use refit_io::atomic::Overwrite;
//! let home = tempfile::tempdir()?;
//! let record = RunRecord::start("train", "cpu", 2, Seed::new(0), serde_json::json!({"steps": 10}));
//! let run = RunFolder::create(home.path().join("first"), Overwrite::Refuse, record)?;
//! run.metrics()?.write("train", 10, &[("loss", 0.5)])?;
//! let path = run.finish(StopReason::Done)?;
//! assert!(path.join("run.json").is_file() && path.join("report.html").is_file());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod clock;
mod error;
mod inputs;
mod memory;
mod metrics;
mod record;

use crate::{outcome::Outcome, report};
pub use clock::{now, rfc3339};
pub use error::RunError;
pub use inputs::InputFile;
pub use memory::peak_bytes;
pub use metrics::{METRICS, Metric, MetricsWriter, read_metrics};
pub use record::{BURN_VERSION, Machine, RECORD, RunRecord};
use refit_core::StopReason;
use refit_io::atomic::{self, OutputDir, Overwrite};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

/// Name of the results inside a run folder.
pub const RESULTS: &str = "results.json";
/// Name of the page inside a run folder.
pub const REPORT: &str = "report.html";

/// A document larger than this was not written by a run.
const MAX_DOCUMENT_BYTES: u64 = 64 << 20;

/// A run folder that is being written.
#[derive(Debug)]
pub struct RunFolder {
    output: OutputDir,
    record: RunRecord,
    outcome: Option<Outcome>,
    started: Instant,
}

impl RunFolder {
    /// Starts a run whose folder will be `path`.
    ///
    /// # Errors
    /// When the path is taken or its parent cannot be written to.
    pub fn create(
        path: impl Into<PathBuf>,
        overwrite: Overwrite,
        record: RunRecord,
    ) -> Result<Self, RunError> {
        let output = OutputDir::create(path, overwrite)?;
        Ok(Self {
            output,
            record,
            outcome: None,
            started: Instant::now(),
        })
    }

    /// Where outputs are written until the end.
    pub fn path(&self) -> &Path {
        self.output.path()
    }

    /// Opens the file of measurements.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn metrics(&self) -> Result<MetricsWriter, RunError> {
        MetricsWriter::append(self.path())
    }

    /// Adds a file to the list of inputs.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn add_input(&mut self, path: &Path) -> Result<(), RunError> {
        self.record.inputs.push(InputFile::hash(path)?);
        Ok(())
    }

    /// The record, for what is only known while the work goes on.
    pub const fn record_mut(&mut self) -> &mut RunRecord {
        &mut self.record
    }

    /// Seconds since the run began.
    pub fn elapsed(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Keeps what the work found.
    pub fn set_outcome(&mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }

    /// Writes record, results and page, and gives the folder its name.
    ///
    /// # Errors
    /// When the disk refuses; nothing is left behind then.
    pub fn finish(mut self, stop: StopReason) -> Result<PathBuf, RunError> {
        self.record.finished = now();
        self.record.seconds = self.started.elapsed().as_secs_f64();
        self.record.peak_bytes = peak_bytes();
        self.record.stop = stop;
        let folder = self.output.path();
        write_json(&folder.join(RECORD), &self.record)?;
        if let Some(outcome) = &self.outcome {
            write_json(&folder.join(RESULTS), outcome)?;
        }
        let files = RunFiles {
            metrics: read_metrics(folder)?,
            record: self.record,
            outcome: self.outcome,
        };
        let page = report::render(&files);
        atomic::write_file(folder.join(REPORT), page.as_bytes(), Overwrite::Refuse)?;
        Ok(self.output.finish()?)
    }
}

/// What a finished run folder says.
#[derive(Clone, Debug, PartialEq)]
pub struct RunFiles {
    /// `run.json`.
    pub record: RunRecord,
    /// `results.json`, where there is one.
    pub outcome: Option<Outcome>,
    /// `metrics.jsonl`.
    pub metrics: Vec<Metric>,
}

impl RunFiles {
    /// Reads a run folder.
    ///
    /// # Errors
    /// When it is no run folder, or a document in it cannot be understood.
    pub fn read(folder: &Path) -> Result<Self, RunError> {
        let record = read_json(&folder.join(RECORD))?.ok_or_else(|| RunError::NotARun {
            path: folder.into(),
            missing: RECORD,
        })?;
        Ok(Self {
            record,
            outcome: read_json(&folder.join(RESULTS))?,
            metrics: read_metrics(folder)?,
        })
    }
}

/// Reads a document; `None` where there is no such file.
fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, RunError> {
    let found = match fs::metadata(path) {
        Ok(meta) => meta.len(),
        // A folder given in place of a run folder, or one without the document.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => return Ok(None),
        Err(e) => return Err(RunError::io("open", path)(e)),
    };
    if found > MAX_DOCUMENT_BYTES {
        return Err(RunError::TooLarge {
            path: path.into(),
            found,
            limit: MAX_DOCUMENT_BYTES,
        });
    }
    let bytes = fs::read(path).map_err(RunError::io("read", path))?;
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|source| RunError::Document {
            path: path.into(),
            source,
        })
}

/// Writes a document for people and programs: indented, with a final line break.
fn write_json(path: &Path, document: &impl Serialize) -> Result<(), RunError> {
    let mut text = serde_json::to_string_pretty(document).map_err(|source| RunError::Document {
        path: path.into(),
        source,
    })?;
    text.push('\n');
    Ok(atomic::write_file(
        path,
        text.as_bytes(),
        Overwrite::Refuse,
    )?)
}

#[cfg(test)]
mod tests;
