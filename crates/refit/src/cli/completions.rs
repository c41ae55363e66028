//! `refit completions`.

use super::{error::CliError, ui::Ui};
use clap_complete::Shell;

/// Print completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  refit completions bash > refit.bash
  refit completions zsh > _refit")]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs, ui: &Ui) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "refit", &mut script);
    ui.print(&String::from_utf8_lossy(&script))
}
