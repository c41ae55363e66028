//! Files of real data, which are not part of the repository.

use std::{env, path::PathBuf};

/// The file called `file` in the folder of real data, or `None` with a word to stderr, so that a test can pass without.
///
/// The folder is the environment variable `REFIT_DATA`, or `../shared/data` beside the repository.
///
/// ```
/// assert_eq!(refit_testkit::real_data("no such file"), None);
/// ```
#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
pub fn real_data(file: &str) -> Option<PathBuf> {
    let path = folder().join(file);
    let found = path.is_file();
    if !found {
        eprintln!("skipped: no real data");
    }
    found.then_some(path)
}

fn folder() -> PathBuf {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");
    env::var_os("REFIT_DATA").map_or_else(|| beside.into(), PathBuf::from)
}
