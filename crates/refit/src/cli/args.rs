//! Flags that verbs share.

use super::{
    device::DeviceName,
    error::{CliError, Exit},
};
use clap::Args;
use refit_core::Seed;
use refit_io::atomic::{self, AtomicError, Overwrite};
use std::path::{Path, PathBuf};

/// What every verb takes.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(super) struct UiArgs {
    /// Print one JSON document on stdout instead of text
    #[arg(long)]
    pub(super) json: bool,
    /// Say nothing but errors
    #[arg(short, long, overrides_with = "verbose")]
    pub(super) quiet: bool,
    /// Say more, and print long lists whole
    #[arg(short, long, overrides_with = "quiet")]
    pub(super) verbose: bool,
}

/// What every verb takes that computes.
#[derive(Args, Clone, Debug)]
pub(super) struct RunArgs {
    /// Seed of all chance [default: 0]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Compute device: cpu, or in builds with that feature cuda:N or wgpu:N
    #[arg(long, value_name = "NAME", default_value_t = DeviceName::Cpu)]
    pub(super) device: DeviceName,
    /// Worker threads, 1 to 1024 [default: as many as the machine offers]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: Option<u32>,
    /// Flags from a YAML file: `steps: 50` stands for `--steps 50`; the command line wins
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Check everything, print the plan with its cost, and touch nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// What is printed
    #[command(flatten)]
    pub(super) ui: UiArgs,
}

impl RunArgs {
    /// The seed of all chance.
    pub(super) fn seed(&self) -> Seed {
        self.given_seed().unwrap_or(Seed::new(0))
    }

    /// The seed, where the command line or its `--config` file gives one.
    pub(super) fn given_seed(&self) -> Option<Seed> {
        self.seed.map(Seed::new)
    }

    /// Number of worker threads.
    pub(super) fn thread_count(&self) -> usize {
        let offered = || std::thread::available_parallelism().map_or(1, |n| n.get().min(1024));
        self.threads.map_or_else(offered, |n| n as usize)
    }

    /// Starts the worker threads: once in a process, before anything runs in parallel. Sees whether the device is there.
    ///
    /// # Errors
    /// When the system gives fewer threads than that, or the device does not answer.
    pub(super) fn start_threads(&self) -> Result<(), CliError> {
        let threads = self.thread_count();
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global()
            .map_err(|error| {
                let words = format!("cannot start {threads} worker threads: {error}");
                CliError::plain(Exit::Failed, words).hint("give a lower number to --threads")
            })?;
        self.device.check()
    }
}

/// Checks that `out` is free, or may be replaced, and has a place; the writer looks again, and closer.
pub(super) fn check_place(out: &Path, force: bool) -> Result<(), AtomicError> {
    if !force && std::fs::symlink_metadata(out).is_ok() {
        return Err(AtomicError::Exists { path: out.into() });
    }
    atomic::check_place(out)
}

/// Checks that `out` does not lie in the folder `data`: whoever reads the data again would read the output with it.
pub(super) fn check_apart(out: &Path, data: &Path) -> Result<(), CliError> {
    // What cannot be resolved is told of by whoever reads or writes it.
    let (Some(place), Ok(folder)) = (place(out), data.canonicalize()) else {
        return Ok(());
    };
    if !folder.is_dir() || !place.starts_with(&folder) {
        return Ok(());
    }
    let (out, data) = (out.display(), data.display());
    let words = format!("--out `{out}` lies inside the data `{data}`");
    Err(CliError::plain(Exit::BadInput, words)
        .hint(format!("give an --out outside of `{}`", folder.display())))
}

/// Checks that `out` is none of the `inputs`, holds none and lies in none: `--force` would remove what the run reads.
pub(super) fn check_not_input<'a>(
    out: &Path,
    inputs: impl IntoIterator<Item = &'a Path>,
) -> Result<(), CliError> {
    let Some(place) = place(out) else {
        return Ok(());
    };
    for input in inputs {
        // What cannot be resolved is told of by whoever reads it.
        let Ok(found) = input.canonicalize() else {
            continue;
        };
        let relation = if found == place {
            "is"
        } else if found.starts_with(&place) {
            "holds"
        } else if place.starts_with(&found) {
            "lies inside"
        } else {
            continue;
        };
        let (out, input) = (out.display(), input.display());
        let words = format!("--out `{out}` {relation} `{input}`, which is read");
        return Err(CliError::plain(Exit::BadInput, words).hint("give another name to --out"));
    }
    Ok(())
}

/// Where `out` is, or would be, without links and `..` on the way; `None` where nothing can be.
fn place(out: &Path) -> Option<PathBuf> {
    if let Ok(found) = out.canonicalize() {
        return Some(found);
    }
    let parent = match out.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let parent = parent.canonicalize().ok()?;
    Some(match out.file_name() {
        Some(name) => parent.join(name),
        None => parent,
    })
}

/// What `--force` means to the writer.
pub(super) const fn overwrite(force: bool) -> Overwrite {
    if force {
        Overwrite::Replace
    } else {
        Overwrite::Refuse
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn an_output_that_is_holds_or_lies_in_an_input_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::create_dir_all(at("runs/base/deep")).unwrap();
        fs::create_dir(at("runs/base-2")).unwrap();
        let check = |out: &str, input: &str| {
            let said = check_not_input(&at(out), [at(input).as_path()]);
            said.map_err(|e| {
                e.to_string()
                    .replace(&format!("{}/", home.path().display()), "")
            })
        };
        for (out, relation) in [
            ("runs/base", "is"),
            ("runs/../runs/base", "is"),
            ("runs", "holds"),
            ("runs/base/merged", "lies inside"),
            ("runs/base/deep/merged", "lies inside"),
        ] {
            let words = check(out, "runs/base").unwrap_err();
            let expected = format!("error: --out `{out}` {relation} `runs/base`, which is read");
            assert!(words.starts_with(&expected), "{words}");
        }
        for out in [
            "runs/base-2",
            "runs/base-3",
            "runs/bas",
            "new/x",
            "no/such/x",
        ] {
            assert_eq!(check(out, "runs/base"), Ok(()), "{out}");
        }
        assert_eq!(check("runs/base", "runs/missing"), Ok(()));
    }

    #[test]
    #[cfg(unix)]
    fn a_link_to_an_input_is_that_input() {
        let home = tempfile::tempdir().unwrap();
        let (base, link) = (home.path().join("base"), home.path().join("link"));
        fs::create_dir(&base).unwrap();
        std::os::unix::fs::symlink(&base, &link).unwrap();
        assert!(check_not_input(&base, [link.as_path()]).is_err());
        assert!(check_not_input(&link.join("x"), [base.as_path()]).is_err());
    }
}
