//! One file.

use super::{AtomicError, Overwrite, check, parent::Parent, temporary};
use std::{
    fs::FileType,
    io::{self, ErrorKind, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;

/// A file that appears under its name when [`finish`](Self::finish) is called. Unbuffered.
#[derive(Debug)]
pub struct OutputFile {
    target: PathBuf,
    temporary: NamedTempFile,
    overwrite: Overwrite,
    /// Goes last: a folder that was made for nothing goes when nothing is in it.
    parent: Parent,
}

impl OutputFile {
    /// Opens a temporary beside `path`.
    ///
    /// # Errors
    /// When the target is refused or the folder cannot be written to.
    pub fn create(path: impl Into<PathBuf>, overwrite: Overwrite) -> Result<Self, AtomicError> {
        let target = path.into();
        let parent = check(&target, overwrite, "file", FileType::is_file)?;
        temporary::sweep(&target, parent.path());
        let temporary = temporary::file(&target, parent.path())?;
        Ok(Self {
            target,
            temporary,
            overwrite,
            parent,
        })
    }

    /// The name the file will have.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Forces the content to the disk and renames the file.
    ///
    /// # Errors
    /// When the disk is full or someone else created the target meanwhile.
    pub fn finish(self) -> Result<(), AtomicError> {
        let Self {
            parent,
            target,
            temporary,
            overwrite,
        } = self;
        temporary
            .as_file()
            .sync_all()
            .map_err(AtomicError::from_io("write", &target))?;
        let renamed = match overwrite {
            Overwrite::Refuse => temporary.persist_noclobber(&target),
            Overwrite::Replace => temporary.persist(&target),
        };
        match renamed {
            Ok(_) => parent.sync(),
            Err(e) if e.error.kind() == ErrorKind::AlreadyExists => {
                Err(AtomicError::Exists { path: target })
            }
            Err(e) => Err(AtomicError::from_io("write", &target)(e.error)),
        }
    }
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.temporary.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.temporary.flush()
    }
}

impl Seek for OutputFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.temporary.seek(to)
    }
}
