//! A run folder while it is written.

use super::{
    InputFile, MetricsWriter, RECORD, REPORT, RESULTS, RunError, RunFiles, RunRecord, now,
    part::{Part, part_path, target_of},
    peak_bytes, read_extraction, read_metrics, read_record, write_document,
};
use crate::{fitting::FitOutcome, outcome::Outcome, report};
use refit_core::StopReason;
use refit_io::atomic::{OutputDir, Overwrite, write_file};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

/// An unfinished run as it lies there. Whoever only looks at it keeps nobody from writing it.
#[derive(Clone, Debug)]
pub struct Unfinished {
    /// Where it is.
    pub path: PathBuf,
    /// The name that it will have.
    pub target: PathBuf,
    /// Its record.
    pub record: RunRecord,
}

impl Unfinished {
    /// Looks at the unfinished run `run`, called by its name or by that of its folder; changes nothing.
    ///
    /// # Errors
    /// When there is none, or its record cannot be understood.
    pub fn find(run: &Path) -> Result<Self, RunError> {
        let target = target_of(run);
        let path = part_path(&target);
        if !path.is_dir() {
            return Err(RunError::NotUnfinished { path: target });
        }
        let record = read_record(&path)?;
        Ok(Self {
            path,
            target,
            record,
        })
    }
}

/// A run folder that is being written.
#[derive(Debug)]
pub struct RunFolder {
    place: Place,
    record: RunRecord,
    outcome: Option<Outcome>,
    fit: Option<FitOutcome>,
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
        let target = Unfinished::find(path)?.target;
        let mut part = Part::open(target.clone(), overwrite)?;
        // Now that nobody else writes it.
        let mut record = read_record(part.path())?;
        if record.stop != StopReason::Interrupted {
            // Killed with everything written but the name.
            record.stop = StopReason::Interrupted;
            write_document(&part.path().join(RECORD), &record, Overwrite::Replace)?;
            // The lock was that of the record before.
            drop(part);
            part = Part::open(target, overwrite)?;
        }
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
            fit: None,
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

    /// Adds to the list of inputs.
    pub fn add_input(&mut self, input: InputFile) {
        self.record.inputs.push(input);
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

    /// Keeps what a fit found.
    pub fn set_fit(&mut self, outcome: FitOutcome) {
        self.fit = Some(outcome);
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

    /// What a hint says about this run; whatever already has its name must be replaced once more.
    pub(crate) fn how_to_go_on(&self, verb: &str) -> String {
        let target = self.target();
        let force = if target.exists() { " --force" } else { "" };
        format!(
            "go on with `refit {verb} --resume {}{force}`",
            target.display()
        )
    }

    /// Writes results, page and record, and gives the folder its name.
    ///
    /// # Errors
    /// When the disk refuses; a run that can be gone on with is then still there, others leave nothing.
    pub fn finish(self, stop: StopReason) -> Result<PathBuf, RunError> {
        self.finish_or_return(stop).map_err(|(error, _)| error)
    }

    /// As [`finish`](Self::finish), for a run that can be gone on with: it comes back with the error, unfinished as it was.
    pub(crate) fn finish_or_return(
        mut self,
        stop: StopReason,
    ) -> Result<PathBuf, (RunError, Option<Box<Self>>)> {
        if let Err(error) = self.write_up(stop) {
            return Err((error, Some(self.reopened())));
        }
        match self.place {
            Place::Hidden(output) => output.finish().map_err(|error| (error.into(), None)),
            Place::Part(ref part) => match part.finish() {
                Ok(path) => Ok(path),
                Err(error) => Err((error, Some(self.reopened()))),
            },
        }
    }

    /// Takes back what [`write_up`](Self::write_up) wrote, as far as the disk lets it.
    fn reopened(mut self) -> Box<Self> {
        let _ = self.close(StopReason::Interrupted);
        for name in [RESULTS, REPORT] {
            let _ = fs::remove_file(self.path().join(name));
        }
        Box::new(self)
    }

    /// Writes what is made from the work; the record goes last, since it says that all is there.
    fn write_up(&mut self, stop: StopReason) -> Result<(), RunError> {
        self.stamp(stop);
        let folder = self.path();
        if let Some(outcome) = &self.outcome {
            write_document(&folder.join(RESULTS), outcome, Overwrite::Replace)?;
        }
        if let Some(outcome) = &self.fit {
            write_document(&folder.join(RESULTS), outcome, Overwrite::Replace)?;
        }
        let files = RunFiles {
            metrics: read_metrics(folder)?,
            record: self.record.clone(),
            outcome: self.outcome.clone(),
            fit: self.fit.clone(),
            extraction: read_extraction(folder, &self.record)?,
        };
        let page = report::render(&files);
        write_file(folder.join(REPORT), page.as_bytes(), Overwrite::Replace)?;
        self.write_record()
    }

    /// Writes the record as it stands now.
    fn close(&mut self, stop: StopReason) -> Result<(), RunError> {
        self.stamp(stop);
        self.write_record()
    }

    fn stamp(&mut self, stop: StopReason) {
        self.record.finished = now();
        self.record.seconds = self.elapsed();
        self.record.peak_bytes = peak_bytes();
        self.record.stop = stop;
    }

    fn write_record(&self) -> Result<(), RunError> {
        let path = self.path().join(RECORD);
        write_document(&path, &self.record, Overwrite::Replace)
    }
}
