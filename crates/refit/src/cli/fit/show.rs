//! What a fit prints.

use crate::{
    cli::ui::{Show, Ui},
    fitting::{Arm, ArmConfig, ArmFound, Fit, FitOutcome, Score, Verdict, objective_name},
    report::{bytes, count, counted, duration, scientific},
};
use refit_train::optim::second::{Certificate, Counts, SecondOrderConfig};
use serde::Serialize;
use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

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

/// What a dry run prints.
#[derive(Serialize)]
pub(super) struct Plan {
    data: String,
    rows: usize,
    features: usize,
    classes: Vec<f32>,
    test_rows: Option<usize>,
    objective: String,
    parameters: usize,
    start: String,
    eps_g: f64,
    eps_h: Option<f64>,
    solvers: Vec<String>,
    budget_propagations: Option<u64>,
    budget_seconds: Option<f64>,
    /// Bytes of the rows, and of the largest model of a step beside them.
    bytes: [u64; 2],
    dense: bool,
    /// Of the arm under way, and whole arms.
    trials_done: u64,
    solvers_done: usize,
    out: PathBuf,
}

impl Plan {
    pub(super) fn of(fit: &Fit, out: &Path, done: (u64, usize)) -> Self {
        let (settings, dim) = (fit.settings(), fit.objective().dim());
        let (_, dense) = fit.stored();
        let second = settings.arms.iter().find_map(|arm| match &arm.config {
            ArmConfig::SecondOrder(config) => Some(config),
            _ => None,
        });
        let budget = settings.arms.first().map(|arm| match &arm.config {
            ArmConfig::SecondOrder(config) => config.budget,
            ArmConfig::Lbfgs(config) => config.budget,
            ArmConfig::FirstOrder(config) => config.budget,
        });
        let labels = settings.arms.iter().map(|arm| arm.label.clone());
        let start = fit.settings().start;
        Self {
            data: settings.data.clone(),
            rows: fit.objective().rows(),
            features: fit.columns(),
            classes: fit.class_labels().to_vec(),
            test_rows: fit.test_rows(),
            objective: objective_name(&settings.objective),
            parameters: dim,
            start: start.to_string(),
            eps_g: settings.eps_g(),
            eps_h: second
                .filter(|config| config.certify)
                .map(SecondOrderConfig::eps_h),
            solvers: labels.collect(),
            budget_propagations: budget.and_then(|budget| budget.queries),
            budget_seconds: budget.and_then(|budget| budget.seconds),
            bytes: memory(fit),
            dense,
            trials_done: done.0,
            solvers_done: done.1,
            out: out.to_path_buf(),
        }
    }
}

/// Bytes of the rows, and of the largest model of a step beside them.
pub(super) fn memory(fit: &Fit) -> [u64; 2] {
    let dim = fit.objective().dim();
    let vectors = |arm: &Arm| match &arm.config {
        ArmConfig::SecondOrder(config) => config.products.min(dim),
        ArmConfig::Lbfgs(config) => 2 * config.memory,
        ArmConfig::FirstOrder(_) => 8,
    };
    let most = fit.settings().arms.iter().map(vectors).max();
    let of_model = (most.unwrap_or_default() as u64).saturating_mul(8 * dim as u64);
    [fit.stored().0, of_model]
}

impl Show for Plan {
    fn text(&self, _: &Ui) -> String {
        let mut text = String::new();
        let mut line = |key: &str, value: String| {
            let _ = writeln!(text, "{key:<12}{value}");
        };
        let layout = if self.dense { "dense" } else { "sparse" };
        line(
            "data",
            format!(
                "{}: {} rows of {} features, {layout}",
                self.data,
                count(self.rows as u64),
                count(self.features as u64)
            ),
        );
        if let Some(rows) = self.test_rows {
            line("test", format!("{} rows", count(rows as u64)));
        }
        if !self.classes.is_empty() {
            let shown = self.classes.iter().take(8).map(ToString::to_string);
            let more = if self.classes.len() > 8 { ", .." } else { "" };
            let shown = shown.collect::<Vec<_>>().join(", ");
            line("classes", format!("{}: {shown}{more}", self.classes.len()));
        }
        line(
            "objective",
            format!(
                "{}, {}",
                self.objective,
                counted(self.parameters as u64, "parameter")
            ),
        );
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
        let [rows, model] = self.bytes.map(bytes);
        line(
            "memory",
            format!("{rows} of rows, at most {model} for a step"),
        );
        line("out", self.out.display().to_string());
        text + "nothing was written (dry run)"
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
    first: Option<Line>,
    arms: Vec<Line>,
    #[serde(skip)]
    outcome: FitOutcome,
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
        for arm in &outcome.arms {
            let maybe =
                |value: Option<f64>, form: fn(f64) -> String| value.map_or("-".into(), form);
            let percent = |error: f64| format!("{:.2}", 100.0 * (1.0 - error));
            let fixed = |value: f64| format!("{value:.6}");
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
        text
    }
}
