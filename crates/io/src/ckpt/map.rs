//! The bytes of one file, mapped or held: the only unsafe line of the crate.

use super::{error::CkptError, stamp::Stamp};
use crate::file::open_file;
use memmap2::Mmap;
use std::{fmt, fs::File, io, ops::Deref, path::Path};

/// Read-only bytes of a file or of memory.
pub(super) struct Bytes {
    content: Content,
    /// What the file looked like when it was mapped.
    stamp: Option<Stamp>,
}

enum Content {
    Mapped(Mmap),
    Held(Vec<u8>),
}

impl Bytes {
    /// Maps a regular file.
    pub(super) fn map(path: &Path) -> Result<Self, CkptError> {
        let failed = |source| CkptError::Read {
            file: path.into(),
            source,
        };
        let file = open_file(path)?;
        let stamp = Stamp::of(&file.metadata().map_err(failed)?);
        let map = map_read_only(&file).map_err(failed)?;
        Ok(Self {
            content: Content::Mapped(map),
            stamp: Some(stamp),
        })
    }

    /// Bytes that the program holds.
    pub(super) fn held(bytes: Vec<u8>) -> Self {
        Self {
            content: Content::Held(bytes),
            stamp: None,
        }
    }

    /// Whether the file at `path` is still what it was when it was mapped.
    pub(super) fn unchanged(&self, path: &Path) -> bool {
        self.stamp.is_none_or(|stamp| stamp.still_holds(path))
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.content {
            Content::Mapped(map) => map,
            Content::Held(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bytes")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

#[expect(unsafe_code, reason = "a memory map cannot be made in safe Rust")]
fn map_read_only(file: &File) -> io::Result<Mmap> {
    // SAFETY: the map is read-only and owns its address range until it is dropped, and all borrows of it end before.
    // What cannot be promised is that no other process changes the file meanwhile; the documentation of `ckpt` says
    // what then happens and why it is accepted. Structure (names, shapes, ranges) is copied out and checked once,
    // and ranges are applied to the map through bounds-checked slices, so a change can alter values but never where
    // this crate reads.
    unsafe { Mmap::map(file) }
}
