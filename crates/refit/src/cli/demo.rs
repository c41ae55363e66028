//! `refit demo`.

use super::{
    args::{RunArgs, check_place, overwrite},
    error::{CliError, Exit},
    ui::{Show, Ui},
};
use crate::{
    job::{self, DEFAULT_SIZES, FusionConfig, QUICK_SIZES, generated},
    outcome::{MethodResult, Outcome},
    report::text_table,
    run::{REPORT, RunFolder, RunRecord},
};
use refit_core::StopReason;
use refit_io::data::{FolderOptions, Task, read_suite};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

/// Watch one base become eight experts, and the experts one model without labels
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without --data the eight tasks are generated; nothing is downloaded. A folder for --data holds one .npz file or \
one folder of pictures (CLASS/*.png) per task, all of one size.

Examples:
  refit demo --quick --out runs/quick
  refit demo --dry-run")]
pub(super) struct DemoArgs {
    /// A small run: enough to see every part move, too little to conclude from
    #[arg(long)]
    quick: bool,
    /// Folder of tasks instead of the generated ones
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Repeat with this many seeds, from --seed on [default: 1; 3 with --data]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100))]
    seeds: Option<u64>,
    /// New folder for results, record and page [default: runs/demo, or runs/demo-2, .. if that exists]
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace the output of an earlier run
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

/// What will be done.
struct Plan {
    suite: String,
    config: FusionConfig,
    tasks: Vec<Task>,
    seeds: Vec<u64>,
    out: PathBuf,
}

pub(super) fn run(args: &DemoArgs, ui: &Ui) -> Result<(), CliError> {
    args.run.start_threads();
    if let Some(out) = &args.out {
        check_place(out, args.force)?;
    }
    let plan = Plan::make(args)?;
    if args.run.dry_run {
        return ui.show(&plan.summary());
    }
    let settings = serde_json::json!({
        "quick": args.quick, "data": args.data, "seeds": plan.seeds, "job": plan.config,
    });
    let (device, threads) = (args.run.device.as_str(), args.run.thread_count());
    let record = RunRecord::start("demo", device, threads, args.run.seed(), settings);
    if args.out.is_none() {
        create_runs_folder(&plan.out)?;
    }
    let mut folder = RunFolder::create(&plan.out, overwrite(args.force), record)?;
    for file in npz_files(args.data.as_deref()) {
        folder.add_input(&file)?;
    }
    let outcome = job::fusion(&plan.suite, &plan.config, &plan.tasks, &plan.seeds, ui)?;
    folder.set_outcome(outcome.clone());
    let path = folder.finish(StopReason::Done)?;
    if ui.json() {
        return ui.print_json(&JsonOutcome::of(&outcome));
    }
    ui.print(&text_table(&outcome, ui.style()))?;
    ui.say(format_args!("page: {}", path.join(REPORT).display()));
    Ok(())
}

impl Plan {
    fn make(args: &DemoArgs) -> Result<Self, CliError> {
        let (suite, tasks) = match &args.data {
            Some(dir) => (
                dir.display().to_string(),
                read_suite(dir, &FolderOptions::default())?,
            ),
            None => {
                let sizes = if args.quick {
                    QUICK_SIZES
                } else {
                    DEFAULT_SIZES
                };
                ("generated".to_owned(), generated(sizes))
            }
        };
        let config = match (args.quick, &args.data) {
            (true, _) => FusionConfig::quick(),
            (false, None) => FusionConfig::demo(),
            (false, Some(_)) => FusionConfig::real(),
        };
        job::check(&config, &tasks)?;
        let usual = if args.data.is_some() && !args.quick {
            3
        } else {
            1
        };
        let count = args.seeds.unwrap_or(usual);
        let last = args.run.seed.checked_add(count - 1).ok_or_else(|| {
            CliError::plain(
                Exit::Usage,
                "`--seed` and `--seeds` together exceed 64 bits",
            )
        })?;
        let out = args
            .out
            .clone()
            .unwrap_or_else(|| free_name(Path::new("runs"), "demo"));
        Ok(Self {
            suite,
            config,
            tasks,
            seeds: (args.run.seed..=last).collect(),
            out,
        })
    }

    fn summary(&self) -> Summary {
        let stages = [&self.config.base, &self.config.expert, &self.config.joint];
        Summary {
            suite: self.suite.clone(),
            tasks: self.tasks.iter().map(describe).collect(),
            seeds: self.seeds.clone(),
            steps: stages.map(|stage| stage.steps),
            adaptation_steps: self.config.adamerging.steps,
            out: self.out.clone(),
        }
    }
}

fn describe(task: &Task) -> TaskPlan {
    TaskPlan {
        name: task.name().to_owned(),
        classes: task.class_count(),
        sizes: [task.train(), task.val(), task.test()].map(|set| set.len()),
    }
}

/// The first of `name`, `name-2`, `name-3`, .. that is free.
fn free_name(home: &Path, name: &str) -> PathBuf {
    let nth = |n: u32| {
        home.join(if n == 1 {
            name.to_owned()
        } else {
            format!("{name}-{n}")
        })
    };
    (1..10_000)
        .map(nth)
        .find(|path| fs::symlink_metadata(path).is_err())
        .unwrap_or_else(|| home.join(name))
}

/// The default output has a home of its own, which may not exist yet.
fn create_runs_folder(out: &Path) -> Result<(), CliError> {
    let Some(home) = out.parent() else {
        return Ok(());
    };
    fs::create_dir_all(home).map_err(|e| {
        CliError::plain(
            Exit::Failed,
            format!("cannot create `{}`: {e}", home.display()),
        )
        .hint("choose a folder with --out")
    })
}

/// The files of a folder of tasks that can be named in the record.
fn npz_files(data: Option<&Path>) -> Vec<PathBuf> {
    let Some(entries) = data.and_then(|dir| fs::read_dir(dir).ok()) else {
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "npz"))
        .collect();
    files.sort();
    files
}

/// What a dry run prints.
#[derive(Serialize)]
struct Summary {
    suite: String,
    tasks: Vec<TaskPlan>,
    seeds: Vec<u64>,
    /// Steps of the base, of each expert, of joint training.
    steps: [u64; 3],
    adaptation_steps: u64,
    out: PathBuf,
}

#[derive(Serialize)]
struct TaskPlan {
    name: String,
    classes: usize,
    sizes: [usize; 3],
}

impl Show for Summary {
    fn text(&self, _: &Ui) -> String {
        let mut text = format!("suite       {}, seeds {:?}\n", self.suite, self.seeds);
        for TaskPlan {
            name,
            classes,
            sizes: [train, val, test],
        } in &self.tasks
        {
            let _ = writeln!(
                text,
                "  {name:<24}{classes} classes, {train} / {val} / {test} images"
            );
        }
        let [base, expert, joint] = self.steps;
        let _ = writeln!(
            text,
            "training    base {base} steps, {} experts {expert} steps each, joint {joint} steps",
            self.tasks.len()
        );
        let _ = writeln!(
            text,
            "adaptation  {} steps for each adaptive method",
            self.adaptation_steps
        );
        let _ = writeln!(text, "out         {}", self.out.display());
        text + "nothing was written (dry run)"
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct JsonOutcome<'a> {
    suite: &'a str,
    seeds: &'a [u64],
    tasks: Vec<&'a str>,
    methods: Vec<JsonMethod<'a>>,
    seconds: f64,
    peak_bytes: u64,
}

#[derive(Serialize)]
struct JsonMethod<'a> {
    name: &'a str,
    mean: f64,
    per_task: &'a BTreeMap<String, f64>,
    corrupted_mean: Option<f64>,
}

impl<'a> JsonOutcome<'a> {
    fn of(outcome: &'a Outcome) -> Self {
        let method = |m: &'a MethodResult| JsonMethod {
            name: &m.name,
            mean: m.mean,
            per_task: &m.per_task,
            corrupted_mean: m.corrupted_mean,
        };
        Self {
            suite: &outcome.suite,
            seeds: &outcome.seeds,
            tasks: outcome.tasks.iter().map(|t| t.name.as_str()).collect(),
            methods: outcome.methods.iter().map(method).collect(),
            seconds: outcome.seconds,
            peak_bytes: outcome.peak_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_exactly_the_promised_keys() {
        let outcome = Outcome {
            methods: vec![MethodResult {
                name: "base".into(),
                ..MethodResult::default()
            }],
            ..Outcome::default()
        };
        let json = serde_json::to_string(&JsonOutcome::of(&outcome)).unwrap();
        let expected = r#"{"suite":"","seeds":[],"tasks":[],"methods":[{"name":"base","mean":0.0,"per_task":{},"corrupted_mean":null}],"seconds":0.0,"peak_bytes":0}"#;
        assert_eq!(json, expected);
    }

    #[test]
    fn a_taken_name_gets_a_number() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(free_name(home.path(), "demo"), home.path().join("demo"));
        fs::create_dir(home.path().join("demo")).unwrap();
        fs::create_dir(home.path().join("demo-2")).unwrap();
        assert_eq!(free_name(home.path(), "demo"), home.path().join("demo-3"));
    }
}
