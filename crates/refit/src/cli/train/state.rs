//! The state of an unfinished training.

use crate::{
    classifier::{Classifier, ClassifierError},
    cli::error::CliError,
};
use refit_core::{Sink, TensorMeta};
use refit_io::{
    atomic::Overwrite,
    ckpt::{Checkpoint, CheckpointWriter, WriteOptions},
};
use refit_train::{SaveResult, TrainError, TrainState};
use std::path::Path;

/// Writes what is needed to go on, in place of what was saved before.
pub(super) fn write(path: &Path, state: &TrainState) -> SaveResult {
    let metas: Vec<TensorMeta> = state.tensors().into_iter().map(|(meta, _)| meta).collect();
    let options = WriteOptions {
        metadata: state.metadata().into_iter().collect(),
        overwrite: Overwrite::Replace,
        ..WriteOptions::default()
    };
    let mut writer = CheckpointWriter::create(path, metas, options)?;
    state.save(&mut ByRef(&mut writer))?;
    Ok(writer.finish()?)
}

/// As [`write`], outside the loop.
pub(super) fn save(path: &Path, state: &TrainState) -> Result<(), CliError> {
    write(path, state).map_err(|error| ClassifierError::from(TrainError::Save(error)).into())
}

/// A sink that is finished by its owner.
struct ByRef<'a>(&'a mut CheckpointWriter);

impl Sink for ByRef<'_> {
    type Error = <CheckpointWriter as Sink>::Error;

    fn put(&mut self, meta: &TensorMeta, bytes: &[u8]) -> Result<(), Self::Error> {
        self.0.put(meta, bytes)
    }
}

/// Reads it back, for the same model.
pub(super) fn read(path: &Path, model: &Classifier) -> Result<TrainState, CliError> {
    let checkpoint = Checkpoint::open(path)?;
    TrainState::load(&checkpoint, checkpoint.metadata(), model.weights.layout())
        .map_err(|e| CliError::bad_input(&e))
}
