//! Which files a demonstration reads.

use crate::{
    cli::error::CliError,
    run::{InputFile, RunError, RunRecord, same_inputs},
};
use rayon::prelude::*;
use refit_io::data::suite_files;
use std::path::Path;

/// The files of a folder of tasks with their hashes; none without one.
pub(super) fn read(data: Option<&Path>) -> Result<Vec<InputFile>, CliError> {
    let files = match data {
        Some(folder) => suite_files(folder)?,
        None => Vec::new(),
    };
    let hashed: Result<Vec<_>, RunError> = files.par_iter().map(|f| InputFile::hash(f)).collect();
    Ok(hashed?)
}

/// Checks that the files are those that the run began with.
pub(super) fn check(record: &RunRecord, data: Option<&Path>) -> Result<(), CliError> {
    Ok(same_inputs(&record.inputs, &read(data)?)?)
}
