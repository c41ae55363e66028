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
mod folder;
mod inputs;
mod memory;
mod metrics;
mod part;
mod record;

use crate::{
    fitting::FitOutcome,
    merging::{EXTRACTION, ExtractionList},
    outcome::Outcome,
};
pub use clock::{now, rfc3339};
pub use error::RunError;
pub use folder::{RunFolder, Unfinished};
pub use inputs::{InputFile, same_inputs};
pub use memory::{peak_bytes, total_bytes};
pub use metrics::{METRICS, Metric, MetricsWriter, keep_metrics, read_metrics};
pub(crate) use metrics::{is_logged, step_values};
pub use part::part_path;
pub use record::{BURN_VERSION, Machine, RECORD, RunRecord};
use refit_io::{
    atomic::{Overwrite, write_file},
    file::read_file,
};
use serde::{Serialize, de::DeserializeOwned};
use std::{io::ErrorKind, path::Path};

/// Name of the results inside a run folder.
pub const RESULTS: &str = "results.json";
/// Name of the page inside a run folder.
pub const REPORT: &str = "report.html";

/// Seconds between saved states of a run that can be gone on with, unless told otherwise (ours).
pub(crate) const SAVE_EVERY_SECS: u64 = 60;

/// A document larger than this was not written by a run.
const MAX_DOCUMENT_BYTES: u64 = 64 << 20;

/// What a finished run folder says.
#[derive(Clone, Debug, PartialEq)]
pub struct RunFiles {
    /// `run.json`.
    pub record: RunRecord,
    /// `results.json` of fused models, where there is one.
    pub outcome: Option<Outcome>,
    /// `results.json` of a fit.
    pub fit: Option<FitOutcome>,
    /// `extraction.json`, where an adapter was extracted.
    pub extraction: Option<ExtractionList>,
    /// `metrics.jsonl`.
    pub metrics: Vec<Metric>,
}

impl RunFiles {
    /// Reads a run folder.
    ///
    /// # Errors
    /// When it is no run folder, or a document in it cannot be understood.
    pub fn read(folder: &Path) -> Result<Self, RunError> {
        let (record, results) = (read_record(folder)?, folder.join(RESULTS));
        let (outcome, fit) = match record.verb.as_str() {
            "fit" | "tune" => (None, read_json(&results)?),
            _ => (read_json(&results)?, None),
        };
        Ok(Self {
            outcome,
            fit,
            extraction: read_extraction(folder, &record)?,
            record,
            metrics: read_metrics(folder)?,
        })
    }
}

/// Reads what an extraction lists, if `record` is of one.
fn read_extraction(folder: &Path, record: &RunRecord) -> Result<Option<ExtractionList>, RunError> {
    if record.verb == "extract" {
        return read_json(&folder.join(EXTRACTION));
    }
    Ok(None)
}

/// Reads the record of a run folder.
fn read_record(folder: &Path) -> Result<RunRecord, RunError> {
    read_json(&folder.join(RECORD))?.ok_or_else(|| RunError::NotARun {
        path: folder.into(),
        missing: RECORD,
    })
}

/// Reads a document; `None` where there is no such file.
fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, RunError> {
    let bytes = match read_file(path, MAX_DOCUMENT_BYTES) {
        // A folder given in place of a run folder, or one without the document.
        Err(error) if error.is_not_found() => return Ok(None),
        bytes => bytes?,
    };
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
    Ok(write_file(path, text.as_bytes(), overwrite)?)
}

#[cfg(test)]
mod tests;
