//! Errors as the user sees them: one sentence, its causes, and what to do next.

use crate::{merging::MergingError, run::RunError, visible::visible};
use refit_core::{AccessError, ConfigError, Hint};
use refit_io::atomic::AtomicError;
use refit_merge::MergeError;
use std::{error::Error, fmt, process::ExitCode};

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Something that should have worked did not.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// A file, a recipe or a setting is wrong.
    BadInput = 3,
    /// More access or budget was asked for than was granted.
    Refused = 4,
    /// The user interrupted.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error on its way to the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CliError {
    exit: Exit,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
}

impl CliError {
    /// Takes an error of a library with its causes and its hint.
    pub fn new(exit: Exit, error: &impl Hint) -> Self {
        let mut causes = Vec::new();
        let mut cause = error.source();
        while let Some(error) = cause {
            causes.push(error.to_string());
            cause = error.source();
        }
        Self {
            exit,
            message: error.to_string(),
            causes,
            hint: error.hint().map(Into::into),
        }
    }

    /// A wrong file, recipe or setting.
    pub fn bad_input(error: &impl Hint) -> Self {
        Self::new(Exit::BadInput, error)
    }

    /// An error that has no type of its own.
    pub fn plain(exit: Exit, message: impl fmt::Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
            causes: Vec::new(),
            hint: None,
        }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// The user asked for a stop before anything was worth keeping.
    pub fn interrupted() -> Self {
        Self::plain(Exit::Interrupted, "interrupted; nothing was written")
    }

    /// The reader of stdout went away: not an error, but nothing more can be said.
    pub(crate) fn closed_pipe() -> Self {
        Self::plain(Exit::Done, "")
    }

    /// How the program ends.
    pub const fn exit(&self) -> Exit {
        self.exit
    }
}

/// `error: ...`, then `  because: ...` for each cause, then `hint: ...`.
impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", visible(&self.message))?;
        for cause in &self.causes {
            write!(f, "\n  because: {}", visible(cause))?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {}", visible(hint)),
            None => Ok(()),
        }
    }
}

impl Error for CliError {}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        Self::bad_input(&error)
    }
}

impl From<AccessError> for CliError {
    fn from(error: AccessError) -> Self {
        Self::plain(Exit::Refused, error)
    }
}

impl From<AtomicError> for CliError {
    fn from(error: AtomicError) -> Self {
        let exit = match error {
            AtomicError::DiskFull { .. } | AtomicError::Io { .. } => Exit::Failed,
            _ => Exit::BadInput,
        };
        Self::new(exit, &error)
    }
}

impl From<MergingError> for CliError {
    fn from(error: MergingError) -> Self {
        match error {
            MergingError::Output(error) => error.into(),
            MergingError::Checkpoint(error) => error.into(),
            MergingError::Hub(error) => (*error).into(),
            error @ MergingError::Merge(MergeError::Write { .. }) => {
                Self::new(Exit::Failed, &error)
            }
            error => Self::bad_input(&error),
        }
    }
}

impl From<RunError> for CliError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Output(error) => error.into(),
            // Nothing that the user gave is wrong.
            error @ RunError::Io {
                action: "write", ..
            } => Self::new(Exit::Failed, &error),
            error => Self::bad_input(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_its_causes_and_its_hint() {
        let source = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let error = RunError::Io {
            action: "open",
            path: "run.json".into(),
            source,
        };
        let shown = CliError::from(error).hint("look at it").to_string();
        let expected =
            "error: cannot open `run.json`\n  because: permission denied\nhint: look at it";
        assert_eq!(shown, expected);
    }

    #[test]
    fn escape_codes_are_shown_not_obeyed() {
        let error = CliError::plain(Exit::Failed, "no tensor `a\u{1b}[2J`");
        assert_eq!(error.to_string(), "error: no tensor `a\\u{1b}[2J`");
    }

    #[test]
    fn a_refused_output_is_bad_input_and_a_full_disk_is_a_failure() {
        let exists = AtomicError::Exists { path: "x".into() };
        assert_eq!(CliError::from(exists).exit(), Exit::BadInput);
        let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let full = AtomicError::DiskFull {
            path: "x".into(),
            source,
        };
        assert_eq!(CliError::from(full).exit(), Exit::Failed);
    }
}
