//! Positioned reads from one file: no map, no shared cursor, no surprise when it is cut.

use crate::{
    ckpt::{error::CkptError, stamp::Stamp},
    file::open_file,
};
use std::{
    fs::File,
    io,
    ops::Range,
    path::{Path, PathBuf},
};

/// A file that several threads read at once.
#[derive(Debug)]
pub(in crate::ckpt) struct RandomFile {
    path: PathBuf,
    len: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Opened { file: File, stamp: Stamp },
    Held(Vec<u8>),
}

impl RandomFile {
    /// Opens a regular file.
    pub(in crate::ckpt) fn open(path: &Path) -> Result<Self, CkptError> {
        let file = open_file(path)?;
        let found = file.metadata().map_err(|source| CkptError::Read {
            file: path.into(),
            source,
        })?;
        let stamp = Stamp::of(&found);
        Ok(Self {
            path: path.into(),
            len: stamp.len(),
            content: Content::Opened { file, stamp },
        })
    }

    /// Bytes that the program holds; `label` stands for their path in messages.
    pub(in crate::ckpt) fn held(label: PathBuf, bytes: Vec<u8>) -> Self {
        Self {
            path: label,
            len: bytes.len() as u64,
            content: Content::Held(bytes),
        }
    }

    pub(in crate::ckpt) fn path(&self) -> &Path {
        &self.path
    }

    /// Size when it was opened.
    pub(in crate::ckpt) fn len(&self) -> u64 {
        self.len
    }

    /// Fills `out` with the bytes from `offset` on. The end of the file is an error: every range was checked against
    /// its size, so it has become shorter.
    pub(in crate::ckpt) fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), CkptError> {
        let read = match &self.content {
            Content::Opened { file, .. } => read_exact_at(file, offset, out),
            Content::Held(bytes) => copy_at(bytes, offset, out),
        };
        read.map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => CkptError::Changed {
                file: self.path.clone(),
            },
            _ => CkptError::Read {
                file: self.path.clone(),
                source,
            },
        })
    }

    /// The bytes in `range`, which the caller has checked against the size of the file and a limit.
    pub(in crate::ckpt) fn read_vec(&self, range: Range<u64>) -> Result<Vec<u8>, CkptError> {
        debug_assert!(range.end <= self.len);
        let mut bytes = vec![0; (range.end - range.start) as usize];
        self.read_at(range.start, &mut bytes)?;
        Ok(bytes)
    }

    /// Tells the system that `range` will be read soon, where it listens.
    pub(in crate::ckpt) fn prefetch(&self, range: Range<u64>) {
        if let Content::Opened { file, .. } = &self.content {
            will_need(file, range);
        }
    }

    /// Whether the file is still what it was when it was opened.
    pub(in crate::ckpt) fn unchanged(&self) -> bool {
        match &self.content {
            Content::Opened { stamp, .. } => stamp.still_holds(&self.path),
            Content::Held(_) => true,
        }
    }
}

fn copy_at(bytes: &[u8], offset: u64, out: &mut [u8]) -> io::Result<()> {
    let start = usize::try_from(offset).ok();
    let rest = start.and_then(|start| bytes.get(start..));
    match rest.and_then(|rest| rest.get(..out.len())) {
        Some(found) => {
            out.copy_from_slice(found);
            Ok(())
        }
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// A refusal changes nothing: the bytes are then read when they are asked for.
#[cfg(target_os = "linux")]
fn will_need(file: &File, range: Range<u64>) {
    use rustix::fs::{Advice, fadvise};
    if let Some(len) = std::num::NonZeroU64::new(range.end - range.start) {
        let _ = fadvise(file, range.start, Some(len), Advice::WillNeed);
    }
}

#[cfg(not(target_os = "linux"))]
fn will_need(_: &File, _: Range<u64>) {}

#[cfg(unix)]
fn read_exact_at(file: &File, offset: u64, out: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut offset: u64, mut out: &mut [u8]) -> io::Result<()> {
    while !out.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, out, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                out = &mut out[n..];
                offset += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
