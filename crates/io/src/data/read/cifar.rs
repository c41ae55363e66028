//! CIFAR-10: the binary files of its authors, and a compact `.npz` of JPEG streams.

use super::{Split, npz_task, read_file, stem};
use crate::data::{
    DataError, ImageSet, ImageShape, Task,
    npz::{ElementType, Npz},
    read::folder::decode,
};
use image::ImageFormat;
use rayon::prelude::*;
use std::{
    io::Cursor,
    path::{Path, PathBuf},
    sync::Arc,
};

const CLASSES: [&str; 10] = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
];

fn classes() -> Arc<[String]> {
    CLASSES.iter().map(ToString::to_string).collect()
}

/// Reads one binary file: records of a label byte and 3072 bytes of pixels (red, green, blue plane).
///
/// # Errors
/// When the file cannot be read, is no whole number of records, or holds a label above 9.
pub fn read_cifar_batch(path: impl AsRef<Path>) -> Result<ImageSet, DataError> {
    let path = path.as_ref();
    let file = read_file(path)?;
    let record = 1 + ImageShape::CIFAR.len();
    if file.is_empty() || !file.len().is_multiple_of(record) {
        return Err(DataError::Truncated {
            at: path.into(),
            what: "the last record".into(),
            needed: record as u64,
            found: (file.len() % record) as u64,
        });
    }
    let labels = file.iter().step_by(record).map(|&l| l.into()).collect();
    let images = file
        .chunks_exact(record)
        .flat_map(|r| &r[1..])
        .copied()
        .collect();
    ImageSet::new(
        path.to_string_lossy(),
        classes(),
        ImageShape::CIFAR,
        images,
        labels,
    )
}

/// Reads `data_batch_*.bin` and `test_batch.bin`, and takes the part to tune on from the training images.
///
/// # Errors
/// Those of [`read_cifar_batch`].
pub fn read_cifar_folder(dir: impl AsRef<Path>, split: &Split) -> Result<Task, DataError> {
    let dir = dir.as_ref();
    let (mut images, mut labels) = (Vec::new(), Vec::new());
    let Batches { train, test } = Batches::of(dir);
    for path in train {
        let batch = read_cifar_batch(path)?;
        images.extend_from_slice(batch.images());
        labels.extend_from_slice(batch.labels());
    }
    let train = ImageSet::new(stem(dir), classes(), ImageShape::CIFAR, images, labels)?;
    split.two_parts(&stem(dir), &train, read_cifar_batch(test)?)
}

/// The binary files of a folder.
struct Batches {
    train: Vec<PathBuf>,
    test: PathBuf,
}

impl Batches {
    fn of(dir: &Path) -> Self {
        let train = (1..=5).map(|i| (i, dir.join(format!("data_batch_{i}.bin"))));
        Self {
            // A subset of the batches is a valid, smaller set.
            train: train
                .filter(|(i, path)| *i == 1 || path.exists())
                .map(|(_, path)| path)
                .collect(),
            test: dir.join("test_batch.bin"),
        }
    }
}

/// What [`read_cifar_folder`] reads.
pub(super) fn cifar_files(dir: &Path) -> Vec<PathBuf> {
    let Batches { mut train, test } = Batches::of(dir);
    train.push(test);
    train
}

/// Whether `dir` looks like the home of the binary files.
pub(super) fn is_cifar_folder(dir: &Path) -> bool {
    dir.join("data_batch_1.bin").is_file()
}

/// Reads CIFAR-10 from an `.npz` of JPEG streams: `train_jpeg` (`u8`, the streams one after the other), `train_off` (`n + 1`
/// offsets) and `train_y`, and the same for `val` and `test`.
///
/// # Errors
/// When an array is missing or malformed, an offset leaves the streams, or a stream is no 32 x 32 picture.
pub fn read_cifar_jpeg(path: impl AsRef<Path>) -> Result<Task, DataError> {
    task_from_jpeg_npz(&Npz::open(path)?)
}

/// See [`read_cifar_jpeg`].
pub(super) fn task_from_jpeg_npz(npz: &Npz) -> Result<Task, DataError> {
    let [train, val, test] = ["train", "val", "test"].map(|part| jpeg_part(npz, part));
    Task::new("cifar10", train?, val?, test?)
}

fn jpeg_part(npz: &Npz, part: &str) -> Result<ImageSet, DataError> {
    let key = format!("{part}_jpeg");
    let streams = npz.array(&key)?;
    if streams.element() != ElementType::U8 {
        return Err(npz_task::wrong_type(npz, &key, &streams, "`|u1`"));
    }
    let spans = spans(npz, &format!("{part}_off"), streams.bytes().len())?;
    let set = format!("{key}` of `{}", npz.path().display());
    let images = spans
        .into_par_iter()
        .enumerate()
        .map(|(i, span)| {
            let what = format!("{set}` at `{i}");
            let stream = Cursor::new(&streams.bytes()[span]);
            let (shape, bytes) = decode(stream, Some(ImageFormat::Jpeg), 3, &what)?;
            if shape != ImageShape::CIFAR {
                let expected = ImageShape::CIFAR;
                return Err(DataError::ImageSize {
                    what,
                    found: shape,
                    expected,
                });
            }
            Ok(bytes)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let labels = npz_task::integers(npz, &format!("{part}_y"))?;
    let labels = npz_task::checked_labels(&set, &labels, CLASSES.len())?;
    ImageSet::new(set, classes(), ImageShape::CIFAR, images.concat(), labels)
}

/// Consecutive offsets as ranges, each inside `len` bytes.
fn spans(npz: &Npz, key: &str, len: usize) -> Result<Vec<std::ops::Range<usize>>, DataError> {
    let offsets = npz_task::integers(npz, key)?;
    let inside = |pair: &[i64]| match [usize::try_from(pair[0]), usize::try_from(pair[1])] {
        [Ok(from), Ok(to)] if from <= to && to <= len => Some(from..to),
        _ => None,
    };
    offsets
        .windows(2)
        .map(inside)
        .collect::<Option<_>>()
        .ok_or_else(|| {
            DataError::format(
                npz.path(),
                "npz",
                format_args!("`{key}` leaves its streams"),
            )
        })
}
