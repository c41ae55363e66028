//! The columns of the text table: their widths, and what stands in them.

use super::{
    format::{number, percent},
    summary::{Summary, prints_alike},
};
use crate::{
    outcome::{MethodKind, MethodResult, Outcome},
    visible::visible_name,
};
use std::fmt::Write;

/// Room between columns.
const GAP: usize = 2;
/// Task names are cut to no less than this.
const SHORTEST: usize = 5;

/// Widths of the columns.
pub(super) struct Columns {
    label: usize,
    mean: usize,
    /// Width of a task column, 0 where tasks are left out.
    pub(super) tasks: usize,
    count: usize,
}

impl Columns {
    pub(super) fn fit(outcome: &Outcome, width: usize) -> Self {
        let chars = |text: &str| visible_name(text).chars().count();
        let label = outcome
            .methods
            .iter()
            .map(|m| chars(&m.label))
            .max()
            .unwrap_or(0)
            .max(6);
        let mean = if outcome.seeds.len() > 1 { 10 } else { 5 };
        let longest = outcome
            .tasks
            .iter()
            .map(|t| chars(&t.name))
            .max()
            .unwrap_or(0)
            .max(5);
        let count = outcome.tasks.len();
        let left = width.saturating_sub(label + GAP + mean + GAP + GAP_COLUMN);
        let room = left.checked_div(count).unwrap_or(0).saturating_sub(GAP);
        let tasks = if room < SHORTEST {
            0
        } else {
            room.min(longest)
        };
        Self {
            label,
            mean,
            tasks,
            count,
        }
    }

    pub(super) const fn width(&self) -> usize {
        let tasks = if self.tasks == 0 {
            0
        } else {
            self.count * (self.tasks + GAP)
        };
        self.label + GAP + self.mean + GAP + GAP_COLUMN + tasks
    }

    pub(super) fn head(&self, text: &mut String, outcome: &Outcome) {
        let _ = write!(text, "{:<1$}", "method", self.label);
        cell(text, "mean", self.mean, false);
        cell(text, "gap", GAP_COLUMN, false);
        if self.tasks > 0 {
            for task in &outcome.tasks {
                cell(text, &cut(&task.name, self.tasks), self.tasks, false);
            }
        }
        text.push('\n');
    }

    pub(super) fn row(
        &self,
        text: &mut String,
        outcome: &Outcome,
        summary: &Summary<'_>,
        best: &[Option<f64>],
        method: &MethodResult,
        bold: bool,
    ) {
        let bold = |value: f64, column: usize| {
            bold && method.kind == MethodKind::Merged && prints_alike(value, best[column])
        };
        let _ = write!(text, "{:<1$}", visible_name(&method.label), self.label);
        let mean = if outcome.seeds.len() > 1 {
            format!("{} ± {}", percent(method.mean), percent(method.deviation))
        } else {
            percent(method.mean)
        };
        cell(text, &mean, self.mean, bold(method.mean, 0));
        let gap = summary
            .recovered(method.mean)
            .map_or("–".into(), |r| number(100.0 * r, 0));
        cell(text, &gap, GAP_COLUMN, false);
        if self.tasks > 0 {
            for (task, column) in outcome.tasks.iter().zip(1..) {
                let value = method.per_task.get(&task.name).copied().unwrap_or(f64::NAN);
                cell(text, &percent(value), self.tasks, bold(value, column));
            }
        }
        text.push('\n');
    }
}

/// Width of the column `gap`.
const GAP_COLUMN: usize = 4;

fn cell(text: &mut String, content: &str, width: usize, bold: bool) {
    let (on, off) = if bold {
        ("\u{1b}[1m", "\u{1b}[0m")
    } else {
        ("", "")
    };
    let padding = (width + GAP).saturating_sub(content.chars().count());
    let _ = write!(text, "{:padding$}{on}{content}{off}", "");
}

/// The first `width` characters, the last one a dot where some are missing.
fn cut(name: &str, width: usize) -> String {
    let name = visible_name(name);
    if name.chars().count() <= width {
        return name;
    }
    let head: String = name.chars().take(width - 1).collect();
    format!("{head}.")
}
