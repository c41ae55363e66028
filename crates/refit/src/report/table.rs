//! The table of accuracies as text for a terminal.

use super::{columns::Columns, summary::Summary};
use crate::outcome::{MethodKind, MethodResult, Outcome};
use std::fmt::Write;

/// How much room there is, and whether type can be bold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Columns of the terminal.
    pub width: usize,
    /// Whether escape codes are understood.
    pub bold: bool,
}

/// Makes the table: one row per method, accuracy in percent, the best merged model of a column bold where type can be
/// bold. Task names are cut, and in the last resort left out, until the table fits.
///
/// ```
/// use refit::{outcome::Outcome, report::{Style, text_table}};
/// let table = text_table(&Outcome::default(), Style { width: 80, bold: false });
/// assert!(table.starts_with("method"));
/// ```
pub fn text_table(outcome: &Outcome, style: Style) -> String {
    let summary = Summary::of(outcome);
    let best = summary.column_best();
    let columns = Columns::fit(outcome, style.width);
    let mut text = String::new();
    columns.head(&mut text, outcome);
    let mut last = None;
    for method in ordered(outcome) {
        if last.is_some_and(|kind| kind != method.kind) {
            text.push_str(&"-".repeat(columns.width()));
            text.push('\n');
        }
        last = Some(method.kind);
        columns.row(&mut text, outcome, &summary, &best, method, style.bold);
    }
    notes(&mut text, outcome, &columns);
    text
}

/// Bounds first, then merged models, then transductive ones.
fn ordered(outcome: &Outcome) -> impl Iterator<Item = &MethodResult> {
    [
        MethodKind::Bound,
        MethodKind::Merged,
        MethodKind::Transductive,
    ]
    .into_iter()
    .flat_map(|kind| outcome.methods.iter().filter(move |m| m.kind == kind))
}

fn notes(text: &mut String, outcome: &Outcome, columns: &Columns) {
    let spread = if outcome.seeds.len() > 1 {
        format!("; ± over {} seeds", outcome.seeds.len())
    } else {
        String::new()
    };
    let _ = writeln!(
        text,
        "\ntest accuracy in percent, every class of a task counting alike{spread}; gap: share of the way from base (0) to experts (100)"
    );
    if outcome
        .methods
        .iter()
        .any(|m| m.kind == MethodKind::Transductive)
    {
        text.push_str("last part: coefficients saw the test images, never their labels\n");
    }
    if columns.tasks == 0 && !outcome.tasks.is_empty() {
        text.push_str("the terminal is too narrow for the tasks: see the report or --json\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::TaskSummary;

    fn outcome() -> Outcome {
        let method = |label: &str, kind, mean: f64| MethodResult {
            name: label.into(),
            label: label.into(),
            kind,
            mean,
            per_task: [
                ("digits".into(), mean),
                ("a\u{1b}[2Jlphabets".into(), mean / 2.0),
            ]
            .into(),
            ..MethodResult::default()
        };
        let task = |name: &str| TaskSummary {
            name: name.into(),
            ..TaskSummary::default()
        };
        let mut methods = vec![
            method("base", MethodKind::Bound, 0.5),
            method("AdaMerging", MethodKind::Merged, 0.75),
            method("TIES", MethodKind::Merged, 0.6),
            method("experts", MethodKind::Bound, 1.0),
        ];
        methods[0].name = "base".into();
        Outcome {
            methods,
            tasks: vec![task("digits"), task("a\u{1b}[2Jlphabets")],
            seeds: vec![0],
            ..Outcome::default()
        }
    }

    #[test]
    fn rows_are_aligned_and_parted() {
        let table = text_table(
            &outcome(),
            Style {
                width: 80,
                bold: false,
            },
        );
        let expected = "\
method       mean   gap              digits  a\\u{1b}[2Jlphabets
base         50.0     0                50.0                25.0
experts     100.0   100               100.0                50.0
---------------------------------------------------------------
AdaMerging   75.0    50                75.0                37.5
TIES         60.0    20                60.0                30.0

test accuracy in percent, every class of a task counting alike; gap: share of the way from base (0) to experts (100)
";
        assert_eq!(table, expected);
    }

    #[test]
    fn a_narrow_terminal_cuts_names_and_then_leaves_tasks_out() {
        let table = text_table(
            &outcome(),
            Style {
                width: 40,
                bold: false,
            },
        );
        assert!(
            table.contains("a\\u{1.") && table.lines().take(6).all(|l| l.chars().count() <= 40)
        );
        let table = text_table(
            &outcome(),
            Style {
                width: 30,
                bold: false,
            },
        );
        assert!(!table.contains("digits") && table.contains("too narrow"));
    }

    #[test]
    fn bold_marks_the_best_merged_value_without_moving_columns() {
        let plain = text_table(
            &outcome(),
            Style {
                width: 60,
                bold: false,
            },
        );
        let bold = text_table(
            &outcome(),
            Style {
                width: 60,
                bold: true,
            },
        );
        assert!(bold.contains("\u{1b}[1m75.0\u{1b}[0m") && !bold.contains("\u{1b}[1m100.0"));
        assert_eq!(
            bold.replace("\u{1b}[1m", "").replace("\u{1b}[0m", ""),
            plain
        );
    }
}
