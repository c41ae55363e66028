//! The state of an interrupted training.

use crate::{
    classifier::Classifier,
    cli::error::{CliError, Exit},
};
use refit_core::{Sink, TensorMeta};
use refit_io::ckpt::{Checkpoint, CheckpointWriter, WriteOptions};
use refit_train::TrainState;
use std::path::Path;

/// Writes what is needed to go on.
pub(super) fn write(path: &Path, state: &TrainState) -> Result<(), CliError> {
    let metas: Vec<TensorMeta> = state.tensors().into_iter().map(|(meta, _)| meta).collect();
    let options = WriteOptions {
        metadata: state.metadata().into_iter().collect(),
        ..WriteOptions::default()
    };
    let mut writer = CheckpointWriter::create(path, metas, options)?;
    let mut sink = ByRef(&mut writer);
    state
        .save(&mut sink)
        .map_err(|e| CliError::new(Exit::Failed, &e))?;
    Ok(writer.finish()?)
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
