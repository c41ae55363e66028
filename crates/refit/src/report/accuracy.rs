//! The table of accuracies.

use super::{
    format::{number, percent},
    html::Html,
    summary::{Summary, prints_alike},
};
use crate::outcome::{MethodKind, MethodResult, Outcome};

/// One part of the table.
const PARTS: [(MethodKind, &str); 3] = [
    (MethodKind::Bound, "Bounds: not merged"),
    (MethodKind::Merged, "One merged model"),
    (
        MethodKind::Transductive,
        "One merged model that saw the test images (never their labels)",
    ),
];

/// Appends the table, bounds first.
pub(crate) fn table(h: &mut Html, outcome: &Outcome) {
    let summary = Summary::of(outcome);
    let best = summary.column_best();
    h.leaf("p", &[("class", &"note")], caption(outcome));
    h.scroll("Accuracy table", |h| {
        h.el("table", &[("class", &"accuracy")], |h| {
            head(h, outcome);
            for (kind, title) in PARTS {
                if summary.of_kind(kind).next().is_none() {
                    continue;
                }
                h.el("tbody", &[], |h| {
                    let columns = outcome.tasks.len() + 3;
                    h.el("tr", &[("class", &"part")], |h| {
                        h.el(
                            "th",
                            &[("scope", &"rowgroup"), ("colspan", &columns)],
                            |h| {
                                h.leaf("span", &[], title);
                            },
                        );
                    });
                    for method in summary.of_kind(kind) {
                        row(h, outcome, &summary, &best, method);
                    }
                });
            }
        });
    });
}

fn caption(outcome: &Outcome) -> String {
    let seeds = outcome.seeds.len();
    let spread = if seeds > 1 {
        format!(
            "Mean over {seeds} seeds; ± is the standard deviation of the mean accuracy over seeds."
        )
    } else {
        "One seed: no spread is known.".into()
    };
    format!(
        "Test accuracy in percent, every class of a task counting alike. {spread} Bold: best merged model of the column."
    )
}

fn head(h: &mut Html, outcome: &Outcome) {
    let column = |h: &mut Html, text: &str| {
        h.leaf("th", &[("scope", &"col")], text);
    };
    h.el("thead", &[], |h| {
        h.el("tr", &[], |h| {
            column(h, "Method");
            column(h, "Mean");
            h.leaf(
                "th",
                &[
                    ("scope", &"col"),
                    (
                        "title",
                        &"share of the way from base (0 %) to experts (100 %)",
                    ),
                ],
                "Gap closed",
            );
            for task in &outcome.tasks {
                h.leaf(
                    "th",
                    &[("scope", &"col"), ("class", &"task"), ("title", &task.name)],
                    &task.name,
                );
            }
        });
    });
}

fn row(
    h: &mut Html,
    outcome: &Outcome,
    summary: &Summary<'_>,
    best: &[Option<f64>],
    method: &MethodResult,
) {
    let merged = method.kind == MethodKind::Merged;
    let class = |value: f64, column: usize| {
        if merged && prints_alike(value, best[column]) {
            "best"
        } else {
            ""
        }
    };
    h.el("tr", &[], |h| {
        h.el("th", &[("scope", &"row")], |h| {
            h.text(&method.label);
            h.leaf("small", &[], small_print(method));
        });
        h.el(
            "td",
            &[("class", &format_args!("mean {}", class(method.mean, 0)))],
            |h| {
                h.text(percent(method.mean));
                if outcome.seeds.len() > 1 {
                    h.leaf(
                        "small",
                        &[],
                        format_args!("\u{a0}±\u{a0}{}", percent(method.deviation)),
                    );
                }
            },
        );
        let recovered = summary.recovered(method.mean);
        h.leaf(
            "td",
            &[],
            recovered.map_or("–".into(), |r| {
                format!("{}\u{202f}%", number(100.0 * r, 0))
            }),
        );
        for (task, column) in outcome.tasks.iter().zip(1..) {
            match method.per_task.get(&task.name) {
                Some(&value) => h.leaf("td", &[("class", &class(value, column))], percent(value)),
                None => h.leaf("td", &[], "–"),
            };
        }
    });
    h.newline();
}

/// What stands below the name: the settings, and what the method needs to see.
fn small_print(method: &MethodResult) -> String {
    let needs = match method.data.as_str() {
        "" => String::new(),
        "none" => "no data".into(),
        data => format!("needs {data}"),
    };
    let parts = [method.settings.clone(), needs];
    parts
        .into_iter()
        .filter(|p| !p.is_empty())
        .collect::<Vec<_>>()
        .join("; ")
}
