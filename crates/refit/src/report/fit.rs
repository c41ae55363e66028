//! What a fit found, how it came there, and what that cost.

use super::{
    axis::Spacing,
    cost::head,
    format::{count, duration, in_words, percent, scientific},
    html::Html,
    lines::{Chart, Series, legend},
    palette::series_class,
};
use crate::{
    fitting::{ArmFound, FitOutcome, Verdict},
    run::RunFiles,
};
use refit_train::optim::second::Certificate;

/// The most important figures of the first solver, and who was fastest.
pub(super) fn banner(h: &mut Html, fit: &FitOutcome) {
    h.leaf("h1", &[], title(fit));
    for line in lines(fit) {
        h.leaf("p", &[("class", &"lead")], line);
    }
    let Some(first) = fit.arms.first() else {
        return;
    };
    let bound = first.certificate.as_ref().map(Certificate::curvature_bound);
    let tiles = [
        ("Status", Some(first.verdict.words().to_owned())),
        ("Loss", first.score.loss.map(six)),
        ("Gradient", first.score.gradient.map(scientific)),
        ("Curvature above", bound.map(scientific)),
        ("Test accuracy, %", first.score.test_error.map(right)),
        ("Passes over the rows", Some(passes(fit, first))),
        ("Time", Some(duration(first.seconds))),
    ];
    h.el("dl", &[("class", &"tiles")], |h| {
        // The status has more words than a tile has room for; it stands in the title.
        for (name, value) in tiles.into_iter().skip(1) {
            let Some(value) = value else { continue };
            let class = if name == "Gradient" {
                "tile hero"
            } else {
                "tile"
            };
            h.el("div", &[("class", &class)], |h| {
                h.leaf("dt", &[], name).leaf("dd", &[], value);
            });
        }
    });
    if fit.arms.len() > 1 {
        let text = format!(
            "Figures of {}, the first of {}.",
            first.label,
            in_words(fit.arms.len())
        );
        h.leaf("p", &[("class", &"note")], text);
    }
}

fn title(fit: &FitOutcome) -> String {
    let Some(first) = fit.arms.first() else {
        return "Nothing was fitted".into();
    };
    match first.verdict {
        Verdict::SecondOrder => format!("{}: a certified second-order point", first.label),
        Verdict::FirstOrderOnly => format!("{}: the gradient is short", first.label),
        verdict => format!("{}: {}", first.label, verdict.words()),
    }
}

/// What was asked, and which solver needed least.
fn lines(fit: &FitOutcome) -> Vec<String> {
    let mut lines = vec![format!(
        "The loss {} over {} rows of {} features, {} parameters, from {}.",
        fit.objective,
        count(fit.rows as u64),
        count(fit.features as u64),
        count(fit.parameters as u64),
        match fit.start.as_str() {
            "random" => "a random start".to_owned(),
            start => format!("a start of {start}"),
        }
    )];
    let ended =
        |arm: &&ArmFound| matches!(arm.verdict, Verdict::SecondOrder | Verdict::FirstOrderOnly);
    let least = fit
        .arms
        .iter()
        .filter(ended)
        .min_by_key(|arm| arm.propagations());
    if let (Some(least), 2..) = (least, fit.arms.len()) {
        lines.push(format!(
            "Least work to a gradient of {}: {}, {} passes over the rows; {} of {} solvers came there.",
            scientific(fit.eps_g),
            least.label,
            passes(fit, least),
            fit.arms.iter().filter(ended).count(),
            fit.arms.len()
        ));
    }
    lines
}

fn six(value: f64) -> String {
    format!("{value:.6}")
}

/// The share that is right, in percent.
fn right(error: f64) -> String {
    percent(1.0 - error)
}

fn passes(fit: &FitOutcome, arm: &ArmFound) -> String {
    let passes = arm.propagations() as f64 / fit.rows.max(1) as f64;
    if passes < 99.95 {
        format!("{passes:.1}")
    } else {
        count(passes.round() as u64)
    }
}

/// Appends a row for each solver: how it ended, by which evidence, and what was reached.
pub(super) fn found(h: &mut Html, run: &RunFiles) {
    let Some(fit) = &run.fit else { return };
    let classes = fit.arms.iter().any(|arm| arm.score.error.is_some());
    let test = fit.test_rows.is_some();
    let begins = &fit.begins;
    let mut columns = vec![
        "Solver",
        "Ended",
        "Loss",
        "Gradient",
        "Certified gradient",
        "Certified curvature",
        "Confidence",
    ];
    if classes {
        columns.push("Right, %");
    }
    match (test, classes) {
        (true, true) => columns.push("Right on test, %"),
        (true, false) => columns.push("Test loss"),
        _ => {}
    }
    columns.extend(["Trials", "Passes", "Time"]);
    h.scroll("Solvers", |h| {
        h.el("table", &[], |h| {
            let mut caption = format!("Until the gradient is at most {}", scientific(fit.eps_g));
            if let Some(eps_h) = fit.eps_h {
                caption += &format!(" and no curvature below -{}", scientific(eps_h));
            }
            if let (Some(loss), Some(gradient)) = (begins.loss, begins.gradient) {
                caption += &format!(
                    ". The start: loss {}, gradient {}",
                    six(loss),
                    scientific(gradient)
                );
            }
            h.leaf("caption", &[], caption + ".");
            head(h, &columns);
            h.el("tbody", &[], |h| {
                for arm in &fit.arms {
                    h.el("tr", &[], |h| row(h, fit, arm, classes));
                }
            });
        });
    });
    note(h, fit);
}

