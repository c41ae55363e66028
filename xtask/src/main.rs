//! Tasks of the repository: `cargo xtask validate`, `cargo xtask layers`, `cargo xtask cards [--write]`.

mod cards;
mod gate;
mod layers;
mod say;

use say::say;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

const USAGE: &str = "\
cargo xtask validate           every gate: what continuous integration runs
cargo xtask validate --quick   the gates that take seconds
cargo xtask layers             arrows between crates point down
cargo xtask cards [--write]    the table of methods is that of the cards";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let root = root();
    let result = match args.as_slice() {
        ["validate"] => gate::validate(&root, gate::Extent::All),
        ["validate", "--quick"] => gate::validate(&root, gate::Extent::Quick),
        ["layers"] => layers::check(&root),
        ["cards"] => cards::check(&root),
        ["cards", "--write"] => cards::write(&root),
        _ => Err(USAGE.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            say(&problem);
            ExitCode::FAILURE
        }
    }
}

/// The root of the repository.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}
