//! PyTorch checkpoints: a zip archive with one pickle that lists the tensors and one member per storage.

mod pickle;
mod value;

use super::{error::TorchError, header::check_name, reader::RandomFile};
use crate::{
    ckpt::error::CkptError,
    zip::{Archive, Directory, Member, STORED, ZipError},
};
use refit_core::{DType, TensorMeta};
use std::{collections::HashMap, ops::Range};
use value::{Node, Tensor, Value};

/// What an archive begins with.
pub(super) const ZIP_MAGIC: &[u8] = b"PK\x03\x04";
/// What a checkpoint of PyTorch before 1.6 begins with: a pickle of a number of ten bytes.
pub(super) const LEGACY_MAGIC: &[u8] = &[0x80, 0x02, 0x8a, 0x0a];

/// Dictionaries that hold the state dict of a training checkpoint, in the order in which they are looked for.
const STATE_KEYS: [&str; 4] = ["state_dict", "model_state_dict", "model", "module"];
/// How deep a state dict may lie.
const MOST_NESTED: usize = 3;

/// A tensor as a pickle describes it. Offset and strides count values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PickledTensor {
    /// Name in the state dict, element type, shape.
    pub meta: TensorMeta,
    /// Name of the member that holds the values, below `data/`.
    pub storage: Box<str>,
    /// The first value.
    pub offset: u64,
    /// Steps from value to value along each axis.
    pub strides: Vec<u64>,
    /// Bytes of the storage.
    pub storage_bytes: u64,
}

/// Reads the pickle (`data.pkl`) of a PyTorch checkpoint without running anything.
///
/// Takes a state dict, or a dictionary with one under `state_dict`, `model_state_dict`, `model` or `module`. Only
/// tensors, their storages and plain containers are known; every other class or function is refused by name. After
/// success every tensor lies inside its storage, names are fit to be printed, and no size overflows.
///
/// # Errors
/// A variant of [`TorchError`] per way to fail. No panic on any input.
/// # Cost
/// One pass; memory in proportion to the pickle, with fixed limits on what it may unfold into.
/// # Example
/// ```
/// use refit_io::ckpt::{TorchError, parse_pickle};
/// // What `pickle.dumps(os.system)` begins with.
/// let found = parse_pickle(b"\x80\x02cposix\nsystem\nq\x00.");
/// assert!(matches!(found, Err(TorchError::Global { name }) if name == "posix.system"));
/// ```
pub fn parse_pickle(bytes: &[u8]) -> Result<Vec<PickledTensor>, TorchError> {
    let parsed = pickle::parse(bytes)?;
    let entries = state_dict(&parsed, bytes).ok_or(TorchError::NoTensors)?;
    let mut tensors = Vec::new();
    for &(key, value) in entries {
        if let Some(tensor) = tensor_of(&parsed.nodes, value) {
            let name = pickle::text_at(bytes, key).unwrap_or_default();
            tensors.push(checked(name, tensor, bytes)?);
        }
    }
    Ok(tensors)
}

/// The dictionary that holds tensors.
fn state_dict<'p>(parsed: &'p pickle::Parsed, bytes: &[u8]) -> Option<&'p [(value::Text, Value)]> {
    let mut value = parsed.root;
    for _ in 0..=MOST_NESTED {
        let entries = dict_of(&parsed.nodes, value)?;
        let holds = |&(_, v): &(value::Text, Value)| tensor_of(&parsed.nodes, v).is_some();
        if entries.iter().any(holds) {
            return Some(entries);
        }
        let named = |name: &str| {
            let found = entries.iter().rev();
            found
                .filter(|e| dict_of(&parsed.nodes, e.1).is_some())
                .find(|e| pickle::text_at(bytes, e.0) == Some(name))
        };
        value = STATE_KEYS.iter().find_map(|key| named(key))?.1;
    }
    None
}

fn dict_of(nodes: &[Node], value: Value) -> Option<&[(value::Text, Value)]> {
    match value {
        Value::Node(i) => match &nodes[i as usize] {
            Node::Dict(entries) => Some(entries),
            _ => None,
        },
        _ => None,
    }
}

fn tensor_of(nodes: &[Node], value: Value) -> Option<&Tensor> {
    match value {
        Value::Node(i) => match &nodes[i as usize] {
            Node::Tensor(tensor) => Some(tensor),
            _ => None,
        },
        _ => None,
    }
}

