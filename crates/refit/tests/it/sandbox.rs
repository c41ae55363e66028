//! A folder of its own for every test, and the program in it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// A folder with a copy of the recipes, as a clone of the repository has them.
pub(crate) struct Sandbox {
    home: TempDir,
}

/// The architecture that most tests train, and a narrow one in its place.
pub(crate) const PERCEPTRON: &str = "recipes/models/mlp.json";
const NARROW: &str = r#"{"model_type": "mlp", "inputs": 784, "hidden": [256], "num_labels": 10}"#;

/// What the program said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        copy(&repository().join("recipes"), &home.path().join("recipes"));
        let sandbox = Self { home };
        // What is tested is not how well it learns.
        sandbox.file(PERCEPTRON, NARROW);
        sandbox
    }

    pub(crate) fn path(&self) -> &Path {
        self.home.path()
    }

    /// Writes a file and returns its name.
    pub(crate) fn file<'a>(&self, name: &'a str, content: impl AsRef<[u8]>) -> &'a str {
        let mode = refit_io::atomic::Overwrite::Replace;
        refit_io::atomic::write_file(self.path().join(name), content.as_ref(), mode).unwrap();
        name
    }

    /// The program, about to run here.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_refit"));
        command
            .current_dir(self.path())
            .env("NO_COLOR", "1")
            .env("COLUMNS", "100");
        command
    }

    /// Runs `refit` with these arguments, separated by spaces.
    pub(crate) fn refit(&self, args: &str) -> Said {
        self.command()
            .args(args.split_whitespace())
            .output()
            .unwrap()
            .into()
    }

    /// Runs `refit`, which must not wait for anything.
    pub(crate) fn soon(&self, args: &str) -> Said {
        let mut child = self
            .command()
            .args(args.split_whitespace())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let patience = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if patience.elapsed() > Duration::from_secs(30) {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("refit {args} does not end");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        child.wait_with_output().unwrap().into()
    }

    /// Runs `refit` and expects it to succeed.
    pub(crate) fn done(&self, args: &str) -> Said {
        let said = self.refit(args);
        assert_eq!(said.code, Some(0), "refit {args}\n{}{}", said.out, said.err);
        said
    }

    /// Names below a folder, sorted; none where it was never made.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let folder = std::fs::read_dir(self.path().join(folder));
        let entries = folder.into_iter().flatten().flatten();
        let mut names: Vec<_> = entries
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Trains the models that the recipes merge.
    pub(crate) fn train_experts(&self) {
        let steps = "--steps 40 --batch 16 -q";
        self.done(&format!(
            "train --data generated:shapes --model recipes/models/mlp.json --out runs/base {steps}"
        ));
        for task in ["digits", "letters"] {
            self.done(&format!(
                "train --data generated:{task} --init runs/base --out runs/{task} {steps}"
            ));
        }
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The root of the repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
