//! Listening to a second-order method without taking its time.

use super::{
    Fit, Looks,
    record::{Point, Recorder},
};
use refit_core::Progress;
use refit_train::optim::second::{
    FiniteSum, Minimum, SecondOrder, SecondOrderConfig, SecondOrderError, Trial,
};
use std::{
    cell::{Cell, RefCell},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

/// Listens to a second-order method, and keeps its clock: what is looked at and written takes none of its time.
pub(super) struct Watch<'a, 'r> {
    fit: &'a Fit,
    arm: &'a str,
    stop: &'a AtomicBool,
    recorder: RefCell<&'a mut Recorder<'r>>,
    /// Seconds of earlier processes.
    before: f64,
    began: Instant,
    paused: Cell<Duration>,
    /// Whether the search stands where nothing was looked at yet.
    moved: Cell<bool>,
    /// Where it stands and what it took to get on from there, for the values that the next trial will tell.
    pending: Cell<Option<(u64, u64, f64)>>,
}

impl<'a, 'r> Watch<'a, 'r> {
    pub(super) fn new(
        fit: &'a Fit,
        arm: &'a str,
        stop: &'a AtomicBool,
        recorder: &'a mut Recorder<'r>,
    ) -> Self {
        let saved = &recorder.saved;
        Self {
            fit,
            arm,
            stop,
            before: saved.seconds,
            moved: Cell::new(saved.state.is_none() || saved.moved),
            recorder: RefCell::new(recorder),
            began: Instant::now(),
            paused: Cell::default(),
            pending: Cell::default(),
        }
    }

    fn seconds(&self) -> f64 {
        let here = self.began.elapsed().saturating_sub(self.paused.get());
        self.before + here.as_secs_f64()
    }

    /// Minimises; returns what was found, and the seconds it took.
    pub(super) fn second<O: FiniteSum>(
        &self,
        sum: &O,
        config: &SecondOrderConfig,
        start: &[f64],
        progress: &dyn Progress,
    ) -> Result<(Minimum, f64), SecondOrderError> {
        let resumed = self.recorder.borrow_mut().saved.state.take();
        let mut config = config.clone();
        if let Some(most) = &mut config.budget.seconds {
            *most = (*most - self.before).max(0.0); // what an interrupted run spent is spent
        }
        let mut solver = SecondOrder::new(config)?
            .on_trial(|trial| self.pause(|seconds| self.trial(trial, seconds)))
            .on_state(|state| {
                self.pause(|seconds| {
                    let moved = self.moved.replace(false) || self.pending.get().is_some();
                    if moved {
                        let work = state.counts().propagations();
                        let trials = state.trials();
                        match self.fit.settings().looks {
                            Looks::Sample => self.pending.set(Some((trials, work, seconds))),
                            Looks::Exact => {
                                let score = self.fit.score(state.x());
                                let point = Point::of(&score, trials, work, seconds);
                                self.recorder.borrow_mut().point(self.arm, &point);
                            }
                        }
                    }
                    self.recorder.borrow_mut().state(state, moved, seconds);
                });
            });
        if let Some(state) = resumed {
            solver = solver.resume(state);
        }
        let found = solver.minimise(sum, start, progress)?;
        Ok((found, self.seconds()))
    }

    fn trial(&self, trial: &Trial, seconds: f64) {
        let mut recorder = self.recorder.borrow_mut();
        if let Some((step, propagations, seconds)) = self.pending.take() {
            let point = Point {
                step,
                loss: trial.value,
                gradient: trial.gradient,
                errors: [None; 2],
                propagations,
                seconds,
            };
            recorder.point(self.arm, &point);
        }
        recorder.trial(self.arm, trial, seconds);
        if trial.taken {
            self.moved.set(true);
        }
    }

    /// Does something that takes none of the method's time.
    fn pause(&self, work: impl FnOnce(f64)) {
        let (seconds, at) = (self.seconds(), Instant::now());
        work(seconds);
        if self.recorder.borrow().has_failed() {
            self.stop.store(true, Ordering::Relaxed);
        }
        self.paused.set(self.paused.get() + at.elapsed());
    }
}
