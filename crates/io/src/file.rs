//! Opening and reading files that a user named, and nothing that is no file.
//!
//! Devices, pipes and folders are refused before they are opened, since they may never end or never begin.
//!
//! ```
//! use refit_io::{atomic, file::{FileError, read_file}};
//! let home = tempfile::tempdir()?;
//! let path = home.path().join("note");
//! atomic::write_file(&path, b"four", atomic::Overwrite::Refuse)?;
//! assert_eq!(read_file(&path, 4)?, b"four");
//! assert!(matches!(read_file(&path, 3), Err(FileError::TooLarge { bytes: 4, .. })));
//! assert!(matches!(read_file(home.path(), 4), Err(FileError::NotAFile { .. })));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use refit_core::Hint;
use std::{
    borrow::Cow,
    fs::{self, File},
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
};

/// A file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system refused.
    #[error("cannot read `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
    /// A pipe, a device or a folder where a file is needed.
    #[error("`{}` is not a regular file", path.display())]
    NotAFile {
        /// What it is called.
        path: PathBuf,
    },
    /// The file is larger than anything of its kind.
    #[error("`{}` has {bytes} bytes, expected at most {limit}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size, or what was read of it.
        bytes: u64,
        /// Most that is accepted.
        limit: u64,
    },
}

impl FileError {
    /// Whether there is no such file.
    pub fn is_not_found(&self) -> bool {
        let absent = |kind| matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory);
        matches!(self, Self::Io { source, .. } if absent(source.kind()))
    }
}

impl Hint for FileError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::NotAFile { .. } => Some("copy its content into a file and give that".into()),
            _ if self.is_not_found() => Some("check the spelling of the path".into()),
            _ => None,
        }
    }
}

/// Opens the regular file at `path`.
///
/// # Errors
/// When there is none, or the system refuses.
pub fn open_file(path: &Path) -> Result<File, FileError> {
    let failed = |source| FileError::Io {
        path: path.into(),
        source,
    };
    // Before `open`: opening a pipe would wait for its other end.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(FileError::NotAFile { path: path.into() });
    }
    File::open(path).map_err(failed)
}

/// The bytes of the regular file at `path`, `limit` at most.
///
/// # Errors
/// Those of [`open_file`]; when there are more bytes.
pub fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let failed = |source| FileError::Io {
        path: path.into(),
        source,
    };
    let too_large = |bytes| FileError::TooLarge {
        path: path.into(),
        bytes,
        limit,
    };
    let file = open_file(path)?;
    let announced = file.metadata().map_err(failed)?.len();
    if announced > limit {
        return Err(too_large(announced));
    }
    let mut bytes = Vec::with_capacity(announced as usize);
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    // A file may grow while it is read, and some announce no size at all.
    if bytes.len() as u64 > limit {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes)
}
