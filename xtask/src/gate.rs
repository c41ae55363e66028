//! Every gate, cheapest first, sharing what was built: one build for lints and documentation, one for tests, one
//! optimised for the demonstration.

use crate::{cards, layers, say::say};
use serde_json::Value;
use std::{
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

/// How much is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What takes seconds.
    Quick,
    /// Everything.
    All,
}

/// Seconds for each fuzz target.
const FUZZ_SECONDS: &str = "10";

/// Methods of the demonstration, in the order of its JSON.
const METHODS: [&str; 9] = [
    "base",
    "experts",
    "joint",
    "average",
    "task-arithmetic",
    "ties",
    "adamerging-task",
    "adamerging-layer",
    "adamerging-layer-plus",
];

/// Runs the gates in order and stops at the first that fails.
pub(crate) fn validate(root: &Path, extent: Extent) -> Result<(), String> {
    let gate = Gate {
        root,
        started: Instant::now(),
    };
    gate.step("formatting", || gate.cargo(&["fmt", "--all", "--check"]))?;
    gate.step("layers", || layers::check(root))?;
    gate.step("table of methods", || cards::check(root))?;
    gate.optional("spelling", "typos", &[])?;
    gate.optional(
        "dependencies",
        "cargo-deny",
        &["check", "licenses", "bans", "sources"],
    )?;
    if extent == Extent::Quick {
        return Ok(());
    }
    gate.step("lints", || {
        gate.cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ])
    })?;
    gate.step("documentation", || gate.documentation())?;
    gate.step("devices beside the processor", || gate.devices())?;
    // Unit, integration and doc tests, the examples of the help pages, and the real data where it is.
    gate.step("tests", || gate.cargo(&["test", "--workspace"]))?;
    gate.step("demonstration", || gate.demonstration())?;
    gate.step("recipes beside a recipe tool", || gate.parity())?;
    gate.step("models beside the reference", || gate.models())?;
    gate.step("fuzz targets, briefly", || {
        gate.run(Command::new("sh").args(["fuzz/run.sh", FUZZ_SECONDS]))
    })?;
    say(&format!(
        "\nall gates passed in {:.0} s",
        gate.started.elapsed().as_secs_f64()
    ));
    Ok(())
}

struct Gate<'a> {
    root: &'a Path,
    started: Instant,
}

