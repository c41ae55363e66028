//! What was spent, counted in one place for every objective and every method.

use super::oracle::{FiniteSum, Sample};
use serde::{Deserialize, Serialize};
use std::ops::Sub;

/// Work done on single terms.
///
/// One propagation is one pass of one term through the model, forward or backward. Values cost one; a gradient costs
/// two, and the values of its terms come with it; what a Hessian keeps of a sample costs two (the same two, so nothing
/// when it was kept along with a gradient), and each product with it two more: four for a single product, as usual. Where
/// an objective keeps nothing, its state costs nothing and every product four. That
/// holds for every product, also where an objective forms the matrix and needs no pass any more: what a method asks for
/// does not depend on how fast it is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Counts {
    /// Values of terms, without gradients.
    pub values: u64,
    /// Gradients of terms.
    pub gradients: u64,
    /// Terms whose activations were kept for products, beyond those that a gradient kept.
    pub states: u64,
    /// Products with Hessians of terms; those for which nothing is kept count twice.
    pub products: u64,
    /// Curvatures of terms, for probabilities of draws.
    pub curvatures: u64,
}

impl Counts {
    /// All work in propagations.
    ///
    /// ```
    /// use refit_train::optim::second::Counts;
    /// let counts = Counts { values: 10, gradients: 10, states: 5, products: 20, curvatures: 1 };
    /// assert_eq!(counts.propagations(), 10 + 2 * (10 + 5 + 20) + 1);
    /// ```
    pub fn propagations(&self) -> u64 {
        self.values + self.curvatures + 2 * (self.gradients + self.states + self.products)
    }
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            values: self.values - before.values,
            gradients: self.gradients - before.gradients,
            states: self.states - before.states,
            products: self.products - before.products,
            curvatures: self.curvatures - before.curvatures,
        }
    }
}

/// Passes of a product for which nothing of its point was kept.
const RECOMPUTED: u64 = 4;

/// An objective whose use is counted.
pub(in crate::optim) struct Counted<'a, O: FiniteSum> {
    oracle: &'a O,
    pub(in crate::optim) counts: Counts,
    /// Products that were asked of the last Hessian but one, and of the last one.
    pub(super) asked: [u32; 2],
}

/// The Hessian of a sample, with the number of terms that a product costs.
pub(super) struct Hessian<O: FiniteSum> {
    state: O::State,
    terms: u64,
    /// Products so far, or as many as are to come: neighbours are asked for about as many.
    products: u32,
}

impl<O: FiniteSum> Hessian<O> {
    /// Number of terms.
    pub(super) fn terms(&self) -> u64 {
        self.terms
    }
}

impl<'a, O: FiniteSum> Counted<'a, O> {
    pub(in crate::optim) fn new(oracle: &'a O, counts: Counts) -> Self {
        Self {
            oracle,
            counts,
            asked: [0; 2],
        }
    }

    /// The objective itself, for what costs nothing.
    pub(super) fn oracle(&self) -> &'a O {
        self.oracle
    }

    pub(super) fn dim(&self) -> usize {
        self.oracle.dim()
    }

    pub(super) fn terms(&self) -> usize {
        self.oracle.terms()
    }

    fn size(&self, sample: Sample<'_>) -> u64 {
        sample.len(self.terms()) as u64
    }

    pub(super) fn values(&mut self, x: &[f64], sample: Sample<'_>, out: &mut [f64]) {
        self.counts.values += self.size(sample);
        self.oracle.values(x, sample, out);
    }

    pub(in crate::optim) fn gradient(
        &mut self,
        x: &[f64],
        sample: Sample<'_>,
        values: &mut [f64],
        out: &mut [f64],
    ) -> Option<f64> {
        self.counts.gradients += self.size(sample);
        self.oracle.gradient(x, sample, values, out)
    }

    /// The gradient, with the Hessian if one pass gives both.
    pub(super) fn gradient_and_hessian(
        &mut self,
        x: &[f64],
        sample: Sample<'_>,
        values: &mut [f64],
        out: &mut [f64],
    ) -> Option<Hessian<O>> {
        let terms = self.size(sample);
        let Some((_, state)) = self.oracle.gradient_and_hessian(x, sample, values, out) else {
            self.gradient(x, sample, values, out);
            return None;
        };
        self.counts.gradients += terms;
        Some(self.keep(state, terms))
    }

    pub(super) fn hessian(&mut self, x: &[f64], sample: Sample<'_>) -> Hessian<O> {
        let state = self.oracle.hessian(x, sample);
        self.made(state, sample)
    }

    pub(super) fn gauss_newton(&mut self, x: &[f64], sample: Sample<'_>) -> Option<Hessian<O>> {
        let state = self.oracle.gauss_newton(x, sample)?;
        Some(self.made(state, sample))
    }

    /// A state that was made for itself.
    fn made(&mut self, state: O::State, sample: Sample<'_>) -> Hessian<O> {
        let terms = self.size(sample);
        if self.oracle.product_passes() < RECOMPUTED {
            self.counts.states += terms;
        }
        self.keep(state, terms)
    }

    fn keep(&mut self, state: O::State, terms: u64) -> Hessian<O> {
        // One that nothing was asked of says nothing of the next.
        if self.asked[1] > 0 {
            self.asked = [self.asked[1], 0];
        }
        Hessian {
            state,
            terms,
            products: self.asked[0],
        }
    }

    pub(super) fn product(&mut self, hessian: &mut Hessian<O>, v: &[f64], out: &mut [f64]) {
        self.counts.products += hessian.terms * self.oracle.product_passes() / 2;
        self.oracle.prepare(&mut hessian.state, hessian.products);
        self.asked[1] = self.asked[1].saturating_add(1);
        hessian.products = hessian.products.max(self.asked[1]);
        self.oracle.product(&hessian.state, v, out);
    }

    pub(super) fn curvatures(&mut self, x: &[f64], out: &mut [f64]) -> bool {
        let known = self.oracle.curvatures(x, out);
        if known {
            self.counts.curvatures += self.terms() as u64;
        }
        known
    }
}
