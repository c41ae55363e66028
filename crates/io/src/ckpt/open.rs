//! From a path to the files of a checkpoint, and shards against their index.

use super::{
    error::CkptError,
    header::{MAX_HEADER_BYTES, by_name},
    index::{EXTENSION, parse_index_of},
};
use crate::file::read_file;
use refit_core::TensorMeta;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// File of a folder that holds all tensors.
pub(super) const SINGLE_FILE: &str = "model.safetensors";

/// File of a folder that says which shard holds which tensor.
pub(super) const INDEX_FILE: &str = "model.safetensors.index.json";

/// Names of the files of a folder, `(all tensors, index)`, in the order in which they are looked for.
pub(super) type Names = [(&'static str, &'static str)];

/// The names that [`Checkpoint`](super::Checkpoint) reads.
pub(super) const SAFETENSORS: &Names = &[(SINGLE_FILE, INDEX_FILE)];

/// The names that [`TensorReader`](super::TensorReader) reads.
pub(super) const EVERY_FORMAT: &Names = &[
    (SINGLE_FILE, INDEX_FILE),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
];

/// What a path stands for.
pub(super) enum Found {
    /// All tensors.
    File(PathBuf),
    /// A list of shards.
    Index(PathBuf),
}

/// Something that takes a checkpoint file by file.
pub(super) trait Gather {
    /// Appends the tensors of `file`.
    fn add(&mut self, file: PathBuf) -> Result<(), CkptError>;
    /// What was gathered so far.
    fn gathered(&self) -> &[TensorMeta];
}

/// Looks for a checkpoint at `path`: a folder with one of `names`, an index (`.json`), or any other file.
pub(super) fn locate(path: &Path, names: &Names) -> Result<Found, CkptError> {
    let found = fs::metadata(path).map_err(|source| CkptError::Read {
        file: path.into(),
        source,
    })?;
    let is_index = |path: &Path| {
        path.extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("json"))
    };
    if !found.is_dir() {
        let path = path.to_path_buf();
        return Ok(if is_index(&path) {
            Found::Index(path)
        } else {
            Found::File(path)
        });
    }
    for &(single, index) in names {
        let (single, index) = (path.join(single), path.join(index));
        if single.exists() {
            return Ok(Found::File(single));
        }
        if index.exists() {
            return Ok(Found::Index(index));
        }
    }
    let every = names.len() == EVERY_FORMAT.len();
    if every && let [gguf] = files_ending(path, ".gguf").as_slice() {
        return Ok(Found::File(path.join(gguf)));
    }
    let endings: &[&str] = if every {
        &[".safetensors", ".bin", ".pt", ".pth", ".gguf"]
    } else {
        &[".safetensors"]
    };
    let mut others = endings
        .iter()
        .filter_map(|ending| files_ending(path, ending).into_iter().min());
    Err(CkptError::NoCheckpoint {
        folder: path.into(),
        expected: if every {
            "`model.safetensors`, `pytorch_model.bin`, index of either, or single `.gguf` file"
        } else {
            "`model.safetensors` or `model.safetensors.index.json`"
        },
        other: others.next().or_else(|| other_format(path, every)),
    })
}

/// The file of a checkpoint in a format that others read.
fn other_format(folder: &Path, every: bool) -> Option<String> {
    if every {
        return None;
    }
    let (Found::File(file) | Found::Index(file)) = locate(folder, EVERY_FORMAT).ok()?;
    Some(file.file_name()?.to_string_lossy().into_owned())
}

/// Gathers every shard of the index at `path` and compares what it holds with what is listed for it.
pub(super) fn gather_listed(into: &mut impl Gather, path: &Path) -> Result<(), CkptError> {
    let bytes = read_file(path, MAX_HEADER_BYTES)?;
    let extension = if path.to_string_lossy().ends_with(".bin.index.json") {
        ".bin"
    } else {
        EXTENSION
    };
    let index = parse_index_of(&bytes, extension).map_err(|problem| CkptError::Index {
        file: path.into(),
        problem,
    })?;
    drop(bytes);
    let folder = path.parent().unwrap_or(Path::new(""));
    for (name, listed) in index.shards() {
        let file = folder.join(name);
        let held = into.gathered().len();
        into.add(file.clone()).map_err(|e| match e {
            CkptError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                CkptError::MissingShard {
                    index: path.into(),
                    shard: name.to_owned(),
                }
            }
            e => e,
        })?;
        same_tensors(&file, &into.gathered()[held..], listed)?;
    }
    Ok(())
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

/// The names of the files of a folder that end so; none, where it cannot be read.
fn files_ending(folder: &Path, extension: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.ends_with(extension)).collect()
}
