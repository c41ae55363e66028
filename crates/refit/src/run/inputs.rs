//! Which bytes a run read.

use super::RunError;
use refit_io::ckpt::sha256_file;
use serde::{Deserialize, Serialize};
use std::{fs, path::Path};

/// One input file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputFile {
    /// Its path, as the user gave it.
    pub path: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// SHA-256 of its content, in hexadecimal.
    pub sha256: String,
}

impl InputFile {
    /// Reads the whole file once.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn hash(path: &Path) -> Result<Self, RunError> {
        Ok(Self {
            path: path.display().to_string(),
            bytes: fs::metadata(path)
                .map_err(RunError::io("read", path))?
                .len(),
            sha256: sha256_file(path)?,
        })
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
    fn a_missing_file_is_named() {
        let error = InputFile::hash(Path::new("/no/such/file")).unwrap_err();
        assert_eq!(error.to_string(), "cannot read `/no/such/file`");
    }
}
