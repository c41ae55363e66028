//! What an extraction prints.

use crate::{
    cli::ui::{Show, Ui},
    merging::{ExtractSummary, Extracted},
    report::{bytes, duration},
};
use serde::Serialize;
use std::{fmt::Write, path::PathBuf};

/// What an extraction prints in the end.
#[derive(Serialize)]
pub(super) struct Done {
    pub(super) out: PathBuf,
    pub(super) seconds: f64,
    #[serde(flatten)]
    pub(super) found: Extracted,
}

impl Show for Done {
    fn text(&self, _: &Ui) -> String {
        let found = &self.found;
        let mut text = format!(
            "{}: extracted an adapter of rank {} in {}\n",
            self.out.display(),
            found.rank,
            duration(self.seconds)
        );
        let parts = parts(found.low_rank, found.shifts, found.whole);
        let _ = writeln!(text, "tensors     {parts}, {} unchanged", found.unchanged);
        let _ = write!(text, "residual    {:.2e} of the change", found.residual);
        if let Some(worst) = found.worst().filter(|worst| worst.residual > 0.0) {
            let _ = write!(text, "; most in `{}`: {:.2e}", worst.path, worst.residual);
        }
        text
    }
}

impl Show for ExtractSummary {
    fn text(&self, ui: &Ui) -> String {
        let mut text = String::new();
        let mut line = |key: &str, value: String| {
            let _ = writeln!(text, "{key:<12}{value}");
        };
        line("model", self.model.clone());
        line("base", self.base.clone());
        line(
            "rank",
            match self.energy {
                None => format!("at most {}", self.rank),
                Some(energy) => format!("at most {}, for a share of {energy}", self.rank),
            },
        );
        line(
            "tensors",
            format!(
                "{}, where they changed",
                parts(self.low_rank, self.shifts, self.whole)
            ),
        );
        for (key, names) in [
            ("whole", &self.whole_matrices),
            ("left out", &self.left_out),
        ] {
            let shown = if ui.verbose() { names.len() } else { 8 };
            for name in names.iter().take(shown) {
                line(key, name.clone());
            }
            if names.len() > shown {
                line("", format!("and {} more", names.len() - shown));
            }
        }
        line("reads", bytes(self.input_bytes));
        line(
            "writes",
            format!(
                "at most {}, factors as {}",
                bytes(self.most_bytes),
                self.dtype
            ),
        );
        line("memory", format!("about {}", bytes(self.memory_bytes)));
        text + "nothing was written (dry run)"
    }
}

fn parts(low_rank: usize, shifts: usize, whole: usize) -> String {
    format!("{low_rank} as factors, {shifts} as shifts of biases, {whole} whole")
}
