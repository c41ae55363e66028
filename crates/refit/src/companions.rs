//! Small files that describe a model beside its weights.

use crate::text::{MODULES, SENTENCE_FILES, module_places};
use refit_core::Hint;
use refit_io::{
    atomic::{AtomicError, Overwrite, write_file},
    file::{FileError, read_file},
};
use serde::de::IgnoredAny;
use std::{
    borrow::Cow,
    collections::BTreeMap,
    fs,
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
const MAX_BYTES: u64 = 256 << 20;

/// A small file beside the weights of a model could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompanionError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] FileError),
    /// It is a link to what is no part of its model, or to nothing.
    #[error("`{}` is a link to `{}`, which is no file of this model", link.display(), target.display())]
    Link {
        /// The link.
        link: PathBuf,
        /// What it holds.
        target: PathBuf,
    },
    /// Its name says JSON, its content does not.
    #[error("`{}` is no JSON: {problem}", path.display())]
    NotJson {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// It cannot be written.
    #[error(transparent)]
    Write(#[from] AtomicError),
}

impl Hint for CompanionError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Read(error) => error.hint(),
            Self::Write(error) => error.hint(),
            Self::Link { .. } => Some("put the file itself there, or remove the link".into()),
            Self::NotJson { .. } => Some("mend the file, or remove it".into()),
        }
    }
}

/// What is to stand beside the weights of a result: files of models by their names, and what is made for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Companions(BTreeMap<String, Content>);

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
            Some(home) => Self::of_model(home)?,
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

    /// Those of one model, but for what says how inputs are made: its configuration, its tokenizer, and how a sentence
    /// encoder makes its vectors.
    ///
    /// # Errors
    /// When one cannot be read.
    pub(crate) fn of_model(home: &Path) -> Result<Self, CompanionError> {
        let mut found = Self::find(home, &NAMES)?;
        let Some(modules) = read(home, MODULES)? else {
            return Ok(found);
        };
        found.extend(Self::find(home, &[MODULES])?);
        found.extend(Self::find(home, &SENTENCE_FILES)?);
        for place in module_places(&modules) {
            found.extend(Self::find(home, &[&format!("{place}/config.json")])?);
        }
        Ok(found)
    }

    /// Those of `names` that lie in `home`. Each is read once, so that what cannot be read is told before there is work.
    ///
    /// # Errors
    /// When one cannot be read.
    pub(crate) fn find(home: &Path, names: &[&str]) -> Result<Self, CompanionError> {
        let mut found = BTreeMap::new();
        let folder: Arc<Path> = home.into();
        for &name in names {
            if read(home, name)?.is_some() {
                found.insert(name.to_owned(), Content::Of(Arc::clone(&folder)));
            }
        }
        Ok(Self(found))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those of `names` alone.
    pub(crate) fn only(&self, names: &[&str]) -> Self {
        let kept = self.0.iter();
        let kept = kept.filter(|(name, _)| names.contains(&name.as_str()));
        Self(
            kept.map(|(n, content)| (n.clone(), content.clone()))
                .collect(),
        )
    }

    /// Adds those of `other`, in the place of what has the same name.
    pub(crate) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(crate) fn set(&mut self, name: &str, text: impl Into<String>) {
        let text: String = text.into();
        let content = Content::Made(text.into_bytes().into());
        self.0.insert(name.to_owned(), content);
    }

    pub(crate) fn remove(&mut self, names: &[&str]) {
        self.0.retain(|name, _| !names.contains(&name.as_str()));
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
                let path = to.join(name);
                // Some lie in a folder of their own.
                let parent = path.parent().unwrap_or(to);
                fs::create_dir_all(parent).map_err(AtomicError::from_io("create", parent))?;
                write_file(path, &bytes, Overwrite::Replace)?;
            }
        }
        Ok(())
    }
}

