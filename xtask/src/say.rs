//! Words for whoever watches.

use std::io::{self, Write};

/// Prints a line on stdout at once.
pub(crate) fn say(line: &str) {
    let mut out = io::stdout().lock();
    // If nobody listens there is nothing to do about it.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
