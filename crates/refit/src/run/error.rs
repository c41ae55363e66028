//! What can go wrong with a run folder.

use refit_core::Hint;
use refit_io::{atomic::AtomicError, ckpt::CkptError, file::FileError};
use std::{
    borrow::Cow,
    io,
    path::{Path, PathBuf},
};

/// A run folder could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A file could not be opened, read or written.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder is not one of ours.
    #[error("`{}` is not a run folder: it holds no `{missing}`", path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
        /// The file it lacks.
        missing: &'static str,
    },
    /// A run of that name was started and not finished.
    #[error("`{}` holds an unfinished run", path.display())]
    Unfinished {
        /// Its folder.
        path: PathBuf,
        /// The name it will have.
        target: PathBuf,
    },
    /// There is nothing to go on with.
    #[error("there is no unfinished run `{}`", path.display())]
    NotUnfinished {
        /// The name it would have.
        path: PathBuf,
    },
    /// Another process writes the run.
    #[error("`{}` is being written by another process", path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// An input is not what it was when the run began.
    #[error("`{path}` {problem} since the run began")]
    InputChanged {
        /// The file.
        path: String,
        /// How, as the rest of the sentence: `has changed`, `is gone`, `is new`.
        problem: &'static str,
    },
    /// A document of the folder does not say what it should.
    #[error("cannot understand `{}`", path.display())]
    Document {
        /// The file.
        path: PathBuf,
        /// Where it went wrong.
        source: serde_json::Error,
    },
    /// A file of the folder could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// An input could not be read.
    #[error(transparent)]
    Input(#[from] CkptError),
    /// The output was refused.
    #[error(transparent)]
    Output(#[from] AtomicError),
}

impl RunError {
    /// Names the path of an error of the system.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.into(),
            source,
        }
    }
}

impl Hint for RunError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::NotARun { .. } => Some("give the folder that a verb wrote with --out".into()),
            Self::Unfinished { target, .. } => {
                let target = target.display();
                let next =
                    format!("go on with `--resume {target}`, or pass --force to start again");
                Some(next.into())
            }
            Self::NotUnfinished { .. } => {
                Some("only a run that was stopped before its end can go on".into())
            }
            Self::Busy { .. } => Some("wait for it, or end it".into()),
            Self::InputChanged { .. } => {
                Some("restore the file, or start a new run with the data as it is".into())
            }
            Self::Document { .. } => {
                Some("the file may come from another version; run the command again".into())
            }
            Self::Input(error) => error.hint(),
            Self::Output(error) => error.hint(),
            _ => None,
        }
    }
}
