//! An objective made of functions.

use super::oracle::{Bounds, FiniteSum, OwnedSample, Sample};
use rayon::prelude::*;
use refit_math::vector::{add_scaled, dot, scale};

/// Most chunks that a sum over a sample is made of; part of the definition of its result.
const CHUNKS: usize = 64;
/// Fewest terms of a chunk.
const FEWEST: usize = 16;

/// A finite sum whose terms are functions: value, gradient and product with the Hessian of term `i` at `x`.
///
/// Terms are worked on in parallel and summed in a fixed order. One function is a sum of one term.
///
/// ```
/// use refit_train::optim::second::{Closure, FiniteSum, Sample};
/// // f_i(x) = (x - i)^2 / 2
/// let sum = Closure::new(
///     1,
///     3,
///     |i, x| 0.5 * (x[0] - i as f64).powi(2),
///     |i, x, out| out[0] = x[0] - i as f64,
///     |_, _, v, out| out[0] = v[0],
/// );
/// let (mut values, mut mean) = ([0.0; 3], [0.0]);
/// let squares = sum.gradient(&[0.0], Sample::All, &mut values, &mut mean);
/// assert_eq!((values, mean, squares), ([0.0, 0.5, 2.0], [-1.0], Some(5.0)));
/// ```
#[derive(Clone, Debug)]
pub struct Closure<F, G, H> {
    dim: usize,
    terms: usize,
    value: F,
    gradient: G,
    product: H,
    bounds: Option<Bounds>,
}

impl<F, G, H> Closure<F, G, H>
where
    F: Fn(usize, &[f64]) -> f64 + Sync,
    G: Fn(usize, &[f64], &mut [f64]) + Sync,
    H: Fn(usize, &[f64], &[f64], &mut [f64]) + Sync,
{
    /// `terms` functions of `dim` parameters: `value(i, x)`, `gradient(i, x, out)`, `product(i, x, v, out)`. What is
    /// written replaces `out`, which comes as zeros.
    pub fn new(dim: usize, terms: usize, value: F, gradient: G, product: H) -> Self {
        Self {
            dim,
            terms,
            value,
            gradient,
            product,
            bounds: None,
        }
    }

    /// Says what bounds every term, so that sizes of samples can be taken from theory.
    #[must_use]
    pub fn bounded(mut self, bounds: Bounds) -> Self {
        self.bounds = Some(bounds);
        self
    }

    /// `out = (1/m) sum_j add(j)`, where `add` writes what place `j` adds into its buffer, and the sum of what it returns.
    fn mean(
        &self,
        len: usize,
        out: &mut [f64],
        add: impl Fn(usize, &mut [f64]) -> (f64, f64) + Sync,
    ) -> f64 {
        let chunk = len.div_ceil(CHUNKS).max(FEWEST);
        let part = |at: usize| {
            let (mut sum, mut one, mut extra) = (vec![0.0; self.dim], vec![0.0; self.dim], 0.0);
            for place in at * chunk..((at + 1) * chunk).min(len) {
                one.fill(0.0);
                let (weight, more) = add(place, &mut one);
                add_scaled(&mut sum, weight, &one);
                extra += more;
            }
            (sum, extra)
        };
        let parts: Vec<_> = (0..len.div_ceil(chunk)).into_par_iter().map(part).collect();
        out.fill(0.0);
        let mut total = 0.0;
        for (part, extra) in parts {
            add_scaled(out, 1.0, &part);
            total += extra;
        }
        let share = 1.0 / len.max(1) as f64;
        scale(out, share);
        total
    }
}

/// Point and sample of a Hessian of a [`Closure`].
#[derive(Clone, Debug)]
pub struct ClosureState {
    x: Vec<f64>,
    kept: OwnedSample,
}

impl<F, G, H> FiniteSum for Closure<F, G, H>
where
    F: Fn(usize, &[f64]) -> f64 + Sync,
    G: Fn(usize, &[f64], &mut [f64]) + Sync,
    H: Fn(usize, &[f64], &[f64], &mut [f64]) + Sync,
{
    type State = ClosureState;

    fn dim(&self) -> usize {
        self.dim
    }

    fn terms(&self) -> usize {
        self.terms
    }

    fn values(&self, x: &[f64], sample: Sample<'_>, out: &mut [f64]) {
        out.par_iter_mut()
            .with_min_len(FEWEST)
            .enumerate()
            .for_each(|(at, out)| *out = (self.value)(sample.term(at), x));
    }

    fn gradient(
        &self,
        x: &[f64],
        sample: Sample<'_>,
        values: &mut [f64],
        out: &mut [f64],
    ) -> Option<f64> {
        self.values(x, sample, values);
        let squares = self.mean(values.len(), out, |at, one| {
            (self.gradient)(sample.term(at), x, one);
            (sample.weight(at), dot(one, one))
        });
        Some(squares)
    }

    fn hessian(&self, x: &[f64], sample: Sample<'_>) -> ClosureState {
        ClosureState {
            x: x.to_vec(),
            kept: OwnedSample::new(sample, self.terms),
        }
    }

    /// Nothing of a point is kept but the point.
    fn product_passes(&self) -> u64 {
        4
    }

    fn product(&self, state: &ClosureState, v: &[f64], out: &mut [f64]) {
        let sample = state.kept.sample();
        self.mean(state.kept.len, out, |at, one| {
            (self.product)(sample.term(at), &state.x, v, one);
            (sample.weight(at), 0.0)
        });
    }

    fn bounds(&self) -> Option<Bounds> {
        self.bounds
    }
}
