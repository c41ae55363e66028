//! IDX, the format of the original MNIST files. Source: the description on the MNIST page.

use super::{Split, read_file, stem};
use crate::data::{DataError, ImageSet, ImageShape, Task};
use std::{
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Bytes that an array may take; MNIST's training images take 47 MB.
const MOST_BYTES: u64 = 1 << 30;
/// Deflate packs no tighter than this.
const MOST_EXPANSION: u64 = 1032;
const MOST_AXES: usize = 4;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Code of unsigned bytes.
const U8_CODE: u8 = 0x08;

/// An array of unsigned bytes, as long as its shape says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdxArray {
    /// Extent of each axis, outermost first.
    pub shape: Vec<usize>,
    /// The values, row by row.
    pub bytes: Vec<u8>,
}

/// Reads an IDX file of unsigned bytes, plain or gzipped.
///
/// # Errors
/// When the file cannot be read, is no IDX file, holds another element type, announces more than it can hold, or ends early.
pub fn read_idx(path: impl AsRef<Path>) -> Result<IdxArray, DataError> {
    let path = path.as_ref();
    let file = read_file(path)?;
    if file.starts_with(&GZIP_MAGIC) {
        let limit = MOST_BYTES.min(file.len() as u64 * MOST_EXPANSION);
        parse(flate2::read::GzDecoder::new(&file[..]), limit, path)
    } else {
        parse(&file[..], file.len() as u64, path)
    }
}

/// Reads header and values; announced sizes above `limit` are refused before anything is allocated.
fn parse(mut input: impl Read, limit: u64, at: &Path) -> Result<IdxArray, DataError> {
    let bad = |problem: &str| DataError::format(at, "IDX", problem);
    let mut magic = [0; 4];
    input
        .read_exact(&mut magic)
        .map_err(|_| bad("it has no header"))?;
    let [0, 0, code, axes] = magic else {
        return Err(bad("it does not start with two zero bytes"));
    };
    if code != U8_CODE {
        return Err(DataError::ElementType {
            at: at.into(),
            key: "IDX".into(),
            found: format!("{code:#04x}"),
            expected: "unsigned bytes, 0x08",
        });
    }
    if axes == 0 || usize::from(axes) > MOST_AXES {
        return Err(bad("it has no axis, or more than four"));
    }
    let mut shape = Vec::new();
    for _ in 0..axes {
        let mut extent = [0; 4];
        input
            .read_exact(&mut extent)
            .map_err(|_| bad("its header ends early"))?;
        shape.push(u64::from(u32::from_be_bytes(extent)));
    }
    let needed = shape
        .iter()
        .try_fold(1u64, |n, &d| n.checked_mul(d))
        .unwrap_or(u64::MAX);
    if needed > limit {
        return Err(DataError::TooLarge {
            at: at.into(),
            what: "values".into(),
            bytes: needed,
            limit,
        });
    }
    let mut bytes = Vec::with_capacity(needed as usize);
    input
        .take(needed + 1)
        .read_to_end(&mut bytes)
        .map_err(|_| bad("it does not unpack"))?;
    let found = bytes.len() as u64;
    if found < needed {
        return Err(DataError::Truncated {
            at: at.into(),
            what: "values".into(),
            needed,
            found,
        });
    }
    if found > needed {
        return Err(bad("bytes follow the values"));
    }
    Ok(IdxArray {
        shape: shape.into_iter().map(|d| d as usize).collect(),
        bytes,
    })
}

/// Reads images `[n, h, w]` and labels `[n]` from two IDX files. Classes are numbers up to the largest label.
///
/// # Errors
/// Those of [`read_idx`] and of [`ImageSet::new`]; [`DataError::ArrayShape`] for other numbers of axes.
pub fn read_idx_set(
    images: impl AsRef<Path>,
    labels: impl AsRef<Path>,
    name: &str,
) -> Result<ImageSet, DataError> {
    let (images, labels) = (images.as_ref(), labels.as_ref());
    let (pixels, classes) = (read_idx(images)?, read_idx(labels)?);
    let [_, height, width] = pixels.shape[..] else {
        return Err(wrong_axes(images, &pixels, "[n, h, w]"));
    };
    if classes.shape.len() != 1 {
        return Err(wrong_axes(labels, &classes, "[n]"));
    }
    let shape = ImageShape {
        channels: 1,
        height,
        width,
    };
    let count = classes
        .bytes
        .iter()
        .max()
        .map_or(0, |&m| usize::from(m) + 1);
    let names: Arc<[String]> = (0..count).map(|label| label.to_string()).collect();
    let labels = classes.bytes.into_iter().map(u32::from).collect();
    ImageSet::new(name, names, shape, pixels.bytes, labels)
}

fn wrong_axes(at: &Path, array: &IdxArray, expected: &'static str) -> DataError {
    DataError::ArrayShape {
        at: at.into(),
        key: "IDX".into(),
        found: array.shape.iter().map(|&d| d as u64).collect(),
        expected: expected.into(),
    }
}

/// Reads the four files of an MNIST-like set (`train-images-idx3-ubyte`, .., each with or without `.gz`) and takes the part
/// to tune on from the training images.
///
/// # Errors
/// Those of [`read_idx_set`]; [`DataError::NothingFound`] when one of the files is missing.
pub fn read_idx_folder(dir: impl AsRef<Path>, split: &Split) -> Result<Task, DataError> {
    let dir = dir.as_ref();
    let name = stem(dir);
    let [train_x, train_y, test_x, test_y] = idx_files(dir)?;
    let train = read_idx_set(train_x, train_y, &name)?;
    split.two_parts(&name, &train, read_idx_set(test_x, test_y, &name)?)
}

/// What [`read_idx_folder`] reads: images and labels to train on, images and labels to report.
pub(super) fn idx_files(dir: &Path) -> Result<[PathBuf; 4], DataError> {
    let find = |name: &str| {
        find_file(dir, name).ok_or_else(|| DataError::NothingFound {
            at: dir.into(),
            expected: "complete set of IDX files (`train` and `t10k`, images and labels)",
        })
    };
    Ok([
        find("train-images-idx3-ubyte")?,
        find("train-labels-idx1-ubyte")?,
        find("t10k-images-idx3-ubyte")?,
        find("t10k-labels-idx1-ubyte")?,
    ])
}

/// Whether `dir` looks like the home of IDX files.
pub(super) fn is_idx_folder(dir: &Path) -> bool {
    find_file(dir, "train-images-idx3-ubyte").is_some()
}

/// The file `name` or `name.gz` in `dir`, also with a dot for the second hyphen.
fn find_file(dir: &Path, name: &str) -> Option<PathBuf> {
    let dotted = name.replace("-idx", ".idx");
    [name, &dotted]
        .into_iter()
        .flat_map(|n| [n.to_owned(), format!("{n}.gz")])
        .map(|n| dir.join(n))
        .find(|path| path.is_file())
}
