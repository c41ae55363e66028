//! Files of real data, which are not part of the repository.

use std::{
    env,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// The file called `file` in the folder of real data, or `None` with a word to stderr, so that a test can pass without.
///
/// The folder is the environment variable `REFIT_DATA`, or `../shared/data` beside the repository.
///
/// ```
/// assert_eq!(refit_testkit::real_data("no such file"), None);
/// ```
pub fn real_data(file: &str) -> Option<PathBuf> {
    found(&folder().join(file))
}

/// The folder of real data itself, or `None` with a word to stderr (see [`real_data`]).
pub fn real_folder() -> Option<PathBuf> {
    found(&folder())
}

fn found(path: &Path) -> Option<PathBuf> {
    // Tests that start programs elsewhere need the whole path.
    if let Ok(path) = path.canonicalize() {
        return Some(path);
    }
    // The handle itself: what the macros print is kept from the reader of a test that passes.
    let _ = writeln!(
        io::stderr(),
        "skipped: no real data at `{}`",
        path.display()
    );
    None
}

fn folder() -> PathBuf {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    env::var_os("REFIT_DATA").map_or_else(|| beside.into(), PathBuf::from)
}
