//! One way to read the tensors of any checkpoint: by position, a range of values at a time, from several threads.

mod file;
mod gather;
mod packed;
mod plain;
mod recent;
mod rows;
mod strided;
mod tensor;

pub(super) use file::RandomFile;
pub use tensor::FileTensor;

use super::{
    convert::{check_len, not_a_weight},
    decode::decode,
    error::{CkptError, ConvertError},
    header::by_name,
    key::nearest_name,
    open::{EVERY_FORMAT, Found, Gather, gather_listed, locate},
    scheme::Scheme,
};
use packed::Packed;
use recent::{Recent, Whole};
use refit_core::TensorMeta;
use rows::Rows;
use std::{
    collections::BTreeMap,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};
use strided::Strided;

/// The tensors of a checkpoint, read from its files by position.
///
/// Nothing is mapped: memory in use is what the caller gives, and a file that is cut meanwhile is an error and no
/// signal. Names, shapes and places are checked when it is opened, as [`Checkpoint`](super::Checkpoint) does. All
/// reading takes `&self`; threads share one reader.
///
/// # Formats
/// - safetensors; weights that `config.json` beside it says are packed (GPTQ, compressed-tensors, eight-bit floats
///   with scales) are listed as the weights they stand for, and computed while they are read;
/// - PyTorch archives (`.bin`, `.pt`, `.pth`, since 1.6), whose pickle is read and never run;
/// - GGUF, whose blocks are decoded while they are read; for models of the Llama family under the names and in the
///   row order of the Hugging Face model.
///
/// What cannot be read piece by piece (packed weights; PyTorch tensors whose values lie apart) is read as a whole and
/// kept until the next but one is; at most that much memory is in use beside what the caller gives.
///
/// # Example
/// ```
/// use refit_core::{DType, Sink, TensorMeta};
/// use refit_io::ckpt::{CheckpointWriter, TensorReader, WriteOptions};
/// let home = tempfile::tempdir()?;
/// let file = home.path().join("tiny.safetensors");
/// let weight = TensorMeta { path: "w".into(), dtype: DType::BF16, shape: vec![2, 2] };
/// let mut writer = CheckpointWriter::create(&file, vec![weight.clone()], WriteOptions::default())?;
/// writer.put(&weight, &[0x80, 0x3f, 0x00, 0x40, 0x40, 0x40, 0x80, 0x40])?;
/// writer.finish()?;
///
/// let reader = TensorReader::open(&file)?;
/// let at = reader.position("w").ok_or("no `w`")?;
/// assert_eq!(reader.tensors()[at], weight);
/// let (mut row, mut scratch) = ([0.0; 2], Vec::new());
/// reader.read_f32(at, 2..4, &mut row, &mut scratch)?;
/// assert_eq!(row, [3.0, 4.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TensorReader {
    path: PathBuf,
    index: Option<PathBuf>,
    files: Vec<RandomFile>,
    tensors: Vec<TensorMeta>,
    values: Vec<Values>,
    by_name: Vec<u32>,
    metadata: BTreeMap<String, String>,
    config: Option<serde_json::Map<String, serde_json::Value>>,
    recent: Recent,
}

/// Where the values of a tensor lie: little-endian, row-major, from `offset` on.
#[derive(Clone, Copy, Debug)]
struct Place {
    file: u32,
    offset: u64,
}

/// Where values come from.
#[derive(Debug)]
enum Values {
    /// As the reader hands them out.
    Plain(Place),
    Strided(Box<Strided>),
    Rows(Box<Rows>),
    Packed(Box<Packed>),
}

