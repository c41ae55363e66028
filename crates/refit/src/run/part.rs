//! The folder of a run that can be gone on with: `demo.part` until it is complete, `demo` from then on.

use super::{RECORD, RunError};
use refit_io::{
    atomic::{AtomicError, OutputDir, Overwrite},
    file::open_file,
};
use std::{
    ffi::OsString,
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

/// Ending of the name of an unfinished run.
const PART: &str = ".part";

/// Where the run `target` is kept until it is complete.
///
/// ```
/// use std::path::Path;
/// assert_eq!(refit::run::part_path(Path::new("runs/demo")), Path::new("runs/demo.part"));
/// ```
pub fn part_path(target: &Path) -> PathBuf {
    let mut name = target.file_name().map_or_else(OsString::new, Into::into);
    name.push(PART);
    target.with_file_name(name)
}

/// The run that a user means by its name, or by that of its unfinished folder.
pub(super) fn target_of(run: &Path) -> PathBuf {
    if part_path(run).is_dir() {
        return run.to_path_buf();
    }
    let name = run.file_name().unwrap_or_default().to_string_lossy();
    match name.strip_suffix(PART) {
        Some(name) if !name.is_empty() => run.with_file_name(name),
        _ => run.to_path_buf(),
    }
}

/// The folder of an unfinished run, of which this process is the only writer.
#[derive(Debug)]
pub(super) struct Part {
    path: PathBuf,
    target: PathBuf,
    overwrite: Overwrite,
    /// Held as long as this run is written.
    _lock: File,
}

impl Part {
    /// Starts a folder with what `fill` writes; it appears with all of that.
    pub(super) fn create(
        target: PathBuf,
        overwrite: Overwrite,
        fill: impl FnOnce(&Path) -> Result<(), RunError>,
    ) -> Result<Self, RunError> {
        check(&target, overwrite)?;
        let path = part_path(&target);
        if path.is_dir() {
            if overwrite == Overwrite::Refuse {
                return Err(RunError::Unfinished { path, target });
            }
            drop(lock(&path)?);
        }
        let folder = OutputDir::create(&path, overwrite)?;
        fill(folder.path())?;
        folder.finish()?;
        Self::open(target, overwrite)
    }

    /// Goes on with a folder that is there.
    pub(super) fn open(target: PathBuf, overwrite: Overwrite) -> Result<Self, RunError> {
        check(&target, overwrite)?;
        let path = part_path(&target);
        let lock = lock(&path)?;
        remove_leftovers(&path)?;
        Ok(Self {
            path,
            target,
            overwrite,
            _lock: lock,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn target(&self) -> &Path {
        &self.target
    }

    /// Gives the folder its final name.
    pub(super) fn finish(&self) -> Result<PathBuf, RunError> {
        let Self { path, target, .. } = self;
        if self.overwrite == Overwrite::Replace && target.is_dir() {
            // Replacing is the business of the writer that can take it back; it leaves an empty folder.
            OutputDir::create(target, Overwrite::Replace)?.finish()?;
            fs::remove_dir(target).map_err(RunError::io("replace", target))?;
        }
        if fs::symlink_metadata(target).is_ok() {
            let path = target.clone();
            return Err(AtomicError::Exists { path }.into());
        }
        fs::rename(path, target).map_err(RunError::io("rename a folder to", target))?;
        Ok(target.clone())
    }

    /// Removes the folder: there is nothing to go on with.
    pub(super) fn discard(self) -> Result<(), RunError> {
        fs::remove_dir_all(&self.path).map_err(RunError::io("remove", &self.path))
    }
}

/// Whether a folder could be written under this name; leaves nothing behind.
fn check(target: &Path, overwrite: Overwrite) -> Result<(), RunError> {
    Ok(OutputDir::create(target, overwrite).map(drop)?)
}

/// Keeps other processes from writing the same run; the system lets go when this one ends, however it ends.
fn lock(path: &Path) -> Result<File, RunError> {
    let record = path.join(RECORD);
    let file = match open_file(&record) {
        Err(error) if error.is_not_found() => {
            return Err(RunError::NotARun {
                path: path.into(),
                missing: RECORD,
            });
        }
        file => file?,
    };
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(RunError::Busy { path: path.into() }),
        // A file system without locks is no reason not to work.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}

/// Removes the temporary files and folders of a process that was killed.
fn remove_leftovers(folder: &Path) -> Result<(), RunError> {
    let entries = fs::read_dir(folder).map_err(RunError::io("read", folder))?;
    for entry in entries {
        let entry = entry.map_err(RunError::io("read", folder))?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        let leftover = name.starts_with(".refit-") && name.ends_with(".tmp");
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        match (leftover, is_dir) {
            (true, true) => fs::remove_dir_all(&path),
            (true, false) => fs::remove_file(&path),
            (false, true) => {
                remove_leftovers(&path)?;
                continue;
            }
            (false, false) => continue,
        }
        .map_err(RunError::io("remove", &path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use refit_io::atomic::write_file;

    fn begin(target: &Path, overwrite: Overwrite) -> Result<Part, RunError> {
        Part::create(target.into(), overwrite, |folder| {
            write_file(folder.join(RECORD), b"{}", Overwrite::Refuse)?;
            Ok(())
        })
    }

    #[test]
    fn a_run_has_its_name_only_when_it_is_complete() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("demo");
        let part = begin(&target, Overwrite::Refuse).unwrap();
        assert!(!target.exists() && part_path(&target).is_dir());
        drop(part);
        let again = begin(&target, Overwrite::Refuse).unwrap_err();
        assert!(matches!(again, RunError::Unfinished { .. }), "{again}");
        let part = Part::open(target.clone(), Overwrite::Refuse).unwrap();
        assert_eq!(part.finish().unwrap(), target);
        assert!(target.join(RECORD).is_file() && !part_path(&target).exists());
    }

    #[test]
    fn a_complete_run_is_replaced_only_when_that_is_asked_for() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("demo");
        begin(&target, Overwrite::Refuse).unwrap().finish().unwrap();
        assert!(begin(&target, Overwrite::Refuse).is_err());
        let part = begin(&target, Overwrite::Replace).unwrap();
        write_file(part.path().join("new"), b"", Overwrite::Refuse).unwrap();
        part.finish().unwrap();
        assert!(target.join("new").exists());
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_run_has_one_writer_and_what_a_killed_one_left_is_removed() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("demo");
        let part = begin(&target, Overwrite::Refuse).unwrap();
        let second = Part::open(target.clone(), Overwrite::Refuse).unwrap_err();
        assert!(matches!(second, RunError::Busy { .. }), "{second}");
        let torn = part.path().join("seed-0/.refit-x.tmp");
        fs::create_dir_all(&torn).unwrap();
        drop(part);
        Part::open(target, Overwrite::Refuse).unwrap();
        assert!(!torn.exists() && torn.parent().unwrap().exists());
    }

    #[test]
    fn either_name_means_the_run() {
        assert_eq!(target_of(Path::new("runs/a.part")), Path::new("runs/a"));
        assert_eq!(target_of(Path::new("runs/a")), Path::new("runs/a"));
        assert_eq!(target_of(Path::new(".part")), Path::new(".part"));
    }
}
