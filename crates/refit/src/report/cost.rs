//! What it cost.

use super::{
    bar::bar_cell,
    format::{bytes, duration},
    html::Html,
};
use crate::outcome::{MethodKind, Outcome, Phase};

/// Appends time and memory of every phase, and the time of every method.
pub(crate) fn tables(h: &mut Html, outcome: &Outcome) {
    h.el("div", &[("class", &"columns")], |h| {
        if !outcome.phases.is_empty() {
            phases(h, &outcome.phases);
        }
        methods(h, outcome);
    });
}

fn phases(h: &mut Html, phases: &[Phase]) {
    let total: f64 = phases
        .iter()
        .map(|p| p.seconds)
        .filter(|s| s.is_finite())
        .sum();
    h.el("table", &[], |h| {
        h.leaf("caption", &[], "Phases of the first seed, in order");
        head(h, &["Phase", "Time", "", "Peak memory so far"]);
        h.el("tbody", &[], |h| {
            for phase in phases {
                h.el("tr", &[], |h| {
                    h.leaf("th", &[("scope", &"row")], &phase.name);
                    h.leaf("td", &[], duration(phase.seconds));
                    bar_cell(h, "cb", phase.seconds / total.max(f64::MIN_POSITIVE));
                    h.leaf("td", &[], bytes(phase.peak_bytes));
                });
            }
        });
    });
}

fn methods(h: &mut Html, outcome: &Outcome) {
    h.el("table", &[], |h| {
        h.leaf("caption", &[], "Methods: time beyond the experts");
        head(h, &["Method", "Time", "Needs to see"]);
        h.el("tbody", &[], |h| {
            for method in outcome
                .methods
                .iter()
                .filter(|m| m.kind != MethodKind::Bound)
            {
                h.el("tr", &[], |h| {
                    h.leaf("th", &[("scope", &"row")], &method.label);
                    h.leaf("td", &[], duration(method.seconds));
                    h.leaf("td", &[("class", &"words")], &method.data);
                });
            }
        });
    });
}

/// Appends a table head; an empty name is a column of bars.
pub(crate) fn head(h: &mut Html, columns: &[&str]) {
    h.el("thead", &[], |h| {
        h.el("tr", &[], |h| {
            for column in columns {
                if column.is_empty() {
                    h.leaf("td", &[("class", &"bar")], "");
                } else {
                    h.leaf("th", &[("scope", &"col")], column);
                }
            }
        });
    });
}
