//! What a fit writes on its way: `trace.csv`, `metrics.jsonl` and the state to go on from.

use super::{ArmFound, FitError, Score};
use crate::run::{MetricsWriter, RunError, keep_metrics, read_document, write_document};
use refit_core::Progress;
use refit_io::{
    atomic::{Overwrite, write_file},
    file::read_file,
};
use refit_train::optim::second::{Counts, Progressed, SecondOrderState, Trial};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// A line for every trial.
pub(super) const TRACE: &str = "trace.csv";
/// What an unfinished run goes on with.
pub(crate) const STATE: &str = "state.json";
/// A trace larger than this was not written by a run.
const MOST_TRACE_BYTES: u64 = 4 << 30;

const HEAD: &str = "solver,trial,mode,value,gradient,gradient_error,hessian_error,value_error,gradient_terms,\
hessian_terms,value_terms,promised,measured,rho,bound,length,taken,ritz_minimum,model_products,values,gradients,\
states,products,curvatures,propagations,seconds\n";

/// What an unfinished fit goes on with.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Saved {
    /// Arms that are finished, in order.
    pub(super) done: Vec<ArmFound>,
    /// Where the next one stands; `None`: at its beginning.
    pub(super) state: Option<SecondOrderState>,
    /// Whether it stands at a point that was not there in the state before.
    pub(super) moved: bool,
    /// Seconds it took to there.
    pub(super) seconds: f64,
}

impl Saved {
    /// Reads the state of the unfinished run in `folder`; the beginning where there is none.
    pub(super) fn read(folder: &Path) -> Result<Self, FitError> {
        let path = folder.join(STATE);
        if !path.is_file() {
            return Ok(Self::default());
        }
        read_document(&path).map_err(|error| match error {
            RunError::Document { source, .. } => FitError::State {
                path,
                problem: format!("cannot be gone on from: {source}"),
            },
            error => error.into(),
        })
    }

    /// Trials of the next arm.
    pub(super) fn trials(&self) -> u64 {
        self.state.as_ref().map_or(0, SecondOrderState::trials)
    }
}

/// Trials that the arm under way in an unfinished run has done, and the arms that are finished.
///
/// # Errors
/// A state that cannot be read.
pub(crate) fn done(folder: &Path) -> Result<(u64, usize), FitError> {
    let saved = Saved::read(folder)?;
    Ok((saved.trials(), saved.done.len()))
}

/// A point on the way of an arm.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub(super) step: u64,
    pub(super) loss: f64,
    pub(super) gradient: f64,
    /// Shares of rows, and of test rows, that get another class than their own.
    pub(super) errors: [Option<f64>; 2],
    pub(super) propagations: u64,
    pub(super) seconds: f64,
}

impl Point {
    pub(super) fn of(score: &Score, step: u64, propagations: u64, seconds: f64) -> Self {
        Self {
            step,
            loss: score.loss.unwrap_or(f64::NAN),
            gradient: score.gradient.unwrap_or(f64::NAN),
            errors: [score.error, score.test_error],
            propagations,
            seconds,
        }
    }
}

/// Writes lines while arms are fitted. The first failure is kept, asks the search to stop, and is told in the end.
pub(super) struct Recorder<'a> {
    folder: &'a Path,
    every: Duration,
    last: Instant,
    metrics: MetricsWriter,
    trace: File,
    trace_path: PathBuf,
    pub(super) saved: Saved,
    failed: Option<RunError>,
}

