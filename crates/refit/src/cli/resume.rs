//! What verbs that can go on share.

use super::error::{CliError, Exit};
use crate::run::RunRecord;
use serde::de::DeserializeOwned;
use std::path::Path;

/// The settings of the unfinished run `run` of `verb`.
pub(super) fn recorded<T: DeserializeOwned>(
    record: &RunRecord,
    run: &Path,
    verb: &str,
) -> Result<T, CliError> {
    let bad = |words: String| CliError::plain(Exit::BadInput, words);
    let run = run.display();
    if record.verb != verb {
        let found = &record.verb;
        return Err(bad(format!("`{run}` is a run of `refit {found}`"))
            .hint(format!("go on with `refit {found} --resume {run}`")));
    }
    // Another version may compute other numbers, and then the parts would not belong together.
    let (found, expected) = (&record.refit, env!("CARGO_PKG_VERSION"));
    if found != expected {
        let words = format!("`{run}` was begun by refit {found}, this is {expected}");
        return Err(bad(words).hint("go on with that version, or start a new run"));
    }
    serde_json::from_value(record.settings.clone())
        .map_err(|e| bad(format!("`{run}` has unknown settings: {e}")))
}
