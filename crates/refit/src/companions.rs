//! Small files that describe a model beside its weights.

use refit_io::{
    atomic::{AtomicError, Overwrite, write_file},
    file::{FileError, read_file},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

/// What says how inputs are made.
pub(crate) const PREPROCESSING: [&str; 3] = [
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
];

/// What else there may be.
pub(crate) const NAMES: [&str; 14] = [
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
const MAX_BYTES: u64 = 256 << 20;

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

/// What is to stand beside the weights of a result: files of models by their names, and what is made for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Companions(BTreeMap<&'static str, Content>);

/// Where a companion comes from.
#[derive(Clone, Debug)]
enum Content {
    /// The file of that name in this folder.
    Of(Arc<Path>),
    /// It is made.
    Made(Arc<[u8]>),
}

impl Companions {
    /// Those of the first of `homes`, but for what says how inputs are made: that comes from the first that has such a
    /// file. A base often has none where models that were tuned from it do, and without it the result would see other
    /// inputs than they did.
    ///
    /// # Errors
    /// When one cannot be read.
    pub(crate) fn of(homes: &[&Path]) -> Result<Self, CompanionError> {
        let mut found = match homes.first() {
            Some(home) => Self::find(home, &NAMES)?,
            None => Self::default(),
        };
        for home in homes {
            let preprocessing = Self::find(home, &PREPROCESSING)?;
            if !preprocessing.is_empty() {
                found.extend(preprocessing);
                break;
            }
        }
        Ok(found)
    }

    /// Those of `names` that lie in `home`. Each is read once, so that what cannot be read is told before there is work.
    ///
    /// # Errors
    /// When one cannot be read.
    pub(crate) fn find(home: &Path, names: &[&'static str]) -> Result<Self, CompanionError> {
        let mut found = BTreeMap::new();
        let folder: Arc<Path> = home.into();
        for &name in names {
            if read(home, name)?.is_some() {
                found.insert(name, Content::Of(Arc::clone(&folder)));
            }
        }
        Ok(Self(found))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those of `names` alone.
    pub(crate) fn only(&self, names: &[&str]) -> Self {
        let kept = self.0.iter().filter(|(name, _)| names.contains(name));
        Self(
            kept.map(|(&name, content)| (name, content.clone()))
                .collect(),
        )
    }

    /// Adds those of `other`, in the place of what has the same name.
    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(crate) fn set(&mut self, name: &'static str, text: impl Into<String>) {
        let text: String = text.into();
        self.0.insert(name, Content::Made(text.into_bytes().into()));
    }

    pub(crate) fn remove(&mut self, names: &[&str]) {
        self.0.retain(|name, _| !names.contains(name));
    }

    /// The content of a companion; `None` where there is none of that name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, CompanionError> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Content::Of(home)) => read(home, name),
            Some(Content::Made(bytes)) => Ok(Some(bytes.to_vec())),
        }
    }

    /// Every file that is copied.
    pub(crate) fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.0.iter().filter_map(|(name, content)| match content {
            Content::Of(home) => Some(home.join(name)),
            Content::Made(_) => None,
        })
    }

    /// Writes all into `to`; what an earlier process wrote is replaced.
    ///
    /// # Errors
    /// When one can no longer be read, or not be written.
    pub(crate) fn write(&self, to: &Path) -> Result<(), CompanionError> {
        for name in self.0.keys() {
            if let Some(bytes) = self.read(name)? {
                write_file(to.join(name), &bytes, Overwrite::Replace)?;
            }
        }
        Ok(())
    }
}

/// The file `name` of the model in `home`; `None` where it has no such file.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn read(home: &Path, name: &str) -> Result<Option<Vec<u8>>, CompanionError> {
    match read_file(&home.join(name), MAX_BYTES) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}