fn row(h: &mut Html, fit: &FitOutcome, arm: &ArmFound, classes: bool) {
    let maybe = |value: Option<f64>, form: fn(f64) -> String| value.map_or("–".into(), form);
    let (score, certificate) = (&arm.score, arm.certificate.as_ref());
    let confidence = |share: f64| format!("{} %", (1e4 * share).round() / 1e2);
    h.leaf("th", &[("scope", &"row")], &arm.label);
    h.leaf("td", &[("class", &"words")], arm.verdict.words());
    h.leaf("td", &[], maybe(score.loss, six));
    h.leaf("td", &[], maybe(score.gradient, scientific));
    h.leaf(
        "td",
        &[],
        maybe(certificate.map(Certificate::gradient_bound), scientific),
    );
    h.leaf(
        "td",
        &[],
        maybe(certificate.map(Certificate::curvature_bound), scientific),
    );
    h.leaf(
        "td",
        &[],
        maybe(certificate.map(|c| 1.0 - c.failure), confidence),
    );
    if classes {
        h.leaf("td", &[], maybe(score.error, right));
    }
    match (fit.test_rows.is_some(), classes) {
        (true, true) => {
            h.leaf("td", &[], maybe(score.test_error, right));
        }
        (true, false) => {
            h.leaf("td", &[], maybe(score.test_loss, six));
        }
        _ => {}
    }
    h.leaf("td", &[], count(arm.trials));
    h.leaf("td", &[], passes(fit, arm));
    h.leaf("td", &[], duration(arm.seconds));
}

/// Says what certificates stand on.
fn note(h: &mut Html, fit: &FitOutcome) {
    let certified = fit
        .arms
        .iter()
        .filter_map(|arm| Some((arm, arm.certificate.as_ref()?)));
    for (arm, certificate) in certified {
        let rows = |terms: usize| {
            if terms >= fit.rows {
                "all rows".to_owned()
            } else {
                format!("{} rows", count(terms as u64))
            }
        };
        let text = format!(
            "{}: gradient of {} ({} and at most {} more), Hessian of {}; smallest Ritz value {}, less its residual {}, \
             what a random start may have missed {}, and the error of the sample {}; {} products, attempt {}.",
            arm.label,
            rows(certificate.gradient_terms),
            scientific(certificate.gradient),
            scientific(certificate.gradient_error),
            rows(certificate.hessian_terms),
            scientific(certificate.curvature),
            scientific(certificate.residual),
            scientific(certificate.missed),
            scientific(certificate.hessian_error),
            certificate.products,
            certificate.attempt
        );
        h.leaf("p", &[("class", &"note")], text);
    }
}

/// Points of an arm: `x` and `y` by the names of the measurements.
fn points(run: &RunFiles, arm: &str, x: &str, y: &str) -> Vec<(f64, f64)> {
    let value = |values: &[(String, f64)], key: &str| {
        values
            .iter()
            .find(|(known, _)| known == key)
            .map(|found| found.1)
    };
    let of_arm = run.metrics.iter().filter(|m| m.series == arm);
    let point = |m: &crate::run::Metric| Some((value(&m.values, x)?, value(&m.values, y)?));
    of_arm.filter_map(point).collect()
}

