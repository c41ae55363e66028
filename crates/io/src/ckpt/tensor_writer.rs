//! Writing a checkpoint by position, from several threads, so that killed work can be gone on with.

use super::{
    convert::{check_len, not_a_weight},
    encode::encode,
    error::CkptError,
    open::INDEX_FILE,
    plan::{Plan, index_bytes},
};
use crate::{
    atomic::{AtomicError, Overwrite, write_file},
    file::read_file,
};
use refit_core::{ConfigError, TensorMeta, TensorWrite, WriteError};
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// File of an unfinished output that lists the tensors that are on the disk: one line for each run of them.
const JOURNAL: &str = "written.txt";

/// A journal is a few numbers for every tensor; more was not written by us.
const MAX_JOURNAL_BYTES: u64 = 64 << 20;

/// Writes the tensors of a planned checkpoint into a folder, in any order and from several threads.
///
/// Files have their full size from the start, so a disk that is too small says so before any work. The folder is not
/// complete before [`finish`](Self::finish): give it a name of its own until then. Work that was killed goes on with
/// [`resume`](Self::resume), which knows what [`done`](TensorWrite::done) was said of.
///
/// # Example
/// ```
/// use refit_core::{DType, TensorMeta, TensorWrite};
/// use refit_io::ckpt::{Checkpoint, TensorWriter};
/// let home = tempfile::tempdir()?;
/// let metas = vec![TensorMeta { path: "w".into(), dtype: DType::BF16, shape: vec![3] }];
/// let writer = TensorWriter::create(home.path(), metas, &Default::default(), None)?;
/// writer.write_f32(0, 1, &[2.0, 3.0], &mut Vec::new())?;
/// writer.write_f32(0, 0, &[1.0], &mut Vec::new())?;
/// writer.done(0..1)?;
/// writer.finish()?;
/// assert_eq!(Checkpoint::open(home.path())?.tensor_f32("w")?, [1.0, 2.0, 3.0]);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[derive(Debug)]
pub struct TensorWriter {
    folder: PathBuf,
    metas: Vec<TensorMeta>,
    plan: Plan,
    shard_of: Vec<u32>,
    /// Files that tensors are still written to; opened when needed, closed when all of their tensors are done.
    files: Vec<Mutex<Option<Arc<File>>>>,
    done_before: Vec<bool>,
    journal: Mutex<Journal>,
}

#[derive(Debug)]
struct Journal {
    file: File,
    /// Tensors of each shard that are not done.
    left: Vec<usize>,
}

