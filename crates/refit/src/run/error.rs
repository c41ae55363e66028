//! What can go wrong with a run folder.

use refit_core::Hint;
use refit_io::{atomic::AtomicError, ckpt::CkptError};
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
    /// A document of the folder does not say what it should.
    #[error("cannot understand `{}`", path.display())]
    Document {
        /// The file.
        path: PathBuf,
        /// Where it went wrong.
        source: serde_json::Error,
    },
    /// A document is far larger than a run writes.
    #[error("`{}` has {found} bytes, expected at most {limit}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        found: u64,
        /// The limit.
        limit: u64,
    },
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
            Self::Document { .. } => {
                Some("the file may come from another version; run the command again".into())
            }
            Self::Input(error) => error.hint(),
            Self::Output(error) => error.hint(),
            _ => None,
        }
    }
}
