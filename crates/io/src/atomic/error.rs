//! Why an output could not be written.

use refit_core::Hint;
use std::{
    borrow::Cow,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

/// Why an output could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AtomicError {
    /// The target exists and may not be replaced.
    #[error("`{}` already exists", path.display())]
    Exists {
        /// The target.
        path: PathBuf,
    },
    /// The target is a symbolic link.
    #[error("`{}` is a symbolic link, expected a name that is free or an output to replace", path.display())]
    Symlink {
        /// The target.
        path: PathBuf,
    },
    /// The target exists as something else: a folder where a file is written, or the other way round.
    #[error("`{}` exists and is not a {expected}", path.display())]
    OtherKind {
        /// The target.
        path: PathBuf,
        /// `file` or `folder`.
        expected: &'static str,
    },
    /// The target is a folder that holds something else than an output of this program.
    #[error("`{}` is a folder that `refit` did not write, so it is not replaced", path.display())]
    Foreign {
        /// The target.
        path: PathBuf,
    },
    /// The folder that should hold the target does not exist.
    #[error("cannot write `{}`: there is no folder `{}`", path.display(), parent.display())]
    NoParent {
        /// The target.
        path: PathBuf,
        /// The missing folder.
        parent: PathBuf,
    },
    /// The path does not end in a name: `/`, `..`.
    #[error("`{}` does not end in a name", path.display())]
    NoName {
        /// The target.
        path: PathBuf,
    },
    /// The output would not fit on the disk.
    #[error("`{}` needs {}, its disk has room for {}", path.display(), mib(*needed), mib(*free))]
    NoRoom {
        /// The target.
        path: PathBuf,
        /// Its bytes.
        needed: u64,
        /// Bytes that can still be written.
        free: u64,
    },
    /// The disk is full, or the user's share of it.
    #[error("no space left while writing `{}`", path.display())]
    DiskFull {
        /// The target.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Any other refusal of the system.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

impl AtomicError {
    /// Names the path of an error of the system, and sets a full disk apart.
    pub fn from_io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::DiskFull {
                path: path.into(),
                source,
            },
            _ => Self::Io {
                action,
                path: path.into(),
                source,
            },
        }
    }
}

impl Hint for AtomicError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::Exists { .. } => "choose another name, or pass --force to replace it".into(),
            Self::Symlink { .. } => "give the path that the link points to".into(),
            Self::OtherKind { .. } | Self::NoName { .. } => "choose another name".into(),
            Self::Foreign { .. } => "choose another name, or remove the folder yourself".into(),
            Self::NoParent { parent, .. } => {
                format!("create it first: mkdir -p '{}'", parent.display()).into()
            }
            Self::NoRoom { .. } => "free some space, or choose a place on another disk".into(),
            Self::DiskFull { .. } => {
                "free some space and run again; nothing half-written was left behind".into()
            }
            Self::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
                "check who owns the folder and its permissions".into()
            }
            Self::Io { .. } => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_apart() {
        let failed = |kind: ErrorKind| AtomicError::from_io("write", Path::new("out"))(kind.into());
        for kind in [ErrorKind::StorageFull, ErrorKind::QuotaExceeded] {
            assert_eq!(
                failed(kind).to_string(),
                "no space left while writing `out`"
            );
            assert!(failed(kind).hint().unwrap().starts_with("free some space"));
        }
        assert_eq!(failed(ErrorKind::Other).to_string(), "cannot write `out`");
        assert!(
            failed(ErrorKind::PermissionDenied)
                .hint()
                .unwrap()
                .contains("permissions")
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_system_reports_a_full_device_as_such() {
        use std::io::Write;
        let mut full = std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let error = full
            .write_all(b"x")
            .map_err(AtomicError::from_io("write", Path::new("out")));
        assert!(matches!(error, Err(AtomicError::DiskFull { .. })));
    }
}
