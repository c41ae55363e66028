//! The examples at the end of every help page work as printed.

use crate::embed::{encoder, questions, sentences};
use crate::generate::writer;
use crate::sandbox::{PERCEPTRON, Sandbox, repository};
use crate::texts::mnli;
use std::process::Command;

/// Commands below `Examples:`, each on a line or on several that end in a backslash.
fn examples(help: &str) -> Vec<String> {
    let (_, rest) = help.split_once("Examples:\n").unwrap_or_default();
    let joined = rest.replace("\\\n", " ");
    joined
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(Into::into)
        .collect()
}

/// In the order in which a newcomer meets them: what one writes, another reads.
const VERBS: [&str; 14] = [
    "train",
    "eval",
    "info",
    "report",
    "merge",
    "extract",
    "embed",
    "generate",
    "fit",
    "tune",
    "classify",
    "completions",
    "man",
    "demo",
];

#[test]
fn every_verb_is_covered() {
    let mut known: Vec<String> = refit::cli::command()
        .get_subcommands()
        .map(|c| c.get_name().to_owned())
        .collect();
    let mut covered = VERBS.map(String::from).to_vec();
    known.sort();
    covered.sort();
    assert_eq!(known, covered);
}

#[test]
fn the_examples_of_every_verb_work_as_printed() {
    let sandbox = Sandbox::new();
    let printed = std::fs::read(repository().join(PERCEPTRON)).unwrap();
    sandbox.file(PERCEPTRON, printed);
    encoder(&sandbox);
    writer(&sandbox);
    mnli(&sandbox);
    sentences(&sandbox);
    questions(&sandbox);
    let mut printed = Vec::new();
    for verb in VERBS {
        let help = sandbox.done(&format!("{verb} --help")).out;
        let lines = examples(&help);
        assert_eq!(lines.len(), 2, "{verb}: {lines:?}");
        for line in lines {
            assert!(line.starts_with("refit "), "{line}");
            run(&sandbox, &line);
            printed.push(line);
        }
        if verb == "train" {
            // The recipes merge a second expert, which the help of `merge` speaks of.
            run(
                &sandbox,
                "refit train --data generated:letters --init runs/base --out runs/letters",
            );
        }
    }
    let of_recipes = lines_of_recipes(&sandbox).into_iter();
    for line in of_recipes.filter(|line| !printed.contains(line)) {
        // Whoever tries a recipe has not run the examples of the help pages, which use the same names.
        let out = line.split(" --out ").nth(1);
        let out = out.and_then(|rest| rest.split(' ').next());
        let _ = out.map(|out| std::fs::remove_dir_all(sandbox.path().join(out)));
        run(&sandbox, &line);
    }
    let page = std::fs::read_to_string(sandbox.path().join("runs/quick/report.html")).unwrap();
    assert!(page.contains("id=\"accuracy\""));
}

/// The commands that recipes tell to try.
fn lines_of_recipes(sandbox: &Sandbox) -> Vec<String> {
    let names = sandbox.names("recipes").into_iter();
    let mut lines = Vec::new();
    for name in names.filter(|name| name != "models") {
        let text = std::fs::read_to_string(sandbox.path().join("recipes").join(&name)).unwrap();
        let told = text
            .lines()
            .filter_map(|line| line.strip_prefix("#   refit "));
        let before = lines.len();
        lines.extend(told.map(|line| format!("refit {line}")));
        assert!(lines.len() > before, "{name} tells nothing to try");
    }
    lines
}

/// Runs a line through a shell, as a user would.
fn run(sandbox: &Sandbox, line: &str) {
    let program = env!("CARGO_BIN_EXE_refit");
    let folder = std::path::Path::new(program).parent().unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(folder.to_path_buf()).chain(std::env::split_paths(&path));
    let output = Command::new("sh")
        .args(["-c", line])
        .current_dir(sandbox.path())
        .env("PATH", std::env::join_paths(paths).unwrap())
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}\n{err}");
    assert!(
        !output.stdout.is_empty() || line.contains('>'),
        "{line} said nothing"
    );
}
