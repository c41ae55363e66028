//! Which files a training reads.

use super::plan::Settings;
use crate::{
    classifier::ModelFolder,
    cli::error::CliError,
    run::{InputFile, RunError},
    source::TaskSource,
};

/// Data and architecture, or data and the model to start from, with their hashes.
pub(super) fn read(settings: &Settings) -> Result<Vec<InputFile>, CliError> {
    let mut files = settings.model.iter().cloned().collect::<Vec<_>>();
    if let Some(init) = &settings.init {
        files.extend(ModelFolder::open(init)?.files());
    }
    if let Some(data) = TaskSource::parse(&settings.data)?.path() {
        files.push(data.to_path_buf());
    }
    let hashed: Result<Vec<_>, RunError> = files.iter().map(|f| InputFile::hash(f)).collect();
    Ok(hashed?)
}