impl<'a> Recorder<'a> {
    /// Goes on with the files in `folder`: what was written after `saved` is dropped, and written again.
    pub(super) fn open(
        folder: &'a Path,
        every: Duration,
        saved: Saved,
        next: Option<&str>,
    ) -> Result<Self, FitError> {
        let done = |name: &str| saved.done.iter().any(|arm| arm.name == name);
        // An arm without a state begins again.
        let begun = |name: &str| Some(name) == next && saved.state.is_some();
        let trials = saved.trials();
        keep_metrics(folder, |m| {
            // Of a new point and of the trial that led there the latter came before the state.
            let of_point = m.values.iter().any(|(key, _)| key == "loss");
            let before = m.step < trials || m.step == trials && !(of_point && saved.moved);
            done(&m.series) || begun(&m.series) && before
        })?;
        let trace_path = folder.join(TRACE);
        let kept = kept_trace(&trace_path, |name, trial| {
            done(name) || begun(name) && trial <= trials
        })?;
        write_file(&trace_path, kept.as_bytes(), Overwrite::Replace).map_err(RunError::from)?;
        let trace = File::options().append(true).open(&trace_path);
        Ok(Self {
            folder,
            every,
            last: Instant::now(),
            metrics: MetricsWriter::append(folder)?,
            trace: trace.map_err(RunError::io("open", &trace_path))?,
            trace_path,
            saved,
            failed: None,
        })
    }

    /// Whether nothing more can be written.
    pub(super) const fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// The first failure, if there was one.
    pub(super) fn check(&mut self) -> Result<(), RunError> {
        self.failed.take().map_or(Ok(()), Err)
    }

    pub(super) fn point(&mut self, arm: &str, point: &Point) {
        let mut values = vec![
            ("loss", point.loss),
            ("gradient", point.gradient),
            ("propagations", point.propagations as f64),
            ("seconds", point.seconds),
        ];
        let errors = ["error", "test-error"].into_iter().zip(point.errors);
        values.extend(errors.filter_map(|(key, error)| Some((key, error?))));
        let written = self.metrics.write(arm, point.step, &values);
        self.keep(written);
    }

    /// A line of the trace for a trial.
    pub(super) fn trial(&mut self, arm: &str, trial: &Trial, seconds: f64) {
        let maybe = |value: Option<f64>| value.map_or(String::new(), number);
        let mode = match trial.mode {
            refit_train::optim::second::Mode::First => "first",
            refit_train::optim::second::Mode::Second => "second",
        };
        let cells = [
            arm.to_owned(),
            trial.trial.to_string(),
            mode.to_owned(),
            number(trial.value),
            number(trial.gradient),
            number(trial.gradient_error),
            maybe(trial.hessian_error),
            number(trial.value_error),
            trial.gradient_terms.to_string(),
            trial.hessian_terms.to_string(),
            trial.value_terms.to_string(),
            number(trial.promised),
            maybe(trial.measured),
            number(trial.ratio()),
            number(trial.bound),
            number(trial.length),
            u8::from(trial.taken).to_string(),
            maybe(trial.leftmost),
            trial.products.to_string(),
        ];
        self.line(&cells.join(","), trial.counts, seconds);
        let values = [
            ("trial", trial.trial as f64),
            ("gradient-rows", trial.gradient_terms as f64),
            ("hessian-rows", trial.hessian_terms as f64),
            ("value-rows", trial.value_terms as f64),
        ];
        let written = self.metrics.write(arm, trial.trial, &values);
        self.keep(written);
    }

    /// A line of the trace for a method without trials: value, gradient and work.
    pub(super) fn step(&mut self, arm: &str, at: &Progressed) {
        let (value, gradient) = (number(at.value), number(at.gradient));
        let line = format!("{arm},{},,{value},{gradient}{}", at.step, ",".repeat(14));
        self.line(&line, at.counts, at.seconds);
    }

    fn line(&mut self, cells: &str, counts: Counts, seconds: f64) {
        let Counts {
            values,
            gradients,
            states,
            products,
            curvatures,
        } = counts;
        let (total, seconds) = (counts.propagations(), number(seconds));
        let line = format!(
            "{cells},{values},{gradients},{states},{products},{curvatures},{total},{seconds}\n"
        );
        let written = self.trace.write_all(line.as_bytes());
        let written = written.map_err(RunError::io("write", &self.trace_path));
        self.keep(written);
    }

    /// Saves the state of the arm under way, if that is due.
    pub(super) fn state(&mut self, state: &SecondOrderState, moved: bool, seconds: f64) {
        self.saved.moved = moved;
        if self.last.elapsed() >= self.every {
            self.save(Some(state.clone()), seconds);
        }
    }

