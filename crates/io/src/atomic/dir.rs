//! A folder with everything below it.

use super::{
    AtomicError, Overwrite, check,
    parent::Parent,
    sync_dir,
    temporary::{ASIDE, LockedDir, sweep},
};
use std::{
    fs::{self, File, FileType},
    path::{Path, PathBuf},
};

/// A folder with one of these was written as an output, so replacing it is what `--force` means.
const MARKS: [&str; 4] = [
    "run.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "adapter_model.safetensors",
];

/// A folder that appears under its name when [`finish`](Self::finish) is called.
///
/// Write into [`path`](Self::path); everything below it moves along.
#[derive(Debug)]
pub struct OutputDir {
    target: PathBuf,
    temporary: LockedDir,
    overwrite: Overwrite,
    /// Goes last: a folder that was made for nothing goes when nothing is in it.
    parent: Parent,
}

impl OutputDir {
    /// Creates a temporary folder beside `path`.
    ///
    /// # Errors
    /// When the target is refused or its parent cannot be written to.
    pub fn create(path: impl Into<PathBuf>, overwrite: Overwrite) -> Result<Self, AtomicError> {
        let target = path.into();
        let parent = check(&target, overwrite, "folder", FileType::is_dir)?;
        if target.is_dir() && !may_replace(&target)? {
            return Err(AtomicError::Foreign { path: target });
        }
        sweep(&target, parent.path());
        let temporary = LockedDir::create(&target, parent.path())?;
        Ok(Self {
            target,
            temporary,
            overwrite,
            parent,
        })
    }

    /// Where to write until the end.
    pub fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// The name the folder will have.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Forces everything to the disk and renames the folder; returns its final path.
    ///
    /// A folder that is replaced is moved aside first and removed last, so that a crash between the two renames
    /// leaves it whole inside a `.refit-NAME-XXXXXX.tmp` beside the target.
    ///
    /// # Errors
    /// When the disk is full or someone else created the target meanwhile.
    pub fn finish(self) -> Result<PathBuf, AtomicError> {
        let Self {
            parent,
            target,
            temporary,
            overwrite,
        } = self;
        sync_tree(temporary.path())?;
        let occupied = fs::symlink_metadata(&target).is_ok();
        if occupied && overwrite == Overwrite::Refuse {
            return Err(AtomicError::Exists { path: target });
        }
        let aside = if occupied {
            Some(move_aside(&target, parent.path())?)
        } else {
            None
        };
        if let Err(e) = fs::rename(temporary.path(), &target) {
            if let Some(aside) = aside {
                // Should this fail too, the old folder must survive in its temporary place.
                let kept = aside.keep();
                let _ = fs::rename(kept.join(ASIDE), &target);
                let _ = fs::remove_dir(kept);
            }
            return Err(AtomicError::from_io("rename a folder to", &target)(e));
        }
        let _ = temporary.keep(); // renamed: nothing is left to remove
        parent.sync()?;
        Ok(target)
    }
}

fn move_aside(target: &Path, parent: &Path) -> Result<LockedDir, AtomicError> {
    let aside = LockedDir::create(target, parent)?;
    fs::rename(target, aside.path().join(ASIDE))
        .map_err(AtomicError::from_io("replace", target))?;
    Ok(aside)
}

/// Whether a folder may be deleted on `--force`: `--out ~ --force` must not cost anybody their home.
fn may_replace(folder: &Path) -> Result<bool, AtomicError> {
    let mut entries = fs::read_dir(folder).map_err(AtomicError::from_io("read", folder))?;
    Ok(entries.next().is_none() || MARKS.iter().any(|name| folder.join(name).is_file()))
}

/// Forces every file below `folder` to the disk, so that the rename never survives a crash that its content did not.
fn sync_tree(folder: &Path) -> Result<(), AtomicError> {
    let failed = |e| AtomicError::from_io("write", folder)(e);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            sync_tree(&entry.path())?;
        } else if kind.is_file() {
            let path = entry.path();
            File::open(&path)
                .and_then(|file| file.sync_all())
                .map_err(AtomicError::from_io("write", &path))?;
        }
    }
    sync_dir(folder)
}
