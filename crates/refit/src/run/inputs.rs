//! Which bytes a run read.

use super::RunError;
use refit_io::ckpt::{digest_file, digest_files, sample_file};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

/// Files up to this size are read whole.
const WHOLE_BYTES: u64 = 16 << 20;

/// One input: a file, or a folder with the files that were read of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputFile {
    /// Its path, as the user gave it.
    pub path: String,
    /// Its size in bytes; that of the files together, if it is a folder.
    pub bytes: u64,
    /// SHA-256 of its content, in hexadecimal; that of a folder covers names and contents of the files (see
    /// [`digest_files`]).
    pub sha256: String,
    /// Whether the hash is that of [`sample_file`]: of stretches of a large file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sampled: bool,
    /// When the file was last written, in nanoseconds since 1970: of files that are sampled, where the hash alone does
    /// not show every change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<u64>,
    /// Number of the files, if it is a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
}

impl InputFile {
    /// Reads the whole file once.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn hash(path: &Path) -> Result<Self, RunError> {
        let digest = digest_file(path)?;
        Ok(Self {
            path: path.display().to_string(),
            bytes: digest.bytes,
            sha256: digest.sha256,
            sampled: false,
            modified: None,
            files: None,
        })
    }

    /// Reads stretches of a large file: a few MB, whatever its size; a small one as [`hash`](Self::hash) does.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn sample(path: &Path) -> Result<Self, RunError> {
        let meta = fs::metadata(path).map_err(RunError::io("read", path))?;
        if meta.len() <= WHOLE_BYTES {
            return Self::hash(path);
        }
        let written = meta.modified().ok();
        let written = written.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let digest = sample_file(path)?;
        Ok(Self {
            path: path.display().to_string(),
            bytes: digest.bytes,
            sha256: digest.sha256,
            sampled: true,
            modified: written.and_then(|time| time.as_nanos().try_into().ok()),
            files: None,
        })
    }

    /// Reads a data file, or of a folder these files and nothing else, once.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn hash_data(path: &Path, files: &[PathBuf]) -> Result<Self, RunError> {
        if path.is_dir() {
            Self::hash_folder(path, files)
        } else {
            Self::hash(path)
        }
    }

    fn hash_folder(folder: &Path, files: &[PathBuf]) -> Result<Self, RunError> {
        let digest = digest_files(folder, files)?;
        Ok(Self {
            path: folder.display().to_string(),
            bytes: digest.bytes,
            sha256: digest.sha256,
            sampled: false,
            modified: None,
            files: Some(digest.files),
        })
    }
}

/// Checks that the files that are there are those that a run began with.
///
/// # Errors
/// [`RunError::InputChanged`] names the first that has changed, is gone or is new.
pub fn same_inputs(recorded: &[InputFile], found: &[InputFile]) -> Result<(), RunError> {
    let changed = |file: &InputFile, problem| {
        let path = file.path.clone();
        Err(RunError::InputChanged { path, problem })
    };
    for before in recorded {
        match found.iter().find(|now| now.path == before.path) {
            None => return changed(before, "is gone"),
            Some(now) if now != before => return changed(before, "has changed"),
            Some(_) => {}
        }
    }
    let is_new = |now: &&InputFile| recorded.iter().all(|before| before.path != now.path);
    match found.iter().find(is_new) {
        Some(new) => changed(new, "is new"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_sha256sum() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file.as_file(), b"abc").unwrap();
        let input = InputFile::hash(file.path()).unwrap();
        // FIPS 180-4, the example for "abc".
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!((input.bytes, input.sha256.as_str()), (3, expected));
    }

    #[test]
    fn a_file_that_changed_went_or_came_is_named() {
        let file = |path: &str, bytes| InputFile {
            path: path.into(),
            bytes,
            sha256: String::new(),
            sampled: false,
            modified: None,
            files: None,
        };
        let before = [file("a", 1), file("b", 2)];
        let said = |now: &[InputFile]| same_inputs(&before, now).map_err(|e| e.to_string());
        assert_eq!(said(&before), Ok(()));
        for (now, words) in [
            (vec![file("a", 1)], "`b` is gone"),
            (vec![file("a", 1), file("b", 3)], "`b` has changed"),
            (vec![file("a", 1), file("b", 2), file("c", 0)], "`c` is new"),
        ] {
            assert_eq!(said(&now), Err(format!("{words} since the run began")));
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_large_file_that_was_written_again_is_another_one() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(WHOLE_BYTES + 1).unwrap();
        let before = InputFile::sample(file.path()).unwrap();
        assert!(before.sampled && before.modified.is_some());
        assert_eq!(InputFile::sample(file.path()).unwrap(), before);
        // Between two stretches, so that only the time tells.
        let at = WHOLE_BYTES / 2 + 5;
        std::os::unix::fs::FileExt::write_at(file.as_file(), b"x", at).unwrap();
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
        file.as_file().set_modified(later).unwrap();
        assert_ne!(InputFile::sample(file.path()).unwrap(), before);

        file.as_file().set_len(3).unwrap();
        let small = InputFile::sample(file.path()).unwrap();
        assert_eq!(small, InputFile::hash(file.path()).unwrap());
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = InputFile::hash(Path::new("/no/such/file")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read `/no/such/file`");
    }
}
