//! Where rows come from: a LIBSVM file, or `generated:ROWS,COLUMNS`.

use super::generate::{Part, Planted};
use refit_core::{ConfigError, Seed};
use refit_io::data::{DataError, LibsvmOptions, Table, read_libsvm};
use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Prefix of generated rows.
const GENERATED: &str = "generated:";
/// Most numbers of generated rows: 8 GiB of them.
const MOST_VALUES: usize = 1 << 31;

/// Rows by name or path, not read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowSource {
    /// Rows drawn from the seed of the run, with labels of a planted model.
    Generated {
        /// How many.
        rows: usize,
        /// Features of each.
        columns: usize,
    },
    /// A LIBSVM file, plain or gzip.
    Path(PathBuf),
}

impl Default for RowSource {
    /// The size of a first try: seconds for every method.
    fn default() -> Self {
        Self::Generated {
            rows: 20_000,
            columns: 30,
        }
    }
}

impl RowSource {
    /// Understands `generated:ROWS,COLUMNS`; anything else is a path.
    ///
    /// # Errors
    /// Numbers that are none, 0, or more than fit into memory.
    ///
    /// # Example
    /// ```
    /// use refit::fitting::RowSource;
    /// let source = RowSource::parse("generated:1000,20")?;
    /// assert_eq!(source, RowSource::Generated { rows: 1000, columns: 20 });
    /// assert!(RowSource::parse("generated:1000").is_err());
    /// # Ok::<(), refit_core::ConfigError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let Some(size) = text.strip_prefix(GENERATED) else {
            return Ok(Self::Path(text.into()));
        };
        let number = |text: &str| text.trim().parse().ok().filter(|&n: &usize| n > 0);
        let size = size.split_once(',').and_then(|(rows, columns)| {
            let (rows, columns) = (number(rows)?, number(columns)?);
            let values = rows.checked_mul(columns)?;
            let fits = values <= MOST_VALUES && u32::try_from(rows).is_ok();
            fits.then_some(Self::Generated { rows, columns })
        });
        let expected = format!("`{GENERATED}ROWS,COLUMNS`, at most {MOST_VALUES} numbers");
        size.ok_or_else(|| ConfigError::range("data", text, expected))
    }

    /// Reads or draws the rows to fit.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn read(&self, options: &LibsvmOptions, seed: Seed) -> Result<Table, DataError> {
        match *self {
            Self::Path(ref path) => read_libsvm(path, options),
            Self::Generated { rows, columns } => {
                Ok(Planted::new(columns, seed).table(Part::Train, rows))
            }
        }
    }

    /// Draws the rows to test on, a quarter as many; `None` for a file, which has no other part.
    pub fn test(&self, seed: Seed) -> Option<Table> {
        match *self {
            Self::Path(_) => None,
            Self::Generated { rows, columns } => {
                let rows = rows.div_ceil(4);
                Some(Planted::new(columns, seed).table(Part::Test, rows))
            }
        }
    }

    /// The file to record as an input, if there is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Generated { .. } => None,
        }
    }
}

impl fmt::Display for RowSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Generated { rows, columns } => write!(f, "{GENERATED}{rows},{columns}"),
            Self::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_cannot_be_are_refused_before_anything_is_drawn() {
        for text in [
            "generated:",
            "generated:10",
            "generated:0,3",
            "generated:3,0",
            "generated:-1,3",
            "generated:99999999999,3",
            "generated:4294967295,4294967295",
            "generated:18446744073709551615,18446744073709551615",
        ] {
            let error = RowSource::parse(text).unwrap_err().to_string();
            let begin = format!("`data` is {text}, expected `generated:ROWS,COLUMNS`");
            assert!(error.starts_with(&begin), "{error}");
        }
        let text = RowSource::default().to_string();
        assert_eq!(RowSource::parse(&text).unwrap(), RowSource::default());
    }
}
