//! How much may be spent, and why work ended.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Limits on a piece of work; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Budget {
    /// Optimiser steps.
    pub steps: Option<u64>,
    /// Forward passes of single inputs through a model.
    pub queries: Option<u64>,
    /// Wall-clock time in seconds.
    pub seconds: Option<f64>,
}

/// Why work ended. A solver that stops early has not failed: its result stands, with this reason beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum StopReason {
    /// Everything that was asked for was done.
    Done,
    /// The result met its tolerance.
    Converged,
    /// A limit of the [`Budget`] was reached.
    BudgetExhausted,
    /// The user interrupted; the state was saved.
    Interrupted,
    /// The objective stopped being finite.
    Diverged,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "done",
            Self::Converged => "converged",
            Self::BudgetExhausted => "budget exhausted",
            Self::Interrupted => "interrupted",
            Self::Diverged => "diverged",
        })
    }
}
