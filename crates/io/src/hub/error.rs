//! Why a model of the hub could not be found or downloaded.

use crate::{atomic::AtomicError, file::FileError};
use refit_core::Hint;
use std::{borrow::Cow, io, path::PathBuf};

/// Why a model of the hub could not be found or downloaded. No message holds a token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// A name that is no name.
    #[error("`{found}` is no name of a {kind}")]
    Name {
        /// What was named.
        kind: &'static str,
        /// The name, shortened and printable.
        found: String,
    },
    /// The address of the hub is no address.
    #[error("`{found}` is no address of a hub")]
    Endpoint {
        /// What `HF_ENDPOINT` says.
        found: String,
    },
    /// The token has spaces or signs that no header can carry.
    #[error("HF_TOKEN holds no token")]
    Token,
    /// Not in the cache, and no request may be made.
    #[error("`{name}` is not in the cache and HF_HUB_OFFLINE forbids asking the hub")]
    Offline {
        /// The model.
        name: String,
    },
    /// Neither a path nor a model in the cache.
    #[error("`{name}` is neither a path nor in the cache `{}`", cache.display())]
    NotCached {
        /// What was asked for.
        name: String,
        /// Where was looked.
        cache: PathBuf,
    },
    /// The model is in the cache, this version is not.
    #[error("`{name}` is in the cache, its revision `{revision}` is not")]
    NoRevision {
        /// The model.
        name: String,
        /// The version.
        revision: String,
    },
    /// No folder for the cache is known.
    #[error("no folder for downloaded models is known")]
    NoCache,
    /// A file of the cache cannot be read or written.
    #[error("cannot use `{}`", path.display())]
    Cache {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The hub does not know who asks, or the model is closed to them.
    #[error("the hub refused `{name}` with status {status}")]
    Refused {
        /// The model.
        name: String,
        /// 401 or 403.
        status: u16,
    },
    /// The hub has no such model, version or file.
    #[error("the hub has no `{name}`")]
    NotFound {
        /// Model, and file if one was asked for.
        name: String,
    },
    /// Too many requests, still after waiting.
    #[error("the hub has no time for `{name}`{}", wait(*wait_secs))]
    Busy {
        /// What was asked for.
        name: String,
        /// How many seconds it asks to wait, where it says so.
        wait_secs: Option<u64>,
    },
    /// Any other answer that is no file.
    #[error("the hub answered `{name}` with status {status}")]
    Status {
        /// What was asked for.
        name: String,
        /// The answer.
        status: u16,
    },
    /// The connection failed, still after trying again.
    #[error("the connection to the hub failed at `{name}`: {problem}")]
    Connection {
        /// What was asked for.
        name: String,
        /// What the connection said.
        problem: String,
    },
    /// An answer that is not of the expected form.
    #[error("the hub's answer for `{name}` {problem}")]
    Answer {
        /// What was asked for.
        name: String,
        /// What is wrong with it, as the rest of the sentence.
        problem: &'static str,
    },
    /// The bytes are not those that were announced.
    #[error("`{name}` has the {what} {found}, expected {expected}")]
    Mismatch {
        /// The file.
        name: String,
        /// `size` or `SHA-256`.
        what: &'static str,
        /// That of the bytes that came.
        found: String,
        /// That which was announced.
        expected: String,
    },
    /// Another program downloads the same file.
    #[error("`{}` is being downloaded by another program", path.display())]
    Locked {
        /// The unfinished file.
        path: PathBuf,
    },
    /// The listener asked for a stop.
    #[error("stopped while downloading `{name}`")]
    Cancelled {
        /// The file.
        name: String,
    },
    /// A file of the cache cannot be completed.
    #[error(transparent)]
    Output(#[from] AtomicError),
    /// A file of the cache cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
}

fn wait(secs: Option<u64>) -> String {
    secs.map_or_else(String::new, |secs| format!(" and asks to wait {secs} s"))
}

impl HubError {
    /// Whether the hub did not answer, so that nothing is known about what was asked for.
    pub(super) fn is_silence(&self) -> bool {
        matches!(
            self,
            Self::Busy { .. } | Self::Connection { .. } | Self::Status { status: 500.., .. }
        )
    }
}

impl Hint for HubError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::NotCached { .. } | Self::NoRevision { .. } => Some(
                "give a folder, set HF_HOME to where models are kept, or let --download bring it"
                    .into(),
            ),
            Self::Endpoint { .. } => {
                Some("HF_ENDPOINT has to begin with https:// or http://, or to be unset".into())
            }
            Self::Token => Some("copy the token again: it is one word, such as hf_..".into()),
            Self::Offline { .. } => Some("unset HF_HUB_OFFLINE, or give a folder".into()),
            Self::Locked { .. } => Some("wait until that program is done".into()),
            Self::Status { .. } | Self::Answer { .. } => {
                Some("check HF_ENDPOINT, or run again later".into())
            }
            Self::NoCache => Some("set HF_HOME to a folder".into()),
            Self::Refused { .. } => Some(
                "set HF_TOKEN to a token that may read the model, and accept its terms on its page"
                    .into(),
            ),
            Self::NotFound { .. } => {
                Some("check the spelling; a closed model looks absent without HF_TOKEN".into())
            }
            Self::Busy { .. } | Self::Connection { .. } | Self::Cancelled { .. } => {
                Some("run again later: the download goes on where it ended".into())
            }
            Self::Mismatch { .. } => {
                Some("what came was discarded; run again to download it from the start".into())
            }
            Self::Output(e) => e.hint(),
            Self::File(e) => e.hint(),
            _ => None,
        }
    }
}
