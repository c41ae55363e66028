//! Small files that describe a model beside its weights.

use refit_io::{
    atomic::{AtomicError, Overwrite, write_file},
    file::{FileError, read_file},
};
use std::{fs, path::Path};

/// Their names.
const NAMES: [&str; 17] = [
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
];

/// A larger file is not what its name says.
const MAX_BYTES: u64 = 64 << 20;

/// A companion could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompanionError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] FileError),
    /// It cannot be written.
    #[error(transparent)]
    Write(#[from] AtomicError),
}

/// Copies those that are in `from`, but for `without`; what an earlier process copied is replaced.
pub(crate) fn copy(from: &Path, to: &Path, without: &[&str]) -> Result<(), CompanionError> {
    for name in NAMES.iter().filter(|name| !without.contains(name)) {
        let file = from.join(name);
        let Ok(meta) = fs::metadata(&file) else {
            continue;
        };
        if meta.is_file() && meta.len() <= MAX_BYTES {
            let bytes = read_file(&file, MAX_BYTES)?;
            write_file(to.join(name), &bytes, Overwrite::Replace)?;
        }
    }
    Ok(())
}
