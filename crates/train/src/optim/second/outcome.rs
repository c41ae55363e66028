//! What a minimisation gives, and what it tells on its way.

use super::{count::Counts, state::SecondOrderState};
use refit_core::StopReason;
use serde::{Deserialize, Serialize};

/// What is known of a point, and how surely: the only thing that makes an answer a second-order stationary point.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Certificate {
    /// Length of the gradient of the sample.
    pub gradient: f64,
    /// How far that may be from the whole gradient, in norm; 0 for all terms.
    pub gradient_error: f64,
    /// Smallest eigenvalue found of the Hessian of the sample.
    pub curvature: f64,
    /// Residual of its eigenvector.
    pub residual: f64,
    /// How far below it an eigenvalue may lie that the random start missed; 0 when none can.
    pub missed: f64,
    /// How far the Hessian of the sample may be from the whole one, in norm; 0 for all terms.
    pub hessian_error: f64,
    /// Terms of the gradient.
    pub gradient_terms: usize,
    /// Terms of the Hessian.
    pub hessian_terms: usize,
    /// Products made.
    pub products: usize,
    /// Probability with which any of this may be wrong.
    pub failure: f64,
    /// Which attempt at a certificate this was; its chance is that of the seed forked by `certificate/attempt`.
    pub attempt: u32,
}

impl Certificate {
    /// What the whole gradient is not longer than.
    pub fn gradient_bound(&self) -> f64 {
        self.gradient + self.gradient_error
    }

    /// What the smallest eigenvalue of the whole Hessian is not below.
    pub fn curvature_bound(&self) -> f64 {
        self.curvature - self.residual - self.missed - self.hessian_error
    }
}

/// How a minimisation ended.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Status {
    /// The gradient is short and no curvature is too negative, by this certificate.
    SecondOrder {
        /// The evidence.
        certificate: Certificate,
    },
    /// The gradient is short; of the curvature nothing was asked, or not enough could be said.
    FirstOrderOnly,
    /// Decreases are smaller than what their measurement can tell from nothing.
    NoiseFloor,
    /// A limit of the budget was reached.
    BudgetExhausted,
    /// Values fell below what counts as bounded.
    Unbounded,
    /// The user interrupted.
    Interrupted,
}

impl Status {
    /// The reason in the words that all solvers share.
    pub fn stop(&self) -> StopReason {
        match self {
            Self::SecondOrder { .. } | Self::FirstOrderOnly => StopReason::Converged,
            Self::NoiseFloor => StopReason::Done,
            Self::BudgetExhausted => StopReason::BudgetExhausted,
            Self::Unbounded => StopReason::Diverged,
            Self::Interrupted => StopReason::Interrupted,
        }
    }
}

/// What a step was after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The gradient is long: the model has it.
    First,
    /// The gradient is short: the step follows negative curvature.
    Second,
}

/// One trial: a step that was taken or taken back.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Trial {
    /// Number of the trial, from 1.
    pub trial: u64,
    /// What it was after.
    pub mode: Mode,
    /// Mean value where it began, over the terms of the differences.
    pub value: f64,
    /// Length of the gradient of the sample.
    pub gradient: f64,
    /// Estimated error of the gradient; 0 for all terms.
    pub gradient_error: f64,
    /// Estimated error of the curvature along the step, `|s^T (H - H_S) s| / |s|^2`; 0 for all terms, `None` where it was not
    /// asked for.
    pub hessian_error: Option<f64>,
    /// Estimated error of the difference of values; 0 for all terms.
    pub value_error: f64,
    /// Terms of the gradient.
    pub gradient_terms: usize,
    /// Terms of the Hessian.
    pub hessian_terms: usize,
    /// Terms of the difference of values.
    pub value_terms: usize,
    /// Decrease that the model promised.
    pub promised: f64,
    /// Decrease that was measured; `None` where values are not finite.
    pub measured: Option<f64>,
    /// Radius of the region, or weight of the cubic term.
    pub bound: f64,
    /// Length of the step.
    pub length: f64,
    /// Whether it was taken.
    pub taken: bool,
    /// Smallest eigenvalue of the model in its Krylov space; `None` where there is none.
    pub leftmost: Option<f64>,
    /// Products made for this model so far.
    pub products: usize,
    /// All work so far.
    pub counts: Counts,
    /// Seconds since the minimisation began.
    pub seconds: f64,
}

impl Trial {
    /// Measured over promised decrease; minus infinity where values are not finite.
    pub fn ratio(&self) -> f64 {
        self.measured
            .map_or(f64::NEG_INFINITY, |found| found / self.promised)
    }
}

/// What a minimisation gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Minimum {
    /// The last point that was reached.
    pub x: Vec<f64>,
    /// How it ended.
    pub status: Status,
    /// Length of the last gradient that was computed, and its estimated error.
    pub gradient: (f64, f64),
    /// All trials, in order; those of the run that was resumed are not repeated.
    pub trials: Vec<Trial>,
    /// All work.
    pub counts: Counts,
    /// Everything that is needed to continue: the state in which the search from the last point began.
    pub state: SecondOrderState,
}
