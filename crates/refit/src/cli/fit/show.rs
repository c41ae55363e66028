//! What a dry run of a fit prints.

use crate::{
    cli::{
        solvers::{Steps, memory},
        ui::{Show, Ui},
    },
    fitting::{Fit, objective_name},
    report::{bytes, count, counted},
};
use serde::Serialize;
use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

/// What a dry run prints.
#[derive(Serialize)]
pub(super) struct Plan {
    data: String,
    rows: usize,
    features: usize,
    classes: Vec<f32>,
    test_rows: Option<usize>,
    objective: String,
    parameters: usize,
    #[serde(flatten)]
    steps: Steps,
    /// Bytes of the rows, and of the largest model of a step beside them.
    bytes: [u64; 2],
    dense: bool,
    out: PathBuf,
}

impl Plan {
    pub(super) fn of(fit: &Fit, out: &Path, done: (u64, usize)) -> Self {
        let settings = fit.settings();
        Self {
            data: settings.data.clone(),
            rows: fit.objective().rows(),
            features: fit.columns(),
            classes: fit.class_labels().to_vec(),
            test_rows: fit.test_rows(),
            objective: objective_name(&settings.objective),
            parameters: fit.objective().dim(),
            steps: Steps::of(settings, done),
            bytes: [fit.stored().0, memory(settings, fit.objective().dim())],
            dense: fit.stored().1,
            out: out.to_path_buf(),
        }
    }
}

impl Show for Plan {
    fn text(&self, _: &Ui) -> String {
        let mut text = String::new();
        let mut line = |key: &str, value: String| {
            let _ = writeln!(text, "{key:<12}{value}");
        };
        let layout = if self.dense { "dense" } else { "sparse" };
        line(
            "data",
            format!(
                "{}: {} rows of {} features, {layout}",
                self.data,
                count(self.rows as u64),
                count(self.features as u64)
            ),
        );
        if let Some(rows) = self.test_rows {
            line("test", format!("{} rows", count(rows as u64)));
        }
        if !self.classes.is_empty() {
            let shown = self.classes.iter().take(8).map(ToString::to_string);
            let more = if self.classes.len() > 8 { ", .." } else { "" };
            let shown = shown.collect::<Vec<_>>().join(", ");
            line("classes", format!("{}: {shown}{more}", self.classes.len()));
        }
        line(
            "objective",
            format!(
                "{}, {}",
                self.objective,
                counted(self.parameters as u64, "parameter")
            ),
        );
        let [rows, model] = self.bytes.map(bytes);
        let steps = self.steps.text();
        let (memory, out) = (
            format!("{rows} of rows, at most {model} for a step"),
            self.out.display(),
        );
        format!(
            "{text}{steps}{:<12}{memory}\n{:<12}{out}\nnothing was written (dry run)",
            "memory", "out"
        )
    }
}