/// The tensor, if it lies inside its storage.
fn checked(name: &str, tensor: &Tensor, bytes: &[u8]) -> Result<PickledTensor, TorchError> {
    let wrong = |problem| TorchError::Tensor {
        tensor: super::text::excerpt(name),
        problem,
    };
    check_name(name).map_err(|_| wrong("has a name that is empty, too long or not printable"))?;
    if tensor.shape.len() > super::header::MAX_RANK {
        return Err(wrong("has more than 32 axes"));
    }
    let size = tensor.dtype.size_bytes() as u64;
    let unit = tensor.storage.dtype.map_or(1, DType::size_bytes) as u64;
    let storage_bytes = tensor.storage.len.checked_mul(unit);
    let storage_bytes = storage_bytes.ok_or_else(|| wrong("has a storage too large to count"))?;
    let end = end_of(tensor).and_then(|end| end.checked_mul(size));
    if end.is_none_or(|end| end > storage_bytes) {
        return Err(wrong("leaves its storage"));
    }
    let meta = TensorMeta {
        path: name.into(),
        dtype: tensor.dtype,
        shape: tensor.shape.iter().map(|&d| d as usize).collect(),
    };
    super::header::size_bytes(&meta).map_err(|_| wrong("has a size that overflows"))?;
    let storage = pickle::text_at(bytes, tensor.storage.key).unwrap_or_default();
    Ok(PickledTensor {
        meta,
        storage: storage.into(),
        offset: tensor.offset,
        strides: tensor.strides.to_vec(),
        storage_bytes,
    })
}

/// One behind the last value of the storage that is used; `None` when that overflows.
fn end_of(tensor: &Tensor) -> Option<u64> {
    if tensor.shape.contains(&0) {
        return Some(0);
    }
    let steps = tensor.shape.iter().zip(&tensor.strides);
    let last = steps.map(|(&d, &stride)| (d - 1).checked_mul(stride));
    last.into_iter()
        .try_fold(tensor.offset, |sum, step| sum.checked_add(step?))?
        .checked_add(1)
}

/// A tensor of an archive, and where its storage lies in the file.
pub(super) struct Stored {
    pub(super) tensor: PickledTensor,
    pub(super) storage: Range<u64>,
}

/// The tensors of the archive in `file`.
pub(super) fn read_archive(file: &RandomFile) -> Result<Vec<Stored>, CkptError> {
    let failed = |problem| refused(file, problem);
    let directory = Directory::read(file)?;
    let ends = |tail: &str| {
        let mut members = directory.members().iter();
        members.find(|member| {
            member
                .name
                .split_once('/')
                .is_some_and(|(_, name)| name == tail)
        })
    };
    if ends("constants.pkl").is_some() {
        return Err(failed(TorchError::Script));
    }
    let pickle = ends("data.pkl").ok_or_else(|| failed(TorchError::NoPickle))?;
    if let Some(order) = ends("byteorder") {
        let place = stored_place(file, order)?;
        let found = file.read_vec(place.start..place.end.min(place.start + 16))?;
        if found != b"little" {
            let found = super::text::excerpt(&String::from_utf8_lossy(&found));
            return Err(failed(TorchError::ByteOrder { found }));
        }
    }
    let place = stored_place(file, pickle)?;
    if place.end - place.start > pickle::MAX_PICKLE_BYTES {
        return Err(failed(TorchError::TooLarge {
            found: place.end - place.start,
            limit: pickle::MAX_PICKLE_BYTES,
        }));
    }
    let tensors = parse_pickle(&file.read_vec(place)?).map_err(failed)?;
    let prefix = pickle.name.strip_suffix("data.pkl").unwrap_or_default();
    let data = format!("{prefix}data/");
    let members: HashMap<&str, &Member> = directory
        .members()
        .iter()
        .filter_map(|member| Some((member.name.strip_prefix(&data)?, member)))
        .collect();
    let place = |tensor: PickledTensor| {
        let wrong = |problem| {
            let tensor = tensor.meta.path.to_string();
            failed(TorchError::Tensor { tensor, problem })
        };
        let member = members.get(&*tensor.storage);
        let member = member.ok_or_else(|| wrong("has a storage that is not in the archive"))?;
        let storage = stored_place(file, member)?;
        if storage.end - storage.start < tensor.storage_bytes {
            return Err(wrong("has a storage that is shorter than the pickle says"));
        }
        Ok(Stored { tensor, storage })
    };
    tensors.into_iter().map(place).collect()
}

fn stored_place(file: &RandomFile, member: &Member) -> Result<Range<u64>, CkptError> {
    if member.method != STORED {
        let member = super::text::excerpt(&member.name);
        return Err(refused(file, TorchError::Compressed { member }));
    }
    member.place(file)
}

fn refused(file: &RandomFile, problem: TorchError) -> CkptError {
    CkptError::Torch {
        file: file.path().into(),
        problem,
    }
}

impl Archive for RandomFile {
    type Error = CkptError;

    fn len(&self) -> u64 {
        self.len()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), CkptError> {
        self.read_at(offset, out)
    }

    fn refuse(&self, problem: ZipError) -> CkptError {
        refused(
            self,
            TorchError::Zip {
                problem: super::text::excerpt(&problem.to_string()),
            },
        )
    }
}
