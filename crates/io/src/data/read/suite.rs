//! Several tasks in one folder.

use super::{FolderOptions, folder::entries, read_npz_task, read_task, task_files};
use crate::data::{DataError, Task};
use std::path::{Path, PathBuf};

/// Files of the real 28 x 28 suite, in the order of its tables.
pub const REAL_SUITE: [&str; 8] = [
    "img28_mnist.npz",
    "img28_fashion.npz",
    "img28_notmnist.npz",
    "img28_kannada.npz",
    "img28_usps.npz",
    "img28_quickdraw3.npz",
    "img28_pneumonia.npz",
    "img28_omniglot_script8.npz",
];

/// Reads the tasks of a folder: the eight files of [`REAL_SUITE`] in that order and nothing else, if all of them are
/// there; otherwise every sub-folder and every `.npz` file, by name (see [`read_task`]).
///
/// # Errors
/// When nothing is found, a task cannot be read, or the tasks differ in image shape.
pub fn read_suite(dir: impl AsRef<Path>, options: &FolderOptions) -> Result<Vec<Task>, DataError> {
    let dir = dir.as_ref();
    if let Some(real) = real(dir) {
        return same_shape(real.iter().map(read_npz_task).collect::<Result<_, _>>()?);
    }
    same_shape(
        tasks(dir)?
            .iter()
            .map(|p| read_task(p, options))
            .collect::<Result<_, _>>()?,
    )
}

/// The files that [`read_suite`] reads, and no others (see [`task_files`]).
///
/// # Errors
/// When nothing is found, or a task cannot be listed.
pub fn suite_files(dir: impl AsRef<Path>) -> Result<Vec<PathBuf>, DataError> {
    let dir = dir.as_ref();
    if let Some(real) = real(dir) {
        return Ok(real.into());
    }
    let files: Result<Vec<_>, _> = tasks(dir)?.iter().map(task_files).collect();
    Ok(files?.concat())
}

/// The files of the real suite, if all of them are there.
fn real(dir: &Path) -> Option<[PathBuf; 8]> {
    let files = REAL_SUITE.map(|name| dir.join(name));
    files.iter().all(|path| path.is_file()).then_some(files)
}

/// Files and folders that hold a task each.
fn tasks(dir: &Path) -> Result<Vec<PathBuf>, DataError> {
    let is_task = |p: &PathBuf| p.is_dir() || p.extension().is_some_and(|e| e == "npz");
    let found: Vec<PathBuf> = entries(dir)?.into_iter().filter(is_task).collect();
    if found.is_empty() {
        return Err(DataError::NothingFound {
            at: dir.into(),
            expected: "task",
        });
    }
    Ok(found)
}

/// One model takes the images of all tasks.
fn same_shape(tasks: Vec<Task>) -> Result<Vec<Task>, DataError> {
    let expected = tasks[0].shape();
    match tasks.iter().find(|t| t.shape() != expected) {
        Some(task) => {
            let (what, found) = (task.name().to_owned(), task.shape());
            Err(DataError::ImageSize {
                what,
                found,
                expected,
            })
        }
        None => Ok(tasks),
    }
}
