//! The folder of a run: `run.json`, `results.json`, `metrics.jsonl`, outputs and `report.html`.
//!
//! A folder is written under a temporary name and renamed when it is complete, so that whoever finds it finds all of
//! it. A run that can be gone on with keeps its unfinished folder as `NAME.part`. The page is made from the other files alone, so it can be made again at any time.
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
mod part;
mod record;

use crate::{outcome::Outcome, report};
pub use clock::{now, rfc3339};
pub use error::RunError;
pub use inputs::{InputFile, same_inputs};
pub use memory::peak_bytes;
pub use metrics::{METRICS, Metric, MetricsWriter, keep_metrics, read_metrics};
pub(crate) use metrics::{is_logged, step_values};
use part::Part;
pub use part::part_path;
pub use record::{BURN_VERSION, Machine, RECORD, RunRecord};
use refit_core::StopReason;
use refit_io::atomic::{self, OutputDir, Overwrite};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs,
    io::ErrorKind,
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
    place: Place,
    record: RunRecord,
    outcome: Option<Outcome>,
    started: Instant,
    /// Seconds before this process went on with the run.
    before: f64,
}

/// Where a run is written until it is complete.
#[derive(Debug)]
enum Place {
    /// Nowhere to be found, and gone when the work is given up.
    Hidden(OutputDir),
    /// Where `--resume` finds it.
    Part(Part),
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
        let place = Place::Hidden(OutputDir::create(path, overwrite)?);
        Ok(Self::new(place, record))
    }

    /// Starts a run whose folder will be `path` and which [`resume`](Self::resume) can go on with at any time, whatever
    /// happens to this process. Its record says `interrupted` until it is complete.
    ///
    /// # Errors
    /// Those of [`create`](Self::create); when there is an unfinished run of that name.
    pub fn create_resumable(
        path: impl Into<PathBuf>,
        overwrite: Overwrite,
        mut record: RunRecord,
    ) -> Result<Self, RunError> {
        record.stop = StopReason::Interrupted;
        let write =
            |folder: &Path| write_document(&folder.join(RECORD), &record, Overwrite::Refuse);
        let place = Place::Part(Part::create(path.into(), overwrite, write)?);
        Ok(Self::new(place, record))
    }

    /// Goes on with the unfinished run `path`.
    ///
    /// # Errors
    /// When there is none, its record cannot be understood, another process writes it, or a complete run of that name
    /// may not be replaced.
    pub fn resume(path: &Path, overwrite: Overwrite) -> Result<Self, RunError> {
        let target = part::target_of(path);
        let part = part_path(&target);
        if !part.is_dir() {
            return Err(RunError::NotUnfinished { path: target });
        }
        let part = Part::open(target, overwrite)?;
        let record: RunRecord = read_document(&part.path().join(RECORD))?;
        let before = record.seconds;
        Ok(Self {
            before,
            ..Self::new(Place::Part(part), record)
        })
    }

    fn new(place: Place, record: RunRecord) -> Self {
        Self {
            place,
            record,
            outcome: None,
            started: Instant::now(),
            before: 0.0,
        }
    }

    /// Where outputs are written until the end.
    pub fn path(&self) -> &Path {
        match &self.place {
            Place::Hidden(output) => output.path(),
            Place::Part(part) => part.path(),
        }
    }

    /// The name that the folder will have.
    pub fn target(&self) -> &Path {
        match &self.place {
            Place::Hidden(output) => output.target(),
            Place::Part(part) => part.target(),
        }
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

    /// The record so far.
    pub const fn record(&self) -> &RunRecord {
        &self.record
    }

    /// The record, for what is only known while the work goes on.
    pub const fn record_mut(&mut self) -> &mut RunRecord {
        &mut self.record
    }

    /// Seconds since the run began, without those between an interruption and its resumption.
    pub fn elapsed(&self) -> f64 {
        self.before + self.started.elapsed().as_secs_f64()
    }

    /// Keeps what the work found.
    pub fn set_outcome(&mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
    }

    /// Ends this process's part of a run that can be gone on with; returns where it is.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn pause(mut self) -> Result<PathBuf, RunError> {
        self.close(StopReason::Interrupted)?;
        Ok(self.path().to_path_buf())
    }

    /// Gives the run up and leaves nothing.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn discard(self) -> Result<(), RunError> {
        match self.place {
            Place::Hidden(output) => drop(output),
            Place::Part(part) => part.discard()?,
        }
        Ok(())
    }

    /// Writes record, results and page, and gives the folder its name.
    ///
    /// # Errors
    /// When the disk refuses; what was being written is then not left behind half.
    pub fn finish(mut self, stop: StopReason) -> Result<PathBuf, RunError> {
        self.close(stop)?;
        let folder = self.path();
        if let Some(outcome) = &self.outcome {
            write_document(&folder.join(RESULTS), outcome, Overwrite::Replace)?;
        }
        let files = RunFiles {
            metrics: read_metrics(folder)?,
            record: self.record.clone(),
            outcome: self.outcome.clone(),
        };
        let page = report::render(&files);
        atomic::write_file(folder.join(REPORT), page.as_bytes(), Overwrite::Replace)?;
        match self.place {
            Place::Hidden(output) => Ok(output.finish()?),
            Place::Part(part) => part.finish(),
        }
    }

    /// Writes the record as it stands now.
    fn close(&mut self, stop: StopReason) -> Result<(), RunError> {
        self.record.finished = now();
        self.record.seconds = self.elapsed();
        self.record.peak_bytes = peak_bytes();
        self.record.stop = stop;
        let path = self.path().join(RECORD);
        write_document(&path, &self.record, Overwrite::Replace)
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
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) if e.kind() == ErrorKind::NotADirectory => return Ok(None),
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

/// Reads a document that must be there.
pub(crate) fn read_document<T: DeserializeOwned>(path: &Path) -> Result<T, RunError> {
    read_json(path)?.ok_or_else(|| RunError::io("read", path)(ErrorKind::NotFound.into()))
}

/// Writes a document for people and programs: indented, with a final line break.
pub(crate) fn write_document(
    path: &Path,
    document: &impl Serialize,
    overwrite: Overwrite,
) -> Result<(), RunError> {
    let mut text = serde_json::to_string_pretty(document).map_err(|source| RunError::Document {
        path: path.into(),
        source,
    })?;
    text.push('\n');
    Ok(atomic::write_file(path, text.as_bytes(), overwrite)?)
}

#[cfg(test)]
mod tests;
