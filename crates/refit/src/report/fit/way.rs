//! How solvers came where they ended: curves against work and time, and sizes of samples.

use crate::{
    fitting::{ArmFound, FitOutcome},
    report::{
        axis::Spacing,
        frame::{BEHIND, thin},
        html::Html,
        lines::{Chart, Series, legend},
        palette::series_class,
    },
    run::RunFiles,
};

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

/// What is drawn against what.
struct Drawn {
    title: &'static str,
    x: (&'static str, &'static str),
    y: &'static str,
    spacing: Spacing,
}

const WORK: (&str, &str) = ("propagations", "propagations per row");
const TIME: (&str, &str) = ("seconds", "seconds");

const DRAWN: [Drawn; 6] = [
    drawn("Loss gap", WORK, "loss", Spacing::Log),
    drawn("Gradient; dashed: the goal", WORK, "gradient", Spacing::Log),
    drawn("Wrong, %", WORK, "error", Spacing::Even),
    drawn("Loss gap", TIME, "loss", Spacing::Log),
    drawn("Gradient; dashed: the goal", TIME, "gradient", Spacing::Log),
    drawn("Wrong on test, %", WORK, "test-error", Spacing::Even),
];

const fn drawn(
    title: &'static str,
    x: (&'static str, &'static str),
    y: &'static str,
    spacing: Spacing,
) -> Drawn {
    Drawn {
        title,
        x,
        y,
        spacing,
    }
}

/// Appends loss gap, gradient and errors against work and time.
pub(in crate::report) fn way(h: &mut Html, run: &RunFiles) {
    let Some(fit) = &run.fit else { return };
    let on_the_way = fit
        .arms
        .iter()
        .flat_map(|arm| points(run, &arm.name, "seconds", "loss"));
    let reached = fit.arms.iter().filter_map(|arm| arm.score.loss);
    let lowest = on_the_way
        .map(|p| p.1)
        .chain(reached)
        .fold(f64::INFINITY, f64::min);
    let together = lines_of(run, fit, &DRAWN[0], lowest);
    legend(h, &together);
    // A row each, so that without errors time does not move up beside work.
    for row in DRAWN.chunks(3) {
        h.el("div", &[("class", &"charts")], |h| {
            for drawn in row {
                chart(h, run, fit, drawn, lowest);
            }
        });
    }
    if together.len() > MOST_TOGETHER {
        for drawn in DRAWN.iter().filter(|drawn| drawn.y == "loss") {
            apart(h, &lines_of(run, fit, drawn, lowest), drawn);
        }
    }
}

/// More lines than this cross too often to be told apart: each gets a chart of its own too, before all others in grey.
const MOST_TOGETHER: usize = 4;
/// Points of a line in grey.
const MOST_BEHIND: usize = 60;

/// Appends a small chart for each line, the others behind it.
fn apart(h: &mut Html, lines: &[Series], drawn: &Drawn) {
    let behind = |line: &Series| Series {
        label: line.label.clone(),
        class: BEHIND,
        points: thin(&line.points, MOST_BEHIND),
        chosen: None,
    };
    h.leaf(
        "h3",
        &[],
        format_args!("{} against {}, one by one", drawn.title, drawn.x.1),
    );
    h.el("div", &[("class", &"charts small")], |h| {
        for line in lines {
            let others = lines.iter().filter(|other| other.label != line.label);
            let mut series: Vec<Series> = others.map(behind).collect();
            series.push(Series {
                label: line.label.clone(),
                class: line.class,
                points: line.points.clone(),
                chosen: None,
            });
            Chart {
                title: line.label.clone(),
                x_label: drawn.x.1,
                y_factor: 1.0,
                y_ends: None,
                spacing: [Spacing::Log, drawn.spacing],
                guide: None,
                series,
            }
            .render(h);
        }
    });
}

