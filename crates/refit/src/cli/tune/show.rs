//! What a dry run of a tuning prints.

use crate::{
    cli::{
        solvers::{Steps, memory},
        ui::{Show, Ui},
    },
    fitting::TextRows,
    report::{bytes, count, counted},
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
    #[serde(flatten)]
    steps: Steps,
    /// Bytes of the weights of the encoder, of what is kept of the texts, and of the largest model of a step.
    bytes: [u64; 3],
    out: PathBuf,
}

impl Plan {
    pub(super) fn of(tuning: &Tuning, out: &Path, done: (u64, usize)) -> Self {
        let settings = tuning.settings();
        let [weights, texts] = tuning.memory();
        Self {
            model: settings.model.clone(),
            data: settings.fit.data.clone(),
            rows: tuning.rows(),
            labels: tuning.labels().to_vec(),
            test_rows: tuning.test_rows(),
            max_length: tuning.longest(),
            parameters: tuning.parameters(),
            adapted_maps: tuning.adapted_maps(),
            steps: Steps::of(&settings.fit, done),
            bytes: [weights, texts, memory(&settings.fit, tuning.parameters())],
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
        let [weights, texts, step] = self.bytes.map(bytes);
        format!(
            "model       {}\ndata        {}: {} texts, cut to {} tokens\n{}labels      {}: {}{more}\nfitted      \
             {adapters}, {}\n{}memory      {weights} of weights, {texts} of texts, at most {step} for a step\nout         \
             {}\nnothing was written (dry run)",
            self.model.display(),
            self.data,
            count(self.rows as u64),
            count(self.max_length as u64),
            test.unwrap_or_default(),
            self.labels.len(),
            shown.join(", "),
            counted(self.parameters as u64, "parameter"),
            self.steps.text(),
            self.out.display()
        )
    }
}

/// What is worth a word about texts, of which at most `longest` tokens are read.
pub(super) fn remarks(texts: &TextRows, longest: usize) -> Vec<String> {
    let cut = (texts.cut > 0).then(|| {
        format!(
            "{} texts have {} tokens or more; what came after was not read",
            count(texts.cut as u64),
            count(longest as u64)
        )
    });
    let shared = (texts.shared > 0).then(|| {
        format!(
            "warning: {} of the texts to test on are also among those to fit",
            count(texts.shared as u64)
        )
    });
    cut.into_iter().chain(shared).collect()
}
