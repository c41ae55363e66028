//! What can be wrong with data.

use super::{ImageShape, LineProblem, TableError, TextProblem};
use crate::file::FileError;
use refit_core::{ConfigError, Hint};
use std::{borrow::Cow, io, path::PathBuf};

/// Why data could not be read or used. Every variant names the file, folder or set it speaks of.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system refused.
    #[error("cannot read `{}`", at.display())]
    Io {
        /// File or folder.
        at: PathBuf,
        /// Its answer.
        #[source]
        source: io::Error,
    },
    /// A pipe, a device or a folder where a file is needed.
    #[error("`{}` is not a regular file", at.display())]
    NotAFile {
        /// What it is called.
        at: PathBuf,
    },
    /// The bytes are not what the format asks for.
    #[error("`{}` is not a valid {format} file: {problem}", at.display())]
    Format {
        /// The file.
        at: PathBuf,
        /// What it was read as, such as `npz`.
        format: &'static str,
        /// What is wrong, as the rest of the sentence.
        problem: String,
    },
    /// A folder of pictures without one, or whose folders do not end.
    #[error("`{}` {problem}", at.display())]
    Pictures {
        /// The folder.
        at: PathBuf,
        /// What is wrong, as the rest of the sentence.
        problem: &'static str,
    },
    /// The file ends before what it announces.
    #[error("`{}` ends early: {what} needs {needed} bytes, {found} are left", at.display())]
    Truncated {
        /// The file.
        at: PathBuf,
        /// The part that is cut.
        what: String,
        /// Bytes it should have.
        needed: u64,
        /// Bytes there are.
        found: u64,
    },
    /// The file announces more than is reasonable; nothing was allocated.
    #[error("`{what}` in `{}` announces {bytes} bytes, at most {limit} are accepted", at.display())]
    TooLarge {
        /// The file.
        at: PathBuf,
        /// The array or stream.
        what: String,
        /// Announced size.
        bytes: u64,
        /// Size accepted for this file.
        limit: u64,
    },
    /// An array that should be there is not.
    #[error("`{}` has no array `{key}`", at.display())]
    MissingArray {
        /// The file.
        at: PathBuf,
        /// The array.
        key: String,
        /// What it holds instead.
        present: Vec<String>,
    },
    /// An array of another element type.
    #[error("`{key}` in `{}` has element type `{found}`, expected {expected}", at.display())]
    ElementType {
        /// The file.
        at: PathBuf,
        /// The array.
        key: String,
        /// Its type, as the file spells it.
        found: String,
        /// What would be accepted.
        expected: &'static str,
    },
    /// An array of another shape.
    #[error("`{key}` in `{}` has shape {found:?}, expected {expected}", at.display())]
    ArrayShape {
        /// The file.
        at: PathBuf,
        /// The array.
        key: String,
        /// Its shape.
        found: Vec<u64>,
        /// What would be accepted.
        expected: Cow<'static, str>,
    },
    /// As many labels as images are needed.
    #[error("`{set}` has {labels} labels for {images} images")]
    Lengths {
        /// The set.
        set: String,
        /// Images in it.
        images: usize,
        /// Labels in it.
        labels: usize,
    },
    /// A label that is no class.
    #[error(
        "label {found} of image {index} in `{set}` is out of range, expected less than {classes}"
    )]
    Label {
        /// The set.
        set: String,
        /// Position of the image.
        index: usize,
        /// The label.
        found: i64,
        /// Number of classes.
        classes: usize,
    },
    /// A buffer that is no whole number of images, or images without pixels.
    #[error("`{set}` holds {bytes} bytes, which is no whole number of images of {shape}")]
    PixelBytes {
        /// The set.
        set: String,
        /// Length of the buffer.
        bytes: usize,
        /// Shape of one image.
        shape: ImageShape,
    },
    /// No image at all.
    #[error("`{set}` holds no image")]
    EmptySet {
        /// The set or folder.
        set: String,
    },
    /// A class without an image.
    #[error("class `{class}` of `{set}` holds no image")]
    EmptyClass {
        /// The set or folder.
        set: String,
        /// The class.
        class: String,
    },
    /// A class with fewer images than needed.
    #[error("class `{class}` of `{set}` has too few images: {found}, expected at least {needed}")]
    TooFew {
        /// The set or folder.
        set: String,
        /// The class.
        class: String,
        /// Images there are.
        found: usize,
        /// Images needed.
        needed: usize,
    },
    /// Images that cannot go into one batch.
    #[error("`{what}` has images of {found}, expected {expected}")]
    ImageSize {
        /// The file or set that differs.
        what: String,
        /// Its shape.
        found: ImageShape,
        /// Shape of those before it.
        expected: ImageShape,
    },
    /// Parts of one task that disagree on the classes.
    #[error("`{set}` has classes [{}], expected [{}]", found.join(", "), expected.join(", "))]
    Classes {
        /// The set that differs.
        set: String,
        /// Its classes.
        found: Vec<String>,
        /// Those of the training part.
        expected: Vec<String>,
    },
    /// A picture that cannot be decoded.
    #[error("cannot decode the image `{what}`")]
    Image {
        /// File, or position inside one.
        what: String,
        /// The decoder's answer.
        #[source]
        source: image::ImageError,
    },
    /// A folder in which nothing usable was found.
    #[error("`{}` holds no {expected}", at.display())]
    NothingFound {
        /// The folder.
        at: PathBuf,
        /// What was looked for.
        expected: &'static str,
    },
    /// A line of a text file that is not what the format asks for.
    #[error("line {line} of `{}` {problem}", at.display())]
    Line {
        /// The file.
        at: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong, as the rest of the sentence.
        problem: LineProblem,
    },
    /// A line of a file of labelled texts that is no row.
    #[error("line {line} of `{}` {problem}", at.display())]
    Text {
        /// The file.
        at: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong, as the rest of the sentence.
        problem: TextProblem,
    },
    /// Texts that all have one label.
    #[error("`{}` has the label `{label}` alone, expected two labels or more", at.display())]
    OneLabel {
        /// The file.
        at: PathBuf,
        /// The label.
        label: String,
    },
    /// Rows or labels that cannot be used.
    #[error("`{table}` cannot be used")]
    Table {
        /// File or table.
        table: String,
        /// What is wrong.
        #[source]
        source: TableError,
    },
    /// A setting that cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl From<FileError> for DataError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Io { path, source } => Self::Io { at: path, source },
            FileError::NotAFile { path } => Self::NotAFile { at: path },
            FileError::TooLarge { path, bytes, limit } => Self::TooLarge {
                at: path,
                what: "content".into(),
                bytes,
                limit,
            },
        }
    }
}

