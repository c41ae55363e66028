//! What a tuning prints.

use crate::{
    cli::{
        fit,
        ui::{Show, Ui},
    },
    report::{count, counted},
    tuning::Tuning,
};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What a dry run prints.
#[derive(Serialize)]
pub(super) struct Plan {
    model: PathBuf,
    data: String,
    rows: usize,
    labels: Vec<String>,
    test_rows: Option<usize>,
    max_length: usize,
    parameters: usize,
    adapted_maps: usize,
    solvers: Vec<String>,
    out: PathBuf,
}

impl Plan {
    pub(super) fn of(tuning: &Tuning, out: &Path) -> Self {
        let settings = tuning.settings();
        let arms = settings.fit.arms.iter();
        Self {
            model: settings.model.clone(),
            data: settings.fit.data.clone(),
            rows: tuning.rows(),
            labels: tuning.labels().to_vec(),
            test_rows: tuning.test_rows(),
            max_length: tuning.longest(),
            parameters: tuning.parameters(),
            adapted_maps: tuning.adapted_maps(),
            solvers: arms.map(|arm| arm.label.clone()).collect(),
            out: out.to_path_buf(),
        }
    }
}

impl Show for Plan {
    fn text(&self, _: &Ui) -> String {
        let shown = self.labels.iter().take(8).cloned().collect::<Vec<_>>();
        let more = if self.labels.len() > 8 { ", .." } else { "" };
        let test = self
            .test_rows
            .map(|rows| format!("test        {} texts\n", count(rows as u64)));
        let adapters = match self.adapted_maps {
            0 => "a head".to_owned(),
            maps => format!("a head, and additions to {maps} maps"),
        };
        format!(
            "model       {}\ndata        {}: {} texts, cut to {} tokens\n{}labels      {}: {}{more}\nfitted      \
             {adapters}, {}\nsolvers     {}\nout         {}\nnothing was written (dry run)",
            self.model.display(),
            self.data,
            count(self.rows as u64),
            count(self.max_length as u64),
            test.unwrap_or_default(),
            self.labels.len(),
            shown.join(", "),
            counted(self.parameters as u64, "parameter"),
            self.solvers.join("; "),
            self.out.display()
        )
    }
}

/// What a tuning prints in the end: what a fit does, and what a guess would reach.
#[derive(Serialize)]
pub(super) struct Done {
    #[serde(flatten)]
    fit: fit::Done,
    labels: Vec<String>,
    /// The label that most texts to fit have.
    majority: String,
    /// Share of the texts to test on that do not have it.
    majority_error: Option<f64>,
}

impl Done {
    pub(super) fn of(tuning: &Tuning, fit: fit::Done) -> Self {
        let (majority, share) = tuning.majority();
        Self {
            fit,
            labels: tuning.labels().to_vec(),
            majority: majority.to_owned(),
            majority_error: share.map(|share| 1.0 - share),
        }
    }
}

impl Show for Done {
    fn text(&self, ui: &Ui) -> String {
        let text = self.fit.text(ui);
        match self.majority_error {
            Some(error) => format!(
                "{text}majority: to answer `{}` always is right for {:.2} % of the test\n",
                self.majority,
                100.0 * (1.0 - error)
            ),
            None => text,
        }
    }
}