/// Appends loss gap, gradient and test errors against work and time.
pub(super) fn way(h: &mut Html, run: &RunFiles) {
    let Some(fit) = &run.fit else { return };
    let rows = fit.rows.max(1) as f64;
    let series = |x: &str, y: &str, change: &dyn Fn((f64, f64)) -> (f64, f64)| -> Vec<Series> {
        let of_arm = |(at, arm): (usize, &ArmFound)| Series {
            label: arm.label.clone(),
            class: series_class(at),
            points: points(run, &arm.name, x, y)
                .into_iter()
                .map(change)
                .collect(),
            chosen: None,
        };
        fit.arms.iter().enumerate().map(of_arm).collect()
    };
    let all = fit
        .arms
        .iter()
        .flat_map(|arm| points(run, &arm.name, "seconds", "loss"));
    let reached = fit.arms.iter().filter_map(|arm| arm.score.loss);
    let lowest = all
        .map(|p| p.1)
        .chain(reached)
        .fold(f64::INFINITY, f64::min);
    legend(h, &series("seconds", "loss", &|p| p));
    let log = [Spacing::Log; 2];
    let goal = Some((fit.eps_g, "the gradient of an answer"));
    let charts = [
        (
            "Loss gap",
            "propagations per row",
            "propagations",
            "loss",
            log,
            None,
        ),
        ("Loss gap", "seconds", "seconds", "loss", log, None),
        (
            "Gradient; dashed: the goal",
            "propagations per row",
            "propagations",
            "gradient",
            log,
            goal,
        ),
        (
            "Gradient; dashed: the goal",
            "seconds",
            "seconds",
            "gradient",
            log,
            goal,
        ),
        (
            "Wrong, %",
            "propagations per row",
            "propagations",
            "error",
            [Spacing::Log, Spacing::Even],
            None,
        ),
        (
            "Wrong on test, %",
            "propagations per row",
            "propagations",
            "test-error",
            [Spacing::Log, Spacing::Even],
            None,
        ),
    ];
    h.el("div", &[("class", &"charts")], |h| {
        for (title, x_label, x, y, spacing, guide) in charts {
            let share = if x == "propagations" { 1.0 / rows } else { 1.0 };
            let base = if y == "loss" { lowest } else { 0.0 };
            let chart = Chart {
                title: title.into(),
                x_label,
                y_factor: if spacing[1] == Spacing::Even {
                    100.0
                } else {
                    1.0
                },
                y_ends: None,
                spacing,
                guide,
                series: series(x, y, &|(x, y)| (share * x, y - base)),
            };
            // A solver that tells no errors on its way has no line to draw.
            if chart.series.iter().any(|line| line.points.len() > 1) {
                chart.render(h);
            }
        }
    });
}

/// What estimates are called in the measurements, and on the page.
const ESTIMATES: [(&str, &str); 3] = [
    ("gradient-rows", "gradient"),
    ("hessian-rows", "Hessian"),
    ("value-rows", "decrease"),
];

/// The lines of an arm that took samples; none for one that always took all rows.
fn estimates(run: &RunFiles, fit: &FitOutcome, arm: &str) -> Vec<Series> {
    let series = |(at, (key, label)): (usize, &(&str, &str))| Series {
        label: (*label).to_owned(),
        class: series_class(at),
        points: points(run, arm, "trial", key),
        chosen: None,
    };
    let all: Vec<Series> = ESTIMATES.iter().enumerate().map(series).collect();
    let rows = fit.rows as f64;
    let sampled = |line: &Series| line.points.len() > 1 && line.points.iter().any(|p| p.1 < rows);
    if all.iter().any(sampled) {
        all
    } else {
        Vec::new()
    }
}

/// Whether an arm took samples.
pub(super) fn sampled(run: &RunFiles) -> bool {
    let fit = run.fit.as_ref();
    fit.is_some_and(|fit| {
        fit.arms
            .iter()
            .any(|arm| !estimates(run, fit, &arm.name).is_empty())
    })
}

/// Appends the sizes of samples, a chart for each solver that took some.
pub(super) fn samples(h: &mut Html, run: &RunFiles) {
    let Some(fit) = &run.fit else { return };
    let charts = fit
        .arms
        .iter()
        .map(|arm| (arm, estimates(run, fit, &arm.name)));
    let charts: Vec<_> = charts.filter(|(_, lines)| !lines.is_empty()).collect();
    if let Some((_, lines)) = charts.first() {
        legend(h, lines);
    }
    h.el("div", &[("class", &"charts")], |h| {
        for (arm, series) in charts {
            Chart {
                title: format!("{}, rows", arm.label),
                x_label: "trial",
                y_factor: 1.0,
                y_ends: None,
                spacing: [Spacing::Even, Spacing::Log],
                guide: Some((fit.rows as f64, "all rows")),
                series,
            }
            .render(h);
        }
    });
}

/// Appends the raw counts beside their weighted sum.
pub(super) fn work(h: &mut Html, run: &RunFiles) {
    let Some(fit) = &run.fit else { return };
    h.scroll("Work", |h| {
        h.el("table", &[], |h| {
            h.leaf("caption", &[], "Rows, as often as each was passed");
            head(
                h,
                &[
                    "Solver",
                    "Values",
                    "Gradients",
                    "Kept for products",
                    "Products",
                    "For draws",
                    "Propagations",
                    "Per row",
                ],
            );
            h.el("tbody", &[], |h| {
                for arm in &fit.arms {
                    let counts = arm.counts;
                    h.el("tr", &[], |h| {
                        h.leaf("th", &[("scope", &"row")], &arm.label);
                        for number in [
                            counts.values,
                            counts.gradients,
                            counts.states,
                            counts.products,
                            counts.curvatures,
                            arm.propagations(),
                        ] {
                            h.leaf("td", &[], count(number));
                        }
                        h.leaf("td", &[], passes(fit, arm));
                    });
                }
            });
        });
    });
}
