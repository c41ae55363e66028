//! The command line: a file per verb, each parse -> plan -> (dry run stops here) -> run -> show.

mod args;
mod classify;
mod completions;
mod config;
mod demo;
mod device;
mod embed;
mod error;
mod eval;
mod extract;
mod fit;
mod generate;
mod hub;
mod info;
mod interrupt;
mod man;
mod merge;
mod model;
mod progress;
mod report;
mod resume;
mod rows;
mod solvers;
mod train;
mod tune;
mod ui;

pub use error::{CliError, Exit};

use clap::{CommandFactory, Parser, Subcommand};
use refit_core::Cancel;
use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};
use ui::Ui;

/// Learn from models that already exist
#[derive(Debug, Parser)]
#[command(
    name = "refit",
    version,
    arg_required_else_help = true,
    args_override_self = true
)]
#[command(after_help = "\
Exit codes: 0 done, 1 failed, 2 usage, 3 bad input, 4 access or budget refused, 130 interrupted.

Start with `refit demo --quick`, or `refit VERB --help`.")]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Demo(demo::DemoArgs),
    Train(train::TrainArgs),
    Eval(eval::EvalArgs),
    Merge(merge::MergeArgs),
    Extract(extract::ExtractArgs),
    Embed(embed::EmbedArgs),
    Classify(classify::ClassifyArgs),
    Generate(Box<generate::GenerateArgs>),
    Fit(Box<fit::FitArgs>),
    Tune(Box<tune::TuneArgs>),
    Info(info::InfoArgs),
    Report(report::ReportArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// Runs the program on the arguments of this process.
pub fn main() -> ExitCode {
    let cancel = Cancel::default();
    match run(std::env::args_os().collect(), &cancel) {
        Ok(()) => Exit::Done.into(),
        Err(error) => {
            if error.exit() != Exit::Done {
                // If stderr is gone there is nobody to tell.
                let _ = writeln!(io::stderr(), "{error}");
            }
            error.exit().into()
        }
    }
}

/// The definition of the command line, for help pages, completions and manuals.
pub fn command() -> clap::Command {
    Cli::command()
}

fn run(args: Vec<OsString>, cancel: &Cancel) -> Result<(), CliError> {
    let args = config::expand(args)?;
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are results and go to stdout; the rest goes to stderr with exit code 2.
            let _ = error.print();
            std::process::exit(error.exit_code());
        }
    };
    let ui = |args| Ui::new(args, cancel.clone());
    match cli.verb {
        Verb::Demo(args) => demo::run(&args, &ui(args.run.ui)),
        Verb::Train(args) => train::run(&args, &ui(args.run.ui)),
        Verb::Eval(args) => eval::run(&args, &ui(args.run.ui)),
        Verb::Embed(args) => embed::run(&args, &ui(args.run.ui)),
        Verb::Classify(args) => classify::run(&args, &ui(args.run.ui)),
        Verb::Generate(args) => generate::run(&args, &ui(args.run.ui)),
        Verb::Fit(args) => fit::run(&args, &ui(args.run.ui)),
        Verb::Tune(args) => tune::run(&args, &ui(args.run.ui)),
        Verb::Extract(args) => extract::run(&args, &ui(args.run.ui)),
        Verb::Merge(args) => merge::run(&args, &ui(args.run.ui)),
        Verb::Info(args) => info::run(&args, &ui(args.ui)),
        Verb::Report(args) => report::run(&args, &ui(args.ui)),
        Verb::Completions(args) => completions::run(&args, &ui(args::UiArgs::default())),
        Verb::Man(args) => man::run(&args, &ui(args::UiArgs::default())),
    }
}
