//! Results to stdout, words to stderr, and progress in the form that the reader can use.

use super::{
    args::UiArgs,
    error::{CliError, Exit},
    interrupt,
    progress::Bar,
};
use crate::{report::Style, visible::visible};
use refit_core::{Cancel, Progress};
use serde::Serialize;
use std::{
    borrow::Cow,
    io::{self, ErrorKind, IsTerminal, Write},
};

/// The way to the user.
#[derive(Debug)]
pub(super) struct Ui {
    args: UiArgs,
    cancel: Cancel,
    bar: Bar,
}

impl Ui {
    /// Speaks as the flags say; `cancel` is raised when the user wants to stop.
    pub(super) fn new(args: UiArgs, cancel: Cancel) -> Self {
        let bar = Bar::new(io::stderr().is_terminal(), args.quiet);
        Self { args, cancel, bar }
    }

    /// Whether one JSON document is wanted.
    pub(super) const fn json(&self) -> bool {
        self.args.json
    }

    /// Whether long lists are printed whole.
    pub(super) const fn verbose(&self) -> bool {
        self.args.verbose
    }

    /// How tables are printed on stdout.
    #[expect(
        clippy::unused_self,
        reason = "a property of the terminal this speaks to"
    )]
    pub(super) fn style(&self) -> Style {
        let terminal = io::stdout().is_terminal();
        let width = terminal.then(terminal_width).flatten();
        Style {
            // A file has no edge, but lines that an editor does not wrap are worth something.
            width: width.unwrap_or(120),
            bold: terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        }
    }

    /// Says a sentence on stderr, unless it is to be quiet.
    pub(super) fn say(&self, text: impl std::fmt::Display) {
        if !self.args.quiet {
            self.bar.above(|| {
                // If stderr is gone there is nobody to tell.
                let _ = writeln!(io::stderr(), "{}", visible(&text.to_string()));
            });
        }
    }

    /// Prints a result on stdout, after all work.
    ///
    /// # Errors
    /// When stdout cannot be written to; a reader that went away ends the program in peace.
    pub(super) fn print(&self, text: &str) -> Result<(), CliError> {
        self.finish();
        let mut out = io::stdout().lock();
        let newline = if text.ends_with('\n') { "" } else { "\n" };
        write!(out, "{text}{newline}")
            .and_then(|()| out.flush())
            .map_err(|e| not_written(&e))
    }

    /// Says that all work is done and nothing more will be shown of it.
    pub(super) fn finish(&self) {
        self.bar.finish();
        interrupt::work_is_done();
    }

    /// Prints a line on stdout as it becomes known, above the progress.
    ///
    /// # Errors
    /// As [`print`](Self::print).
    pub(super) fn line(&self, line: &str) -> Result<(), CliError> {
        let mut printed = Ok(());
        self.bar.above(|| printed = write_out(line));
        printed.map_err(|e| not_written(&e))
    }

    /// Prints a piece of text on stdout as it becomes known, while no progress is shown. A file gets it as it is.
    ///
    /// # Errors
    /// As [`print`](Self::print).
    #[expect(
        clippy::unused_self,
        reason = "a property of the terminal this speaks to"
    )]
    pub(super) fn stream(&self, piece: &str) -> Result<(), CliError> {
        let shown = if io::stdout().is_terminal() {
            Cow::Owned(visible(piece))
        } else {
            Cow::Borrowed(piece)
        };
        write_out(&shown).map_err(|e| not_written(&e))
    }

    /// Prints a result as one JSON document.
    ///
    /// # Errors
    /// As [`print`](Self::print).
    pub(super) fn print_json(&self, document: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(document)
            .map_err(|e| CliError::plain(Exit::Failed, format!("cannot write JSON: {e}")))?;
        self.print(&text)
    }

    /// Shows a result: as JSON if that is wanted, as text otherwise.
    ///
    /// # Errors
    /// As [`print`](Self::print).
    pub(super) fn show<T: Show + Serialize>(&self, result: &T) -> Result<(), CliError> {
        if self.json() {
            self.print_json(result)
        } else {
            self.print(&visible(&result.text(self)))
        }
    }

    /// Listens for Ctrl-C from here on; for work that asks [`stopped`](Self::stopped) again and again.
    pub(super) fn listen(&self) {
        interrupt::install(self.cancel.clone());
    }

    /// Whether the user wants to stop.
    pub(super) fn stopped(&self) -> bool {
        self.cancel.is_raised()
    }
}

fn write_out(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}

fn not_written(error: &io::Error) -> CliError {
    match error.kind() {
        ErrorKind::BrokenPipe => CliError::closed_pipe(),
        _ => CliError::plain(Exit::Failed, format!("cannot write to stdout: {error}")),
    }
}

/// Something that can be printed as text.
pub(super) trait Show {
    /// The text, for a terminal or a file.
    fn text(&self, ui: &Ui) -> String;
}

impl Progress for Ui {
    fn begin(&self, phase: &str, total: Option<u64>) {
        self.bar.begin(&visible(phase), total);
    }

    fn advance(&self, units: u64) {
        self.bar.advance(units);
    }

    fn note(&self, text: &str) {
        self.bar.note(&visible(text));
    }

    fn cancelled(&self) -> bool {
        self.stopped()
    }
}

/// Columns of the terminal behind stdout.
fn terminal_width() -> Option<usize> {
    let (terminal_size::Width(width), _) = terminal_size::terminal_size()?;
    Some(usize::from(width))
}
