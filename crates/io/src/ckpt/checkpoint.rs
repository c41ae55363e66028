//! Opening a checkpoint and looking into it.

use super::{
    convert::{decode_f32, decode_f32_into},
    error::{CkptError, ConvertError},
    header::{Header, by_name, parse_header},
    key::{Key, TensorView},
    map::Bytes,
    open::{Found, Gather, SAFETENSORS, gather_listed, locate},
};
use refit_core::{LastingBytes, Source, TensorMeta};
use std::{
    borrow::Cow,
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Named tensors in one safetensors file or in the shards of a folder, mapped and read on demand.
///
/// Everything is checked when it is opened; see the [module documentation](super) for what that means and for the
/// hazards of mapped files. Order: shards by file name, within a shard the order of its header.
///
/// # Example
/// ```
/// use refit_core::{DType, Sink, Source, TensorMeta};
/// use refit_io::ckpt::{Checkpoint, CheckpointWriter, WriteOptions};
/// let home = tempfile::tempdir()?;
/// let file = home.path().join("tiny.safetensors");
/// let bias = TensorMeta { path: "head.bias".into(), dtype: DType::F32, shape: vec![2] };
/// let mut writer = CheckpointWriter::create(&file, vec![bias.clone()], WriteOptions::default())?;
/// writer.put(&bias, &[0, 0, 128, 63, 0, 0, 0, 64])?;
/// writer.finish()?;
///
/// let checkpoint = Checkpoint::open(&file)?;
/// assert_eq!(checkpoint.tensors(), [bias]);
/// assert_eq!(checkpoint.tensor_f32("head.bias")?, [1.0, 2.0]);
/// assert!(checkpoint.tensor_f32("head.bais").is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    index: Option<PathBuf>,
    shards: Vec<Shard>,
    tensors: Vec<TensorMeta>,
    places: Vec<Place>,
    by_name: Vec<u32>,
    metadata: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Shard {
    file: PathBuf,
    bytes: Arc<Bytes>,
}

/// Where a tensor's bytes lie.
#[derive(Debug)]
struct Place {
    shard: u32,
    range: Range<usize>,
}

impl Checkpoint {
    /// Opens a `.safetensors` file, an index (`.json`), or a folder with `model.safetensors` or
    /// `model.safetensors.index.json`. A folder with both is read as the single file, as other tools do.
    ///
    /// # Errors
    /// When anything at all is wrong with headers, index or shards; values are not looked at.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CkptError> {
        let path = path.as_ref();
        let mut checkpoint = Self::empty(path);
        match locate(path, SAFETENSORS)? {
            Found::File(file) => checkpoint.add(file)?,
            Found::Index(index) => {
                gather_listed(&mut checkpoint, &index)?;
                checkpoint.index = Some(index);
            }
        }
        Ok(checkpoint.sorted())
    }

    /// Reads a safetensors file that is already in memory; `label` stands for its path in messages.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(label: impl Into<PathBuf>, bytes: Vec<u8>) -> Result<Self, CkptError> {
        let label = label.into();
        let mut checkpoint = Self::empty(&label);
        checkpoint.add_shard(label, Bytes::held(bytes))?;
        Ok(checkpoint.sorted())
    }

    /// The path it was opened with.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every file it is made of: the index, if there is one, then the shards in order.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let shards = self.shards.iter().map(|shard| shard.file.as_path());
        self.index.as_deref().into_iter().chain(shards)
    }

    /// The free text of the headers. Where shards disagree, the first one counts.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The index of the tensor called `name`, if there is one.
    pub fn position(&self, name: &str) -> Option<usize> {
        let name_of = |&i: &u32| self.tensors[i as usize].path.as_str();
        let found = self
            .by_name
            .binary_search_by(|i| name_of(i).cmp(name))
            .ok()?;
        Some(self.by_name[found] as usize)
    }

    /// The tensor at `key`, borrowed from the map.
    ///
    /// # Errors
    /// When there is no such tensor.
    pub fn view(&self, key: impl Key) -> Result<TensorView<'_>, CkptError> {
        let i = key.locate(self)?;
        let Place { shard, range } = &self.places[i];
        let bytes = &self.shards[*shard as usize].bytes[range.clone()];
        Ok(TensorView {
            meta: &self.tensors[i],
            bytes,
        })
    }

    /// The values of the tensor at `key` as `f32`; see [`decode_f32`].
    ///
    /// # Errors
    /// When there is no such tensor or it is no weight.
    pub fn tensor_f32(&self, key: impl Key) -> Result<Vec<f32>, CkptError> {
        let view = self.view(key)?;
        decode_f32(view.meta, view.bytes).map_err(|problem| self.convert(problem))
    }

    /// [`tensor_f32`](Self::tensor_f32) into memory that is reused.
    ///
    /// # Errors
    /// As there, and when `out` has another length than the tensor.
    pub fn read_f32(&self, key: impl Key, out: &mut [f32]) -> Result<(), CkptError> {
        let view = self.view(key)?;
        decode_f32_into(view.meta, view.bytes, out).map_err(|problem| self.convert(problem))
    }

    /// Looks once more at the files: same size, same time of change as when they were mapped.
    ///
    /// Worth a call at the end of long work on mapped values, before its result is believed.
    ///
    /// # Errors
    /// [`CkptError::Changed`] names the file.
    pub fn check_unchanged(&self) -> Result<(), CkptError> {
        match self
            .shards
            .iter()
            .find(|shard| !shard.bytes.unchanged(&shard.file))
        {
            Some(shard) => Err(CkptError::Changed {
                file: shard.file.clone(),
            }),
            None => Ok(()),
        }
    }

    fn convert(&self, problem: ConvertError) -> CkptError {
        CkptError::Convert {
            file: self.path.clone(),
            problem,
        }
    }

    fn empty(path: &Path) -> Self {
        Self {
            path: path.into(),
            index: None,
            shards: Vec::new(),
            tensors: Vec::new(),
            places: Vec::new(),
            by_name: Vec::new(),
            metadata: BTreeMap::new(),
        }
    }

    fn sorted(mut self) -> Self {
        self.by_name = by_name(&self.tensors);
        self
    }

    /// Appends the tensors of one file.
    fn add_shard(&mut self, file: PathBuf, bytes: Bytes) -> Result<(), CkptError> {
        let Header {
            tensors,
            ranges,
            metadata,
        } = parse_header(&bytes, bytes.len() as u64).map_err(|problem| CkptError::Header {
            file: file.clone(),
            problem,
        })?;
        let shard = self.shards.len() as u32;
        // In range: the header was checked against the length of `bytes`, a `usize`.
        let place = |r: Range<u64>| Place {
            shard,
            range: r.start as usize..r.end as usize,
        };
        self.places.extend(ranges.into_iter().map(place));
        self.tensors.extend(tensors);
        for (key, value) in metadata {
            self.metadata.entry(key).or_insert(value);
        }
        self.shards.push(Shard {
            file,
            bytes: Arc::new(bytes),
        });
        Ok(())
    }
}

impl Gather for Checkpoint {
    fn add(&mut self, file: PathBuf) -> Result<(), CkptError> {
        let bytes = Bytes::map(&file)?;
        self.add_shard(file, bytes)
    }

    fn gathered(&self) -> &[TensorMeta] {
        &self.tensors
    }
}

impl Source for Checkpoint {
    type Error = CkptError;

    fn tensors(&self) -> &[TensorMeta] {
        &self.tensors
    }

    fn bytes(&self, index: usize) -> Result<Cow<'_, [u8]>, CkptError> {
        self.view(index).map(|view| Cow::Borrowed(view.bytes))
    }

    fn lasting(&self, index: usize) -> Option<LastingBytes> {
        let Place { shard, range } = self.places.get(index)?;
        let owner = Arc::clone(&self.shards[*shard as usize].bytes);
        LastingBytes::new(owner, range.clone())
    }
}
