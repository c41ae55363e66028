//! The folder that holds a target.

use super::{AtomicError, sync_dir};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Checks that `target` has a name and a place: the folder that holds it is there, or could be created in one that is,
/// and may be written to. Touches nothing.
///
/// # Errors
/// [`AtomicError::NoName`]; [`AtomicError::NoParent`] names what is missing; [`AtomicError::Io`] where the system would
/// refuse.
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
    match existing_folder(target) {
        Some(folder) => check_writable(folder),
        None => Err(AtomicError::NoParent {
            path: path(),
            parent: parent_of(target).into(),
        }),
    }
}

/// Checks that the disk of `target` has room for `bytes`, where the system tells. Touches nothing.
///
/// # Errors
/// [`AtomicError::NoRoom`].
pub fn check_room(target: &Path, bytes: u64) -> Result<(), AtomicError> {
    match existing_folder(target).and_then(free_bytes) {
        Some(free) if free < bytes => Err(AtomicError::NoRoom {
            path: target.into(),
            needed: bytes,
            free,
        }),
        _ => Ok(()),
    }
}

/// The folder that holds `target`, or that would hold that folder.
fn existing_folder(target: &Path) -> Option<&Path> {
    let parent = parent_of(target);
    if parent.is_dir() {
        return Some(parent);
    }
    let is_free = fs::symlink_metadata(parent).is_err() && parent.file_name().is_some();
    let above = parent_of(parent);
    (is_free && above.is_dir()).then_some(above)
}

#[cfg(unix)]
fn check_writable(folder: &Path) -> Result<(), AtomicError> {
    use rustix::fs::{Access, access};
    let granted = access(folder, Access::WRITE_OK | Access::EXEC_OK);
    granted.map_err(|error| AtomicError::from_io("write into", folder)(error.into()))
}

#[cfg(not(unix))]
fn check_writable(_: &Path) -> Result<(), AtomicError> {
    Ok(())
}

/// What the user may still write.
#[cfg(unix)]
fn free_bytes(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(not(unix))]
fn free_bytes(_: &Path) -> Option<u64> {
    None
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_needs_room() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("runs/x");
        check_room(&target, 1).unwrap();
        let told = check_room(&target, u64::MAX);
        if cfg!(unix) {
            let error = told.unwrap_err();
            assert!(matches!(error, AtomicError::NoRoom { free, .. } if free > 0));
            assert!(error.to_string().contains("has room for"), "{error}");
        }
    }
}
