//! A network with one hidden layer: `z_i = W2 act(W1^T a_i + b1) + b2`, and a loss of the outputs against a class.
//!
//! Products with the Hessian are Pearlmutter's: every quantity of the forward and the backward pass is differentiated
//! along `v`. Of the point a state keeps hidden values and the derivatives of the losses by the outputs, so that one
//! product is one pass over the rows forth and back. Source: Pearlmutter 1994, Neural Computation 6(1).

use super::{
    ObjectiveError,
    classes::ClassRows,
    order::Order,
    parts::Parts,
    rows::{add_outer, add_scaled, blocks, matrix_products, rows_per_block},
};
use crate::optim::second::{FiniteSum, OwnedSample, Sample};
use rayon::prelude::*;
use refit_core::ConfigError;
use refit_io::data::{Features, Table};
use refit_kernels::vectorized;
use std::ops::Range;

mod config;
mod layer;
mod product;

pub use config::{Activation, NetworkConfig};
use layer::{Split, SplitMut, add_layer, apply_layer, back_layer, dot};

/// Most hidden units.
const MOST_HIDDEN: usize = 1 << 16;
/// Most parameters.
const MOST_PARAMETERS: usize = 1 << 31;

/// A finite sum over the rows of a table, of a loss of a network with one hidden layer.
///
/// # Shapes
/// Parameters: `W1 [columns, hidden]`, `b1 [hidden]`, `W2 [classes, hidden]`, `b2 [classes]`, row by row.
///
/// # Cost
/// `O((stored + rows classes) hidden)` for values, a gradient (twice that) or a product (twice that); a state keeps
/// `hidden + classes` numbers for each row.
///
/// # Example
/// ```
/// use refit_io::data::{LibsvmOptions, parse_libsvm};
/// use refit_train::{
///     objective::{NetworkConfig, NetworkModel},
///     optim::second::{FiniteSum, Sample},
/// };
/// let table = parse_libsvm(b"1 1:1\n2 2:1\n", "toy", &LibsvmOptions::default())?;
/// let sum = NetworkModel::new(table, NetworkConfig { hidden: 3, ..NetworkConfig::default() })?;
/// assert_eq!(sum.dim(), 2 * 3 + 3 + 3 * 2 + 2);
/// let mut values = [0.0; 2];
/// sum.values(&[0.0; 17], Sample::All, &mut values);
/// assert!((values[0] - 2f64.ln()).abs() < 1e-15);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct NetworkModel {
    rows: ClassRows,
    config: NetworkConfig,
}

/// What a [`NetworkModel`] keeps of a point and a sample.
#[derive(Clone, Debug)]
pub struct NetworkState {
    kept: OwnedSample,
    x: Vec<f64>,
    /// Hidden values, then derivatives of the loss by the outputs, for each place.
    activations: Vec<f64>,
    /// Second derivatives of the penalty of both layers; empty without.
    penalties: [Vec<f64>; 2],
    gauss_newton: bool,
}

impl NetworkModel {
    /// The sum over the rows of `table`, whose classes are its labels in ascending order.
    ///
    /// # Errors
    /// A setting out of range; a table without rows; labels that are not at least two classes.
    pub fn new(table: Table, config: NetworkConfig) -> Result<Self, ObjectiveError> {
        config.penalty.check()?;
        if !(1..=MOST_HIDDEN).contains(&config.hidden) {
            let expected = format!("a number in 1..={MOST_HIDDEN}");
            return Err(ConfigError::range("hidden", config.hidden, expected).into());
        }
        let rows = ClassRows::new(table, true)?;
        if rows.features.columns() > MOST_PARAMETERS / config.hidden {
            let columns = rows.features.columns();
            let problem =
                format!("makes more than {MOST_PARAMETERS} weights of {columns} features");
            return Err(ConfigError::conflict("hidden", problem).into());
        }
        Ok(Self { rows, config })
    }

    /// The same loss over other rows, such as test rows: of as many features, labelled with the same classes.
    ///
    /// # Errors
    /// A table without rows, of another width, or with a label of another class.
    pub fn beside(&self, table: Table) -> Result<Self, ObjectiveError> {
        let (rows, config) = (self.rows.beside(table, true)?, self.config);
        Ok(Self { rows, config })
    }

    /// The rows.
    pub const fn features(&self) -> &Features {
        &self.rows.features
    }

    /// Number of classes.
    pub const fn classes(&self) -> usize {
        self.rows.count()
    }

