//! Tasks from files and folders.

mod cifar;
mod folder;
mod idx;
mod npz_task;
mod suite;

pub use cifar::{read_cifar_batch, read_cifar_folder, read_cifar_jpeg};
pub use folder::{Colour, FolderOptions, read_image_folder};
pub use idx::{IdxArray, read_idx, read_idx_folder, read_idx_set};
pub use npz_task::{read_npz_task, task_from_npz};
pub use suite::{REAL_SUITE, read_suite};

use super::{DataError, ImageSet, Task, npz::Npz};
use crate::file;
use refit_core::{ConfigError, Seed};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// How a set that comes undivided is divided into parts, class by class.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Split {
    /// Share of the images to tune on, in `(0, 1)` (ours: 0.1).
    pub val: f64,
    /// Share of the images to report, in `(0, 1)` (ours: 0.2). Sets with a test part of their own keep it.
    pub test: f64,
    /// Which images go where.
    pub seed: Seed,
}

impl Default for Split {
    fn default() -> Self {
        Self {
            val: 0.1,
            test: 0.2,
            seed: Seed::new(0),
        }
    }
}

impl Split {
    fn check(&self) -> Result<(), ConfigError> {
        for (key, share) in [
            ("val", self.val),
            ("test", self.test),
            ("val + test", self.val + self.test),
        ] {
            if !(share > 0.0 && share < 1.0) {
                return Err(ConfigError::range(key, share, "a share in (0, 1)"));
            }
        }
        Ok(())
    }

    /// Divides a set into a task.
    fn three_parts(&self, name: &str, whole: &ImageSet) -> Result<Task, DataError> {
        self.check()?;
        let parts = whole.stratified_split([self.val, self.test], self.seed.fork(name))?;
        let [train, val, test] = parts;
        Task::new(name, train, val, test)
    }

    /// Takes the part to tune on from the training part.
    fn two_parts(&self, name: &str, train: &ImageSet, test: ImageSet) -> Result<Task, DataError> {
        self.check()?;
        let [train, val] = train.stratified_halves(self.val, self.seed.fork(name))?;
        Task::new(name, train, val, test)
    }
}

/// Reads one task from whatever `path` is: a task `.npz` (arrays or JPEG streams), a folder of IDX files, of CIFAR-10
/// binaries, or of pictures.
///
/// # Errors
/// Those of the reader that fits; [`DataError::NothingFound`] when none does.
pub fn read_task(path: impl AsRef<Path>, options: &FolderOptions) -> Result<Task, DataError> {
    let path = path.as_ref();
    if path.is_dir() {
        if cifar::is_cifar_folder(path) {
            return read_cifar_folder(path, &options.split);
        }
        if idx::is_idx_folder(path) {
            return read_idx_folder(path, &options.split);
        }
        return read_image_folder(path, options);
    }
    let npz = Npz::open(path)?;
    if npz.contains("train_jpeg") {
        return cifar::task_from_jpeg_npz(&npz);
    }
    task_from_npz(&npz)
}

/// Most bytes of one file: what an archive with 32-bit sizes can hold.
const MOST_BYTES: u64 = 1 << 32;

/// The bytes of a file of data.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, DataError> {
    Ok(file::read_file(path, MOST_BYTES)?)
}

/// What a file or folder is called, without its extension.
fn stem(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
