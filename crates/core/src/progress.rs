//! Watching long work, and asking it to stop.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Listens to work that takes time. All methods may be called from worker threads.
pub trait Progress: Sync {
    /// A phase of `total` units begins (`None`: unknown); the phase before it is over.
    fn begin(&self, phase: &str, total: Option<u64>);

    /// `units` more are done.
    fn advance(&self, units: u64);

    /// A short remark on the current state, such as `loss 0.43`.
    fn note(&self, text: &str);

    /// Whether the listener wants the work to stop at the next safe point.
    fn cancelled(&self) -> bool {
        false
    }
}

/// Hears nothing and cancels when another listener does: for a part of work that is shown as a whole.
pub struct Unwatched<'a>(pub &'a dyn Progress);

impl Progress for Unwatched<'_> {
    fn begin(&self, _phase: &str, _total: Option<u64>) {}
    fn advance(&self, _units: u64) {}
    fn note(&self, _text: &str) {}

    fn cancelled(&self) -> bool {
        self.0.cancelled()
    }
}

/// Hears nothing and never cancels.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _phase: &str, _total: Option<u64>) {}
    fn advance(&self, _units: u64) {}
    fn note(&self, _text: &str) {}
}

/// A flag that one side raises and the other polls; clones share it.
///
/// ```
/// # use refit_core::Cancel;
/// let cancel = Cancel::default();
/// let seen_by_worker = cancel.clone();
/// cancel.raise();
/// assert!(seen_by_worker.is_raised());
/// ```
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks for a stop.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether a stop was asked for.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A cancel flag is the quietest of listeners.
impl Progress for Cancel {
    fn begin(&self, _phase: &str, _total: Option<u64>) {}
    fn advance(&self, _units: u64) {}
    fn note(&self, _text: &str) {}
    fn cancelled(&self) -> bool {
        self.is_raised()
    }
}