    /// The outputs of every row: `[rows, classes]`.
    ///
    /// # Panics
    /// When `x` does not have [`dim`](FiniteSum::dim) entries.
    pub fn outputs(&self, x: &[f64]) -> Vec<f64> {
        let (x, k) = (self.split(x), self.classes());
        let mut outputs = vec![0.0; self.terms() * k];
        let parts = Parts::new(self.terms(), self.dim());
        parts.each(parts.cut(&mut outputs, k), |places, out| {
            let (mut hidden, start) = (self.room(self.config.hidden), places.start);
            for block in blocks(self.features(), places) {
                let hidden = &mut hidden[..block.len() * self.config.hidden];
                let out = &mut out[(block.start - start) * k..][..block.len() * k];
                self.forward(&x, Sample::All, block, hidden, out);
            }
        });
        outputs
    }

    /// Share of the rows that get another class than their own.
    ///
    /// # Panics
    /// When `x` does not have [`dim`](FiniteSum::dim) entries.
    pub fn error_rate(&self, x: &[f64]) -> f64 {
        self.rows.error_rate(&self.outputs(x))
    }

    fn split<'x>(&self, x: &'x [f64]) -> Split<'x> {
        assert_eq!(x.len(), self.dim(), "one number for each parameter");
        Split::new(x, self.features().columns(), self.config.hidden)
    }

    /// Room for `width` numbers of each row of a block.
    fn room(&self, width: usize) -> Vec<f64> {
        vec![0.0; rows_per_block(self.features()) * width]
    }

    /// Hidden values and outputs at `places`.
    fn forward(
        &self,
        x: &Split<'_>,
        sample: Sample<'_>,
        places: Range<usize>,
        hidden: &mut [f64],
        outputs: &mut [f64],
    ) {
        let (units, k) = (self.config.hidden, self.classes());
        matrix_products(self.features(), sample, places, x.w1, units, hidden);
        let rows = hidden
            .chunks_exact_mut(units)
            .zip(outputs.chunks_exact_mut(k));
        vectorized(
            #[inline(always)]
            || {
                for (hidden, out) in rows {
                    for (h, bias) in hidden.iter_mut().zip(x.b1) {
                        *h = self.config.activation.at(*h + bias);
                    }
                    out.copy_from_slice(x.b2);
                    apply_layer(hidden, x.w2, out);
                }
            },
        );
    }

    /// Calls `f(place, value, hidden values, slopes)` for all places of a part.
    fn each_loss(
        &self,
        x: &[f64],
        sample: Sample<'_>,
        places: Range<usize>,
        mut f: impl FnMut(usize, f64, &[f64], &[f64]),
    ) {
        let (x, units, k) = (self.split(x), self.config.hidden, self.classes());
        let (mut hidden, mut outputs) = (self.room(units), self.room(k));
        for block in blocks(self.features(), places) {
            let hidden = &mut hidden[..block.len() * units];
            let outputs = &mut outputs[..block.len() * k];
            self.forward(&x, sample, block.clone(), hidden, outputs);
            let rows = hidden.chunks_exact(units).zip(outputs.chunks_exact_mut(k));
            for (place, (hidden, z)) in block.zip(rows) {
                let value = self
                    .config
                    .head
                    .slopes(z, self.rows.class(sample.term(place)));
                f(place, value, hidden, z);
            }
        }
    }

    /// The penalty of both layers.
    fn penalty(&self, x: &[f64]) -> f64 {
        let x = self.split(x);
        self.config.penalty.value(x.w1) + self.config.penalty.value(x.w2)
    }

    /// One pass for values, the gradient and, if they are wanted, the activations of all places.
    fn gradient_keeping(
        &self,
        x: &[f64],
        order: &Order<'_>,
        values: &mut [f64],
        out: &mut [f64],
        kept: Option<&mut [f64]>,
    ) -> f64 {
        let sample = order.sample();
        let (constant, terms) = (self.penalty(x), values.len() as f64);
        let (x, units, k) = (self.split(x), self.config.hidden, self.classes());
        let parts = Parts::new(values.len(), self.dim());
        let slices = parts
            .cut(&mut *values, 1)
            .zip(parts.cut_wanted(kept, units + k));
        let mut squares = parts.sum(slices, out, |places, (values, mut kept), sum| {
            let (mut hidden, mut outputs) = (self.room(units), self.room(k));
            let (start, mut squares, mut back) = (places.start, 0.0, vec![0.0; units]);
            for block in blocks(self.features(), places) {
                let hidden = &mut hidden[..block.len() * units];
                let outputs = &mut outputs[..block.len() * k];
                self.forward(&x, sample, block.clone(), hidden, outputs);
                let sum = SplitMut::new(sum, self.features().columns(), units);
                let rows = hidden
                    .chunks_exact_mut(units)
                    .zip(outputs.chunks_exact_mut(k));
                vectorized(
                    #[inline(always)]
                    || {
                        for (place, (hidden, z)) in block.clone().zip(rows) {
                            let (term, at) = (sample.term(place), place - start);
                            values[at] =
                                self.config.head.slopes(z, self.rows.class(term)) + constant;
                            if let Some(kept) = &mut kept {
                                let kept = &mut kept[at * (units + k)..][..units + k];
                                kept[..units].copy_from_slice(hidden);
                                kept[units..].copy_from_slice(z);
                            }
                            let second = dot(z, z) * (1.0 + dot(hidden, hidden));
                            let share = sample.weight(place) / terms;
                            add_layer(share, hidden, z, sum.w2);
                            add_scaled(sum.b2, share, z);
                            // From here on the derivative by the input of a unit stands in its place.
                            back.fill(0.0);
                            back_layer(x.w2, z, &mut back);
                            for (h, back) in hidden.iter_mut().zip(&back) {
                                *h = self.config.activation.derivatives(*h).0 * back;
                            }
                            squares += second + dot(hidden, hidden) * self.rows.square_norms[term];
                            for (bias, h) in sum.b1.iter_mut().zip(hidden) {
                                *h *= share;
                                *bias += *h;
                            }
                        }
                    },
                );
                add_outer(self.features(), sample, block, hidden, units, sum.w1);
            }
            squares
        });
        order.restore(values);
        let out = SplitMut::new(out, self.features().columns(), units);
        for (w, out) in [(x.w1, out.w1), (x.w2, out.w2)] {
            let [square, product] = self.config.penalty.add_gradient(w, out);
            squares += terms * (square + 2.0 * product);
        }
        squares
    }

    fn activations(&self, x: &[f64], sample: Sample<'_>) -> Vec<f64> {
        let (terms, width) = (
            sample.len(self.terms()),
            self.config.hidden + self.classes(),
        );
        let mut kept = vec![0.0; terms * width];
        let parts = Parts::new(terms, self.dim());
        parts.each(parts.cut(&mut kept, width), |places, out| {
            let start = places.start;
            self.each_loss(x, sample, places, |place, _, hidden, slopes| {
                let out = &mut out[(place - start) * width..][..width];
                out[..hidden.len()].copy_from_slice(hidden);
                out[hidden.len()..].copy_from_slice(slopes);
            });
        });
        kept
    }

    fn state(
        &self,
        x: &[f64],
        sample: Sample<'_>,
        activations: Vec<f64>,
        gauss_newton: bool,
    ) -> NetworkState {
        let split = self.split(x);
        NetworkState {
            kept: OwnedSample::new(sample, self.terms()),
            x: x.to_vec(),
            activations,
            penalties: [split.w1, split.w2]
                .map(|w| self.config.penalty.curvatures(w, gauss_newton)),
            gauss_newton,
        }
    }
}

