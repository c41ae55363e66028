//! YAML files of people: small, strict, and never a way to hang the program.

use refit_core::Hint;
use refit_io::file::{FileError, read_file};
use serde_json::{Map, Value};
use std::{
    borrow::Cow,
    io,
    path::{Path, PathBuf},
};

/// Recipes and settings are written by hand; more than this is another kind of file.
pub const MAX_BYTES: u64 = 1 << 20;

/// A YAML file could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum YamlError {
    /// The file could not be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A pipe, a device or a folder.
    #[error("`{}` is not a regular file", path.display())]
    NotAFile {
        /// What it is called.
        path: PathBuf,
    },
    /// The file is too large.
    #[error("`{}` is larger than {MAX_BYTES} bytes, expected a file written by hand", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is not text.
    #[error("`{}` is not UTF-8 text", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// The text is not YAML, or nests too deeply, or names a key twice.
    #[error("`{}`{place}: {problem}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// ` line 3`, where it is known.
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// The document is a list, a number, or nothing.
    #[error("`{}` holds {found}, expected `key: value` pairs", path.display())]
    NotAMapping {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: &'static str,
    },
}

impl Hint for YamlError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("check the spelling of the path; `recipes/` holds commented recipes".into())
            }
            Self::NotAFile { path } if path.is_dir() => {
                Some("give a file; `recipes/` holds commented recipes".into())
            }
            Self::NotAFile { .. } => Some("copy its content into a file and give that".into()),
            Self::NotAMapping { .. } => Some("see the commented files in `recipes/`".into()),
            Self::TooLarge { .. } | Self::NotText { .. } => {
                Some("give the recipe, not a checkpoint or a data file".into())
            }
            _ => None,
        }
    }
}

impl From<FileError> for YamlError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::NotAFile { path } => Self::NotAFile { path },
            FileError::TooLarge { path, .. } => Self::TooLarge { path },
            FileError::Io { path, source } => Self::Read { path, source },
        }
    }
}

/// Reads a file of `key: value` pairs.
///
/// # Errors
/// When it cannot be read, is larger than [`MAX_BYTES`], is not YAML, or is not one mapping.
///
/// # Example
/// ```
/// use refit::yaml::read_mapping;
/// use refit_io::atomic::{Overwrite, write_file};
/// let home = tempfile::tempdir()?;
/// let file = home.path().join("ties.yaml");
/// write_file(&file, b"method: ties # trimmed\nkeep: 0.2\n", Overwrite::Refuse)?;
/// assert_eq!(read_mapping(&file)?["keep"], 0.2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn read_mapping(path: &Path) -> Result<Map<String, Value>, YamlError> {
    // YAML 1.2: a file or a setting may be called `off` or `no`.
    let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
    let text = read_text(path)?;
    let found = match serde_saphyr::from_str_with_options(&text, options) {
        Ok(Value::Object(mapping)) => return Ok(mapping),
        Ok(Value::Array(_)) => "a list",
        Ok(Value::Null) => "nothing",
        Ok(_) => "a single value",
        Err(_) if text.trim().is_empty() => "nothing",
        Err(error) => return Err(syntax(path, &text, &error)),
    };
    Err(YamlError::NotAMapping {
        path: path.into(),
        found,
    })
}

/// Reads a file of one or several documents, and its text. `yes` and `on` come as words, as a name may be one; whoever
/// reads a switch knows them.
///
/// # Errors
/// When it cannot be read, is larger than [`MAX_BYTES`], or is not YAML.
pub fn read_documents(path: &Path) -> Result<(String, Vec<Value>), YamlError> {
    let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
    let text = read_text(path)?;
    match serde_saphyr::from_multiple_with_options::<Value>(&text, options) {
        Ok(documents) => Ok((text, documents)),
        Err(_) if text.trim_matches(['-', '.', '\n', ' ', '\r']).is_empty() => {
            Err(YamlError::NotAMapping {
                path: path.into(),
                found: "nothing",
            })
        }
        Err(error) => Err(syntax(path, &text, &error)),
    }
}

fn read_text(path: &Path) -> Result<String, YamlError> {
    let bytes = read_file(path, MAX_BYTES)?;
    String::from_utf8(bytes).map_err(|_| YamlError::NotText { path: path.into() })
}

fn syntax(path: &Path, source: &str, error: &serde_saphyr::Error) -> YamlError {
    let place = error
        .location()
        .map(|at| format!(" line {}, column {}", at.line(), at.column()))
        .unwrap_or_default();
    // The first line is the sentence; the place is told already.
    let text = error.without_snippet().to_string();
    let problem = match text.lines().next().unwrap_or_default() {
        limit if limit.starts_with("budget breached") => "it nests or repeats itself too much",
        problem => problem,
    };
    if let Some(at) = error.location()
        && problem.starts_with("non-finite float")
    {
        let line = source.lines().nth((at.line() as usize).saturating_sub(1));
        let key = line
            .and_then(|l| l.split_once(':'))
            .map_or("", |(key, _)| key);
        let found = problem.split('`').nth(1).unwrap_or_default();
        let problem = format!(
            "`{}` is `{found}`, expected a finite number",
            key.trim_start_matches([' ', '-'])
        );
        return YamlError::Syntax {
            path: path.into(),
            place,
            problem,
        };
    }
    let problem = [" at line ", ", set DuplicateKeyPolicy"]
        .iter()
        .fold(problem, |text, tail| {
            text.split(tail).next().unwrap_or(text)
        })
        .to_owned();
    YamlError::Syntax {
        path: path.into(),
        place,
        problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use refit_io::atomic::{Overwrite, write_file};

    fn read(text: &[u8]) -> Result<Map<String, Value>, String> {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("r.yaml");
        write_file(&path, text, Overwrite::Refuse).unwrap();
        read_mapping(&path)
            .map_err(|e| e.to_string().replace(&path.display().to_string(), "r.yaml"))
    }

    #[test]
    fn what_is_no_mapping_is_named() {
        for (text, found) in [
            ("", "nothing"),
            ("# only words\n", "nothing"),
            ("- a\n- b\n", "a list"),
            ("7", "a single value"),
        ] {
            let expected = format!("`r.yaml` holds {found}, expected `key: value` pairs");
            assert_eq!(read(text.as_bytes()), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn size_encoding_depth_and_repetition_are_limited() {
        let large = vec![b'#'; 10 << 20];
        assert!(
            read(&large)
                .unwrap_err()
                .contains("is larger than 1048576 bytes")
        );
        assert!(
            read(b"a: \xff\xfe")
                .unwrap_err()
                .ends_with("is not UTF-8 text")
        );
        let deep = format!("a: {}{}", "[".repeat(5000), "]".repeat(5000));
        assert!(read(deep.as_bytes()).unwrap_err().starts_with("`r.yaml`"));
        let bomb = "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n\
                    d: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e]\n\
                    g: &g [*f,*f,*f,*f,*f,*f,*f,*f]\nh: [*g,*g,*g,*g,*g,*g,*g,*g]\n";
        let bomb = read(bomb.as_bytes()).unwrap_err();
        assert!(
            bomb.ends_with(": it nests or repeats itself too much"),
            "{bomb}"
        );
        let twice = read(b"keep: 1\nkeep: 2\n").unwrap_err();
        assert!(
            twice.starts_with("`r.yaml` line 2") && twice.contains("keep"),
            "{twice}"
        );
    }

    #[test]
    fn a_folder_is_no_file() {
        let home = tempfile::tempdir().unwrap();
        assert!(matches!(
            read_mapping(home.path()),
            Err(YamlError::NotAFile { .. })
        ));
    }
}
