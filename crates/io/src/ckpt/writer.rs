//! Writing a checkpoint tensor by tensor.

use super::{
    error::CkptError,
    open::{INDEX_FILE, SINGLE_FILE},
    plan::{Plan, index_bytes},
};
use crate::atomic::{AtomicError, OutputDir, OutputFile, Overwrite, write_file};
use refit_core::{ConfigError, Sink, TensorMeta};
use std::{
    collections::BTreeMap,
    io::{BufWriter, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// Small tensors are gathered up to this size; large ones pass through.
const BUFFER_BYTES: usize = 1 << 20;

/// How a checkpoint is written.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Free text for every header, such as `format: pt`.
    pub metadata: BTreeMap<String, String>,
    /// Most bytes of values per file; `None` (the default) writes one file. A larger tensor gets a file of its own.
    pub shard_bytes: Option<u64>,
    /// What to do when the output exists.
    pub overwrite: Overwrite,
}

/// Writes tensors in a planned order, one at a time, and makes them appear under their name at the end.
///
/// Names, element types and shapes are known first, so headers are written before the first value and no more than
/// one tensor has to be in memory. Values are laid out aligned; the header keeps the order of the plan. Dropping
/// the writer before [`finish`](Self::finish) leaves nothing behind.
#[derive(Debug)]
pub struct CheckpointWriter {
    target: PathBuf,
    metas: Vec<TensorMeta>,
    plan: Plan,
    home: Home,
    /// Number of tensors put.
    done: usize,
    open: Option<OpenShard>,
    broken: bool,
}

/// Where the files are gathered.
#[derive(Debug)]
enum Home {
    File(Overwrite),
    Folder(OutputDir),
}

#[derive(Debug)]
struct OpenShard {
    number: usize,
    writer: BufWriter<OutputFile>,
    /// Where the next byte would go.
    at: u64,
}

impl CheckpointWriter {
    /// Plans and begins an output that will hold `metas` in this order.
    ///
    /// A `path` that ends in `.safetensors` becomes one file; any other a folder with `model.safetensors`, or with
    /// `model-00001-of-0000N.safetensors` and `model.safetensors.index.json` when more than one shard is needed.
    ///
    /// # Errors
    /// When the format cannot hold the tensors, the settings do not fit together, or the target is refused.
    pub fn create(
        path: impl AsRef<Path>,
        metas: Vec<TensorMeta>,
        options: WriteOptions,
    ) -> Result<Self, CkptError> {
        let target = path.as_ref();
        let WriteOptions {
            metadata,
            shard_bytes,
            overwrite,
        } = options;
        if shard_bytes == Some(0) {
            return Err(ConfigError::range("shard-bytes", 0, "at least 1").into());
        }
        let plan = Plan::new(target, &metas, &metadata, shard_bytes)?;
        let home = if target.extension().is_some_and(|e| e == "safetensors") {
            let shards = plan.shards.len();
            if shards > 1 {
                return Err(CkptError::NeedsFolder {
                    file: target.into(),
                    shards,
                });
            }
            Home::File(overwrite)
        } else {
            Home::Folder(OutputDir::create(target, overwrite)?)
        };
        let target = target.to_path_buf();
        let mut writer = Self {
            target,
            metas,
            plan,
            home,
            done: 0,
            open: None,
            broken: false,
        };
        writer.open_shard(0)?;
        Ok(writer)
    }

    /// Number of tensors that were put so far.
    pub fn written(&self) -> usize {
        self.done
    }

    /// Completes the output: forces it to the disk and gives it its name.
    ///
    /// # Errors
    /// When tensors are missing, an earlier write failed, or the target was taken meanwhile.
    pub fn finish(mut self) -> Result<(), CkptError> {
        self.check_sound()?;
        if let Some(due) = self.metas.get(self.done) {
            return Err(self.out_of_plan(Some(due), None));
        }
        self.close_shard()?;
        if let Home::Folder(folder) = self.home {
            if self.plan.shards.len() > 1 {
                let index = index_bytes(&self.metas, &self.plan);
                write_file(folder.path().join(INDEX_FILE), &index, Overwrite::Refuse)?;
            }
            folder.finish()?;
        }
        Ok(())
    }

    fn check_sound(&self) -> Result<(), CkptError> {
        if !self.broken {
            return Ok(());
        }
        let tensor = self.metas.get(self.done).map(|meta| meta.path.to_string());
        let tensor = tensor.unwrap_or_else(|| SINGLE_FILE.to_owned());
        Err(CkptError::Broken {
            file: self.target.clone(),
            tensor,
        })
    }

    fn out_of_plan(&self, due: Option<&TensorMeta>, found: Option<&TensorMeta>) -> CkptError {
        let text = |meta: Option<&TensorMeta>| match meta {
            Some(TensorMeta { path, dtype, shape }) => format!("`{path}` {dtype} {shape:?}"),
            None => "the end".to_owned(),
        };
        CkptError::OutOfPlan {
            file: self.target.clone(),
            expected: text(due),
            found: text(found),
        }
    }

    /// Begins file `number` with its header.
    fn open_shard(&mut self, number: usize) -> Result<(), CkptError> {
        let file = match &self.home {
            Home::File(overwrite) => OutputFile::create(&self.target, *overwrite)?,
            Home::Folder(folder) => {
                let name = self.plan.file_name(number);
                OutputFile::create(folder.path().join(name), Overwrite::Refuse)?
            }
        };
        let header = &self.plan.shards[number].header;
        let mut writer = BufWriter::with_capacity(BUFFER_BYTES, file);
        writer
            .write_all(header)
            .map_err(AtomicError::from_io("write", &self.target))?;
        self.open = Some(OpenShard {
            number,
            writer,
            at: header.len() as u64,
        });
        Ok(())
    }

    fn close_shard(&mut self) -> Result<(), CkptError> {
        if let Some(OpenShard { writer, .. }) = self.open.take() {
            let file = writer
                .into_inner()
                .map_err(|e| AtomicError::from_io("write", &self.target)(e.into_error()))?;
            file.finish()?;
        }
        Ok(())
    }

    /// Writes one tensor where the plan wants it.
    fn write(&mut self, index: usize, bytes: &[u8]) -> Result<(), CkptError> {
        let open = self.open.as_ref().map(|open| open.number);
        let number = open.filter(|&n| self.plan.shards[n].tensors.contains(&index));
        if number.is_none() {
            self.close_shard()?;
            self.open_shard(open.map_or(0, |n| n + 1))?;
        }
        let Some(shard) = &mut self.open else {
            return self.check_sound();
        };
        let offset = self.plan.offsets[index];
        let failed = |e| AtomicError::from_io("write", &self.target)(e);
        if shard.at != offset {
            shard.writer.seek(SeekFrom::Start(offset)).map_err(failed)?;
        }
        shard.writer.write_all(bytes).map_err(failed)?;
        shard.at = offset + bytes.len() as u64;
        Ok(())
    }
}

impl Sink for CheckpointWriter {
    type Error = CkptError;

    /// Takes the next tensor of the plan. A tensor that does not fit the plan is refused and changes nothing.
    fn put(&mut self, meta: &TensorMeta, bytes: &[u8]) -> Result<(), CkptError> {
        self.check_sound()?;
        let due = self.metas.get(self.done);
        if due != Some(meta) {
            return Err(self.out_of_plan(due, Some(meta)));
        }
        let expected = meta.size_bytes();
        if bytes.len() != expected {
            let problem = super::ConvertError::Length {
                tensor: meta.path.to_string(),
                unit: "bytes",
                found: bytes.len(),
                expected,
            };
            return Err(CkptError::Convert {
                file: self.target.clone(),
                problem,
            });
        }
        // Until it has succeeded, a write may have left half a tensor.
        self.broken = true;
        self.write(self.done, bytes)?;
        self.broken = false;
        self.done += 1;
        Ok(())
    }
}
