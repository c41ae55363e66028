//! Results that are printed as they become known: memory is bounded, and what was printed stays when the work is cut.

use super::{
    error::{CliError, Exit},
    ui::Ui,
};
use crate::report::counted;
use refit_core::Progress;
use refit_io::data::find_pictures;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Texts whose results are held together.
pub(super) const BLOCK: usize = 4096;
/// Pictures whose results are held together.
pub(super) const PICTURES: usize = 256;

/// The pictures at `path`; says how many were left out.
pub(super) fn pictures(path: &Path, ui: &Ui) -> Result<Vec<PathBuf>, CliError> {
    let found = find_pictures(path)?;
    if found.left_out > 0 {
        ui.say(format_args!(
            "left out: {} in `{}`, of a kind that is not read",
            counted(found.left_out as u64, "picture"),
            path.display()
        ));
    }
    Ok(found.paths)
}

/// A list on stdout that grows: one JSON value on each line, or with `--json` one document.
pub(super) struct Rows<'a> {
    ui: &'a Ui,
    /// What its values are called.
    name: &'static str,
    all: usize,
    printed: usize,
}

impl<'a> Rows<'a> {
    /// Begins a list of `all` values, with progress named `phase`.
    pub(super) fn begin(ui: &'a Ui, phase: &str, name: &'static str, all: usize) -> Self {
        ui.begin(phase, Some(all as u64));
        let printed = 0;
        Self {
            ui,
            name,
            all,
            printed,
        }
    }

    /// Prints the next values.
    pub(super) fn print(
        &mut self,
        values: impl IntoIterator<Item = impl Serialize>,
    ) -> Result<(), CliError> {
        let mut text = self.head();
        for value in values {
            text += match (self.ui.json(), self.printed) {
                (false, _) => "",
                (true, 0) => "\n",
                (true, _) => ",\n",
            };
            text += &serde_json::to_string(&value).unwrap_or_default();
            text += if self.ui.json() { "" } else { "\n" };
            self.printed += 1;
        }
        self.ui.line(&text)
    }

    /// Ends the list after work that came to an end or did not.
    pub(super) fn end<T>(self, done: Result<T, CliError>) -> Result<T, CliError> {
        let done = done.map_err(|error| {
            if error.exit() != Exit::Interrupted {
                return error;
            }
            let Self {
                name, all, printed, ..
            } = &self;
            let words = format!("interrupted; {printed} of {all} {name} are printed");
            CliError::plain(Exit::Interrupted, words)
        })?;
        self.ui.finish();
        if self.ui.json() {
            self.ui.line(&(self.head() + "\n]}\n"))?;
        }
        Ok(done)
    }

    /// How the document begins, before the first value: work that fails at once prints nothing.
    fn head(&self) -> String {
        match self.printed {
            0 if self.ui.json() => format!("{{\"{}\": [", self.name),
            _ => String::new(),
        }
    }
}

/// Hears how far a block is, which is a part of a longer phase.
pub(super) struct Block<'a>(pub(super) &'a Ui);

impl Progress for Block<'_> {
    fn begin(&self, _phase: &str, _total: Option<u64>) {}

    fn advance(&self, units: u64) {
        self.0.advance(units);
    }

    fn note(&self, _text: &str) {}

    fn cancelled(&self) -> bool {
        self.0.stopped()
    }
}