impl FiniteSum for NetworkModel {
    type State = NetworkState;

    fn dim(&self) -> usize {
        let (units, k) = (self.config.hidden, self.classes());
        (self.features().columns() + 1) * units + (units + 1) * k
    }

    fn terms(&self) -> usize {
        self.rows.len()
    }

    fn values(&self, x: &[f64], sample: Sample<'_>, out: &mut [f64]) {
        let penalty = self.penalty(x);
        let order = Order::new(sample);
        let parts = Parts::new(out.len(), self.dim());
        parts.each(parts.cut(&mut *out, 1), |places, out| {
            let start = places.start;
            self.each_loss(x, order.sample(), places, |place, value, _, _| {
                out[place - start] = value + penalty;
            });
        });
        order.restore(out);
    }

    fn gradient(
        &self,
        x: &[f64],
        sample: Sample<'_>,
        values: &mut [f64],
        out: &mut [f64],
    ) -> Option<f64> {
        Some(self.gradient_keeping(x, &Order::new(sample), values, out, None))
    }

    fn hessian(&self, x: &[f64], sample: Sample<'_>) -> NetworkState {
        let order = Order::new(sample);
        let sample = order.sample();
        self.state(x, sample, self.activations(x, sample), false)
    }

    fn product(&self, state: &NetworkState, v: &[f64], out: &mut [f64]) {
        self.product_into(state, v, out);
    }

    fn gradient_and_hessian(
        &self,
        x: &[f64],
        sample: Sample<'_>,
        values: &mut [f64],
        out: &mut [f64],
    ) -> Option<(Option<f64>, NetworkState)> {
        let mut kept = vec![0.0; values.len() * (self.config.hidden + self.classes())];
        let order = Order::new(sample);
        let squares = self.gradient_keeping(x, &order, values, out, Some(&mut kept));
        Some((Some(squares), self.state(x, order.sample(), kept, false)))
    }

    /// Without the second derivatives of the network.
    fn gauss_newton(&self, x: &[f64], sample: Sample<'_>) -> Option<NetworkState> {
        let order = Order::new(sample);
        let sample = order.sample();
        Some(self.state(x, sample, self.activations(x, sample), true))
    }
}

#[cfg(test)]
mod tests;
