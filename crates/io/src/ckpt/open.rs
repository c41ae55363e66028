//! From a path to a checked checkpoint.

use super::{
    checkpoint::Checkpoint,
    error::CkptError,
    header::by_name,
    index::{ShardIndex, parse_index},
    map::Bytes,
};
use refit_core::TensorMeta;
use std::{fs, io, path::Path};

/// File of a folder that holds all tensors.
pub(super) const SINGLE_FILE: &str = "model.safetensors";

/// File of a folder that says which shard holds which tensor.
pub(super) const INDEX_FILE: &str = "model.safetensors.index.json";

impl Checkpoint {
    /// Opens a `.safetensors` file, an index (`.json`), or a folder with `model.safetensors` or
    /// `model.safetensors.index.json`. A folder with both is read as the single file, as other tools do.
    ///
    /// # Errors
    /// When anything at all is wrong with headers, index or shards; values are not looked at.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CkptError> {
        let path = path.as_ref();
        let found = fs::metadata(path).map_err(|source| CkptError::Read {
            file: path.into(),
            source,
        })?;
        if found.is_dir() {
            Self::open_folder(path)
        } else if path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("json"))
        {
            Self::open_index(path)
        } else {
            Self::open_file(path)
        }
    }

    fn open_file(path: &Path) -> Result<Self, CkptError> {
        let mut checkpoint = Self::empty(path, None);
        checkpoint.add_shard(path.into(), Bytes::map(path)?)?;
        Ok(checkpoint.sorted())
    }

    fn open_folder(folder: &Path) -> Result<Self, CkptError> {
        let (single, index) = (folder.join(SINGLE_FILE), folder.join(INDEX_FILE));
        let mut opened = if single.exists() {
            Self::open_file(&single)
        } else if index.exists() {
            Self::open_index(&index)
        } else {
            Err(CkptError::NoCheckpoint {
                folder: folder.into(),
                other: any_safetensors(folder),
            })
        }?;
        opened.path = folder.into();
        Ok(opened)
    }

    fn open_index(path: &Path) -> Result<Self, CkptError> {
        let index = parse_index(&Bytes::map(path)?).map_err(|problem| CkptError::Index {
            file: path.into(),
            problem,
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut checkpoint = Self::empty(path, Some(path.into()));
        checkpoint.add_listed(folder, &index)?;
        Ok(checkpoint.sorted())
    }

    /// Maps every shard of `index` and compares what it holds with what is listed for it.
    fn add_listed(&mut self, folder: &Path, index: &ShardIndex) -> Result<(), CkptError> {
        for (name, listed) in index.shards() {
            let file = folder.join(name);
            let bytes = Bytes::map(&file).map_err(|e| match e {
                CkptError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                    CkptError::MissingShard {
                        index: self.path.clone(),
                        shard: name.to_owned(),
                    }
                }
                e => e,
            })?;
            let held = self.tensors.len();
            self.add_shard(file.clone(), bytes)?;
            same_tensors(&file, &self.tensors[held..], listed)?;
        }
        Ok(())
    }
}

/// A shard holds exactly the tensors that are listed for it (`listed` is sorted, both are free of duplicates).
fn same_tensors(shard: &Path, held: &[TensorMeta], listed: &[Box<str>]) -> Result<(), CkptError> {
    let order = by_name(held);
    let name = |i: &u32| held[*i as usize].path.as_str();
    if let Some(tensor) = order.iter().map(name).find(|n| !sorted_contains(listed, n)) {
        return Err(CkptError::UnlistedTensor {
            shard: shard.into(),
            tensor: tensor.to_owned(),
        });
    }
    let missing = |tensor: &&str| order.binary_search_by(|i| name(i).cmp(tensor)).is_err();
    match listed.iter().map(|tensor| &**tensor).find(missing) {
        Some(t) => Err(CkptError::MissingTensor {
            shard: shard.into(),
            tensor: t.to_owned(),
        }),
        None => Ok(()),
    }
}

fn sorted_contains(sorted: &[Box<str>], name: &str) -> bool {
    sorted.binary_search_by(|entry| (**entry).cmp(name)).is_ok()
}

/// The first `.safetensors` file of a folder by name, for a hint.
fn any_safetensors(folder: &Path) -> Option<String> {
    let names = fs::read_dir(folder).ok()?.flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.ends_with(".safetensors")).min()
}
