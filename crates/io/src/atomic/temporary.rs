//! Temporaries beside their target: named after it, locked by whoever writes them, swept when that one is gone.
//!
//! A killed process cannot remove its temporary, but the system lets go of its lock. So whoever writes the same target
//! next may remove what nobody holds; where the file system knows no locks, nothing is removed.

use super::AtomicError;
use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};
use tempfile::{Builder, NamedTempFile, TempDir};

const SUFFIX: &str = ".tmp";
/// Random characters in a name.
const RANDOM: usize = 6;
/// Bytes of the target's name that a temporary takes on: file systems take 255 in all.
const MOST_OF_NAME: usize = 200;
/// A try is lost when another process sweeps between creation and lock; that many are lost to nobody.
const TRIES: usize = 16;
/// Where a replaced folder lies inside the temporary that holds it.
pub(super) const ASIDE: &str = "replaced";

/// A folder that is removed when it is dropped, and its lock.
#[derive(Debug)]
pub(super) struct LockedDir {
    folder: TempDir,
    _lock: Option<File>,
}

impl LockedDir {
    /// Creates a folder beside `target`.
    pub(super) fn create(target: &Path, parent: &Path) -> Result<Self, AtomicError> {
        for _ in 0..TRIES {
            let made = Builder::new()
                .prefix(&prefix(target))
                .suffix(SUFFIX)
                .rand_bytes(RANDOM)
                .tempdir_in(parent);
            let folder = made.map_err(AtomicError::from_io("create", target))?;
            // Not every system opens folders; there, nobody else can, and nobody sweeps.
            let lock = File::open(folder.path()).ok();
            if lock
                .as_ref()
                .is_none_or(|lock| is_ours(lock, folder.path()))
            {
                return Ok(Self {
                    folder,
                    _lock: lock,
                });
            }
        }
        Err(lost(target))
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves the folder where it is, or whatever it was renamed to.
    pub(super) fn keep(self) -> PathBuf {
        self.folder.keep()
    }
}

/// Creates a file beside `target`, locked as long as it is open.
pub(super) fn file(target: &Path, parent: &Path) -> Result<NamedTempFile, AtomicError> {
    for _ in 0..TRIES {
        let prefix = prefix(target);
        let mut builder = Builder::new();
        builder.prefix(&prefix).suffix(SUFFIX).rand_bytes(RANDOM);
        #[cfg(unix)]
        {
            // Temporary files are private by default; an output gets what the user's umask says.
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let file = builder
            .tempfile_in(parent)
            .map_err(AtomicError::from_io("create", target))?;
        if is_ours(file.as_file(), file.path()) {
            return Ok(file);
        }
    }
    Err(lost(target))
}

/// Takes the lock of a new temporary; `false` when someone swept it just before.
fn is_ours(lock: &File, path: &Path) -> bool {
    match lock.try_lock() {
        Ok(()) => fs::symlink_metadata(path).is_ok(),
        Err(TryLockError::WouldBlock) => false,
        // Without locks nobody sweeps.
        Err(TryLockError::Error(_)) => true,
    }
}

fn lost(target: &Path) -> AtomicError {
    AtomicError::from_io("create", target)(io::ErrorKind::ResourceBusy.into())
}

/// Removes temporaries of `target` whose writers were killed, as far as the system lets us. A folder that was moved
/// aside is only removed when another has taken its place: until then it may be the last copy.
pub(super) fn sweep(target: &Path, parent: &Path) {
    let prefix = prefix(target);
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    for entry in entries {
        if is_temporary(&entry.file_name().to_string_lossy(), &prefix) {
            sweep_one(&entry.path(), target);
        }
    }
}

fn sweep_one(path: &Path, target: &Path) {
    // A link or a pipe is none of ours, and a pipe would wait when it is opened.
    let Ok(found) = fs::symlink_metadata(path).map(|found| found.file_type()) else {
        return;
    };
    if !found.is_dir() && !found.is_file() {
        return;
    }
    let Ok(lock) = File::open(path) else { return };
    if lock.try_lock().is_err() {
        return;
    }
    let is_last_copy = path.join(ASIDE).exists() && fs::symlink_metadata(target).is_err();
    if found.is_dir() && !is_last_copy {
        let _ = fs::remove_dir_all(path);
    } else if found.is_file() {
        let _ = fs::remove_file(path);
    }
}

/// `.refit-NAME-`, with as much of the name as there is room for.
fn prefix(target: &Path) -> String {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let end = name.floor_char_boundary(MOST_OF_NAME);
    format!(".refit-{}-", &name[..end])
}

fn is_temporary(name: &str, prefix: &str) -> bool {
    let middle = name
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_suffix(SUFFIX));
    middle.is_some_and(|m| m.len() == RANDOM && m.bytes().all(|b| b.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atomic::{OutputDir, OutputFile, Overwrite, write_file};

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap().flatten();
        let mut names: Vec<_> = entries
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// What a killed process leaves: temporaries that nobody holds.
    fn leave(home: &Path, file: &str, folder: &str) {
        write_file(home.join(file), b"half", Overwrite::Refuse).unwrap();
        fs::create_dir(home.join(folder)).unwrap();
        write_file(home.join(folder).join("x"), b"half", Overwrite::Refuse).unwrap();
    }

    #[test]
    fn what_a_killed_process_left_goes_when_its_target_is_written_again() {
        let home = tempfile::tempdir().unwrap();
        leave(
            home.path(),
            ".refit-run-abc123.tmp",
            ".refit-run-Zz9876.tmp",
        );
        let others = [".refit-run-2-abc123.tmp", ".refit-runs-abc123.tmp"];
        leave(home.path(), others[0], others[1]);
        let target = home.path().join("run");
        OutputDir::create(&target, Overwrite::Refuse)
            .unwrap()
            .finish()
            .unwrap();
        assert_eq!(names(home.path()), [others[0], others[1], "run"]);
        write_file(home.path().join("run-2"), b"", Overwrite::Refuse).unwrap();
        assert_eq!(names(home.path()), [others[1], "run", "run-2"]);
    }

    #[test]
    fn a_writer_that_is_at_work_keeps_its_temporary() {
        let home = tempfile::tempdir().unwrap();
        let (dir, file) = (home.path().join("run"), home.path().join("page"));
        let first = OutputDir::create(&dir, Overwrite::Refuse).unwrap();
        let page = OutputFile::create(&file, Overwrite::Refuse).unwrap();
        for _ in 0..2 {
            drop(OutputDir::create(&dir, Overwrite::Refuse).unwrap());
            drop(OutputFile::create(&file, Overwrite::Refuse).unwrap());
        }
        assert_eq!(names(home.path()).len(), 2);
        first.finish().unwrap();
        page.finish().unwrap();
        assert_eq!(names(home.path()), ["page", "run"]);
    }

    #[test]
    fn the_last_copy_of_a_replaced_folder_is_kept() {
        let home = tempfile::tempdir().unwrap();
        let aside = home.path().join(".refit-run-abc123.tmp");
        fs::create_dir_all(aside.join(ASIDE)).unwrap();
        let target = home.path().join("run");
        drop(OutputDir::create(&target, Overwrite::Replace).unwrap());
        assert!(aside.exists(), "nothing stands in its place");
        fs::create_dir(&target).unwrap();
        drop(OutputDir::create(&target, Overwrite::Replace).unwrap());
        assert!(!aside.exists());
    }

    #[test]
    fn names_of_any_length_and_alphabet_have_temporaries() {
        let home = tempfile::tempdir().unwrap();
        for name in ["n".repeat(255), "é".repeat(127)] {
            let target = home.path().join(&name);
            write_file(&target, b"", Overwrite::Refuse).unwrap();
            assert!(target.is_file());
        }
    }
}