impl TensorWriter {
    /// Plans an output of `metas` in this order and lays its files out in `folder`: `model.safetensors`, or shards of
    /// at most `shard_bytes` of values.
    ///
    /// # Errors
    /// When the format cannot hold the tensors, a file is there already, or the disk is too small.
    pub fn create(
        folder: &Path,
        metas: Vec<TensorMeta>,
        metadata: &BTreeMap<String, String>,
        shard_bytes: Option<u64>,
    ) -> Result<Self, CkptError> {
        let plan = plan(folder, &metas, metadata, shard_bytes)?;
        for (number, shard) in plan.shards.iter().enumerate() {
            let path = folder.join(plan.file_name(number));
            let failed = |e| AtomicError::from_io("create", &path)(e);
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&path)
                .map_err(failed)?;
            reserve(&file, plan.file_bytes(number)).map_err(failed)?;
            file.write_all(&shard.header).map_err(failed)?;
            file.sync_all().map_err(failed)?;
        }
        // Last: a journal means that all files are there.
        let path = folder.join(JOURNAL);
        let journal = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(&path)
            .map_err(AtomicError::from_io("create", &path))?;
        Ok(Self::new(folder, metas, plan, journal, &[]))
    }

    /// Goes on with the output that a process before this one began in `folder` with the same tensors and settings;
    /// begins afresh where it was killed before it had laid out its files.
    ///
    /// # Errors
    /// Those of [`create`](Self::create); [`CkptError::OtherPlan`] when a file is not what this plan would have made.
    pub fn resume(
        folder: &Path,
        metas: Vec<TensorMeta>,
        metadata: &BTreeMap<String, String>,
        shard_bytes: Option<u64>,
    ) -> Result<Self, CkptError> {
        let plan = plan(folder, &metas, metadata, shard_bytes)?;
        let path = folder.join(JOURNAL);
        if !path.is_file() {
            for number in 0..plan.shards.len() {
                let file = folder.join(plan.file_name(number));
                match fs::remove_file(&file) {
                    Err(e) if e.kind() != ErrorKind::NotFound => {
                        return Err(AtomicError::from_io("remove", &file)(e).into());
                    }
                    _ => {}
                }
            }
            return Self::create(folder, metas, metadata, shard_bytes);
        }
        for number in 0..plan.shards.len() {
            same_file(&folder.join(plan.file_name(number)), &plan, number)?;
        }
        let done = runs_done(&read_file(&path, MAX_JOURNAL_BYTES)?, metas.len());
        let failed = |e| AtomicError::from_io("write", &path)(e);
        // The last line may be torn; a line break ends it.
        let mut journal = OpenOptions::new()
            .append(true)
            .open(&path)
            .map_err(failed)?;
        journal.write_all(b"\n").map_err(failed)?;
        Ok(Self::new(folder, metas, plan, journal, &done))
    }

    fn new(
        folder: &Path,
        metas: Vec<TensorMeta>,
        plan: Plan,
        journal: File,
        done: &[Range<usize>],
    ) -> Self {
        let mut done_before = vec![false; metas.len()];
        for run in done {
            done_before[run.clone()].fill(true);
        }
        let mut shard_of = vec![0; metas.len()];
        for (number, shard) in plan.shards.iter().enumerate() {
            shard_of[shard.tensors.clone()].fill(number as u32);
        }
        let left = plan.shards.iter().map(|shard| {
            let tensors = &done_before[shard.tensors.clone()];
            tensors.iter().filter(|done| !**done).count()
        });
        let left = left.collect();
        Self {
            folder: folder.into(),
            files: plan.shards.iter().map(|_| Mutex::default()).collect(),
            journal: Mutex::new(Journal {
                file: journal,
                left,
            }),
            metas,
            plan,
            shard_of,
            done_before,
        }
    }

    /// Bytes of all values.
    pub fn total_bytes(&self) -> u64 {
        self.plan.total_bytes
    }

    /// Writes the index where there are several files, and forgets what was needed to go on.
    ///
    /// # Errors
    /// [`CkptError::Broken`] when a tensor was not [`done`](TensorWrite::done); when the disk is full.
    pub fn finish(self) -> Result<(), CkptError> {
        let left = &lock(&self.journal).left;
        if let Some(shard) = left.iter().position(|&left| left > 0) {
            let file = self.folder.join(self.plan.file_name(shard));
            let first = self.plan.shards[shard].tensors.start;
            let tensor = self.metas[first].path.to_string();
            return Err(CkptError::Broken { file, tensor });
        }
        if self.plan.shards.len() > 1 {
            let index = index_bytes(&self.metas, &self.plan);
            write_file(self.folder.join(INDEX_FILE), &index, Overwrite::Replace)?;
        }
        let journal = self.folder.join(JOURNAL);
        fs::remove_file(&journal).map_err(AtomicError::from_io("remove", &journal))?;
        Ok(())
    }

    /// The open file of shard `number`.
    fn file(&self, number: usize) -> Result<Arc<File>, CkptError> {
        let mut file = lock(&self.files[number]);
        if let Some(file) = &*file {
            return Ok(Arc::clone(file));
        }
        let path = self.folder.join(self.plan.file_name(number));
        let opened = OpenOptions::new().write(true).open(&path);
        let opened = Arc::new(opened.map_err(AtomicError::from_io("write", &path))?);
        *file = Some(Arc::clone(&opened));
        Ok(opened)
    }

    fn write_at(&self, index: usize, start: usize, bytes: &[u8]) -> Result<(), CkptError> {
        let meta = &self.metas[index];
        let size = meta.size_bytes();
        if start > size || bytes.len() > size - start {
            return Err(CkptError::OutOfRange {
                file: self.folder.clone(),
                tensor: meta.path.as_str().into(),
                unit: "bytes",
                len: size,
                start,
                end: start.saturating_add(bytes.len()),
            });
        }
        let number = self.shard_of[index] as usize;
        let at = self.plan.offsets[index] + start as u64;
        write_all_at(&*self.file(number)?, bytes, at).map_err(|e| {
            let path = self.folder.join(self.plan.file_name(number));
            AtomicError::from_io("write", &path)(e).into()
        })
    }

    fn note_done(&self, tensors: &Range<usize>) -> Result<(), CkptError> {
        if tensors.is_empty() {
            return Ok(());
        }
        let shards = self.shard_of[tensors.start]..=self.shard_of[tensors.end - 1];
        for number in shards.clone().map(|n| n as usize) {
            let path = self.folder.join(self.plan.file_name(number));
            let synced = self.file(number)?.sync_data();
            synced.map_err(AtomicError::from_io("write", &path))?;
        }
        let path = self.folder.join(JOURNAL);
        let failed = |e| AtomicError::from_io("write", &path)(e);
        let mut journal = lock(&self.journal);
        let line = format!("{} {}\n", tensors.start, tensors.end);
        journal.file.write_all(line.as_bytes()).map_err(failed)?;
        for number in shards.map(|n| n as usize) {
            let held = &self.plan.shards[number].tensors;
            let now = tensors.start.max(held.start)..tensors.end.min(held.end);
            let fresh = now.filter(|&tensor| !self.done_before[tensor]).count();
            journal.left[number] = journal.left[number].saturating_sub(fresh);
            if journal.left[number] == 0 {
                *lock(&self.files[number]) = None;
            }
        }
        Ok(())
    }
}

