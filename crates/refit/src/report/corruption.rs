//! Robustness: accuracy under each corruption.

use super::{bar::bar_cell, format::percent, html::Html, palette::method_class};
use crate::{
    outcome::{MethodKind, MethodResult, Outcome},
    run::RunRecord,
};
use std::collections::BTreeSet;

/// Whether there is anything to show.
pub(crate) fn measured(outcome: &Outcome) -> bool {
    outcome
        .methods
        .iter()
        .any(|m| !m.per_corruption.is_empty() || m.corrupted_mean.is_some())
}

/// Appends how strong the corruptions are and how many images each was measured on, where the settings say so.
pub(crate) fn how(h: &mut Html, record: &RunRecord) {
    let job = &record.settings["job"];
    if let (Some(severity), Some(images)) =
        (job["severity"].as_u64(), job["corrupted-images"].as_u64())
    {
        let words = format_args!(
            "Severity {severity} of 5; at most {images} test images of each task for each corruption."
        );
        h.leaf("p", &[("class", &"note")], words);
    }
}

/// Appends one group of bars per corruption, all from zero, and the mean first.
pub(crate) fn bars(h: &mut Html, outcome: &Outcome) {
    let names: BTreeSet<&str> = outcome
        .methods
        .iter()
        .flat_map(|m| m.per_corruption.keys())
        .map(String::as_str)
        .collect();
    h.el("div", &[("class", &"charts bars")], |h| {
        group(h, outcome, "Mean over all", |m| m.corrupted_mean);
        for name in names {
            group(h, outcome, name, |m| m.per_corruption.get(name).copied());
        }
    });
}

fn group(
    h: &mut Html,
    outcome: &Outcome,
    title: &str,
    value: impl Fn(&MethodResult) -> Option<f64>,
) {
    let measured = outcome.methods.iter().filter_map(|m| Some((m, value(m)?)));
    let best = outcome
        .methods
        .iter()
        .filter(|m| m.kind == MethodKind::Merged)
        .filter_map(&value)
        .filter(|v| v.is_finite())
        .max_by(f64::total_cmp);
    h.el("figure", &[], |h| {
        h.leaf("figcaption", &[], title);
        h.el(
            "table",
            &[
                ("class", &"bar-table"),
                ("aria-label", &format_args!("Accuracy in percent, {title}")),
            ],
            |h| {
                for (method, value) in measured {
                    let is_best = method.kind == MethodKind::Merged
                        && super::summary::prints_alike(value, best);
                    bar(h, outcome, method, value, is_best);
                }
            },
        );
    });
    h.newline();
}

fn bar(h: &mut Html, outcome: &Outcome, method: &MethodResult, value: f64, is_best: bool) {
    let class = method_class(outcome, &method.name);
    h.el(
        "tr",
        &[("class", &if is_best { "best" } else { "" })],
        |h| {
            h.leaf("th", &[("scope", &"row")], &method.label);
            bar_cell(h, class, value);
            h.leaf("td", &[], percent(value));
        },
    );
}
