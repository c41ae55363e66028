//! Which files a demonstration reads.

use crate::{
    cli::error::CliError,
    run::{InputFile, RunError, RunRecord, same_inputs},
};
use rayon::prelude::*;
use refit_io::data::REAL_SUITE;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The files of a folder of tasks with their hashes; none without one.
pub(super) fn read(data: Option<&Path>) -> Result<Vec<InputFile>, CliError> {
    let files = match data {
        Some(folder) => files(folder)?,
        None => Vec::new(),
    };
    let hashed: Result<Vec<_>, RunError> = files.par_iter().map(|f| InputFile::hash(f)).collect();
    Ok(hashed?)
}

/// Checks that the files are those that the run began with.
pub(super) fn check(record: &RunRecord, data: Option<&Path>) -> Result<(), CliError> {
    Ok(same_inputs(&record.inputs, &read(data)?)?)
}

/// The eight files of the real suite, if one of them is there; otherwise every `.npz` file and everything below
/// sub-folders, as [`read_suite`](refit_io::data::read_suite) has it.
fn files(folder: &Path) -> Result<Vec<PathBuf>, RunError> {
    let real = REAL_SUITE.map(|name| folder.join(name));
    if real.iter().any(|path| path.exists()) {
        return Ok(real.into());
    }
    let mut files = Vec::new();
    for path in entries(folder)? {
        if path.is_dir() {
            add_below(&path, &mut files)?;
        } else if path.extension().is_some_and(|e| e == "npz") {
            files.push(path);
        }
    }
    Ok(files)
}

fn add_below(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), RunError> {
    for path in entries(folder)? {
        if path.is_dir() {
            add_below(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// Sorted, without hidden ones.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, RunError> {
    let read = |e| RunError::io("read", folder)(e);
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(read)? {
        let entry = entry.map_err(read)?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use refit_io::atomic::{Overwrite, write_file};

    fn home(names: &[&str]) -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        for name in names {
            let path = home.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            write_file(path, name.as_bytes(), Overwrite::Refuse).unwrap();
        }
        home
    }

    fn names(home: &Path) -> Vec<String> {
        let files = files(home).unwrap();
        let name = |f: &PathBuf| f.strip_prefix(home).unwrap().display().to_string();
        files.iter().map(name).collect()
    }

    #[test]
    fn the_real_suite_is_its_eight_files_whatever_is_beside_them() {
        let home = home(&[REAL_SUITE[0], "fewshot.npz", "pictures/a/1.png"]);
        assert_eq!(names(home.path()), REAL_SUITE);
    }

    #[test]
    fn other_suites_are_their_archives_and_the_files_of_their_folders() {
        let home = home(&["b.npz", "notes.txt", "a/cat/1.png", "a/cat/.hidden"]);
        assert_eq!(names(home.path()), ["a/cat/1.png", "b.npz"]);
    }
}