/// The file `name` of the model in `home`; `None` where it has no such file.
///
/// # Errors
/// When it cannot be read, leads out of the model, or is no JSON where its name says so.
pub(crate) fn read(home: &Path, name: &str) -> Result<Option<Vec<u8>>, CompanionError> {
    let path = home.join(name);
    for part in Path::new(name)
        .ancestors()
        .filter(|part| *part != Path::new(""))
    {
        let part = home.join(part);
        if fs::symlink_metadata(&part).is_ok_and(|meta| meta.is_symlink()) {
            check_link(home, &part)?;
        }
    }
    let bytes = match read_file(&path, MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if Path::new(name).extension().is_some_and(|end| end == "json")
        && let Err(problem) = serde_json::from_slice::<IgnoredAny>(&bytes)
    {
        let problem = problem.to_string();
        return Err(CompanionError::NotJson { path, problem });
    }
    Ok(Some(bytes))
}

/// A model from elsewhere must not bring files of this machine into a result: links may lead to files of the model
/// itself and, in a snapshot of the hub's cache, to the blobs beside it.
fn check_link(home: &Path, link: &Path) -> Result<(), CompanionError> {
    let refused = || CompanionError::Link {
        link: link.into(),
        target: fs::read_link(link).unwrap_or_default(),
    };
    let home = if home.as_os_str().is_empty() {
        Path::new(".")
    } else {
        home
    };
    let (Ok(target), Ok(home)) = (fs::canonicalize(link), fs::canonicalize(home)) else {
        return Err(refused());
    };
    let snapshots = home.parent().filter(|parent| parent.ends_with("snapshots"));
    let blobs = snapshots
        .and_then(Path::parent)
        .map(|cache| cache.join("blobs"));
    let inside = target.starts_with(&home) || blobs.is_some_and(|blobs| target.starts_with(blobs));
    if inside { Ok(()) } else { Err(refused()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(files: &[(&str, &str)]) -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let file = home.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            write_file(file, text.as_bytes(), Overwrite::Refuse).unwrap();
        }
        home
    }

    #[test]
    fn what_says_how_inputs_are_made_comes_from_the_first_that_has_it() {
        let base = home(&[("config.json", "{}"), ("vocab.txt", "base")]);
        let tuned = home(&[
            ("vocab.txt", "tuned"),
            ("processor_config.json", "{\"a\": 1}"),
        ]);
        let mut found = Companions::of(&[base.path(), tuned.path()]).unwrap();
        assert_eq!(found.read("vocab.txt").unwrap().unwrap(), b"base");
        found.set("config.json", "{ }");
        let out = tempfile::tempdir().unwrap();
        found.write(out.path()).unwrap();
        for (name, text) in [
            ("config.json", "{ }"),
            ("vocab.txt", "base"),
            ("processor_config.json", "{\"a\": 1}"),
        ] {
            assert_eq!(fs::read_to_string(out.path().join(name)).unwrap(), text);
        }
        found.remove(&["config.json", "vocab.txt"]);
        assert_eq!(
            found.files().collect::<Vec<_>>(),
            [tuned.path().join("processor_config.json")]
        );
    }

    #[test]
    fn a_sentence_encoder_keeps_what_makes_its_vectors() {
        let modules = r#"[{"path": "", "type": "a.Transformer"}, {"path": "1_Pooling", "type": "a.Pooling"},
            {"path": "../out", "type": "a.Dense"}]"#;
        let files = [
            ("config.json", "{}"),
            ("modules.json", modules),
            ("1_Pooling/config.json", "{\"pooling_mode\": \"cls\"}"),
            ("sentence_bert_config.json", "{\"max_seq_length\": 8}"),
            ("2_Other/config.json", "{}"),
        ];
        let found = Companions::of(&[home(&files).path()]);
        assert_eq!(found.unwrap().files().count(), 4);
        let model = home(&files);
        let out = tempfile::tempdir().unwrap();
        Companions::of(&[model.path()])
            .unwrap()
            .write(out.path())
            .unwrap();
        for (name, text) in &files[..4] {
            let copied = fs::read_to_string(out.path().join(name)).unwrap();
            assert_eq!(copied, *text);
        }
        assert!(!out.path().join("2_Other").exists());
    }

    #[test]
    fn what_is_no_json_or_no_file_is_refused() {
        let broken = home(&[("tokenizer_config.json", "{\"a\": }"), ("merges.txt", "{")]);
        let found = Companions::find(broken.path(), &NAMES);
        assert!(matches!(found, Err(CompanionError::NotJson { .. })));
        assert!(read(broken.path(), "merges.txt").unwrap().is_some());
        fs::create_dir(broken.path().join("tokenizer.json")).unwrap();
        let found = read(broken.path(), "tokenizer.json");
        assert!(matches!(
            found,
            Err(CompanionError::Read(FileError::NotAFile { .. }))
        ));
    }

    #[cfg(unix)]
    #[test]
    fn links_end_in_the_model_or_in_the_blobs_of_its_cache() {
        use std::os::unix::fs::symlink;
        let cache = home(&[("outside.json", "{}"), ("models--o--m/blobs/1", "[1]")]);
        let snapshot = cache.path().join("models--o--m/snapshots/abc");
        let plain = cache.path().join("plain");
        for folder in [&snapshot, &plain] {
            fs::create_dir_all(folder).unwrap();
            write_file(folder.join("own.json"), b"[2]", Overwrite::Refuse).unwrap();
        }
        let blob = "../../blobs/1";
        let outside = cache.path().join("outside.json");
        for (folder, target, expected) in [
            (&snapshot, Path::new(blob), Some("[1]")),
            (&snapshot, Path::new("own.json"), Some("[2]")),
            (&snapshot, &outside, None),
            (&plain, Path::new("own.json"), Some("[2]")),
            (&plain, Path::new("../models--o--m/blobs/1"), None),
            (&plain, Path::new("../outside.json"), None),
            (&plain, Path::new("nowhere"), None),
        ] {
            let link = folder.join("tokenizer.json");
            symlink(target, &link).unwrap();
            let found = read(folder, "tokenizer.json");
            match expected {
                Some(text) => assert_eq!(found.unwrap().unwrap(), text.as_bytes()),
                None => {
                    let said = found.unwrap_err();
                    assert!(said.hint().is_some());
                    let said = said.to_string();
                    assert!(said.contains("tokenizer.json"), "{said}");
                    assert!(said.contains(&*target.to_string_lossy()), "{said}");
                }
            }
            fs::remove_file(link).unwrap();
        }
    }
}
