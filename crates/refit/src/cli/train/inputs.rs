//! Which files a training reads.

use super::plan::Settings;
use crate::{
    classifier::ModelFolder,
    cli::error::CliError,
    run::{InputFile, RunError},
    source::TaskSource,
};
use std::path::{Component, Path, PathBuf};

/// Data and architecture, or data and the model to start from, with their hashes.
pub(super) fn read(settings: &Settings) -> Result<Vec<InputFile>, CliError> {
    let mut files = settings.model.iter().cloned().collect::<Vec<_>>();
    if let Some(init) = &settings.init {
        files.extend(ModelFolder::open(init)?.files());
    }
    let hashed: Result<Vec<_>, RunError> = files.iter().map(|f| InputFile::hash(f)).collect();
    let mut inputs = hashed?;
    let source = TaskSource::parse(&settings.data)?;
    if let Some(data) = source.path() {
        inputs.push(InputFile::hash_data(data, &source.files()?)?);
    }
    Ok(inputs)
}

/// Says from which folder paths lead to the inputs, where that is another one than this.
pub(super) fn told_where(error: CliError, settings: &Settings, target: &Path) -> CliError {
    let data = TaskSource::parse(&settings.data).ok();
    let data = data.as_ref().and_then(|source| match source {
        TaskSource::Path(path) => Some(path),
        TaskSource::Generated(_) => None,
    });
    let mut given = data
        .into_iter()
        .chain(&settings.model)
        .chain(&settings.init);
    if given.all(|path| path.is_absolute()) {
        return error;
    }
    let here = std::env::current_dir().and_then(std::fs::canonicalize);
    match (began_in(&settings.out, target), here) {
        (Some(there), Ok(here)) if there == here => error,
        (Some(there), _) => error.hint(format!(
            "paths were given relative to `{}`: go on from there",
            there.display()
        )),
        (None, _) => error.hint(
            "paths were given relative to the folder where the run was begun: go on from there",
        ),
    }
}

/// The folder from which `out` leads to `target`, so that a run may move together with its inputs.
fn began_in(out: &Path, target: &Path) -> Option<PathBuf> {
    let plain = |part: &Component| matches!(part, Component::Normal(_) | Component::CurDir);
    let name = target.file_name()?;
    let parent = match target.parent()? {
        parent if parent.as_os_str().is_empty() => Path::new("."),
        parent => parent,
    };
    let mut there = std::fs::canonicalize(parent).ok()?.join(name);
    if !out.components().all(|part| plain(&part)) {
        return None;
    }
    for part in out.components().rev() {
        if let Component::Normal(name) = part {
            if there.file_name() != Some(name) {
                return None;
            }
            there.pop();
        }
    }
    Some(there)
}
