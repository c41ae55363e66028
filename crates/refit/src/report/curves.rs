//! What happened over steps and over scales.

use super::{
    format::number,
    html::Html,
    lines::{Chart, EVEN, Series, legend},
    palette::{label, method_class, series_class},
};
use crate::{
    outcome::{Curve, CurvePoint, Outcome},
    run::{Metric, RunFiles},
};

/// Appends entropy, marginal entropy and validation accuracy of the adaptive methods.
pub(crate) fn adaptation(h: &mut Html, outcome: &Outcome) {
    let charts = [
        (
            "Prediction entropy, nats",
            1.0,
            None,
            entropy as fn(&CurvePoint) -> f64,
        ),
        (
            "Spread of predictions, % of the maximum",
            100.0,
            Some((0.0, 100.0)),
            |p| p.marginal,
        ),
        ("Validation accuracy, %", 100.0, None, |p| {
            p.accuracy.unwrap_or(f64::NAN)
        }),
    ];
    legend(h, &series_of(outcome, entropy));
    h.el("div", &[("class", &"charts")], |h| {
        for (title, y_factor, y_ends, value) in charts {
            let series = series_of(outcome, value);
            Chart {
                title: title.into(),
                x_label: "step",
                y_factor,
                y_ends,
                spacing: EVEN,
                guide: None,
                series,
            }
            .render(h);
        }
    });
}

const fn entropy(point: &CurvePoint) -> f64 {
    point.entropy
}

fn series_of(outcome: &Outcome, value: fn(&CurvePoint) -> f64) -> Vec<Series> {
    let series = |curve: &Curve| Series {
        label: label(outcome, &curve.method).to_owned(),
        class: method_class(outcome, &curve.method),
        // A value that was not measured at a step is no gap in the line.
        points: curve
            .points
            .iter()
            .map(|p| (p.step as f64, value(p)))
            .filter(|p| p.1.is_finite())
            .collect(),
        chosen: None,
    };
    outcome.curves.iter().map(series).collect()
}

/// Appends validation accuracy over the scale of each tuned method.
pub(crate) fn sweeps(h: &mut Html, outcome: &Outcome) {
    let series: Vec<Series> = outcome
        .sweeps
        .iter()
        .map(|sweep| Series {
            label: label(outcome, &sweep.method).to_owned(),
            class: method_class(outcome, &sweep.method),
            points: sweep.points.clone(),
            chosen: sweep
                .points
                .iter()
                .filter(|p| p.1.is_finite())
                .max_by(|a, b| a.1.total_cmp(&b.1))
                .copied(),
        })
        .collect();
    legend(h, &series);
    h.el("div", &[("class", &"charts")], |h| {
        let chart = Chart {
            title: "Validation accuracy, %; ring: best scale".into(),
            x_label: "scale",
            y_factor: 100.0,
            y_ends: None,
            spacing: EVEN,
            guide: None,
            series,
        };
        chart.render(h);
    });
}

/// More lines than this cross too often to be told apart: each gets a chart of its own.
const MAX_TOGETHER: usize = 4;
/// More charts of one quantity than this are no summary.
const MAX_SERIES: usize = 24;
/// More charts than this are no summary.
const MAX_CHARTS: usize = 9;

/// What readers look for first.
const FIRST: [&str; 2] = ["accuracy", "loss"];

/// Appends the last value of the quantities that were measured once.
fn final_values(h: &mut Html, metrics: &[&Metric], keys: &[&str]) {
    let of = |key: &str| -> Vec<(&Metric, f64)> {
        let value = |m: &Metric| m.values.iter().find(|(k, _)| k == key).map(|(_, v)| *v);
        metrics
            .iter()
            .filter_map(|&m| Some((m, value(m)?)))
            .collect()
    };
    let single: Vec<_> = keys
        .iter()
        .map(|key| (key, of(key)))
        .filter(|(_, found)| found.len() == 1)
        .collect();
    if single.is_empty() {
        return;
    }
    h.el("dl", &[], |h| {
        for (key, found) in single {
            let (metric, value) = found[0];
            h.leaf("dt", &[], format_args!("{} {key}", metric.series));
            let text = number(value, 4);
            h.leaf("dd", &[], format_args!("{text} at step {}", metric.step));
        }
    });
}

