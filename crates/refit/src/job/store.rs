//! What a job has finished, in a folder or nowhere, so that a job that was cut goes on where it was.
//!
//! Every stage is a folder of its own below that of its seed (`seed-0/experts/digits`): a model in the layout of all
//! models, and `stage.json` with what was noted on the way. Scores are files (`seed-0/scores/experts.json`). Each
//! appears complete or not at all, so whatever is there is finished. A stage that is not keeps its state beside the
//! folder that it will have (see [`unfinished`](super::unfinished)).

use super::{found::Notes, unfinished::saved_at};
use crate::{
    classifier::ClassifierError,
    run::{MetricsWriter, RunError, SAVE_EVERY_SECS, keep_metrics, read_document, write_document},
};
use refit_core::{Hint, Seed};
use refit_io::atomic::{OutputDir, Overwrite};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    borrow::Cow,
    cell::RefCell,
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// File of a stage that holds what was noted while its model was made.
const NOTES: &str = "stage.json";

/// A stage could not be kept or read back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A finished stage, or the saved state of another one, is not what was written.
    #[error("the stage `{}` is damaged", path.display())]
    Damaged {
        /// Its folder or file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A finished stage could not be written.
    #[error("cannot keep the stage `{}`", path.display())]
    Keep {
        /// Its folder or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ClassifierError,
    },
    /// A document or a line of measurements could not be written.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl Hint for StoreError {
    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Damaged { path, .. } => {
                let path = path.display();
                Some(format!("remove `{path}` and resume: the stage is done again").into())
            }
            Self::Keep { source, .. } => source.hint(),
            Self::Run(error) => error.hint(),
        }
    }
}

impl StoreError {
    pub(super) fn damaged(
        path: &Path,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Damaged {
            path: path.into(),
            source: source.into(),
        }
    }
}

/// Where a job keeps its finished stages and its measurements.
///
/// ```
/// use refit::job::Store;
/// let home = tempfile::tempdir()?;
/// let store = Store::open(home.path())?;
/// assert!(!store.is_finished(0, "base"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Store {
    folder: Option<Folder>,
    save_every: Duration,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            folder: None,
            save_every: Duration::from_secs(SAVE_EVERY_SECS),
        }
    }
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    metrics: RefCell<MetricsWriter>,
    /// The first measurement that could not be written.
    failed: RefCell<Option<RunError>>,
}

impl Store {
    /// Keeps nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// Keeps everything in `folder`, and finds there what was done before. Measurements of a stage that was cut are
    /// dropped where they are younger than its saved state.
    ///
    /// # Errors
    /// When `metrics.jsonl` cannot be read or written.
    pub fn open(folder: &Path) -> Result<Self, RunError> {
        let last = RefCell::new(HashMap::new());
        keep_metrics(folder, |metric| {
            let Some(seed) = metric.seed.map(Seed::new) else {
                return false;
            };
            let path = stage_path(folder, seed, &metric.series);
            let mut last = last.borrow_mut();
            metric.step <= *last.entry(path).or_insert_with_key(|path| last_step(path))
        })?;
        Ok(Self {
            folder: Some(Folder {
                path: folder.into(),
                metrics: RefCell::new(MetricsWriter::append(folder)?),
                failed: RefCell::default(),
            }),
            ..Self::default()
        })
    }

    /// Saves the state of a stage that often while it goes on (ours: every minute); it changes no result.
    #[must_use]
    pub const fn save_every(mut self, time: Duration) -> Self {
        self.save_every = time;
        self
    }

    /// Whether this stage is finished, such as `experts/digits`.
    pub fn is_finished(&self, seed: u64, stage: &str) -> bool {
        self.of(seed).path(stage).is_some_and(|path| path.is_dir())
    }

    /// Whether no stage of any seed is finished.
    pub fn is_empty(&self) -> bool {
        let entries = self
            .folder
            .as_ref()
            .and_then(|f| fs::read_dir(&f.path).ok());
        let mut names = entries
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| e.file_name());
        !names.any(|name| name.to_string_lossy().starts_with("seed-"))
    }

    /// The stages of one repetition.
    pub(super) const fn of(&self, seed: u64) -> Shelf<'_> {
        Shelf {
            store: self,
            seed: Seed::new(seed),
        }
    }
}

fn seed_path(folder: &Path, seed: Seed) -> PathBuf {
    folder.join(format!("seed-{}", seed.get()))
}

