//! What a fit found: the data behind its table, its page and its JSON.

use crate::report::percent;
use refit_train::optim::second::{Certificate, Counts, Status};
use serde::{Deserialize, Serialize};

/// Everything a fit reports; `results.json` in its run folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FitOutcome {
    /// What the rows are called: a path, or `generated:ROWS,COLUMNS`.
    pub data: String,
    /// Number of rows.
    pub rows: usize,
    /// Features of each.
    pub features: usize,
    /// Parameters of the model.
    pub parameters: usize,
    /// The objective, such as `sigmoid-square`.
    pub objective: String,
    /// Rows that were tested on.
    pub test_rows: Option<usize>,
    /// The start, such as `random`.
    pub start: String,
    /// Longest gradient of an answer.
    pub eps_g: f64,
    /// Most negative curvature of an answer, where one arm asks for that.
    pub eps_h: Option<f64>,
    /// Loss and gradient of all rows at the start.
    pub begins: Score,
    /// What is known of the rows where they are texts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub texts: Option<TextRows>,
    /// What each arm found, in the order of the command line.
    pub arms: Vec<ArmFound>,
}

/// Rows of texts, and what reads them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TextRows {
    /// What is fitted, such as `a head`.
    pub fitted: String,
    /// The labels, in the order of the classes.
    pub labels: Vec<String>,
    /// The label that most texts to fit have.
    pub majority: String,
    /// Share of the texts to test on that do not have it.
    pub majority_error: Option<f64>,
    /// Texts that may have been cut.
    pub cut: usize,
    /// Texts to test on that are also among those to fit.
    pub shared: usize,
}

impl TextRows {
    /// What accuracies are to be held against.
    pub(crate) fn guess(&self) -> Option<String> {
        let (label, share) = (&self.majority, 1.0 - self.majority_error?);
        let share = percent(share);
        Some(format!(
            "to answer “{label}” always is right for {share} % of the test"
        ))
    }
}

/// Loss, gradient and errors at a point, of all rows; `None`: not finite, or not measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Score {
    /// Mean loss.
    pub loss: Option<f64>,
    /// Length of the gradient.
    pub gradient: Option<f64>,
    /// Share of rows that get another class than their own.
    pub error: Option<f64>,
    /// Mean loss of the test rows.
    pub test_loss: Option<f64>,
    /// Share of test rows that get another class than their own.
    pub test_error: Option<f64>,
}

/// What one arm found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ArmFound {
    /// What scripts call it.
    pub name: String,
    /// What tables call it.
    pub label: String,
    /// How it ended.
    pub verdict: Verdict,
    /// The evidence, where it ended with some.
    pub certificate: Option<Certificate>,
    /// What was reached, by all rows.
    pub score: Score,
    /// Trials, or steps of a method without trials.
    pub trials: u64,
    /// All work, in rows.
    pub counts: Counts,
    /// Seconds of the method alone, without looks.
    pub seconds: f64,
}

impl ArmFound {
    /// All work in propagations.
    pub fn propagations(&self) -> u64 {
        self.counts.propagations()
    }
}

/// How an arm ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// At a second-order stationary point, by a certificate.
    SecondOrder,
    /// Where the gradient is short; of the curvature nothing is known.
    FirstOrderOnly,
    /// Where decreases can no longer be measured.
    NoiseFloor,
    /// At a limit of the budget.
    BudgetExhausted,
    /// Below what counts as bounded.
    Unbounded,
    /// Where values stopped being finite.
    Diverged,
    /// Where the user stopped it.
    Interrupted,
}

impl From<&Status> for Verdict {
    fn from(status: &Status) -> Self {
        match status {
            Status::SecondOrder { .. } => Self::SecondOrder,
            Status::FirstOrderOnly => Self::FirstOrderOnly,
            Status::NoiseFloor => Self::NoiseFloor,
            Status::Unbounded => Self::Unbounded,
            Status::Interrupted => Self::Interrupted,
            _ => Self::BudgetExhausted,
        }
    }
}

impl Verdict {
    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SecondOrder => "second-order",
            Self::FirstOrderOnly => "first-order-only",
            Self::NoiseFloor => "noise-floor",
            Self::BudgetExhausted => "budget-exhausted",
            Self::Unbounded => "unbounded",
            Self::Diverged => "diverged",
            Self::Interrupted => "interrupted",
        }
    }

    /// What people read.
    pub const fn words(self) -> &'static str {
        match self {
            Self::SecondOrder => "second-order stationary",
            Self::FirstOrderOnly => "gradient short, curvature unknown",
            Self::NoiseFloor => "noise floor",
            Self::BudgetExhausted => "budget exhausted",
            Self::Unbounded => "unbounded below",
            Self::Diverged => "diverged",
            Self::Interrupted => "interrupted",
        }
    }
}
