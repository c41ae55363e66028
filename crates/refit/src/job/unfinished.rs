//! The state of a stage that is not finished, saved now and then: `seed-0/base.state.safetensors` of a training,
//! `seed-0/adamerging-task.state.json` of an adaptation. Each is replaced whole, and gone when the stage is finished.

use super::store::{Shelf, StoreError, create_parent};
use crate::{
    classifier::{load_state, save_state},
    run::{RunError, read_document, write_document},
};
use refit_io::{atomic::Overwrite, ckpt::Checkpoint};
use refit_nn::ParamLayout;
use refit_train::{SaveResult, TrainState};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    cell::Cell,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

/// How far a saved stage has come.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SavedAt {
    /// Steps done.
    pub(super) step: u64,
    /// Seconds they took.
    pub(super) seconds: f64,
}

/// A saved adaptation: how far it has come, and what it goes on with.
#[derive(Serialize, Deserialize)]
struct Document<T> {
    at: SavedAt,
    state: T,
}

/// How far the stage whose folder will be `stage` has come, if its state was saved.
pub(super) fn saved_at(stage: &Path) -> Result<Option<SavedAt>, StoreError> {
    let [training, document] = files(stage);
    if document.is_file() {
        let read: Document<serde::de::IgnoredAny> = read(&document)?;
        return Ok(Some(read.at));
    }
    if !training.is_file() {
        return Ok(None);
    }
    let checkpoint = Checkpoint::open(&training).map_err(|e| StoreError::damaged(&training, e))?;
    let number = |key: &str| checkpoint.metadata().get(key).map(String::as_str);
    let step = number("step").and_then(|text| text.parse().ok());
    let seconds = number("seconds").and_then(|text| text.parse().ok());
    match (step, seconds) {
        (Some(step), Some(seconds)) => Ok(Some(SavedAt { step, seconds })),
        _ => {
            let problem = "its metadata do not say how far it has come";
            Err(StoreError::damaged(&training, problem))
        }
    }
}

fn read<T: DeserializeOwned>(file: &Path) -> Result<T, StoreError> {
    read_document(file).map_err(|e| StoreError::damaged(file, e))
}

/// The files of a training and of an adaptation; a stage has one of them.
fn files(stage: &Path) -> [PathBuf; 2] {
    let name = stage.file_name().unwrap_or_default().to_string_lossy();
    ["safetensors", "json"].map(|kind| stage.with_file_name(format!("{name}.state.{kind}")))
}

/// The time of a stage, over all processes that work on it.
pub(super) struct Clock {
    every: Duration,
    before: f64,
    started: Instant,
    saved: Cell<Instant>,
}

impl Clock {
    /// How often the state is saved.
    pub(super) const fn every(&self) -> Duration {
        self.every
    }

    /// Seconds of earlier processes.
    pub(super) const fn before(&self) -> f64 {
        self.before
    }

    /// Seconds so far.
    pub(super) fn seconds(&self) -> f64 {
        self.before + self.started.elapsed().as_secs_f64()
    }

    /// Whether the state is to be saved now.
    pub(super) fn is_due(&self) -> bool {
        self.saved.get().elapsed() >= self.every
    }
}

