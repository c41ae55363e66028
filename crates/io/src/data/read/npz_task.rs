//! A task in one `.npz` file.

use crate::data::{
    DataError, ImageSet, ImageShape, Task,
    npz::{Array, ElementType, Npz},
};
use std::{path::Path, sync::Arc};

/// Reads a task from `train_x`, `val_x`, `test_x` (`u8`, `[n, h, w]` or `[n, channels, h, w]`) and integer labels
/// `train_y`, `val_y`, `test_y` (`[n]`).
///
/// The task is named after the file, without the extension and an `img28_` in front. Classes are named by the lines of the
/// text `class_names_utf8`, if there is one; otherwise they are `0..=` the largest label, except that the well-known 28 x 28
/// sets get their names.
///
/// # Errors
/// When the file cannot be read, an array is missing or of another type or shape, labels and images differ in number, or
/// the parts do not make a [`Task`].
pub fn read_npz_task(path: impl AsRef<Path>) -> Result<Task, DataError> {
    task_from_npz(&Npz::open(path)?)
}

/// The task in an opened archive; see [`read_npz_task`].
///
/// # Errors
/// Those of [`read_npz_task`].
pub fn task_from_npz(npz: &Npz) -> Result<Task, DataError> {
    let [train, val, test] =
        ["train", "val", "test"].map(|part| integers(npz, &format!("{part}_y")));
    let (train, val, test) = (train?, val?, test?);
    let name = task_name(npz.path());
    let largest = train.iter().chain(&val).chain(&test).copied().max();
    let classes = match stored_names(npz)? {
        Some(names) => names,
        None => class_names(&name, largest),
    };
    let set = |part: &str, labels: &[i64]| {
        let key = format!("{part}_x");
        let (shape, bytes) = images(npz, &key)?;
        // Messages put backticks around the name of a set.
        let set = format!("{key}` of `{}", npz.path().display());
        let labels = checked_labels(&set, labels, classes.len())?;
        ImageSet::new(set, classes.clone(), shape, bytes, labels)
    };
    Task::new(
        &name,
        set("train", &train)?,
        set("val", &val)?,
        set("test", &test)?,
    )
}

/// File name without extension and without the prefix of the 28 x 28 suite.
fn task_name(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    stem.strip_prefix("img28_").unwrap_or(&stem).to_owned()
}

/// The images `key`, and the shape of one.
fn images(npz: &Npz, key: &str) -> Result<(ImageShape, Vec<u8>), DataError> {
    let array = npz.array(key)?;
    if array.element() != ElementType::U8 {
        return Err(wrong_type(npz, key, &array, "`|u1`"));
    }
    let [channels, height, width] = match *array.shape() {
        [_, height, width] => [1, height, width],
        [_, channels @ (1 | 3), height, width] => [channels, height, width],
        _ => {
            return Err(wrong_shape(
                npz,
                key,
                &array,
                "[n, h, w] or [n, 1 or 3, h, w]",
            ));
        }
    };
    let sides = 1..=ImageShape::MOST_SIDE;
    if array.shape()[0] == 0 || !sides.contains(&height) || !sides.contains(&width) {
        return Err(wrong_shape(npz, key, &array, "n > 0 and 0 < h, w <= 16384"));
    }
    Ok((
        ImageShape {
            channels,
            height,
            width,
        },
        array.into_bytes(),
    ))
}

/// The integers of the one-dimensional array `key`.
pub(super) fn integers(npz: &Npz, key: &str) -> Result<Vec<i64>, DataError> {
    let array = npz.array(key)?;
    if array.shape().len() != 1 {
        return Err(wrong_shape(npz, key, &array, "[n]"));
    }
    array
        .integers()
        .ok_or_else(|| wrong_type(npz, key, &array, "an integer"))
}

/// Labels as unsigned numbers below `classes`.
pub(super) fn checked_labels(
    set: &str,
    labels: &[i64],
    classes: usize,
) -> Result<Vec<u32>, DataError> {
    let check = |(index, &found): (usize, &i64)| match u32::try_from(found) {
        Ok(label) if (label as usize) < classes => Ok(label),
        _ => Err(DataError::Label {
            set: set.to_owned(),
            index,
            found,
            classes,
        }),
    };
    labels.iter().enumerate().map(check).collect()
}

pub(super) fn wrong_type(npz: &Npz, key: &str, array: &Array, expected: &'static str) -> DataError {
    let (at, found) = (npz.path().into(), array.descr().to_owned());
    DataError::ElementType {
        at,
        key: key.to_owned(),
        found,
        expected,
    }
}

pub(super) fn wrong_shape(
    npz: &Npz,
    key: &str,
    array: &Array,
    expected: &'static str,
) -> DataError {
    let found = array.shape().iter().map(|&d| d as u64).collect();
    DataError::ArrayShape {
        at: npz.path().into(),
        key: key.to_owned(),
        found,
        expected: expected.into(),
    }
}

/// The lines of the optional text `class_names_utf8` (`u8`), one per class.
fn stored_names(npz: &Npz) -> Result<Option<Arc<[String]>>, DataError> {
    const KEY: &str = "class_names_utf8";
    if !npz.contains(KEY) {
        return Ok(None);
    }
    let array = npz.array(KEY)?;
    if array.element() != ElementType::U8 {
        return Err(wrong_type(npz, KEY, &array, "`|u1`"));
    }
    let text = std::str::from_utf8(array.bytes())
        .map_err(|_| DataError::format(npz.path(), "npz", format_args!("`{KEY}` is no UTF-8")))?;
    Ok(Some(text.lines().map(str::to_owned).collect()))
}

/// More classes than this are taken for damaged labels.
const MOST_CLASSES: i64 = 1 << 16;

/// The known names of a set, or numbers from 0 to the largest label.
fn class_names(task: &str, largest: Option<i64>) -> Arc<[String]> {
    let count = largest.unwrap_or(0).clamp(0, MOST_CLASSES - 1) as usize + 1;
    let known: &[&str] = match task {
        "fashion" => &[
            "t-shirt",
            "trouser",
            "pullover",
            "dress",
            "coat",
            "sandal",
            "shirt",
            "sneaker",
            "bag",
            "ankle boot",
        ],
        "notmnist" => &["A", "B", "C", "D", "E", "F", "G", "H", "I", "J"],
        "quickdraw3" => &["cat", "rainbow", "train"],
        "pneumonia" => &["normal", "pneumonia"],
        _ => &[],
    };
    if known.len() == count {
        known.iter().map(ToString::to_string).collect()
    } else {
        (0..count).map(|label| label.to_string()).collect()
    }
}
