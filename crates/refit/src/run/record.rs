//! `run.json`: what is needed to understand a run, and to repeat it.

use super::{InputFile, clock};
use refit_core::{Seed, StopReason};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// File name inside a run folder.
pub const RECORD: &str = "run.json";

/// The version of Burn this program is built with; a test compares it with `Cargo.lock`.
pub const BURN_VERSION: &str = "0.22.1";

/// Everything about a run except its results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRecord {
    /// The verb, such as `merge`.
    pub verb: String,
    /// The command line, program name first.
    pub command: Vec<String>,
    /// Version of this program.
    pub refit: String,
    /// Commit it was built from, where the build was told (`REFIT_COMMIT`).
    pub commit: Option<String>,
    /// Version of the compute engine.
    pub burn: String,
    /// Where it ran.
    pub machine: Machine,
    /// Compute device.
    pub device: String,
    /// Element type of the computation.
    pub dtype: String,
    /// Worker threads.
    pub threads: usize,
    /// The seed of all chance.
    pub seed: Seed,
    /// All settings after defaults, file and flags were joined.
    pub settings: Value,
    /// Files that were read.
    pub inputs: Vec<InputFile>,
    /// When it started, RFC 3339 in UTC.
    pub started: String,
    /// When it ended.
    pub finished: String,
    /// Wall-clock time in seconds.
    pub seconds: f64,
    /// Largest resident memory in bytes, where the system tells.
    pub peak_bytes: Option<u64>,
    /// Why it ended.
    pub stop: StopReason,
}

/// Where a run took place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Operating system, such as `linux`.
    pub os: String,
    /// Processor family, such as `x86_64`.
    pub arch: String,
    /// Processor name, where the system tells.
    pub cpu: Option<String>,
    /// Hardware threads this process may use.
    pub cpus: usize,
}

impl Machine {
    /// The machine this process runs on.
    pub fn here() -> Self {
        Self {
            os: std::env::consts::OS.into(),
            arch: std::env::consts::ARCH.into(),
            cpu: cpu_name(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// The first `model name` of `/proc/cpuinfo`.
fn cpu_name() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

impl RunRecord {
    /// A record of a run that starts now.
    pub fn start(
        verb: &str,
        device: impl Into<String>,
        threads: usize,
        seed: Seed,
        settings: Value,
    ) -> Self {
        let now = clock::now();
        Self {
            verb: verb.into(),
            command: command_line(),
            refit: env!("CARGO_PKG_VERSION").into(),
            commit: option_env!("REFIT_COMMIT").map(Into::into),
            burn: BURN_VERSION.into(),
            machine: Machine::here(),
            device: device.into(),
            dtype: "F32".into(),
            threads,
            seed,
            settings,
            inputs: Vec::new(),
            finished: now.clone(),
            started: now,
            seconds: 0.0,
            peak_bytes: None,
            stop: StopReason::Done,
        }
    }

    /// The command line as a shell takes it.
    ///
    /// ```
    /// # use refit::run::RunRecord;
    /// # use refit_core::Seed;
    /// let mut record = RunRecord::start("merge", "cpu", 2, Seed::new(0), Default::default());
    /// record.command = ["refit", "merge", "my recipe.yaml"].map(String::from).into();
    /// assert_eq!(record.shell_command(), "refit merge 'my recipe.yaml'");
    /// ```
    pub fn shell_command(&self) -> String {
        let words: Vec<_> = self.command.iter().map(|word| shell_word(word)).collect();
        words.join(" ")
    }
}

/// The arguments of this process, with the program's name in place of its path.
fn command_line() -> Vec<String> {
    let given = std::env::args_os().skip(1);
    std::iter::once("refit".to_owned())
        .chain(given.map(|word| word.to_string_lossy().into_owned()))
        .collect()
}

/// `word` as a POSIX shell takes it, quoted where it must be.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_a_word_together() {
        assert_eq!(shell_word("a/b-c.yaml"), "a/b-c.yaml");
        assert_eq!(shell_word(""), "''");
        assert_eq!(shell_word("it's; rm"), r"'it'\''s; rm'");
    }

    #[test]
    fn a_record_survives_its_file() {
        let settings = serde_json::json!({ "steps": 3, "scale": 0.3 });
        let record = RunRecord::start("merge", "cpu", 2, Seed::new(9), settings);
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<RunRecord>(&text).unwrap(), record);
    }

    #[test]
    fn the_engine_version_is_the_locked_one() {
        let lock = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock");
        let lock = std::fs::read_to_string(lock).unwrap();
        let entry = format!("name = \"burn\"\nversion = \"{BURN_VERSION}\"\n");
        assert!(lock.contains(&entry), "BURN_VERSION is stale");
    }
}