fn chart(h: &mut Html, run: &RunFiles, fit: &FitOutcome, drawn: &Drawn, lowest: f64) {
    let log = drawn.spacing == Spacing::Log;
    let goal = (fit.eps_g, "the gradient of an answer");
    let chart = Chart {
        title: drawn.title.into(),
        x_label: drawn.x.1,
        y_factor: if log { 1.0 } else { 100.0 },
        y_ends: None,
        spacing: [Spacing::Log, drawn.spacing],
        guide: (drawn.y == "gradient").then_some(goal),
        series: lines_of(run, fit, drawn, lowest),
    };
    // A solver that tells no errors on its way has a point to draw and no line.
    if chart.series.iter().any(|line| line.points.len() > 1) {
        chart.render(h);
    }
}

/// A line for each solver.
fn lines_of(run: &RunFiles, fit: &FitOutcome, drawn: &Drawn, lowest: f64) -> Vec<Series> {
    let share = if drawn.x == WORK {
        1.0 / fit.rows.max(1) as f64
    } else {
        1.0
    };
    let base = if drawn.y == "loss" { lowest } else { 0.0 };
    let of_arm = |(at, arm): (usize, &ArmFound)| Series {
        label: arm.label.clone(),
        class: solver_class(at),
        points: points(run, &arm.name, drawn.x.0, drawn.y)
            .into_iter()
            .map(|(x, y)| (share * x, y - base))
            .collect(),
        chosen: None,
    };
    let mut lines: Vec<Series> = fit.arms.iter().enumerate().map(of_arm).collect();
    // On an axis of logarithms nothing has no place, and next to nothing takes all the room: lines begin at half of the
    // least that took a solver further.
    let after = lines.iter().filter_map(|line| line.points.get(1));
    let begin = 0.5
        * after
            .map(|p| p.0)
            .filter(|&x| x > 0.0)
            .fold(f64::INFINITY, f64::min);
    for point in lines.iter_mut().flat_map(|line| &mut line.points) {
        point.0 = point.0.max(if begin.is_finite() { begin } else { 0.0 });
    }
    if drawn.spacing == Spacing::Log {
        at_floor(&mut lines);
    }
    lines
}

/// Shows what is nothing, such as the gap of the lowest point, at half of the least that is something.
fn at_floor(lines: &mut [Series]) {
    let heights = lines.iter().flat_map(|line| &line.points).map(|p| p.1);
    let least = heights.filter(|&y| y > 0.0).fold(f64::INFINITY, f64::min);
    if !least.is_finite() {
        return;
    }
    for point in lines.iter_mut().flat_map(|line| &mut line.points) {
        if point.1.is_finite() && point.1 <= 0.0 {
            point.1 = 0.5 * least;
        }
    }
}

/// Class of solver number `index`; beyond the colours they are dotted.
const fn solver_class(index: usize) -> &'static str {
    const AGAIN: [&str; 8] = [
        "c0 again", "c1 again", "c2 again", "c3 again", "c4 again", "c5 again", "c6 again",
        "c7 again",
    ];
    if index < AGAIN.len() {
        series_class(index)
    } else {
        AGAIN[index % AGAIN.len()]
    }
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
pub(in crate::report) fn sampled(run: &RunFiles) -> bool {
    let fit = run.fit.as_ref();
    fit.is_some_and(|fit| {
        fit.arms
            .iter()
            .any(|arm| !estimates(run, fit, &arm.name).is_empty())
    })
}

/// Appends the sizes of samples, a chart for each solver that took some.
pub(in crate::report) fn samples(h: &mut Html, run: &RunFiles) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_of_nothing_is_drawn_at_the_floor() {
        let line = |points: Vec<(f64, f64)>| Series {
            label: String::new(),
            class: "c0",
            points,
            chosen: None,
        };
        let mut lines = [line(vec![(1.0, 4.0), (2.0, 0.0)]), line(vec![(1.0, 0.5)])];
        at_floor(&mut lines);
        assert_eq!(lines[0].points, [(1.0, 4.0), (2.0, 0.25)]);
        let mut none = [line(vec![(1.0, 0.0), (2.0, f64::NAN)])];
        at_floor(&mut none);
        assert_eq!(none[0].points[0], (1.0, 0.0));
    }
}
