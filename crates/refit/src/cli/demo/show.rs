//! What a demonstration prints.

use super::plan::Plan;
use crate::{
    cli::ui::{Show, Ui},
    job::FusionConfig,
    outcome::{MethodResult, Outcome},
    visible::visible_name,
};
use refit_io::data::Task;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fmt::Write,
    path::{Path, PathBuf},
};

impl Plan {
    pub(super) fn summary(&self, out: &Path) -> Summary {
        Summary {
            suite: self.settings.suite(),
            tasks: self.tasks.iter().map(describe).collect(),
            seeds: self.settings.seeds.clone(),
            config: self.settings.job.clone(),
            out: out.to_path_buf(),
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

/// What a dry run prints.
#[derive(Serialize)]
pub(super) struct Summary {
    suite: String,
    tasks: Vec<TaskPlan>,
    seeds: Vec<u64>,
    /// Everything that `--config` can set.
    config: FusionConfig,
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
                "  {:<24}{classes} classes, {train} / {val} / {test} images",
                visible_name(name)
            );
        }
        let FusionConfig {
            base,
            expert,
            joint,
            adamerging,
            ..
        } = &self.config;
        let [base, expert, joint] = [base, expert, joint].map(|stage| stage.steps);
        let _ = writeln!(
            text,
            "training    base {base} steps, {} experts {expert} steps each, joint {joint} steps",
            self.tasks.len()
        );
        let _ = writeln!(
            text,
            "adaptation  {} steps for each adaptive method",
            adamerging.steps
        );
        let _ = writeln!(text, "out         {}", self.out.display());
        text + "nothing was written (dry run)"
    }
}

/// What `--json` prints.
#[derive(Serialize)]
pub(super) struct JsonOutcome<'a> {
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
    pub(super) fn of(outcome: &'a Outcome) -> Self {
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
}