fn stage_path(folder: &Path, seed: Seed, stage: &str) -> PathBuf {
    seed_path(folder, seed).join(stage)
}

/// The last step of a stage that need not be done again.
fn last_step(stage: &Path) -> u64 {
    if stage.is_dir() {
        return u64::MAX;
    }
    // A state that cannot be read is told of by whoever wants to go on with it.
    saved_at(stage).ok().flatten().map_or(0, |saved| saved.step)
}

/// The stages of one repetition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shelf<'a> {
    store: &'a Store,
    seed: Seed,
}

impl Shelf<'_> {
    /// The seed of the repetition.
    pub(super) const fn seed(&self) -> Seed {
        self.seed
    }

    /// How often the state of a stage is saved.
    pub(super) const fn save_every(&self) -> Duration {
        self.store.save_every
    }

    /// The folder of a finished stage.
    pub(super) fn path(&self, stage: &str) -> Option<PathBuf> {
        let folder = self.store.folder.as_ref()?;
        Some(stage_path(&folder.path, self.seed, stage))
    }

    /// Reads a finished stage; `None` where it is still to be done.
    pub(super) fn load<T>(
        &self,
        stage: &str,
        read: impl FnOnce(&Path) -> Result<T, ClassifierError>,
    ) -> Result<Option<(T, Notes)>, StoreError> {
        let Some(path) = self.path(stage).filter(|path| path.is_dir()) else {
            return Ok(None);
        };
        let model = read(&path).map_err(|e| StoreError::damaged(&path, e))?;
        let notes = read_document(&path.join(NOTES)).map_err(|e| StoreError::damaged(&path, e))?;
        Ok(Some((model, notes)))
    }

    /// Reads a stage that was finished together with another one, which is there.
    pub(super) fn load_beside<T>(
        &self,
        other: &str,
        stage: &str,
        read: impl FnOnce(&Path) -> Result<T, ClassifierError>,
    ) -> Result<T, StoreError> {
        match self.load(stage, read)? {
            Some((model, _)) => Ok(model),
            None => {
                let path = self.path(other).unwrap_or_default();
                let problem = format!("`{stage}` was finished with it and is gone");
                Err(StoreError::damaged(&path, problem))
            }
        }
    }

    /// Writes a finished stage. From here on its numbers are those of the file, so that a job that goes on later
    /// computes with the same ones to the last bit.
    pub(super) fn keep(
        &self,
        stage: &str,
        notes: Notes,
        write: impl FnOnce(&Path) -> Result<(), ClassifierError>,
    ) -> Result<Notes, StoreError> {
        let Some(path) = self.path(stage) else {
            return Ok(notes);
        };
        create_parent(&path)?;
        // What is there already belongs to a stage that was cut between two folders.
        let folder = OutputDir::create(&path, Overwrite::Replace).map_err(RunError::from)?;
        write(folder.path()).map_err(|source| StoreError::Keep {
            path: path.clone(),
            source,
        })?;
        write_document(&folder.path().join(NOTES), &notes, Overwrite::Refuse)?;
        folder.finish().map_err(RunError::from)?;
        Ok(read_document(&path.join(NOTES))?)
    }

    /// Reads what was measured before, or measures it and keeps it.
    pub(super) fn measured<T, E>(
        &self,
        name: &str,
        measure: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        E: From<StoreError>,
    {
        let Some(path) = self.path(&format!("scores/{name}.json")) else {
            return measure();
        };
        if !path.exists() {
            let found = measure()?;
            create_parent(&path)?;
            write_document(&path, &found, Overwrite::Refuse).map_err(StoreError::from)?;
        }
        read_document(&path).map_err(|e| StoreError::damaged(&path, e).into())
    }

    /// Writes a line of measurements; a failure is told by [`check`](Self::check).
    pub(super) fn log(&self, stage: &str, step: u64, values: &[(&str, f64)]) {
        let Some(folder) = &self.store.folder else {
            return;
        };
        let mut metrics = folder.metrics.borrow_mut();
        if let Err(error) = metrics.write_of_seed(self.seed, stage, step, values) {
            folder.failed.borrow_mut().get_or_insert(error);
        }
    }

    /// Whether every measurement was written.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let failed = self.store.folder.as_ref().and_then(|f| f.failed.take());
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}

pub(super) fn create_parent(path: &Path) -> Result<(), StoreError> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(|e| RunError::io("create", parent)(e).into())
}
