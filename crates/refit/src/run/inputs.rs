//! Which bytes a run read.

use super::RunError;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{fmt::Write, fs::File, io, path::Path};

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
        let mut file = File::open(path).map_err(RunError::io("open", path))?;
        let mut hash = Sha256::new();
        let bytes = io::copy(&mut file, &mut hash).map_err(RunError::io("read", path))?;
        Ok(Self {
            path: path.display().to_string(),
            bytes,
            sha256: hex(&hash.finalize()),
        })
    }
}

/// Bytes in hexadecimal.
fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a string takes everything");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_sha256sum() {
        let file = tempfile::NamedTempFile::new().unwrap();
        io::Write::write_all(&mut file.as_file(), b"abc").unwrap();
        let input = InputFile::hash(file.path()).unwrap();
        // FIPS 180-4, the example for "abc".
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!((input.bytes, input.sha256.as_str()), (3, expected));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = InputFile::hash(Path::new("/no/such/file")).unwrap_err();
        assert_eq!(error.to_string(), "cannot open `/no/such/file`");
    }
}