impl TensorReader {
    /// Opens a file of any format, an index (`.json`), or a folder with `model.safetensors`, `pytorch_model.bin`, the
    /// index of either, or a single `.gguf` file. A folder with several is read as the first of these, as other tools do.
    ///
    /// # Errors
    /// When anything at all is wrong with headers, index or shards, and for weights that are packed in an unknown way;
    /// values are not looked at.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CkptError> {
        let mut reader = Self::open_stored(path)?;
        let first = reader.files.first().map(RandomFile::path);
        let folder = first.and_then(Path::parent).unwrap_or(Path::new(""));
        let scheme = Scheme::of_folder(folder);
        reader.see_through(&scheme)?;
        scheme.refuse_packed(&reader.path, &reader.tensors)?;
        Ok(reader.sorted())
    }

    /// [`open`](Self::open), but packed weights are listed as the integers and scales that are stored.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_stored(path: impl AsRef<Path>) -> Result<Self, CkptError> {
        let path = path.as_ref();
        let mut reader = Self::empty(path);
        match locate(path, EVERY_FORMAT)? {
            Found::File(file) => reader.add(file)?,
            Found::Index(index) => {
                gather_listed(&mut reader, &index)?;
                reader.index = Some(index);
            }
        }
        Ok(reader.sorted())
    }

    /// Reads a checkpoint file that is already in memory; `label` stands for its path in messages.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(label: impl Into<PathBuf>, bytes: Vec<u8>) -> Result<Self, CkptError> {
        let label = label.into();
        let mut reader = Self::empty(&label);
        reader.add_file(RandomFile::held(label, bytes))?;
        Ok(reader.sorted())
    }

    /// The path it was opened with.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Every file it is made of: the index, if there is one, then the shards in order.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let shards = self.files.iter().map(RandomFile::path);
        self.index.as_deref().into_iter().chain(shards)
    }

    /// The free text of the headers. Where shards disagree, the first one counts.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The `config.json` that the file itself tells as far as it does (GGUF); `None` where a file of that name does.
    pub fn config(&self) -> Option<&serde_json::Map<String, serde_json::Value>> {
        self.config.as_ref()
    }

    /// All tensors: shards by file name, within a shard the order of its header. Names are unique.
    pub fn tensors(&self) -> &[TensorMeta] {
        &self.tensors
    }

    /// The index in [`tensors`](Self::tensors) of the tensor called `name`, if there is one.
    pub fn position(&self, name: &str) -> Option<usize> {
        let name_of = |&i: &u32| self.tensors[i as usize].path.as_str();
        let order = &self.by_name;
        let found = order.binary_search_by(|i| name_of(i).cmp(name)).ok()?;
        Some(order[found] as usize)
    }

    /// [`position`](Self::position), or an error that names what is closest.
    ///
    /// # Errors
    /// [`CkptError::NoTensor`].
    pub fn locate(&self, name: &str) -> Result<usize, CkptError> {
        self.position(name).ok_or_else(|| CkptError::NoTensor {
            file: self.path.clone(),
            tensor: name.to_owned(),
            nearest: nearest_name(name, &self.tensors),
        })
    }

    /// Reads the values `range` (row-major) of the tensor at `index` into `out`, as `f32`.
    ///
    /// F16 and BF16 are exact; F64 is rounded to nearest. `scratch` is working memory to be reused: it grows to
    /// at most [`SCRATCH_BYTES`](Self::SCRATCH_BYTES) and carries nothing from call to call.
    ///
    /// # Errors
    /// When there is no such tensor or range, it is no weight ([`DType::is_weight`](refit_core::DType::is_weight)),
    /// `out` has another length than `range`, or the file cannot be read or was cut ([`CkptError::Changed`]).
    /// # Cost
    /// One pass over the stored bytes; F32 goes into `out` directly.
    pub fn read_f32(
        &self,
        index: usize,
        range: Range<usize>,
        out: &mut [f32],
        scratch: &mut Vec<u8>,
    ) -> Result<(), CkptError> {
        let (meta, values) = self.at(index)?;
        self.check_range(meta, "values", meta.len(), &range)?;
        let checked = check_len(meta, "values", out.len(), range.len());
        checked.map_err(|problem| self.convert(problem))?;
        if !meta.dtype.is_weight() {
            return Err(self.convert(not_a_weight(meta, meta.dtype)));
        }
        if range.is_empty() {
            return Ok(());
        }
        match values {
            Values::Plain(Place { file, offset }) => {
                let file = self.file(*file);
                plain::read_f32(file, *offset, meta.dtype, range.start, out, scratch)
            }
            Values::Rows(rows) => rows.read_f32(self.file(rows.file), range, out, scratch),
            Values::Strided(_) | Values::Packed(_) => {
                match (&*self.whole(index, meta, values)?, values) {
                    (Whole::Unpacked(whole), Values::Packed(packed)) => {
                        packed.read_f32(whole, meta.shape[1], range, out);
                    }
                    (Whole::Bytes(bytes), _) => {
                        let size = meta.dtype.size_bytes();
                        decode(
                            meta.dtype,
                            &bytes[range.start * size..range.end * size],
                            out,
                        );
                    }
                    (Whole::Unpacked(_), _) => {
                        unreachable!("invariant: only packed weights unpack")
                    }
                }
                Ok(())
            }
        }
    }

    /// Reads the bytes `range` of the tensor at `index` into `out`, as they are stored: little-endian, row-major, of
    /// the type and shape that [`tensors`](Self::tensors) tells. For copying without looking.
    ///
    /// # Errors
    /// When there is no such tensor or range, `out` has another length than `range`, the values are computed
    /// ([`CkptError::Computed`]), or the file cannot be read.
    pub fn read_bytes(
        &self,
        index: usize,
        range: Range<usize>,
        out: &mut [u8],
    ) -> Result<(), CkptError> {
        let (meta, values) = self.at(index)?;
        self.check_range(meta, "bytes", meta.size_bytes(), &range)?;
        let checked = check_len(meta, "bytes", out.len(), range.len());
        checked.map_err(|problem| self.convert(problem))?;
        match values {
            Values::Plain(Place { file, offset }) => {
                self.file(*file).read_at(offset + range.start as u64, out)
            }
            Values::Rows(rows) if rows.is_plain() => {
                rows.read_bytes(self.file(rows.file), range, out)
            }
            Values::Strided(_) => {
                if let Whole::Bytes(bytes) = &*self.whole(index, meta, values)? {
                    out.copy_from_slice(&bytes[range]);
                }
                Ok(())
            }
            Values::Rows(_) | Values::Packed(_) => Err(CkptError::Computed {
                file: self.path.clone(),
                tensor: meta.path.as_str().into(),
            }),
        }
    }

    /// A tensor that cannot be read piece by piece.
    fn whole(
        &self,
        index: usize,
        meta: &TensorMeta,
        values: &Values,
    ) -> Result<Arc<Whole>, CkptError> {
        self.recent.get(index, || match values {
            Values::Packed(packed) => Ok(Whole::Unpacked(self.unpack(packed, meta)?)),
            Values::Strided(strided) => {
                let file = self.file(strided.file);
                Ok(Whole::Bytes(strided.gather(file, meta)?))
            }
            Values::Plain(_) | Values::Rows(_) => {
                unreachable!("invariant: only what lies apart is read as a whole")
            }
        })
    }

    fn file(&self, number: u32) -> &RandomFile {
        &self.files[number as usize]
    }

    /// Whether the tensor at `index` lies in its file as [`read_bytes`](Self::read_bytes) gives it. No, where its
    /// values are computed, and where there is no such tensor.
    pub fn is_stored(&self, index: usize) -> bool {
        match self.at(index) {
            Ok((_, Values::Plain(_) | Values::Strided(_))) => true,
            Ok((_, Values::Rows(rows))) => rows.is_plain(),
            Ok((_, Values::Packed(_))) | Err(_) => false,
        }
    }

    /// Says that the tensor at `index` will be read soon, so that a disk may begin; a hint, and never an error.
    pub fn prefetch(&self, index: usize) {
        let Ok((meta, values)) = self.at(index) else {
            return;
        };
        let (file, offset, bytes) = match values {
            Values::Plain(place) => (place.file, place.offset, meta.size_bytes() as u64),
            Values::Strided(strided) => (strided.file, strided.offset, strided.span),
            Values::Rows(rows) => {
                let blocks = meta.len() / rows.kind.block_len();
                let bytes = blocks * rows.kind.block_bytes();
                (rows.file, rows.offset, bytes as u64)
            }
            Values::Packed(packed) => {
                let (meta, place) = packed.weight();
                (place.file, place.offset, meta.size_bytes() as u64)
            }
        };
        self.file(file).prefetch(offset..offset + bytes);
    }

    /// Most bytes that [`read_f32`](Self::read_f32) makes `scratch` grow to: small enough to stay in the cache
    /// between reading and decoding.
    pub const SCRATCH_BYTES: usize = plain::BLOCK_BYTES;

    /// Looks once more at the files: same size, same time of change as when they were opened.
    ///
    /// Worth a call at the end of long work, before its result is believed.
    ///
    /// # Errors
    /// [`CkptError::Changed`] names the file.
    pub fn check_unchanged(&self) -> Result<(), CkptError> {
        match self.files.iter().find(|file| !file.unchanged()) {
            Some(file) => Err(CkptError::Changed {
                file: file.path().into(),
            }),
            None => Ok(()),
        }
    }

    fn at(&self, index: usize) -> Result<(&TensorMeta, &Values), CkptError> {
        match (self.tensors.get(index), self.values.get(index)) {
            (Some(meta), Some(values)) => Ok((meta, values)),
            _ => Err(CkptError::NoIndex {
                file: self.path.clone(),
                index,
                len: self.tensors.len(),
            }),
        }
    }

    fn check_range(
        &self,
        meta: &TensorMeta,
        unit: &'static str,
        len: usize,
        range: &Range<usize>,
    ) -> Result<(), CkptError> {
        if range.start <= range.end && range.end <= len {
            return Ok(());
        }
        Err(CkptError::OutOfRange {
            file: self.path.clone(),
            tensor: meta.path.as_str().into(),
            unit,
            len,
            start: range.start,
            end: range.end,
        })
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
            files: Vec::new(),
            tensors: Vec::new(),
            values: Vec::new(),
            by_name: Vec::new(),
            metadata: BTreeMap::new(),
            config: None,
            recent: Recent::default(),
        }
    }

    fn sorted(mut self) -> Self {
        self.by_name = by_name(&self.tensors);
        self
    }
}
