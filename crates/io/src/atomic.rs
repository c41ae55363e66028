//! Outputs that appear complete or not at all.
//!
//! A file or folder is first written under a temporary name beside its target (`.refit-NAME-XXXXXX.tmp`), forced to
//! the disk, and then renamed. Whoever reads the target sees the old content or the new one, never a half. Dropping an
//! unfinished output removes the temporary; only a killed process can leave one behind, and the next output to the same
//! target removes it.
//!
//! Rules that hold for files and folders alike:
//! - an existing target is refused unless [`Overwrite::Replace`] is given;
//! - a target that is a symbolic link is refused, dangling or not: replacing the link and writing through it are
//!   both surprising, so the caller has to say which path is meant;
//! - the folder that holds the target is created where it alone is missing (`runs` of `runs/x`); what would hold that
//!   has to exist: a misspelt path should not grow a tree.
//!
//! ```
//! use refit_io::atomic::{self, AtomicError, OutputDir, Overwrite};
//! let home = tempfile::tempdir()?;
//! let target = home.path().join("run-1");
//!
//! let run = OutputDir::create(&target, Overwrite::Refuse)?;
//! atomic::write_file(run.path().join("run.json"), b"{}", Overwrite::Refuse)?;
//! assert!(!target.exists());
//! run.finish()?;
//! assert!(target.join("run.json").is_file());
//!
//! let again = OutputDir::create(&target, Overwrite::Refuse);
//! assert!(matches!(again, Err(AtomicError::Exists { .. })));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod dir;
mod error;
mod file;
mod parent;
mod temporary;

pub use dir::OutputDir;
pub use error::AtomicError;
pub use file::OutputFile;
pub use parent::{check_place, check_room};

use parent::Parent;
use std::{
    fs::{self, File, FileType},
    io::{ErrorKind, Write},
    path::Path,
};

/// What to do when the target exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overwrite {
    /// Leave it alone and fail.
    #[default]
    Refuse,
    /// Put the new output in its place. A folder is only replaced when it is empty or looks like an output of this
    /// program: it holds `run.json`, `model.safetensors`, its index, or `adapter_model.safetensors`.
    Replace,
}

/// Writes `bytes` to `path` in one atomic step.
///
/// # Errors
/// [`AtomicError`]; the target is then what it was before.
pub fn write_file(
    path: impl AsRef<Path>,
    bytes: &[u8],
    overwrite: Overwrite,
) -> Result<(), AtomicError> {
    let path = path.as_ref();
    let mut file = OutputFile::create(path, overwrite)?;
    file.write_all(bytes)
        .map_err(AtomicError::from_io("write", path))?;
    file.finish()
}

/// Checks a target before anything is written, and makes sure of the folder that holds it.
fn check(
    target: &Path,
    overwrite: Overwrite,
    expected: &'static str,
    is_expected: impl Fn(&FileType) -> bool,
) -> Result<Parent, AtomicError> {
    let path = || target.to_path_buf();
    check_place(target)?;
    match fs::symlink_metadata(target) {
        Err(e) if e.kind() == ErrorKind::NotFound => Parent::of(target),
        Err(e) => Err(AtomicError::from_io("write", target)(e)),
        Ok(found) if found.is_symlink() => Err(AtomicError::Symlink { path: path() }),
        Ok(_) if overwrite == Overwrite::Refuse => Err(AtomicError::Exists { path: path() }),
        Ok(found) if is_expected(&found.file_type()) => Parent::of(target),
        Ok(_) => Err(AtomicError::OtherKind {
            path: path(),
            expected,
        }),
    }
}

/// Forces the names inside `folder` to the disk, where the system knows such a thing.
fn sync_dir(folder: &Path) -> Result<(), AtomicError> {
    if cfg!(unix) {
        File::open(folder)
            .and_then(|dir| dir.sync_all())
            .map_err(AtomicError::from_io("write", folder))?;
    }
    Ok(())
}