impl TensorWrite for TensorWriter {
    fn tensors(&self) -> &[TensorMeta] {
        &self.metas
    }

    fn is_done(&self, index: usize) -> bool {
        self.done_before[index]
    }

    fn write_f32(
        &self,
        index: usize,
        start: usize,
        values: &[f32],
        scratch: &mut Vec<u8>,
    ) -> Result<(), WriteError> {
        let meta = &self.metas[index];
        if !meta.dtype.is_weight() {
            return Err(self.convert(not_a_weight(meta, meta.dtype)).into());
        }
        let size = meta.dtype.size_bytes();
        scratch.resize(values.len() * size, 0);
        encode(meta.dtype, values, scratch);
        Ok(self.write_at(index, start * size, scratch)?)
    }

    fn write_bytes(&self, index: usize, start: usize, bytes: &[u8]) -> Result<(), WriteError> {
        Ok(self.write_at(index, start, bytes)?)
    }

    fn done(&self, tensors: Range<usize>) -> Result<(), WriteError> {
        let checked = check_len(
            &self.metas[tensors.start.min(self.metas.len() - 1)],
            "tensors",
            tensors.end.min(self.metas.len()),
            tensors.end,
        );
        checked.map_err(|problem| self.convert(problem))?;
        Ok(self.note_done(&tensors)?)
    }
}

impl TensorWriter {
    fn convert(&self, problem: super::ConvertError) -> CkptError {
        CkptError::Convert {
            file: self.folder.clone(),
            problem,
        }
    }
}

fn plan(
    folder: &Path,
    metas: &[TensorMeta],
    metadata: &BTreeMap<String, String>,
    shard_bytes: Option<u64>,
) -> Result<Plan, CkptError> {
    if shard_bytes == Some(0) {
        return Err(ConfigError::range("shard-bytes", 0, "at least 1").into());
    }
    Plan::new(folder, metas, metadata, shard_bytes)
}

/// The guarded value; a thread that panicked while it held the lock left it whole, for every change is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives a file its full size, with room on the disk where the system can promise it.
fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::{fs::FallocateFlags, io::Errno};
        match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
            // A file system that makes no promises.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            reserved => return Ok(reserved?),
        }
    }
    file.set_len(bytes)
}

