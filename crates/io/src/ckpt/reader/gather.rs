//! Taking a checkpoint file by file.

use super::{Place, RandomFile, TensorReader};
use crate::ckpt::{
    error::{CkptError, HeaderError},
    header::{Header, LENGTH_BYTES, MAX_HEADER_BYTES, parse_header},
    open::Gather,
};
use refit_core::TensorMeta;
use std::path::PathBuf;

impl Gather for TensorReader {
    fn add(&mut self, file: PathBuf) -> Result<(), CkptError> {
        self.add_file(RandomFile::open(&file)?)
    }

    fn gathered(&self) -> &[TensorMeta] {
        &self.tensors
    }
}

impl TensorReader {
    /// Appends the tensors of one file.
    pub(super) fn add_file(&mut self, file: RandomFile) -> Result<(), CkptError> {
        let Header {
            tensors,
            ranges,
            metadata,
        } = read_header(&file)?;
        let number = self.files.len() as u32;
        let place = |offset| Place {
            file: number,
            offset,
        };
        self.places
            .extend(ranges.into_iter().map(|range| place(range.start)));
        self.tensors.extend(tensors);
        for (key, value) in metadata {
            self.metadata.entry(key).or_insert(value);
        }
        self.files.push(file);
        Ok(())
    }
}

/// The checked header of a safetensors file; nothing behind it is read.
fn read_header(file: &RandomFile) -> Result<Header, CkptError> {
    let failed = |problem| CkptError::Header {
        file: file.path().into(),
        problem,
    };
    if file.len() < LENGTH_BYTES as u64 {
        return Err(failed(HeaderError::TooShort { found: file.len() }));
    }
    let mut length = [0; LENGTH_BYTES];
    file.read_at(0, &mut length)?;
    let length = u64::from_le_bytes(length);
    // What is longer is refused by the parser, from the eight bytes alone.
    let end = LENGTH_BYTES as u64 + if length > MAX_HEADER_BYTES { 0 } else { length };
    let head = file.read_vec(0..end.min(file.len()))?;
    parse_header(&head, file.len()).map_err(failed)
}