/// The measurements that are charted as training: those of the first seed, without adaptation, which has charts of
/// its own.
pub(crate) fn of_training(run: &RunFiles) -> Vec<&Metric> {
    if run.fit.is_some() {
        return Vec::new();
    }
    let curves = run.outcome.iter().flat_map(|outcome| &outcome.curves);
    let adapted: Vec<&str> = curves.map(|curve| curve.method.as_str()).collect();
    let first = run.metrics.first().and_then(|metric| metric.seed);
    run.metrics
        .iter()
        .filter(|m| m.seed == first && !adapted.contains(&m.series.as_str()))
        .collect()
}

/// Appends one chart per measured quantity of `metrics.jsonl`.
pub(crate) fn training(h: &mut Html, run: &RunFiles) {
    let metrics = of_training(run);
    let mut names: Vec<&str> = Vec::new();
    let mut keys: Vec<&str> = Vec::new();
    for metric in &metrics {
        push_new(&mut names, &metric.series);
        metric
            .values
            .iter()
            .for_each(|(key, _)| push_new(&mut keys, key));
    }
    keys.sort_by_key(|key| {
        FIRST
            .iter()
            .position(|first| first == key)
            .unwrap_or(FIRST.len())
    });
    final_values(h, &metrics, &keys);
    if names.len() > MAX_TOGETHER {
        apart(h, &metrics, &names, &keys);
        return;
    }
    let series = |key: &str| -> Vec<Series> {
        names
            .iter()
            .enumerate()
            .map(|(i, name)| line(&metrics, name, key, i))
            .collect()
    };
    if names.len() > 1 {
        legend(h, &series(""));
    }
    h.el("div", &[("class", &"charts")], |h| {
        for key in keys.iter().take(MAX_CHARTS) {
            let series = series(key);
            // One value is no curve; it stands in the list above.
            if series.iter().all(|line| line.points.len() < 2) {
                continue;
            }
            Chart {
                title: (*key).to_owned(),
                x_label: "step",
                y_factor: 1.0,
                y_ends: None,
                spacing: EVEN,
                guide: None,
                series,
            }
            .render(h);
        }
    });
}

/// Appends small charts, one for each series, all with the axis of their quantity.
fn apart(h: &mut Html, metrics: &[&Metric], names: &[&str], keys: &[&str]) {
    let shown = names.len().min(MAX_SERIES);
    for key in keys.iter().filter(|key| FIRST.contains(key)) {
        let lines: Vec<Series> = names[..shown]
            .iter()
            .map(|name| line(metrics, name, key, 0))
            .filter(|line| line.points.len() > 1)
            .collect();
        let values = lines
            .iter()
            .flat_map(|line| line.points.iter().map(|p| p.1));
        let finite = values.filter(|v| v.is_finite());
        let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
            (l.min(v), h.max(v))
        });
        if low > high {
            continue;
        }
        h.leaf("h3", &[], key);
        h.el("div", &[("class", &"charts small")], |h| {
            for series in lines {
                Chart {
                    title: series.label.clone(),
                    x_label: "step",
                    y_factor: 1.0,
                    y_ends: Some((low, high)),
                    spacing: EVEN,
                    guide: None,
                    series: vec![series],
                }
                .render(h);
            }
        });
    }
    let text = match names.len() - shown {
        0 => "All quantities are in metrics.jsonl.".to_owned(),
        more => format!("{more} more series and all quantities are in metrics.jsonl."),
    };
    h.leaf("p", &[("class", &"note")], text);
}

fn line(metrics: &[&Metric], name: &str, key: &str, index: usize) -> Series {
    let value = |m: &&Metric| {
        let found = m.values.iter().find(|(k, _)| k == key)?;
        Some((m.step as f64, found.1))
    };
    Series {
        label: if name.is_empty() {
            "run".into()
        } else {
            name.into()
        },
        class: series_class(index),
        points: metrics
            .iter()
            .filter(|m| m.series == name)
            .filter_map(value)
            .collect(),
        chosen: None,
    }
}

fn push_new<'a>(list: &mut Vec<&'a str>, item: &'a str) {
    if !list.contains(&item) {
        list.push(item);
    }
}
