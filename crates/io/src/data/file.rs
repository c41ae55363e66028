//! Reading a whole file of data, and nothing that is no file.

use super::DataError;
use std::{
    fs::{self, File},
    io::Read,
    path::Path,
};

/// Most bytes of one file: what an archive with 32-bit sizes can hold.
const MOST_BYTES: u64 = 1 << 32;

/// The bytes of the regular file at `path`. Devices and pipes are refused before they are opened, since they may never
/// end or never begin.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, DataError> {
    let meta = fs::metadata(path).map_err(DataError::io(path))?;
    if !meta.is_file() {
        return Err(DataError::NotAFile { at: path.into() });
    }
    let too_large = |bytes| DataError::TooLarge {
        at: path.into(),
        what: "content".into(),
        bytes,
        limit: MOST_BYTES,
    };
    if meta.len() > MOST_BYTES {
        return Err(too_large(meta.len()));
    }
    let file = File::open(path).map_err(DataError::io(path))?;
    let mut bytes = Vec::with_capacity(meta.len() as usize);
    file.take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(DataError::io(path))?;
    // A file may grow while it is read.
    if bytes.len() as u64 > MOST_BYTES {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes)
}
