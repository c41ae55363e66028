//! The state of a training that is not finished, as a file.

use super::ClassifierError;
use refit_core::{Sink, TensorMeta};
use refit_io::{
    atomic::Overwrite,
    ckpt::{Checkpoint, CheckpointWriter, WriteOptions},
};
use refit_nn::ParamLayout;
use refit_train::{SaveResult, TrainState};
use std::{path::Path, sync::Arc};

/// Writes what is needed to go on, in place of what was saved before; `notes` stand beside it in the metadata.
pub(crate) fn save_state(
    path: &Path,
    state: &TrainState,
    notes: impl IntoIterator<Item = (String, String)>,
) -> SaveResult {
    let metas: Vec<TensorMeta> = state.tensors().into_iter().map(|(meta, _)| meta).collect();
    let options = WriteOptions {
        metadata: state.metadata().into_iter().chain(notes).collect(),
        overwrite: Overwrite::Replace,
        ..WriteOptions::default()
    };
    let mut writer = CheckpointWriter::create(path, metas, options)?;
    state.save(&mut ByRef(&mut writer))?;
    Ok(writer.finish()?)
}

/// Reads it back, for a model with this layout.
pub(crate) fn load_state(
    path: &Path,
    layout: &Arc<ParamLayout>,
) -> Result<TrainState, ClassifierError> {
    let checkpoint = Checkpoint::open(path)?;
    Ok(TrainState::load(
        &checkpoint,
        checkpoint.metadata(),
        layout,
    )?)
}

/// A sink that is finished by its owner.
struct ByRef<'a>(&'a mut CheckpointWriter);

impl Sink for ByRef<'_> {
    type Error = <CheckpointWriter as Sink>::Error;

    fn put(&mut self, meta: &TensorMeta, bytes: &[u8]) -> Result<(), Self::Error> {
        self.0.put(meta, bytes)
    }
}
