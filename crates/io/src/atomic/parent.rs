//! The folder that holds a target.

use super::{AtomicError, sync_dir};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Checks that `target` has a name and a place: the folder that holds it is there, or could be created in one that is.
/// Touches nothing.
///
/// # Errors
/// [`AtomicError::NoName`]; [`AtomicError::NoParent`] names what is missing.
///
/// # Example
/// ```
/// use refit_io::atomic::{AtomicError, check_place};
/// let home = tempfile::tempdir()?;
/// check_place(&home.path().join("runs/x"))?;
/// let misspelt = check_place(&home.path().join("no/such/x"));
/// assert!(matches!(misspelt, Err(AtomicError::NoParent { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn check_place(target: &Path) -> Result<(), AtomicError> {
    let path = || target.to_path_buf();
    if target.file_name().is_none() {
        return Err(AtomicError::NoName { path: path() });
    }
    let parent = parent_of(target);
    let is_there = parent.is_dir();
    let is_free = fs::symlink_metadata(parent).is_err() && parent.file_name().is_some();
    if is_there || is_free && parent_of(parent).is_dir() {
        return Ok(());
    }
    Err(AtomicError::NoParent {
        path: path(),
        parent: parent.into(),
    })
}

/// The folder that holds a target; one that was created is removed on drop, unless something is in it.
#[derive(Debug)]
pub(super) struct Parent {
    path: PathBuf,
    is_new: bool,
}

impl Parent {
    /// Finds or creates the folder that holds `target`, which has a place.
    pub(super) fn of(target: &Path) -> Result<Self, AtomicError> {
        let path = parent_of(target).to_path_buf();
        let is_new = !path.is_dir();
        if is_new && let Err(error) = fs::create_dir(&path) {
            // Another process may have been faster.
            if !path.is_dir() {
                return Err(AtomicError::from_io("create", &path)(error));
            }
        }
        Ok(Self { path, is_new })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Forces the names in the folder to the disk, and its own if it is new.
    pub(super) fn sync(&self) -> Result<(), AtomicError> {
        sync_dir(&self.path)?;
        if self.is_new {
            sync_dir(parent_of(&self.path))?;
        }
        Ok(())
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        if self.is_new {
            let _ = fs::remove_dir(&self.path); // refused where something is in it
        }
    }
}

/// The folder that holds `target`; the current one for a bare name.
fn parent_of(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}
