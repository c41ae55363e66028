//! What solvers ask of a model.

use super::{DualModel, DualState, Outputs};
use crate::optim::second::{FiniteSum, Sample};

impl<M: Outputs> FiniteSum for DualModel<M> {
    type State = DualState;

    fn dim(&self) -> usize {
        self.parts.last().map_or(0, |(_, range)| range.end)
    }

    fn terms(&self) -> usize {
        self.model.terms()
    }

    fn values(&self, x: &[f64], sample: Sample<'_>, out: &mut [f64]) {
        if self.try_values(x, sample, out).is_err() {
            out.fill(f64::NAN);
        }
    }

    fn gradient(
        &self,
        x: &[f64],
        sample: Sample<'_>,
        values: &mut [f64],
        out: &mut [f64],
    ) -> Option<f64> {
        if self.try_gradient(x, sample, values, out).is_err() {
            values.fill(f64::NAN);
            out.fill(f64::NAN);
        }
        None
    }

    fn hessian(&self, x: &[f64], sample: Sample<'_>) -> DualState {
        self.state(x, sample, false)
    }

    /// Nothing of a point is kept but the point.
    fn product_passes(&self) -> u64 {
        4
    }

    fn product(&self, state: &DualState, v: &[f64], out: &mut [f64]) {
        if self.try_product(state, v, out).is_err() {
            out.fill(f64::NAN);
        }
    }

    /// Without the second derivatives of the model.
    fn gauss_newton(&self, x: &[f64], sample: Sample<'_>) -> Option<DualState> {
        Some(self.state(x, sample, true))
    }

    fn precision(&self) -> f64 {
        self.config.precision
    }
}
