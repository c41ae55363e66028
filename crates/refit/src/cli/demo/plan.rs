//! What a demonstration will do.

use super::{DemoArgs, settings};
use crate::{
    cli::error::{CliError, Exit},
    job::{self, DEFAULT_SIZES, FusionConfig, QUICK_SIZES, generated},
    run::{SAVE_EVERY_SECS, part_path},
};
use refit_io::data::{FolderOptions, Task, read_suite};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What `run.json` says about a demonstration, and what `--resume` reads back.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    pub(super) quick: bool,
    pub(super) data: Option<PathBuf>,
    pub(super) seeds: Vec<u64>,
    pub(super) job: FusionConfig,
    /// Seconds between saved states; runs that began before there were any have none recorded.
    #[serde(default = "save_every")]
    pub(super) save_every: u64,
}

const fn save_every() -> u64 {
    SAVE_EVERY_SECS
}

impl Settings {
    /// The preset that the flags choose, and what the `--config` file says over it.
    pub(super) fn of(args: &DemoArgs) -> Result<Self, CliError> {
        let preset = match (args.quick, &args.data) {
            (true, _) => FusionConfig::quick(),
            (false, None) => FusionConfig::demo(),
            (false, Some(_)) => FusionConfig::real(),
        };
        let job = match &args.run.config {
            Some(file) => settings::over(&preset, file)?,
            None => preset,
        };
        let (quick, data) = (args.quick, args.data.clone());
        let usual = if data.is_some() && !quick { 3 } else { 1 };
        let first = args.run.seed().get();
        let count = args.seeds.unwrap_or(usual);
        let last = first.checked_add(count - 1).ok_or_else(|| {
            CliError::plain(
                Exit::Usage,
                "`--seed` and `--seeds` together exceed 64 bits",
            )
        })?;
        Ok(Self {
            quick,
            data,
            seeds: (first..=last).collect(),
            job,
            save_every: args.save_every.unwrap_or(SAVE_EVERY_SECS),
        })
    }

    /// What tables call the set of tasks.
    pub(super) fn suite(&self) -> String {
        match &self.data {
            Some(folder) => folder.display().to_string(),
            None => "generated".to_owned(),
        }
    }

    fn tasks(&self) -> Result<Vec<Task>, CliError> {
        Ok(match &self.data {
            Some(folder) => read_suite(folder, &FolderOptions::default())?,
            None if self.quick => generated(QUICK_SIZES),
            None => generated(DEFAULT_SIZES),
        })
    }
}

/// A checked demonstration.
pub(super) struct Plan {
    pub(super) settings: Settings,
    pub(super) tasks: Vec<Task>,
}

impl Plan {
    pub(super) fn make(settings: Settings) -> Result<Self, CliError> {
        let tasks = settings.tasks()?;
        job::check(&settings.job, &tasks)?;
        Ok(Self { settings, tasks })
    }
}

/// The first of `name`, `name-2`, `name-3`, .. that is free and has no unfinished run.
pub(super) fn free_name(home: &Path, name: &str) -> PathBuf {
    let nth = |n: u32| {
        home.join(if n == 1 {
            name.to_owned()
        } else {
            format!("{name}-{n}")
        })
    };
    let free = |path: &Path| fs::symlink_metadata(path).is_err();
    (1..10_000)
        .map(nth)
        .find(|path| free(path) && free(&part_path(path)))
        .unwrap_or_else(|| home.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_name_gets_a_number() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(free_name(home.path(), "demo"), home.path().join("demo"));
        fs::create_dir(home.path().join("demo")).unwrap();
        fs::create_dir(home.path().join("demo-2.part")).unwrap();
        assert_eq!(free_name(home.path(), "demo"), home.path().join("demo-3"));
    }
}
