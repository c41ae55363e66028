//! LIBSVM files: one row per line, a label and `index:value` for what is not 0. Source: the README of LIBSVM.

mod line;
mod problem;

pub use problem::LineProblem;

use super::{DataError, stem};
use crate::{
    data::{DenseRows, Features, SparseRows, Table},
    file::open_file,
};
use flate2::bufread::MultiGzDecoder;
use line::Extent;
use refit_core::ConfigError;
use serde::{Deserialize, Serialize};
use std::{
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

/// Most features of a table, so that one line cannot ask for a vector of any length.
const MOST_FEATURES: u64 = 1 << 27;
/// Most bytes of one line: a row of half a million features takes about 8 MB.
const MOST_LINE: u64 = 1 << 28;
/// Most rows: samples of rows are lists of 32-bit numbers.
const MOST_ROWS: usize = u32::MAX as usize;
/// Bytes that are read from the file at a time.
const BUFFER: usize = 1 << 18;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// First bytes of a zip archive.
const ZIP_MAGIC: [u8; 4] = *b"PK\x03\x04";

/// How a LIBSVM file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LibsvmOptions {
    /// Number of features; `None` takes the largest index. A test file needs the number of its training file.
    pub features: Option<usize>,
    /// The first index, 0 or 1 (the format: 1; some writers count from 0).
    pub first_index: u8,
    /// Most bytes that the table may take in memory (ours: 64 GiB).
    pub most_bytes: u64,
}

impl Default for LibsvmOptions {
    fn default() -> Self {
        Self {
            features: None,
            first_index: 1,
            most_bytes: 64 << 30,
        }
    }
}

impl LibsvmOptions {
    fn check(&self) -> Result<(), ConfigError> {
        if self.first_index > 1 {
            return Err(ConfigError::range(
                "first-index",
                self.first_index,
                "0 or 1",
            ));
        }
        match self.features {
            Some(features) if features as u64 > MOST_FEATURES => {
                let expected = format!("at most {MOST_FEATURES}");
                Err(ConfigError::range("features", features, expected))
            }
            _ => Ok(()),
        }
    }
}

/// Reads a LIBSVM file, plain or gzipped, as the layout that takes less memory.
///
/// Lines are read one by one, twice: sizes first, so that each array is allocated once at its final length. Empty lines
/// and comments (`#`) are passed over; zeros that are written are kept.
///
/// # Errors
/// The first line that is no row, with its number; indices that do not ascend or are beyond the features; values that
/// are not finite in single precision; a table beyond [`most_bytes`](LibsvmOptions::most_bytes); a file without a row.
///
/// # Cost
/// The table itself and one line.
///
/// # Example
/// ```
/// use refit_io::{atomic, data::{Features, LibsvmOptions, read_libsvm}};
/// let home = tempfile::tempdir()?;
/// let path = home.path().join("toy.txt");
/// atomic::write_file(&path, b"+1 1:0.5 3:2\n-1 2:1\n", atomic::Overwrite::Refuse)?;
/// let table = read_libsvm(&path, &LibsvmOptions::default())?;
/// assert_eq!((table.len(), table.features().columns()), (2, 3));
/// assert_eq!(table.labels(), [1.0, -1.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read_libsvm(path: impl AsRef<Path>, options: &LibsvmOptions) -> Result<Table, DataError> {
    let path = path.as_ref();
    let open = || {
        let mut file = BufReader::with_capacity(BUFFER, open_file(path)?);
        let start = file.fill_buf().map_err(DataError::io(path))?;
        if start.starts_with(&ZIP_MAGIC) {
            let problem = "it is a zip archive, such as .npz, and no lines of text";
            return Err(DataError::format(path, "LIBSVM", problem));
        }
        let packed = start.starts_with(&GZIP_MAGIC);
        let input: Box<dyn BufRead> = if packed {
            Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(file)))
        } else {
            Box::new(file)
        };
        Ok(input)
    };
    Source { at: path, open }.table(options)
}

/// The table in `bytes`; messages call it `at`.
///
/// # Errors
/// Those of [`read_libsvm`].
pub fn parse_libsvm(
    bytes: &[u8],
    at: impl AsRef<Path>,
    options: &LibsvmOptions,
) -> Result<Table, DataError> {
    let open = || Ok(bytes);
    let at = at.as_ref();
    Source { at, open }.table(options)
}

/// Lines that can be read twice.
struct Source<'a, O> {
    at: &'a Path,
    open: O,
}

/// Size of a table.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    rows: usize,
    entries: usize,
    columns: usize,
    /// Columns beyond which an index is a mistake of its own: without a given number any is, but in a row out of order.
    most_columns: usize,
}

