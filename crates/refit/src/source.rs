//! Where a task comes from: a path, or `generated:NAME`.

use crate::job::{DEFAULT_SIZES, generated};
use refit_core::ConfigError;
use refit_io::data::{
    Colour, DataError, Filter, FolderOptions, PictureFit, Task, read_task, suite, task_files,
};
use refit_nn::ImageConfig;
use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Prefix of the generated tasks.
const GENERATED: &str = "generated:";

/// A task by name or path, not read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskSource {
    /// One of the generated tasks, by its name.
    Generated(&'static str),
    /// An `.npz` file, or a folder of pictures, IDX files or CIFAR binaries.
    Path(PathBuf),
}

impl TaskSource {
    /// Understands `generated:NAME`; anything else is a path.
    ///
    /// # Errors
    /// An unknown name of a generated task, with the nearest one.
    ///
    /// # Example
    /// ```
    /// use refit::source::TaskSource;
    /// use refit_core::Hint;
    /// assert_eq!(TaskSource::parse("generated:faces")?, TaskSource::Generated("faces"));
    /// let error = TaskSource::parse("generated:digts").unwrap_err();
    /// assert_eq!(error.hint().unwrap(), "did you mean `digits`?");
    /// # Ok::<(), refit_core::ConfigError>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let Some(name) = text.strip_prefix(GENERATED) else {
            return Ok(Self::Path(text.into()));
        };
        suite::names()
            .into_iter()
            .find(|known| *known == name)
            .map(Self::Generated)
            .ok_or_else(|| ConfigError::unknown("generated task", name, suite::names()))
    }

    /// Reads or draws the images.
    ///
    /// # Errors
    /// Those of the readers.
    #[expect(
        clippy::missing_panics_doc,
        reason = "names are checked when a source is parsed"
    )]
    pub fn read(&self, options: &FolderOptions) -> Result<Task, DataError> {
        match self {
            Self::Path(path) => read_task(path, options),
            Self::Generated(name) => {
                let mut tasks = generated(DEFAULT_SIZES).into_iter();
                Ok(tasks
                    .find(|task| task.name() == *name)
                    .expect("parsed names are those of the suite"))
            }
        }
    }

    /// The files that [`read`](Self::read) reads; none for a generated task.
    ///
    /// # Errors
    /// Those of the readers, as far as they can be known from names.
    pub fn files(&self) -> Result<Vec<PathBuf>, DataError> {
        match self {
            Self::Path(path) => task_files(path),
            Self::Generated(_) => Ok(Vec::new()),
        }
    }

    /// The file or folder to record as an input, if there is one; who reads a missing one says so better.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) if path.exists() => Some(path),
            _ => None,
        }
    }
}

impl fmt::Display for TaskSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Generated(name) => write!(f, "{GENERATED}{name}"),
            Self::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

/// How pictures in folders are read so that they fit `config`, where nothing else is said.
pub fn folder_options(config: &ImageConfig) -> FolderOptions {
    let square = |side| PictureFit::square(side, Filter::Triangle);
    FolderOptions {
        fit: config.side().map(square),
        colour: match config.channels() {
            Some(3) => Colour::Rgb,
            _ => Colour::Gray,
        },
        ..FolderOptions::default()
    }
}
