//! What verbs that minimise print.

use crate::{
    cli::ui::{Show, Ui},
    fitting::{ArmConfig, ArmFound, FitOutcome, FitSettings, Score, TextRows, Verdict},
    report::{count, counted, duration, scientific},
};
use refit_core::Budget;
use refit_train::optim::second::{Certificate, Counts, SecondOrderConfig};
use serde::Serialize;
use std::{fmt::Write, path::PathBuf};

/// Until when solvers go on, and how far they are; part of a dry run.
#[derive(Serialize)]
pub(in crate::cli) struct Steps {
    start: String,
    eps_g: f64,
    eps_h: Option<f64>,
    solvers: Vec<String>,
    budget_propagations: Option<u64>,
    budget_seconds: Option<f64>,
    /// Of the arm under way, and whole arms.
    trials_done: u64,
    solvers_done: usize,
}

impl Steps {
    pub(in crate::cli) fn of(settings: &FitSettings, done: (u64, usize)) -> Self {
        let second = settings.arms.iter().find_map(|arm| match &arm.config {
            ArmConfig::SecondOrder(config) => Some(config),
            _ => None,
        });
        let budget: Option<Budget> = settings.arms.first().map(|arm| match &arm.config {
            ArmConfig::SecondOrder(config) => config.budget,
            ArmConfig::Lbfgs(config) => config.budget,
            ArmConfig::FirstOrder(config) => config.budget,
        });
        let labels = settings.arms.iter().map(|arm| arm.label.clone());
        Self {
            start: settings.start.to_string(),
            eps_g: settings.eps_g(),
            eps_h: second
                .filter(|config| config.certify)
                .map(SecondOrderConfig::eps_h),
            solvers: labels.collect(),
            budget_propagations: budget.and_then(|budget| budget.queries),
            budget_seconds: budget.and_then(|budget| budget.seconds),
            trials_done: done.0,
            solvers_done: done.1,
        }
    }

    /// A line for each.
    pub(in crate::cli) fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |key: &str, value: String| {
            let _ = writeln!(text, "{key:<12}{value}");
        };
        line("start", self.start.clone());
        let curvature = self
            .eps_h
            .map(|eps| format!(", no curvature below -{}", scientific(eps)));
        line(
            "until",
            format!(
                "no gradient longer than {}{}",
                scientific(self.eps_g),
                curvature.unwrap_or_default()
            ),
        );
        if let Some(most) = self.budget_propagations {
            line("at most", format!("{} propagations each", count(most)));
        }
        if let Some(most) = self.budget_seconds {
            line("at most", format!("{} each", duration(most)));
        }
        for (at, solver) in self.solvers.iter().enumerate() {
            let done = if at < self.solvers_done {
                ", done".to_owned()
            } else if at == self.solvers_done && self.trials_done > 0 {
                format!(", {} trials done", self.trials_done)
            } else {
                String::new()
            };
            line(
                if at == 0 { "solvers" } else { "" },
                format!("{solver}{done}"),
            );
        }
        text
    }
}

/// Bytes of the largest model of a step.
pub(in crate::cli) fn memory(settings: &FitSettings, dim: usize) -> u64 {
    let vectors = |config: &ArmConfig| match config {
        ArmConfig::SecondOrder(config) => config.products.min(dim),
        ArmConfig::Lbfgs(config) => 2 * config.memory,
        ArmConfig::FirstOrder(_) => 8,
    };
    let most = settings.arms.iter().map(|arm| vectors(&arm.config)).max();
    (most.unwrap_or_default() as u64).saturating_mul(8 * dim as u64)
}

/// What is worth a word on stderr about an arm.
pub(super) fn warning(arm: &ArmFound) -> Option<&'static str> {
    match arm.verdict {
        Verdict::Diverged => Some("diverged and has no weights: lower --rate"),
        Verdict::Unbounded => Some("fell without end: the objective has no minimum"),
        Verdict::NoiseFloor => {
            Some("stopped where decreases can no longer be measured, before its gradient was short")
        }
        _ => None,
    }
}

/// What a fit prints in the end. The keys of the first arm stand on top, for scripts that run one.
#[derive(Serialize)]
pub(in crate::cli) struct Done {
    out: PathBuf,
    data: String,
    rows: usize,
    features: usize,
    parameters: usize,
    objective: String,
    start: String,
    #[serde(flatten)]
    texts: Option<Texts>,
    #[serde(flatten)]
    first: Option<Line>,
    arms: Vec<Line>,
    #[serde(skip)]
    outcome: FitOutcome,
}

/// Rows of texts in JSON.
#[derive(Serialize)]
struct Texts {
    labels: Vec<String>,
    majority: String,
    majority_error: Option<f64>,
    cut: usize,
    shared: usize,
}

