//! Which files a fit reads.

use crate::{
    cli::error::CliError,
    fitting::{FitSettings, RowSource},
    run::{InputFile, RunError, RunRecord, same_inputs},
};
use std::path::PathBuf;

/// The files of rows.
pub(super) fn paths(settings: &FitSettings) -> Result<Vec<PathBuf>, CliError> {
    let source = RowSource::parse(&settings.data)?;
    let data = source.path().map(PathBuf::from);
    Ok(data.into_iter().chain(settings.test.clone()).collect())
}

/// The files of rows, with their hashes.
pub(super) fn read(settings: &FitSettings) -> Result<Vec<InputFile>, CliError> {
    let files = paths(settings)?.into_iter();
    let inputs: Result<_, RunError> = files.map(|file| InputFile::sample(&file)).collect();
    Ok(inputs?)
}

/// Refuses to go on with other rows than the run began with.
pub(super) fn check(record: &RunRecord, settings: &FitSettings) -> Result<(), CliError> {
    Ok(same_inputs(&record.inputs, &read(settings)?)?)
}
