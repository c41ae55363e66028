//! Small files that describe a model beside its weights.

use refit_io::{
    atomic::{AtomicError, Overwrite, write_file},
    file::{FileError, read_file},
};
use std::{fs, path::Path};

/// What says how inputs are made.
const PREPROCESSING: [&str; 3] = [
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
];

/// What else there may be.
const NAMES: [&str; 14] = [
    "config.json",
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

/// Copies those of the first of `homes`, but for `without`; what an earlier process copied is replaced.
///
/// What says how inputs are made comes from the first that has such a file: a base often has none where models that
/// were tuned from it do, and without it the result would see other inputs than they did.
pub(crate) fn copy(homes: &[&Path], to: &Path, without: &[&str]) -> Result<(), CompanionError> {
    let has = |home: &&&Path| {
        let mut names = PREPROCESSING.iter();
        names.any(|name| home.join(name).is_file())
    };
    if let Some(home) = homes.first() {
        copy_named(
            home,
            to,
            NAMES.iter().filter(|name| !without.contains(name)),
        )?;
    }
    if let Some(home) = homes.iter().find(has) {
        copy_named(home, to, PREPROCESSING.iter())?;
    }
    Ok(())
}

fn copy_named<'a>(
    from: &Path,
    to: &Path,
    names: impl Iterator<Item = &'a &'a str>,
) -> Result<(), CompanionError> {
    for name in names {
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