impl Shelf<'_> {
    /// Starts the clock of a stage, or goes on with it.
    pub(super) fn clock(&self, stage: &str) -> Result<Clock, StoreError> {
        let saved = self.path(stage).map(|path| saved_at(&path)).transpose()?;
        let now = Instant::now();
        Ok(Clock {
            every: self.save_every(),
            before: saved.flatten().map_or(0.0, |saved| saved.seconds),
            started: now,
            saved: Cell::new(now),
        })
    }

    /// Saves a training, in place of what was saved before.
    pub(super) fn save_training(
        &self,
        stage: &str,
        state: &TrainState,
        clock: &Clock,
    ) -> SaveResult {
        let Some([file, _]) = self.path(stage).map(|path| files(&path)) else {
            return Ok(());
        };
        create_parent(&file)?;
        let seconds = ("seconds".to_owned(), clock.seconds().to_string());
        save_state(&file, state, [seconds])
    }

    /// The saved state of a training of weights with this layout.
    pub(super) fn saved_training(
        &self,
        stage: &str,
        layout: &Arc<ParamLayout>,
    ) -> Result<Option<TrainState>, StoreError> {
        let files = self.path(stage).map(|path| files(&path));
        let Some([file, _]) = files.filter(|[file, _]| file.is_file()) else {
            return Ok(None);
        };
        let state = load_state(&file, layout).map_err(|e| StoreError::damaged(&file, e))?;
        Ok(Some(state))
    }

    /// Saves what an adaptation goes on with after `step` steps, in place of what was saved before.
    pub(super) fn save(
        &self,
        stage: &str,
        step: u64,
        state: impl Serialize,
        clock: &Clock,
    ) -> Result<(), StoreError> {
        let Some([_, file]) = self.path(stage).map(|path| files(&path)) else {
            return Ok(());
        };
        create_parent(&file)?;
        let seconds = clock.seconds();
        let at = SavedAt { step, seconds };
        write_document(&file, &Document { at, state }, Overwrite::Replace)?;
        clock.saved.set(Instant::now());
        Ok(())
    }

    /// What an adaptation goes on with, if it was saved, and the file that says so.
    pub(super) fn saved<T: DeserializeOwned>(
        &self,
        stage: &str,
    ) -> Result<Option<(T, PathBuf)>, StoreError> {
        let files = self.path(stage).map(|path| files(&path));
        let Some([_, file]) = files.filter(|[_, file]| file.is_file()) else {
            return Ok(None);
        };
        let document: Document<T> = read(&file)?;
        Ok(Some((document.state, file)))
    }

    /// Removes the saved state of a stage that is finished.
    pub(super) fn forget(&self, stage: &str) -> Result<(), StoreError> {
        for file in self.path(stage).iter().flat_map(|path| files(path)) {
            match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(RunError::io("remove", &file)(error).into());
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Store;
    use refit_core::Hint;
    use refit_io::atomic::write_file;

    #[test]
    fn what_was_saved_is_found_with_its_time_until_it_is_forgotten() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        let (shelf, stage) = (store.of(7), "adamerging-task");
        let fresh = shelf.clock(stage).unwrap();
        assert!(fresh.before().abs() < 1e-12 && !fresh.is_due());
        let clock = Clock {
            before: 40.0,
            ..fresh
        };
        shelf.save(stage, 3, [1u64, 2], &clock).unwrap();
        let (state, file) = shelf.saved::<[u64; 2]>(stage).unwrap().unwrap();
        assert_eq!(state, [1, 2]);
        assert!(file.ends_with("seed-7/adamerging-task.state.json"));
        let found = saved_at(&shelf.path(stage).unwrap()).unwrap().unwrap();
        assert!(found.step == 3 && found.seconds >= 40.0);
        assert!(shelf.clock(stage).unwrap().before() >= 40.0);
        shelf.forget(stage).unwrap();
        shelf.forget(stage).unwrap();
        assert!(!file.exists() && shelf.saved::<[u64; 2]>(stage).unwrap().is_none());
    }

    #[test]
    fn a_saved_state_that_cannot_be_read_is_named() {
        for kind in ["safetensors", "json"] {
            let home = tempfile::tempdir().unwrap();
            let file = home.path().join(format!("base.state.{kind}"));
            write_file(&file, b"{\"at\": ", Overwrite::Refuse).unwrap();
            let error = saved_at(&home.path().join("base")).unwrap_err();
            let hint = error.hint().unwrap();
            assert!(hint.contains(&file.display().to_string()), "{hint}");
        }
    }

    #[test]
    fn without_a_folder_nothing_is_saved() {
        let store = Store::none();
        let shelf = store.of(0);
        let clock = shelf.clock("joint").unwrap();
        shelf.save("joint", 1, 0, &clock).unwrap();
        shelf.forget("joint").unwrap();
        assert!(shelf.saved::<u64>("joint").unwrap().is_none());
    }
}
