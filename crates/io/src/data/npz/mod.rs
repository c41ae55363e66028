//! Numpy's `.npz`: a zip archive of `.npy` arrays.
//!
//! Written here rather than taken from a crate because every size has to be checked against the file before anything is
//! allocated, and because pickles must stay out of reach.

mod array;
mod member;

pub use array::{Array, ElementType};

use super::{DataError, read::read_file};
use crate::zip::Directory;
use member::Held;
use std::path::{Path, PathBuf};

/// An opened `.npz` file: its bytes and the checked list of its arrays.
///
/// Reads little-endian `u8 i16 i32 u32 i64 f32` arrays in C order, stored or deflated. Object arrays (pickles), strings,
/// records and encrypted zip members are refused.
#[derive(Clone, Debug)]
pub struct Npz {
    at: PathBuf,
    bytes: Vec<u8>,
    directory: Directory,
}

impl Npz {
    /// Reads the file at `path` and checks its directory; no array is unpacked yet.
    ///
    /// # Errors
    /// When the file cannot be read or is no zip archive.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref();
        let bytes = read_file(path)?;
        Self::from_bytes(bytes, path)
    }

    /// The archive in `bytes`; messages call it `at`.
    ///
    /// # Errors
    /// When the bytes are no zip archive.
    pub fn from_bytes(bytes: Vec<u8>, at: impl Into<PathBuf>) -> Result<Self, DataError> {
        let at = at.into();
        let directory = Directory::read(&Held {
            bytes: &bytes,
            at: &at,
        })?;
        Ok(Self {
            at,
            bytes,
            directory,
        })
    }

    /// Where the archive came from.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Names of the arrays, in the order of the archive.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.directory
            .members()
            .iter()
            .filter_map(|m| m.name.strip_suffix(".npy"))
    }

    /// Whether there is an array called `key`.
    pub fn contains(&self, key: &str) -> bool {
        self.names().any(|name| name == key)
    }

    /// Unpacks the array called `key`.
    ///
    /// # Errors
    /// When there is none, its bytes are damaged or fewer than its header says, it unpacks to far more than it occupies
    /// in the file, or its element type is not supported.
    pub fn array(&self, key: &str) -> Result<Array, DataError> {
        let file = format!("{key}.npy");
        let Some(member) = self.directory.members().iter().find(|m| m.name == file) else {
            let present = self.names().map(str::to_owned).collect();
            return Err(DataError::MissingArray {
                at: self.at.clone(),
                key: key.into(),
                present,
            });
        };
        let archive = Held {
            bytes: &self.bytes,
            at: &self.at,
        };
        let bytes = archive.unpack(member)?;
        Array::parse(bytes, &self.at, key)
    }
}
