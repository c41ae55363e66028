//! Fingerprints of input files.

use super::error::CkptError;
use crate::file::open_file;
use sha2::{Digest, Sha256};
use std::{fmt::Write as _, io::Read, path::Path};

/// Bytes read at a time.
const BLOCK_BYTES: usize = 1 << 20;

/// The SHA-256 of a file as 64 lower-case hexadecimal digits, read block by block.
///
/// # Errors
/// When the file cannot be read.
/// # Example
/// ```
/// use refit_io::{atomic, ckpt};
/// let home = tempfile::tempdir()?;
/// let file = home.path().join("abc");
/// atomic::write_file(&file, b"abc", atomic::Overwrite::Refuse)?;
/// let hex = ckpt::sha256_file(&file)?; // FIPS 180-2, appendix B.1
/// assert_eq!(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn sha256_file(path: impl AsRef<Path>) -> Result<String, CkptError> {
    let path = path.as_ref();
    let failed = |source| CkptError::Read {
        file: path.into(),
        source,
    };
    let mut file = open_file(path)?;
    let mut hash = Sha256::new();
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        match file.read(&mut block) {
            Ok(0) => break,
            Ok(n) => hash.update(&block[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(failed(e)),
        }
    }
    let mut hex = String::with_capacity(64);
    for byte in hash.finalize() {
        let _ = write!(hex, "{byte:02x}"); // writing to a `String` cannot fail
    }
    Ok(hex)
}