impl<I: BufRead, O: Fn() -> Result<I, DataError>> Source<'_, O> {
    fn table(&self, options: &LibsvmOptions) -> Result<Table, DataError> {
        options.check()?;
        let first = u64::from(options.first_index);
        let mut size = self.survey(first)?;
        size.columns = options.features.unwrap_or(size.columns);
        size.most_columns = options.features.unwrap_or(MOST_FEATURES as usize);
        let dense_bytes = (size.rows as u64)
            .saturating_mul(size.columns as u64)
            .saturating_mul(size_of::<f32>() as u64);
        let sparse_bytes = SparseRows::bytes_of(size.rows, size.entries);
        let bytes = dense_bytes.min(sparse_bytes);
        if bytes > options.most_bytes {
            return Err(DataError::TooLarge {
                at: self.at.into(),
                what: "table".into(),
                bytes,
                limit: options.most_bytes,
            });
        }
        let (features, labels) = if dense_bytes <= sparse_bytes {
            self.dense(size, first)?
        } else {
            self.sparse(size, first)?
        };
        let table = stem(self.at);
        Table::new(table.clone(), features, labels)
            .map_err(|source| DataError::Table { table, source })
    }

    /// The size of the table, by counting.
    fn survey(&self, first: u64) -> Result<Size, DataError> {
        let mut size = Size::default();
        self.each_line(|content| {
            let Extent { entries, columns } = line::measure(content, first)?;
            size.rows += 1;
            size.entries += entries;
            size.columns = size.columns.max(columns);
            Ok(())
        })?;
        if size.rows == 0 {
            return Err(DataError::format(self.at, "LIBSVM", "it holds no row"));
        }
        if size.rows > MOST_ROWS {
            let problem = format_args!(
                "it has {} rows, at most {MOST_ROWS} are accepted",
                size.rows
            );
            return Err(DataError::format(self.at, "LIBSVM", problem));
        }
        Ok(size)
    }

    fn dense(&self, size: Size, first: u64) -> Result<(Features, Vec<f32>), DataError> {
        let mut values = vec![0.0; size.rows * size.columns];
        let mut labels = Vec::with_capacity(size.rows);
        // What has no place is in a row with a mistake, which is told, or in a file that has changed.
        let mut inside = true;
        self.each_line(|content| {
            let start = labels.len() * size.columns;
            let row = values
                .get_mut(start..start + size.columns)
                .unwrap_or_default();
            let put = |column, value| match row.get_mut(column as usize) {
                Some(entry) => *entry = value,
                None => inside = false,
            };
            labels.push(line::parse(content, first, size.most_columns, put)?);
            Ok(())
        })?;
        self.unchanged(inside && labels.len() == size.rows)?;
        let rows = DenseRows::trusted(size.rows, size.columns, values);
        Ok((Features::Dense(rows), labels))
    }

    fn sparse(&self, size: Size, first: u64) -> Result<(Features, Vec<f32>), DataError> {
        let mut starts = Vec::with_capacity(size.rows + 1);
        let mut columns = Vec::with_capacity(size.entries);
        let mut values = Vec::with_capacity(size.entries);
        let mut labels = Vec::with_capacity(size.rows);
        let mut inside = true;
        starts.push(0);
        self.each_line(|content| {
            let put = |column, value| {
                inside &= (column as usize) < size.columns && values.len() < size.entries;
                if inside {
                    columns.push(column);
                    values.push(value);
                }
            };
            labels.push(line::parse(content, first, size.most_columns, put)?);
            starts.push(values.len());
            Ok(())
        })?;
        self.unchanged(inside && labels.len() == size.rows)?;
        let rows = SparseRows::trusted(starts, columns, values, size.columns);
        Ok((Features::Sparse(rows), labels))
    }

    fn unchanged(&self, is: bool) -> Result<(), DataError> {
        let changed = || DataError::format(self.at, "LIBSVM", "it changed while it was read");
        is.then_some(()).ok_or_else(changed)
    }

    /// Calls `f` with the content of every line that has one.
    fn each_line(
        &self,
        mut f: impl FnMut(&[u8]) -> Result<(), LineProblem>,
    ) -> Result<(), DataError> {
        let mut input = (self.open)()?;
        let (mut line, mut number) = (Vec::new(), 0);
        loop {
            line.clear();
            let found = next_line(&mut input, &mut line).map_err(|source| self.failed(source))?;
            if found == 0 {
                return Ok(());
            }
            number += 1;
            let content = line::content(&line);
            let result = if found as u64 > MOST_LINE {
                Err(LineProblem::TooLong)
            } else if content.is_empty() {
                Ok(())
            } else {
                f(content)
            };
            result.map_err(|problem| DataError::Line {
                at: self.at.into(),
                line: number,
                problem,
            })?;
        }
    }

    fn failed(&self, source: io::Error) -> DataError {
        match source.kind() {
            io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => {
                DataError::format(self.at, "LIBSVM", "it does not unpack")
            }
            _ => DataError::io(PathBuf::from(self.at))(source),
        }
    }
}

/// Reads up to the end of a line, or one byte more than a line may have; returns the number of bytes.
fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
    input.by_ref().take(MOST_LINE + 1).read_until(b'\n', line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_file_that_changes_between_the_passes_is_noticed() {
        for (before, after) in [
            ("1 1:1\n", "1 1:1\n2 1:1\n"),
            ("1 1:1\n2 1:1\n", "1 1:1\n"),
            ("1 9:1\n", "1 1:1 9:1\n"),
            ("1\n", "1\n1\n"),
        ] {
            let opened = Cell::new(0);
            let open = || Ok([before, after][opened.replace(1)].as_bytes());
            let at = Path::new("moving");
            let e = Source { at, open }
                .table(&LibsvmOptions::default())
                .unwrap_err();
            assert!(e.to_string().contains("changed while"), "{e}");
        }
    }
}
