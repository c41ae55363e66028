//! `refit man`.

use super::{
    error::{CliError, Exit},
    ui::Ui,
};
use refit_core::ConfigError;

/// Print the manual page of the program or of a verb
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  refit man > refit.1
  refit man merge > refit-merge.1")]
pub(super) struct ManArgs {
    /// A verb [default: the whole program]
    verb: Option<String>,
}

pub(super) fn run(args: &ManArgs, ui: &Ui) -> Result<(), CliError> {
    let program = super::command();
    let (command, title) = match &args.verb {
        None => (program, "refit".to_owned()),
        Some(name) => {
            let known: Vec<_> = program
                .get_subcommands()
                .map(|c| c.get_name().to_owned())
                .collect();
            let Some(verb) = program.find_subcommand(name) else {
                let error = ConfigError::unknown("verb", name, known.iter().map(String::as_str));
                return Err(CliError::new(Exit::Usage, &error));
            };
            (verb.clone(), format!("refit-{name}"))
        }
    };
    let mut page = Vec::new();
    let command = command
        .bin_name(title.replace('-', " "))
        .display_name(title.clone());
    clap_mangen::Man::new(command)
        .title(title.to_uppercase())
        .source(concat!("refit ", env!("CARGO_PKG_VERSION")))
        .render(&mut page)
        .map_err(|e| CliError::plain(Exit::Failed, format!("cannot write the page: {e}")))?;
    ui.print(&String::from_utf8_lossy(&page))
}
