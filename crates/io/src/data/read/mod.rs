//! Tasks from files and folders.

mod cifar;
mod columns;
mod folder;
mod idx;
mod libsvm;
mod npz_task;
mod parquet;
mod picture;
mod suite;
mod tagged;
mod text_problem;
mod texts;

pub use cifar::{read_cifar_batch, read_cifar_folder, read_cifar_jpeg};
pub use columns::{Header, TextColumn, TextRows, parse_columns, read_columns, read_unpacked};
pub use folder::{Colour, FolderOptions, read_image_folder};
pub use idx::{IdxArray, read_idx, read_idx_folder, read_idx_set};
pub use libsvm::{LibsvmOptions, LineProblem, parse_libsvm, read_libsvm};
pub use npz_task::{read_npz_task, task_from_npz};
pub use picture::{PictureFit, Pictures, Resize, find_pictures, is_named_as_picture, read_picture};
pub use suite::{REAL_SUITE, read_suite, suite_files};
pub use tagged::{TaggedSentence, parse_tagged, read_tagged};
pub use text_problem::TextProblem;
pub use texts::{LabelledTexts, read_texts};

use super::{DataError, ImageSet, Task, npz::Npz};
use crate::file;
use refit_core::{ConfigError, Seed};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

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
    match Kind::of(path) {
        Kind::Cifar => read_cifar_folder(path, &options.split),
        Kind::Idx => read_idx_folder(path, &options.split),
        Kind::Pictures => read_image_folder(path, options),
        Kind::Archive => {
            let npz = Npz::open(path)?;
            if npz.contains("train_jpeg") {
                return cifar::task_from_jpeg_npz(&npz);
            }
            task_from_npz(&npz)
        }
    }
}

/// The files that [`read_task`] reads, and no others: whatever lies beside them may change, be unreadable, or lead in
/// circles.
///
/// # Errors
/// Those of the reader that fits, as far as they can be known from names.
///
/// # Example
/// ```
/// use refit_io::data::task_files;
/// assert_eq!(task_files("digits.npz")?, [std::path::PathBuf::from("digits.npz")]);
/// # Ok::<(), refit_io::data::DataError>(())
/// ```
pub fn task_files(path: impl AsRef<Path>) -> Result<Vec<PathBuf>, DataError> {
    let path = path.as_ref();
    match Kind::of(path) {
        Kind::Cifar => Ok(cifar::cifar_files(path)),
        Kind::Idx => Ok(idx::idx_files(path)?.into()),
        Kind::Pictures => folder::image_files(path),
        Kind::Archive => Ok(vec![path.into()]),
    }
}

/// What a path leads to, and with that its reader.
enum Kind {
    Cifar,
    Idx,
    Pictures,
    Archive,
}

impl Kind {
    fn of(path: &Path) -> Self {
        if !path.is_dir() {
            Self::Archive
        } else if cifar::is_cifar_folder(path) {
            Self::Cifar
        } else if idx::is_idx_folder(path) {
            Self::Idx
        } else {
            Self::Pictures
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::atomic::{Overwrite, write_file};
    use std::fs;

    fn home(names: &[&str]) -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        for name in names {
            let path = home.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            write_file(path, name.as_bytes(), Overwrite::Refuse).unwrap();
        }
        home
    }

    fn inside(home: &Path, files: &[PathBuf]) -> Vec<String> {
        let name = |f: &PathBuf| f.strip_prefix(home).unwrap().display().to_string();
        files.iter().map(name).collect()
    }

    #[test]
    fn only_what_a_reader_reads_is_listed() {
        let parts = ["train/a/1.png", "val/a/1.PNG", "test/a/1.jpg"];
        let whole = ["a/1.png", "a/2.png", "a/3.png"];
        let idx = [
            "train-images-idx3-ubyte.gz",
            "train-labels.idx1-ubyte",
            "t10k-images-idx3-ubyte",
            "t10k-labels-idx1-ubyte",
        ];
        let cifar = ["data_batch_1.bin", "data_batch_3.bin", "test_batch.bin"];
        let beside_parts = ["README", "run/a/1.png", "train/notes", "train/a/x.log"];
        let beside_whole = ["README", "a/b/1.png", "a/.1.png"];
        for (read, beside) in [
            (&parts[..], &beside_parts[..]),
            (&whole, &beside_whole),
            (&idx, &["README", "a/1.png"]),
            (&cifar, &["data_batch_9.bin", "a/1.png"]),
        ] {
            let home = home(&[read, beside].concat());
            let files = task_files(home.path()).unwrap();
            assert_eq!(inside(home.path(), &files), read);
        }
    }

    #[test]
    fn a_suite_is_its_archives_and_what_is_read_of_its_folders() {
        let classes = ["a/cat/1.png", "a/cat/2.png", "a/cat/3.png"];
        let other = home(&[&classes[..], &["b.npz", "notes.txt", "a/cat/x.log"]].concat());
        let files = suite_files(other.path()).unwrap();
        let expected = [&classes[..], &["b.npz"]].concat();
        assert_eq!(inside(other.path(), &files), expected);
        let beside = ["fewshot.npz", "pictures/a/1.png"];
        let real = home(&[&REAL_SUITE[..], &beside].concat());
        let files = suite_files(real.path()).unwrap();
        assert_eq!(inside(real.path(), &files), REAL_SUITE);
        // Some of them are tasks like any others, by name.
        let some = home(&[REAL_SUITE[4], "fewshot.npz", REAL_SUITE[0]]);
        let files = suite_files(some.path()).unwrap();
        let expected = ["fewshot.npz", REAL_SUITE[0], REAL_SUITE[4]];
        assert_eq!(inside(some.path(), &files), expected);
    }
}