impl Gate<'_> {
    fn step(&self, name: &str, work: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
        say(&format!(
            "\n== {name} ({:.0} s)",
            self.started.elapsed().as_secs_f64()
        ));
        work().map_err(|problem| format!("{name}: {problem}"))
    }

    /// Runs a tool if it is installed and says so if it is not.
    fn optional(&self, name: &str, tool: &str, args: &[&str]) -> Result<(), String> {
        let installed = Command::new(tool)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        self.step(name, || {
            if installed {
                return self.run(Command::new(tool).args(args));
            }
            say(&format!("skipped: {tool} not available"));
            Ok(())
        })
    }

    fn cargo(&self, args: &[&str]) -> Result<(), String> {
        self.run(cargo().args(args))
    }

    fn documentation(&self) -> Result<(), String> {
        self.run(
            cargo()
                .args(["doc", "--workspace", "--no-deps"])
                .env("RUSTDOCFLAGS", "-D warnings"),
        )
    }

    /// Whether the program fits the engine's devices. Their compiler is not fetched: nothing is built.
    fn devices(&self) -> Result<(), String> {
        self.run(
            cargo()
                .args(["check", "-p", "refit", "--features", "cuda,wgpu"])
                .env("DOCS_RS", "1"),
        )
    }

    /// The command of the README in its quick form, with the page and the numbers it should give.
    fn demonstration(&self) -> Result<(), String> {
        let out = std::env::temp_dir().join(format!("refit-validate-{}", std::process::id()));
        let output = self.command(
            cargo()
                .args([
                    "run",
                    "--release",
                    "--",
                    "demo",
                    "--quick",
                    "--json",
                    "--out",
                ])
                .arg(&out)
                .stderr(Stdio::inherit()),
        );
        let page = out.join("report.html").is_file();
        // What is left of a failed run is of no use to anybody.
        let _ = std::fs::remove_dir_all(&out);
        let outcome: Value =
            serde_json::from_slice(&output?).map_err(|e| format!("the JSON: {e}"))?;
        if !page {
            return Err("there is no page".into());
        }
        check_outcome(&outcome)
    }

    /// Merges by the same recipes with mergekit and PEFT, in a virtual environment of its own.
    fn parity(&self) -> Result<(), String> {
        if !has_python() {
            return Ok(());
        }
        let tools = self.root.join("target/tools/mergekit");
        let scripts = ["parity/merge_recipes.py", "parity/merge_adapters.py"];
        scripts.into_iter().try_for_each(|script| {
            let work = std::env::temp_dir().join(format!("refit-parity-{}", std::process::id()));
            let result = self.run(
                Command::new("python3")
                    .args([script, "--refit", "target/release/refit", "--venv"])
                    .arg(&tools)
                    .arg("--work")
                    .arg(&work),
            );
            // What is left of a failed run is of no use to anybody.
            let _ = std::fs::remove_dir_all(&work);
            result
        })
    }

    /// Makes tiny models of every family with transformers and compares what they answer, then a published encoder.
    fn models(&self) -> Result<(), String> {
        if !has_python() {
            return Ok(());
        }
        let (tools, models) = ("target/tools/mergekit", self.root.join("target/tools/zoo"));
        let _ = std::fs::remove_dir_all(&models);
        let mut make = Command::new("python3");
        self.run(
            make.arg("parity/zoo.py")
                .arg(&models)
                .args(["--venv", tools]),
        )?;
        let mut test = Command::new("cargo");
        test.args(["test", "--workspace", "--test", "it", "--", "zoo_parity"]);
        self.run(test.env("REFIT_ZOO", &models))?;
        let mut check = Command::new("python3");
        check.arg("parity/zoo.py").arg(&models);
        self.run(check.args(["--check", "--venv", tools]))?;
        let mut published = Command::new("python3");
        published.args([
            "parity/minilm.py",
            "--refit",
            "target/release/refit",
            "--probe",
        ]);
        self.run(published.args(["--venv", tools]))?;
        let mut pipelines = Command::new("python3");
        pipelines.args(["parity/pipelines.py", "--refit", "target/release/refit"]);
        self.run(pipelines.args(["--venv", tools]))
    }

    fn run(&self, command: &mut Command) -> Result<(), String> {
        let status = command
            .current_dir(self.root)
            .env("CI", "1") // snapshots are compared, never written
            .status()
            .map_err(|e| format!("cannot run {command:?}: {e}"))?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("{command:?} failed"))
        }
    }

    fn command(&self, command: &mut Command) -> Result<Vec<u8>, String> {
        let output = command
            .current_dir(self.root)
            .output()
            .map_err(|e| format!("cannot run {command:?}: {e}"))?;
        if output.status.success() {
            Ok(output.stdout)
        } else {
            Err(format!("{command:?} failed"))
        }
    }
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Checks what `demo --json` prints.
fn check_outcome(outcome: &Value) -> Result<(), String> {
    let methods = outcome["methods"]
        .as_array()
        .ok_or("there are no methods")?;
    let names: Vec<&str> = methods.iter().filter_map(|m| m["name"].as_str()).collect();
    if !names.starts_with(&METHODS) {
        return Err(format!(
            "found methods {names:?}, expected {METHODS:?} first"
        ));
    }
    let tasks = outcome["tasks"].as_array().map_or(0, Vec::len);
    for (method, name) in methods.iter().zip(names) {
        let share = |value: &Value| value.as_f64().is_some_and(|v| (0.0..=1.0).contains(&v));
        let per_task = method["per_task"]
            .as_object()
            .map_or(0, serde_json::Map::len);
        if !share(&method["mean"]) || per_task != tasks {
            return Err(format!(
                "`{name}` has no mean in [0, 1] or not {tasks} tasks"
            ));
        }
    }
    Ok(())
}

/// Whether Python is there; a gate without it says so, and must not pass on a machine that decides.
fn has_python() -> bool {
    let found = Command::new("python3").arg("--version").output().is_ok();
    if !found && std::env::var_os("CI").is_none() {
        say("skipped: python3 not available");
        return false;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_outcome_needs_all_methods_all_tasks_and_shares() {
        let method = |name: &str, mean: f64| json!({ "name": name, "mean": mean, "per_task": { "a": mean } });
        let good: Vec<Value> = METHODS.iter().map(|name| method(name, 0.5)).collect();
        let outcome = |methods: &[Value]| json!({ "tasks": ["a"], "methods": methods });
        assert_eq!(check_outcome(&outcome(&good)), Ok(()));
        assert!(check_outcome(&outcome(&good[1..])).is_err());
        let mut percent = good.clone();
        percent[3] = method("average", 50.0);
        assert!(
            check_outcome(&outcome(&percent))
                .unwrap_err()
                .contains("`average`")
        );
        assert!(check_outcome(&json!({})).is_err());
    }
}
