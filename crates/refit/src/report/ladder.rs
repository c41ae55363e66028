//! Dot charts: one row per method or task, positions in percent, so that text keeps its size on a phone.

use super::{
    format::percent, html::Html, palette::method_class, scale::Scale, summary::Summary,
    words::share,
};
use crate::outcome::{MethodKind, MethodResult, Outcome};

/// Appends the chart of means: one dot per method, its seeds as ticks, base and experts as lines through all rows.
pub(crate) fn means(h: &mut Html, outcome: &Outcome) {
    let values = outcome.methods.iter().flat_map(|m| {
        m.per_seed
            .iter()
            .copied()
            .chain([m.mean, m.mean - m.deviation, m.mean + m.deviation])
    });
    let Some(scale) = Scale::around(values) else {
        return;
    };
    let summary = Summary::of(outcome);
    let guides: Vec<f64> = [summary.base, summary.experts]
        .into_iter()
        .flatten()
        .map(|m| m.mean)
        .collect();
    h.el("div", &[("class", &"ladder")], |h| {
        for method in &outcome.methods {
            let label = |h: &mut Html| {
                h.text(&method.label);
            };
            row(h, &label, &share(method.mean), &describe(method), |h| {
                guide_lines(h, scale, &guides);
                mark_method(h, outcome, method, scale);
            });
        }
        axis(h, scale);
    });
}

/// Appends the chart of tasks: the way from base to expert, and where each merged model stands on it.
pub(crate) fn tasks(h: &mut Html, outcome: &Outcome) {
    let summary = Summary::of(outcome);
    let values = on_the_way(outcome, &summary).flat_map(|m| m.per_task.values().copied());
    let Some(scale) = Scale::around(values) else {
        return;
    };
    let best = summary.hero();
    h.el("div", &[("class", &"ladder")], |h| {
        for task in &outcome.tasks {
            let value = |m: Option<&MethodResult>| {
                m.and_then(|m| m.per_task.get(&task.name))
                    .copied()
                    .filter(|v| v.is_finite())
            };
            let (low, high) = (value(summary.base), value(summary.experts));
            let text = value(best).map_or("–".into(), share);
            let label = |h: &mut Html| {
                h.text(&task.name)
                    .leaf("small", &[], format_args!("{} classes", task.classes));
            };
            let described = format!("{}: base, merged models and expert", task.name);
            row(h, &label, &text, &described, |h| {
                if let (Some(low), Some(high)) = (low, high) {
                    let (x1, x2) = (pct(scale, low), pct(scale, high));
                    h.empty(
                        "line",
                        &[
                            ("class", &"span"),
                            ("x1", &x1),
                            ("x2", &x2),
                            ("y1", &"50%"),
                            ("y2", &"50%"),
                        ],
                    );
                }
                for method in on_the_way(outcome, &summary).chain(best) {
                    if let Some(value) = value(Some(method)) {
                        let class = method_class(outcome, &method.name);
                        let is_best = best.is_some_and(|b| b.name == method.name);
                        dot(h, scale, value, class, method, if is_best { 6 } else { 4 });
                    }
                }
            });
        }
        axis(h, scale);
    });
    legend(h, outcome, &summary);
}

/// What the chart of tasks shows: both ends of the way, and every merged model on it.
fn on_the_way<'a>(
    outcome: &'a Outcome,
    summary: &Summary<'a>,
) -> impl Iterator<Item = &'a MethodResult> {
    let ends = [summary.base, summary.experts];
    let merged = outcome
        .methods
        .iter()
        .filter(|m| m.kind == MethodKind::Merged);
    ends.into_iter().flatten().chain(merged)
}

/// Appends one entry per method of the chart of tasks.
fn legend(h: &mut Html, outcome: &Outcome, summary: &Summary<'_>) {
    h.el("p", &[("class", &"legend")], |h| {
        for method in on_the_way(outcome, summary) {
            let class = method_class(outcome, &method.name);
            h.el("span", &[], |h| {
                h.el(
                    "svg",
                    &[("width", &14), ("height", &14), ("aria-hidden", &true)],
                    |h| {
                        shape(h, "50%", class, method, 5, |_| {});
                    },
                );
                h.text(&method.label);
            });
        }
    });
}

