//! Ctrl-C: the first asks for a stop, the second does not ask.

use super::error::Exit;
use refit_core::Cancel;
use std::io::{self, Write};

/// Listens for Ctrl-C (and a polite kill) until the program ends. Before, both end the program at once: what does not
/// look at `cancel` must not be made deaf.
pub(super) fn install(cancel: Cancel) {
    let handler = move || {
        if cancel.is_raised() {
            std::process::exit(Exit::Interrupted as i32);
        }
        cancel.raise();
        let words = "stopping at the next safe point; press Ctrl-C again to stop at once";
        let _ = writeln!(io::stderr(), "\n{words}");
    };
    // Only a second handler in one process can fail, and then the first one serves as well.
    let _ = ctrlc::set_handler(handler);
}
