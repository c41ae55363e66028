//! What a file looked like when it was opened.

use std::{
    fs::{self, Metadata},
    path::Path,
    time::SystemTime,
};

/// Enough to notice that someone wrote to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    len: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    pub(super) fn of(found: &Metadata) -> Self {
        Self {
            len: found.len(),
            modified: found.modified().ok(),
        }
    }

    /// Size of the file in bytes.
    pub(super) fn len(self) -> u64 {
        self.len
    }

    /// Whether the file at `path` still looks like this.
    pub(super) fn still_holds(self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|now| Self::of(&now) == self)
    }
}