impl Texts {
    fn of(texts: &TextRows) -> Self {
        Self {
            labels: texts.labels.clone(),
            majority: texts.majority.clone(),
            majority_error: texts.majority_error,
            cut: texts.cut,
            shared: texts.shared,
        }
    }
}

/// One arm in JSON.
#[derive(Clone, Serialize)]
struct Line {
    solver: String,
    status: &'static str,
    #[serde(flatten)]
    score: Score,
    /// What the gradient is not longer than, and what no curvature is below, by the certificate.
    gradient_bound: Option<f64>,
    curvature_bound: Option<f64>,
    confidence: Option<f64>,
    trials: u64,
    propagations: u64,
    counts: Counts,
    seconds: f64,
}

impl Line {
    fn of(arm: &ArmFound) -> Self {
        let certificate = arm.certificate.as_ref();
        Self {
            solver: arm.name.clone(),
            status: arm.verdict.as_str(),
            score: arm.score,
            gradient_bound: certificate.map(Certificate::gradient_bound),
            curvature_bound: certificate.map(Certificate::curvature_bound),
            confidence: certificate.map(|certificate| 1.0 - certificate.failure),
            trials: arm.trials,
            propagations: arm.propagations(),
            counts: arm.counts,
            seconds: arm.seconds,
        }
    }
}

impl Done {
    pub(super) fn of(out: PathBuf, outcome: FitOutcome) -> Self {
        let arms: Vec<Line> = outcome.arms.iter().map(Line::of).collect();
        Self {
            out,
            data: outcome.data.clone(),
            rows: outcome.rows,
            features: outcome.features,
            parameters: outcome.parameters,
            objective: outcome.objective.clone(),
            start: outcome.start.clone(),
            texts: outcome.texts.as_ref().map(Texts::of),
            first: arms.first().cloned(),
            arms,
            outcome,
        }
    }
}

impl Show for Done {
    fn text(&self, _: &Ui) -> String {
        let outcome = &self.outcome;
        let mut text = format!(
            "{}: {} on {}, {} rows, {}\n",
            self.out.display(),
            outcome.objective,
            outcome.data,
            count(outcome.rows as u64),
            counted(outcome.parameters as u64, "parameter")
        );
        let errors = outcome.arms.iter().any(|arm| arm.score.error.is_some());
        let test = outcome.arms.iter().any(|arm| arm.score.test_loss.is_some());
        let width = outcome
            .arms
            .iter()
            .map(|arm| arm.label.chars().count())
            .max();
        let width = width.unwrap_or_default().max("solver".len());
        let _ = write!(text, "{:<width$}  {:>10}", "solver", "loss");
        if errors {
            text.push_str("   right, %");
        }
        if errors && test {
            text.push_str("    test, %");
        } else if test {
            text.push_str("  test loss");
        }
        let _ = writeln!(
            text,
            "  {:>8}  {:>9}  {:>8}  {:>9}  status",
            "gradient", "curvature", "passes", "time"
        );
        let percent = |error: f64| format!("{:.2}", 100.0 * (1.0 - error));
        for arm in &outcome.arms {
            let maybe =
                |value: Option<f64>, form: fn(f64) -> String| value.map_or("-".into(), form);
            let fixed = |value: f64| match value.abs() {
                0.0..1e6 => format!("{value:.6}"),
                _ => scientific(value),
            };
            let score = &arm.score;
            let _ = write!(
                text,
                "{:<width$}  {:>10}",
                arm.label,
                maybe(score.loss, fixed)
            );
            if errors {
                let _ = write!(text, "  {:>9}", maybe(score.error, percent));
            }
            if errors && test {
                let _ = write!(text, "  {:>9}", maybe(score.test_error, percent));
            } else if test {
                let _ = write!(text, "  {:>9}", maybe(score.test_loss, fixed));
            }
            let bound = arm.certificate.as_ref().map(Certificate::curvature_bound);
            let passes = arm.propagations() as f64 / outcome.rows as f64;
            let _ = writeln!(
                text,
                "  {:>8}  {:>9}  {:>8}  {:>9}  {}",
                maybe(score.gradient, scientific),
                maybe(bound, scientific),
                format!("{passes:.1}"),
                duration(arm.seconds),
                arm.verdict.words()
            );
        }
        text.push_str(
            "gradient: of all rows; curvature: no eigenvalue is below, by the certificate; ",
        );
        text.push_str("passes: propagations over rows\n");
        if let Some(guess) = outcome.texts.as_ref().and_then(TextRows::guess) {
            let _ = writeln!(text, "majority: {guess}");
        }
        text
    }
}
