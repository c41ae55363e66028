//! Counting the steps of a phase on their way to the listener.

use refit_core::Progress;
use std::sync::atomic::{AtomicU64, Ordering};

/// Passes everything on, and knows how far the present phase has come.
pub(super) struct Steps<'a> {
    listener: &'a dyn Progress,
    done: AtomicU64,
}

impl<'a> Steps<'a> {
    pub(super) const fn new(listener: &'a dyn Progress) -> Self {
        Self {
            listener,
            done: AtomicU64::new(0),
        }
    }

    /// Units of the present phase that are done.
    pub(super) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}

impl Progress for Steps<'_> {
    fn begin(&self, phase: &str, total: Option<u64>) {
        self.done.store(0, Ordering::Relaxed);
        self.listener.begin(phase, total);
    }

    fn advance(&self, units: u64) {
        self.done.fetch_add(units, Ordering::Relaxed);
        self.listener.advance(units);
    }

    fn note(&self, text: &str) {
        self.listener.note(text);
    }

    fn cancelled(&self) -> bool {
        self.listener.cancelled()
    }
}
