//! Ctrl-C: the first asks for a stop, the second does not ask.

use super::error::Exit;
use refit_core::Cancel;
use std::{
    io::{self, Write},
    sync::atomic::{AtomicBool, Ordering},
};

/// Whether nobody looks at `cancel` any more. One for the process, as signals are.
static DONE: AtomicBool = AtomicBool::new(false);

/// Listens for Ctrl-C (and a polite kill) until the program ends. Before, both end the program at once: what does not
/// look at `cancel` must not be made deaf.
pub(super) fn install(cancel: Cancel) {
    let handler = move || {
        if cancel.is_raised() || DONE.load(Ordering::Relaxed) {
            std::process::exit(Exit::Interrupted as i32);
        }
        cancel.raise();
        let words = "stopping at the next safe point; press Ctrl-C again to stop at once";
        let _ = writeln!(io::stderr(), "\n{words}");
    };
    DONE.store(false, Ordering::Relaxed);
    // Only a second handler in one process can fail, and then the first one serves as well.
    let _ = ctrlc::set_handler(handler);
}

/// The work is done: from here on the first signal ends the program, however long the reader of its results takes.
pub(super) fn work_is_done() {
    DONE.store(true, Ordering::Relaxed);
}
