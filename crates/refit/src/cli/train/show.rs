//! What a training prints.

use super::plan::Settings;
use crate::{
    cli::ui::{Show, Ui},
    report::{bytes, count, duration},
};
use serde::Serialize;
use std::{fmt::Write, path::PathBuf};

/// What a dry run prints.
#[derive(Serialize)]
pub(super) struct Summary {
    pub(super) data: String,
    pub(super) images: [usize; 3],
    pub(super) classes: usize,
    pub(super) parameters: u64,
    pub(super) settings: Settings,
    pub(super) done: u64,
    pub(super) state_bytes: u64,
    pub(super) out: PathBuf,
}

impl Show for Summary {
    fn text(&self, _: &Ui) -> String {
        let fit = &self.settings.fit;
        let [train, val, test] = self.images;
        let mut text = String::new();
        let mut line = |key: &str, value: String| {
            let _ = writeln!(text, "{key:<12}{value}");
        };
        line(
            "data",
            format!(
                "{}: {train} / {val} / {test} images, {} classes",
                self.data, self.classes
            ),
        );
        line("model", format!("{} values", count(self.parameters)));
        line(
            "steps",
            format!("{} of {} images, {} done", fit.steps, fit.batch, self.done),
        );
        line(
            "memory",
            format!("{} and activations", bytes(self.state_bytes)),
        );
        line("out", self.out.display().to_string());
        text + "nothing was written (dry run)"
    }
}

/// What a training prints.
#[derive(Serialize)]
pub(super) struct Trained {
    pub(super) out: PathBuf,
    pub(super) steps: u64,
    pub(super) loss: Option<f64>,
    pub(super) val_accuracy: f64,
    pub(super) seconds: f64,
}

impl Show for Trained {
    fn text(&self, _: &Ui) -> String {
        format!(
            "{}: {} steps in {}, validation accuracy {:.1} %",
            self.out.display(),
            self.steps,
            duration(self.seconds),
            100.0 * self.val_accuracy
        )
    }
}
