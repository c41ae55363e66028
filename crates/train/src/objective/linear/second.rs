//! The two matrices of second derivatives, and what they are kept of.

use super::LinearState;
use crate::{objective::LossAt, optim::second::Sample};

/// Which second derivative is kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Matrix {
    Hessian,
    GaussNewton,
}

impl Matrix {
    pub(super) fn of(self, at: LossAt) -> f64 {
        match self {
            Self::Hessian => at.curvature,
            Self::GaussNewton => at.gauss_newton,
        }
    }
}

impl LinearState {
    /// The rows whose derivatives are kept.
    pub(super) fn sample(&self) -> Sample<'_> {
        self.terms.as_deref().map_or(Sample::All, Sample::Terms)
    }
}