    /// Saves the state of the arm under way: the one that was told last.
    pub(super) fn save(&mut self, state: Option<SecondOrderState>, seconds: f64) {
        self.saved.state = state;
        self.saved.seconds = seconds;
        let path = self.folder.join(STATE);
        let written = write_document(&path, &self.saved, Overwrite::Replace);
        self.keep(written);
        self.last = Instant::now();
    }

    /// Saves that an arm is finished.
    pub(super) fn finish(&mut self, found: ArmFound) {
        self.saved.done.push(found);
        self.save(None, 0.0);
    }

    fn keep(&mut self, written: Result<(), RunError>) {
        if let Err(error) = written {
            self.failed.get_or_insert(error);
        }
    }
}

/// Shortest text that reads back as the same number.
fn number(value: f64) -> String {
    format!("{value:e}")
}

/// The head of a trace and those of its lines that `keep` wants; a torn last line is dropped.
fn kept_trace(path: &Path, keep: impl Fn(&str, u64) -> bool) -> Result<String, RunError> {
    let bytes = match read_file(path, MOST_TRACE_BYTES) {
        Err(error) if error.is_not_found() => return Ok(HEAD.to_owned()),
        bytes => bytes?,
    };
    let text = String::from_utf8_lossy(&bytes);
    let wanted = |line: &&str| {
        let mut cells = line.split(',');
        let (name, trial) = (cells.next(), cells.next().and_then(|n| n.parse().ok()));
        line.ends_with('\n')
            && matches!((name, trial), (Some(name), Some(trial)) if keep(name, trial))
    };
    let lines = text.split_inclusive('\n').filter(wanted);
    Ok(std::iter::once(HEAD).chain(lines).collect())
}

/// Progress that says which arm is under way, and that stops it when nothing more can be written.
pub(super) struct OfArm<'a> {
    pub(super) inner: &'a dyn Progress,
    pub(super) name: &'a str,
    pub(super) stop: &'a std::sync::atomic::AtomicBool,
}

impl Progress for OfArm<'_> {
    fn begin(&self, _: &str, total: Option<u64>) {
        self.inner.begin(self.name, total);
    }

    fn advance(&self, units: u64) {
        self.inner.advance(units);
    }

    fn note(&self, text: &str) {
        self.inner.note(text);
    }

    fn cancelled(&self) -> bool {
        self.inner.cancelled() || self.stop.load(std::sync::atomic::Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_keeps_what_was_before_the_saved_state() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join(TRACE);
        assert_eq!(kept_trace(&path, |_, _| true).unwrap(), HEAD);
        let text = format!("{HEAD}tr,1,first\ntr,2,first\narc,1,first\narc,2,fir");
        write_file(&path, text.as_bytes(), Overwrite::Refuse).unwrap();
        let kept = kept_trace(&path, |name, trial| name == "tr" || trial <= 2).unwrap();
        assert_eq!(kept, format!("{HEAD}tr,1,first\ntr,2,first\narc,1,first\n"));
        let kept = kept_trace(&path, |name, trial| name == "tr" && trial < 2).unwrap();
        assert_eq!(kept, format!("{HEAD}tr,1,first\n"));
    }

    #[test]
    fn every_line_has_as_many_cells_as_the_head() {
        let home = tempfile::tempdir().unwrap();
        let mut recorder =
            Recorder::open(home.path(), Duration::ZERO, Saved::default(), None).unwrap();
        let at = Progressed {
            step: 3,
            value: 0.25,
            gradient: 1e-3,
            counts: Counts::default(),
            seconds: 0.5,
        };
        recorder.step("lbfgs", &at);
        recorder.check().unwrap();
        let text = std::fs::read_to_string(home.path().join(TRACE)).unwrap();
        let cells: Vec<usize> = text.lines().map(|line| line.split(',').count()).collect();
        assert_eq!(cells, [26, 26]);
    }
}