fn row(
    h: &mut Html,
    label: &dyn Fn(&mut Html),
    value: &str,
    described: &str,
    marks: impl FnOnce(&mut Html),
) {
    h.el("div", &[("class", &"rung")], |h| {
        h.el("div", &[("class", &"name")], label);
        h.el(
            "svg",
            &[
                ("class", &"track"),
                ("role", &"img"),
                ("aria-label", &described),
            ],
            marks,
        );
        h.leaf("div", &[("class", &"value")], value);
    });
    h.newline();
}

fn axis(h: &mut Html, scale: Scale) {
    let (ticks, decimals) = scale.ticks(5);
    h.el(
        "div",
        &[("class", &"rung axis"), ("aria-hidden", &true)],
        |h| {
            h.leaf("div", &[("class", &"name")], "");
            h.el("svg", &[("class", &"track")], |h| {
                for tick in ticks {
                    let x = pct(scale, tick);
                    h.empty(
                        "line",
                        &[
                            ("class", &"tick"),
                            ("x1", &x),
                            ("x2", &x),
                            ("y1", &0),
                            ("y2", &5),
                        ],
                    );
                    let text = super::format::number(100.0 * tick, decimals.saturating_sub(2));
                    h.leaf(
                        "text",
                        &[("x", &x), ("y", &17), ("text-anchor", &"middle")],
                        text,
                    );
                }
            });
            h.leaf("div", &[("class", &"value")], "%");
        },
    );
}

fn guide_lines(h: &mut Html, scale: Scale, guides: &[f64]) {
    for guide in guides {
        let x = pct(scale, *guide);
        h.empty(
            "line",
            &[
                ("class", &"guide"),
                ("x1", &x),
                ("x2", &x),
                ("y1", &0),
                ("y2", &"100%"),
            ],
        );
    }
}

fn mark_method(h: &mut Html, outcome: &Outcome, method: &MethodResult, scale: Scale) {
    let class = method_class(outcome, &method.name);
    if !method.mean.is_finite() {
        return;
    }
    if method.deviation > 0.0 {
        let (x1, x2) = (
            pct(scale, method.mean - method.deviation),
            pct(scale, method.mean + method.deviation),
        );
        h.empty(
            "line",
            &[
                ("class", &format_args!("whisker {class}")),
                ("x1", &x1),
                ("x2", &x2),
                ("y1", &"50%"),
                ("y2", &"50%"),
            ],
        );
        for seed in method.per_seed.iter().filter(|v| v.is_finite()) {
            let x = pct(scale, *seed);
            h.empty(
                "line",
                &[
                    ("class", &format_args!("seed {class}")),
                    ("x1", &x),
                    ("x2", &x),
                    ("y1", &"28%"),
                    ("y2", &"72%"),
                ],
            );
        }
    }
    dot(h, scale, method.mean, class, method, 6);
}

fn dot(h: &mut Html, scale: Scale, value: f64, class: &str, method: &MethodResult, radius: u32) {
    shape(h, &pct(scale, value), class, method, radius, |h| {
        h.leaf(
            "title",
            &[],
            format_args!("{}: {}", method.label, share(value)),
        );
    });
}

/// Bounds are squares, merged models discs, transductive ones rings: colour is never the only difference.
fn shape(
    h: &mut Html,
    x: &str,
    class: &str,
    method: &MethodResult,
    radius: u32,
    inner: impl FnOnce(&mut Html),
) {
    if method.kind == MethodKind::Bound {
        let side = 2 * radius - 2;
        let shift = format!("translate(-{0},-{0})", side / 2);
        let attrs: super::html::Attrs<'_> = &[
            ("class", &format_args!("dot {class}")),
            ("x", &x),
            ("y", &"50%"),
            ("width", &side),
            ("height", &side),
            ("transform", &shift),
        ];
        h.el("rect", attrs, inner);
    } else {
        let kind = if method.kind == MethodKind::Transductive {
            "ring"
        } else {
            "dot"
        };
        h.el(
            "circle",
            &[
                ("class", &format_args!("{kind} {class}")),
                ("cx", &x),
                ("cy", &"50%"),
                ("r", &radius),
            ],
            inner,
        );
    }
}

fn pct(scale: Scale, value: f64) -> String {
    format!("{:.2}%", 100.0 * scale.at(value))
}

fn describe(method: &MethodResult) -> String {
    let mut text = format!("{}: {} percent", method.label, percent(method.mean));
    if method.deviation > 0.0 {
        text += &format!(", plus or minus {}", percent(method.deviation));
    }
    text
}
