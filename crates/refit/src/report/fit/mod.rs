//! What a fit found, how it came there, and what that cost.

mod way;

use super::{
    cost::head,
    format::{count, counted, duration, in_words, percent, scientific},
    html::Html,
};
use crate::{
    fitting::{ArmFound, FitOutcome, TextRows, Verdict},
    run::RunFiles,
};
use refit_train::optim::second::Certificate;
pub(super) use way::{sampled, samples, way};

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
        ("Loss", first.score.loss.map(six)),
        ("Gradient", first.score.gradient.map(scientific)),
        ("Curvature above", bound.map(scientific)),
        ("Test accuracy, %", first.score.test_error.map(right)),
        ("Passes over the rows", Some(passes(fit, first))),
        ("Time", Some(duration(first.seconds))),
    ];
    h.el("dl", &[("class", &"tiles")], |h| {
        for (name, value) in tiles {
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
    let rows = count(fit.rows as u64);
    let parameters = counted(fit.parameters as u64, "parameter");
    let start = start(&fit.start);
    let mut lines = match &fit.texts {
        None => vec![format!(
            "The loss {} over {rows} rows of {} features, {parameters}, from {start}.",
            fit.objective,
            count(fit.features as u64),
        )],
        Some(texts) => vec![format!(
            "Fitted: {}, {parameters}, by the loss {} over {rows} texts of {}, from {start}.",
            texts.fitted,
            fit.objective,
            counted(texts.labels.len() as u64, "label"),
        )],
    };
    if let Some(guess) = fit.texts.as_ref().and_then(TextRows::guess) {
        lines.push(format!("A guess to beat: {guess}."));
    }
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

/// `6 times random` as the end of a sentence.
fn start(text: &str) -> String {
    match text.split_once(" times ") {
        None if text == "random" => "a random start".into(),
        None => format!("a start of {text}"),
        Some((scale, name)) => format!("{scale} times {}", start(name)),
    }
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

/// Appends a row for each solver: how it ended and what was reached; then the evidence of those that have some.
pub(super) fn found(h: &mut Html, run: &RunFiles) {
    let Some(fit) = &run.fit else { return };
    let classes = fit.arms.iter().any(|arm| arm.score.error.is_some());
    let mut columns = vec!["Solver", "Ended", "Loss", "Gradient"];
    if classes {
        columns.push("Right, %");
    }
    match (fit.test_rows.is_some(), classes) {
        (true, true) => columns.push("Right on test, %"),
        (true, false) => columns.push("Test loss"),
        _ => {}
    }
    columns.extend(["Trials", "Passes", "Time"]);
    table(h, "Solvers", &asked(fit), &columns, |h| {
        for arm in &fit.arms {
            h.el("tr", &[], |h| row(h, fit, arm, classes));
        }
    });
    certificates(h, fit);
}

/// What was asked, and where the search began.
fn asked(fit: &FitOutcome) -> String {
    let mut asked = format!("Until the gradient is at most {}", scientific(fit.eps_g));
    if let Some(eps_h) = fit.eps_h {
        asked += &format!(" and no curvature below -{}", scientific(eps_h));
    }
    if let (Some(loss), Some(gradient)) = (fit.begins.loss, fit.begins.gradient) {
        asked += &format!(
            ". At the start: loss {}, gradient {}",
            six(loss),
            scientific(gradient)
        );
    }
    asked + "."
}

/// A table of figures that may be wider than a screen.
fn table(h: &mut Html, name: &str, caption: &str, columns: &[&str], rows: impl FnOnce(&mut Html)) {
    h.scroll(name, |h| {
        h.el("table", &[("class", &"fit")], |h| {
            h.leaf("caption", &[], caption);
            head(h, columns);
            h.el("tbody", &[], rows);
        });
    });
}

fn maybe(value: Option<f64>, form: fn(f64) -> String) -> String {
    value.map_or("–".into(), form)
}

fn row(h: &mut Html, fit: &FitOutcome, arm: &ArmFound, classes: bool) {
    let score = &arm.score;
    h.leaf("th", &[("scope", &"row")], &arm.label);
    h.leaf("td", &[("class", &"words")], arm.verdict.words());
    h.leaf("td", &[], maybe(score.loss, six));
    h.leaf("td", &[], maybe(score.gradient, scientific));
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

/// What certificates stand on, part by part.
fn certificates(h: &mut Html, fit: &FitOutcome) {
    let with = |arm: &ArmFound| arm.certificate.is_some();
    if !fit.arms.iter().any(with) {
        return;
    }
    let caption = "Certificates: the gradient is at most the first figure long; no eigenvalue of the Hessian is below the second, \
                   which is the smallest Ritz value less its residual, less what a random start may have missed, less the \
                   error of the sample. Both speak of rows in single precision, to which values of files are rounded.";
    let columns = [
        "Solver",
        "Confidence",
        "Gradient",
        "Curvature",
        "Ritz value",
        "Residual",
        "Missed",
        "Sample",
        "Gradient rows",
        "Hessian rows",
        "Products",
    ];
    table(h, "Certificates", caption, &columns, |h| {
        for arm in &fit.arms {
            let Some(found) = &arm.certificate else {
                continue;
            };
            h.el("tr", &[], |h| evidence(h, arm, found));
        }
    });
}

fn evidence(h: &mut Html, arm: &ArmFound, found: &Certificate) {
    let confidence = (1e4 * (1.0 - found.failure)).round() / 1e2;
    h.leaf("th", &[("scope", &"row")], &arm.label);
    h.leaf("td", &[], format_args!("{confidence} %"));
    for value in [
        found.gradient_bound(),
        found.curvature_bound(),
        found.curvature,
        found.residual,
        found.missed,
        found.hessian_error,
    ] {
        h.leaf("td", &[], scientific(value));
    }
    h.leaf("td", &[], count(found.gradient_terms as u64));
    h.leaf("td", &[], count(found.hessian_terms as u64));
    h.leaf("td", &[], found.products);
}

/// Appends the raw counts beside their weighted sum.
pub(super) fn work(h: &mut Html, run: &RunFiles) {
    let Some(fit) = &run.fit else { return };
    let columns = [
        "Solver",
        "Values",
        "Gradients",
        "Kept for products",
        "Products",
        "For draws",
        "Propagations",
        "Per row",
    ];
    table(
        h,
        "Work",
        "Rows, as often as each was passed. Values and draws are one propagation each, the others two; products of a \
         model of which nothing is kept stand here twice.",
        &columns,
        |h| {
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
        },
    );
}