impl DataError {
    /// [`DataError::Io`] for `at`, as a function for `map_err`.
    pub(crate) fn io(at: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let at = at.into();
        move |source| Self::Io { at, source }
    }

    /// [`DataError::Format`].
    pub(crate) fn format(
        at: impl Into<PathBuf>,
        format: &'static str,
        problem: impl std::fmt::Display,
    ) -> Self {
        Self::Format {
            at: at.into(),
            format,
            problem: problem.to_string(),
        }
    }
}

impl Hint for DataError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "check the spelling of the path".into()
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotADirectory => {
                "give the folder that holds it".into()
            }
            Self::NotAFile { .. } => "copy the data into a file and give that".into(),
            Self::Truncated { .. } => "fetch the file again and compare its size".into(),
            Self::TooLarge { .. } => "split the data into smaller files".into(),
            Self::MissingArray { present, .. } => {
                format!("the file holds: {}", present.join(", ")).into()
            }
            Self::ElementType { found, .. } if found.contains('O') => {
                "object arrays are pickles and never read; save plain integers".into()
            }
            Self::EmptyClass { .. } => "add images or remove the class".into(),
            Self::TooFew { .. } => "add images or leave the class out".into(),
            Self::ImageSize { .. } => "give a size, so that all images are resized to it".into(),
            Self::Classes { .. } => "give every part the same class folders".into(),
            Self::NothingFound { .. } => {
                "a task is one sub-folder of PNG or JPEG images per class, or a task `.npz`".into()
            }
            Self::Pictures { .. } => {
                "give a folder of PNG, JPEG, WebP, BMP or PNM files, or of such folders".into()
            }
            Self::Image { .. } => "remove that picture, or save it again as PNG or JPEG".into(),
            Self::Line { problem, .. } => return problem.hint(),
            Self::Text { problem, .. } => return problem.hint(),
            Self::Table { source, .. } => return source.hint(),
            Self::Config(inner) => return inner.hint(),
            _ => return None,
        })
    }
}