/// Whether the file at `path` is what `plan` lays out as shard `number`, as far as its size and header tell.
fn same_file(path: &Path, plan: &Plan, number: usize) -> Result<(), CkptError> {
    let expected = &plan.shards[number].header;
    let failed = |source| CkptError::Read {
        file: path.into(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let same_size = file.metadata().map_err(failed)?.len() == plan.file_bytes(number);
    let mut found = vec![0; expected.len()];
    if same_size && io::Read::read_exact(&mut &file, &mut found).is_ok() && found == *expected {
        return Ok(());
    }
    Err(CkptError::OtherPlan { file: path.into() })
}

/// The runs of tensors that a journal lists. What is no run of them, such as a torn line, is not done.
fn runs_done(journal: &[u8], tensors: usize) -> Vec<Range<usize>> {
    let text = String::from_utf8_lossy(journal);
    let run = |line: &str| {
        let (start, end) = line.split_once(' ')?;
        let run = start.parse().ok()?..end.parse().ok()?;
        (run.start < run.end && run.end <= tensors).then_some(run)
    };
    // A line without its end may be a number that lost digits.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().filter_map(run).collect()
}

#[cfg(unix)]
fn write_all_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
}

#[cfg(windows)]
fn write_all_at(file: &File, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_write(file, bytes, at) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => {
                bytes = &bytes[n..];
                at += n as u64;
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ckpt::Checkpoint;
    use refit_core::{DType, Source};

    fn metas() -> Vec<TensorMeta> {
        let meta = |name: &str, dtype, len| TensorMeta {
            path: name.into(),
            dtype,
            shape: vec![len],
        };
        vec![
            meta("a", DType::BF16, 3),
            meta("n", DType::I64, 1),
            meta("b", DType::F32, 5),
            meta("empty", DType::F32, 0),
        ]
    }

    fn fill(writer: &TensorWriter, tensors: Range<usize>) {
        for index in tensors.clone().rev() {
            let meta = &writer.tensors()[index];
            if meta.dtype.is_weight() {
                for at in (0..meta.len()).rev() {
                    let value = [(10 * index + at) as f32];
                    writer
                        .write_f32(index, at, &value, &mut Vec::new())
                        .unwrap();
                }
            } else {
                writer.write_bytes(index, 0, &7i64.to_le_bytes()).unwrap();
            }
        }
        writer.done(tensors).unwrap();
    }

    #[test]
    fn a_killed_output_goes_on_with_what_was_said_to_be_done() {
        for shard_bytes in [None, Some(8)] {
            let home = tempfile::tempdir().unwrap();
            let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
            let create = TensorWriter::create(home.path(), metas(), &metadata, shard_bytes);
            fill(&create.unwrap(), 0..2);
            let torn = home.path().join(JOURNAL);
            let mut torn = OpenOptions::new().append(true).open(torn).unwrap();
            torn.write_all(b"2 4").unwrap(); // without a line break it may have been `2 40`
            let writer =
                TensorWriter::resume(home.path(), metas(), &metadata, shard_bytes).unwrap();
            let done: Vec<bool> = (0..4).map(|i| writer.is_done(i)).collect();
            assert_eq!(done, [true, true, false, false]);
            fill(&writer, 2..4);
            writer.finish().unwrap();
            assert!(!home.path().join(JOURNAL).exists());
            let read = Checkpoint::open(home.path()).unwrap();
            assert_eq!(read.tensors(), metas());
            assert_eq!(
                read.tensor_f32("b").unwrap(),
                [20.0, 21.0, 22.0, 23.0, 24.0]
            );
            assert_eq!(read.tensor_f32("a").unwrap(), [0.0, 1.0, 2.0]);
            assert_eq!(read.metadata(), &metadata);
        }
    }

    #[test]
    fn without_a_journal_it_begins_afresh_and_another_plan_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let none = BTreeMap::new();
        drop(TensorWriter::create(home.path(), metas(), &none, None).unwrap());
        let other = TensorWriter::resume(home.path(), metas()[..2].to_vec(), &none, None);
        assert!(matches!(other, Err(CkptError::OtherPlan { .. })));
        fs::remove_file(home.path().join(JOURNAL)).unwrap();
        let writer = TensorWriter::resume(home.path(), metas(), &none, None).unwrap();
        assert!(!writer.is_done(0));
        let early = writer.finish().unwrap_err();
        assert!(matches!(early, CkptError::Broken { .. }), "{early}");
        let again = TensorWriter::create(home.path(), metas(), &none, None);
        assert!(again.is_err(), "files that are there are not overwritten");
    }

    #[test]
    fn values_outside_a_tensor_and_values_of_a_counter_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let writer = TensorWriter::create(home.path(), metas(), &BTreeMap::new(), None).unwrap();
        let mut scratch = Vec::new();
        assert!(writer.write_f32(0, 2, &[1.0, 2.0], &mut scratch).is_err());
        assert!(writer.write_f32(1, 0, &[1.0], &mut scratch).is_err());
        assert!(writer.write_bytes(2, usize::MAX, &[1]).is_err());
        assert!(writer.done(3..5).is_err());
    }
}
