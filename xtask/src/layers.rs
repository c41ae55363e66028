//! Who may know whom: arrows between crates point down the picture of the architecture.

use serde_json::Value;
use std::{path::Path, process::Command};

/// The rooms from the ground up. A crate may use those of lower rooms; verbs never import verbs, so neither may it
/// use another crate of its own room.
const ROOMS: [(&str, &[&str]); 9] = [
    ("words", &["refit-core"]),
    ("bytes", &["refit-io"]),
    ("text", &["refit-text"]),
    ("numbers", &["refit-kernels", "refit-math"]),
    ("models", &["refit-nn"]),
    ("training", &["refit-train"]),
    (
        "verbs",
        &[
            "refit-adapt",
            "refit-distill",
            "refit-merge",
            "refit-quantize",
            "refit-federate",
        ],
    ),
    ("fields", &["refit-points", "refit-control"]),
    ("front ends", &["refit", "refit-serve", "refit-python"]),
];
/// For development only: may use anything below the verbs, and nothing may use it except in tests.
const TESTKIT: &str = "refit-testkit";
/// Outside of the picture.
const OUTSIDE: [&str; 1] = ["xtask"];

/// An arrow between two crates of the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Arrow {
    from: String,
    to: String,
    development: bool,
}

/// Reads `cargo metadata` and checks every arrow.
pub(crate) fn check(root: &Path) -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--locked"])
        .current_dir(root)
        .output()
        .map_err(|e| format!("cannot run cargo metadata: {e}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let metadata = serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())?;
    let problems = problems(&arrows(&metadata));
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems.join("\n"))
    }
}

fn arrows(metadata: &Value) -> Vec<Arrow> {
    let packages = metadata["packages"]
        .as_array()
        .map_or(&[][..], Vec::as_slice);
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let ours: Vec<String> = packages.iter().map(name).collect();
    let mut arrows = Vec::new();
    for package in packages {
        for dependency in package["dependencies"]
            .as_array()
            .map_or(&[][..], Vec::as_slice)
        {
            let to = name(dependency);
            if ours.contains(&to) {
                let development = dependency["kind"] == "dev";
                arrows.push(Arrow {
                    from: name(package),
                    to,
                    development,
                });
            }
        }
    }
    arrows
}

fn problems(arrows: &[Arrow]) -> Vec<String> {
    arrows.iter().filter_map(problem).collect()
}

/// What is wrong with an arrow, if anything is.
fn problem(
    Arrow {
        from,
        to,
        development,
    }: &Arrow,
) -> Option<String> {
    if OUTSIDE.contains(&from.as_str()) {
        return None;
    }
    if to == TESTKIT {
        return (!development).then(|| format!("{from} -> {to}: only tests may use it"));
    }
    let room = |name: &str| ROOMS.iter().position(|(_, crates)| crates.contains(&name));
    let Some(target) = room(to) else {
        return Some(format!("{to} has no room: add it to xtask/src/layers.rs"));
    };
    let source = if from == TESTKIT {
        room("refit-merge")
    } else {
        room(from)
    };
    let Some(source) = source else {
        return Some(format!("{from} has no room: add it to xtask/src/layers.rs"));
    };
    if target < source {
        return None;
    }
    let (up, down) = (ROOMS[target].0, ROOMS[source].0);
    if target == source {
        return Some(format!(
            "{from} -> {to}: both are {up}, and what two of them need moves down"
        ));
    }
    Some(format!("{from} ({down}) -> {to} ({up}): arrows point down"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrow(from: &str, to: &str, development: bool) -> Arrow {
        Arrow {
            from: from.into(),
            to: to.into(),
            development,
        }
    }

    #[test]
    fn the_workspace_keeps_the_layers() {
        check(&crate::root()).unwrap();
    }

    #[test]
    fn arrows_down_pass_and_others_do_not() {
        let pass = [
            arrow("refit", "refit-merge", false),
            arrow("refit-merge", "refit-core", false),
            arrow("refit-nn", "refit-io", true),
            arrow("refit-train", "refit-testkit", true),
            arrow("refit-testkit", "refit-core", false),
            arrow("xtask", "refit-merge", false),
        ];
        assert_eq!(problems(&pass), Vec::<String>::new());
        let refused = [
            (
                arrow("refit-merge", "refit-distill", false),
                "both are verbs",
            ),
            (
                arrow("refit-core", "refit-io", false),
                "refit-core (words) -> refit-io (bytes)",
            ),
            (arrow("refit-io", "refit-merge", true), "arrows point down"),
            (
                arrow("refit-nn", "refit-testkit", false),
                "only tests may use it",
            ),
            (
                arrow("refit-new", "refit-core", false),
                "refit-new has no room",
            ),
        ];
        for (arrow, words) in refused {
            let found = problem(&arrow).unwrap();
            assert!(found.contains(words), "{found}");
        }
    }

    #[test]
    fn arrows_are_read_from_metadata() {
        let metadata = serde_json::json!({ "packages": [
            { "name": "refit-io", "dependencies": [
                { "name": "refit-core", "kind": null }, { "name": "serde", "kind": null } ] },
            { "name": "refit-core", "dependencies": [{ "name": "refit-io", "kind": "dev" }] },
        ]});
        let expected = [
            arrow("refit-io", "refit-core", false),
            arrow("refit-core", "refit-io", true),
        ];
        assert_eq!(arrows(&metadata), expected);
    }
}
