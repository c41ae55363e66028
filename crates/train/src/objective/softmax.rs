//! Linear models of several classes: a loss of the outputs `z_i = W^T a_i + bias`.

use super::{
    Head, ObjectiveError, Penalty,
    classes::ClassRows,
    order::Order,
    parts::Parts,
    rows::{add_outer, blocks, matrix_products, rows_per_block},
};
use crate::optim::second::{Bounds, FiniteSum, OwnedSample, Sample};
use rayon::prelude::*;
use refit_io::data::{Features, Table};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Settings of a [`SoftmaxModel`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SoftmaxConfig {
    /// Loss of one row (ours: softmax).
    pub head: Head,
    /// Penalty on the weights (ours: none).
    pub penalty: Penalty,
    /// Whether a bias is fitted for each class, the last parameters, which are not penalised (ours: yes).
    pub bias: bool,
}

impl Default for SoftmaxConfig {
    fn default() -> Self {
        Self {
            head: Head::Softmax,
            penalty: Penalty::default(),
            bias: true,
        }
    }
}

/// A finite sum over the rows of a table, of a loss of a linear model with an output for each class.
///
/// # Shapes
/// Parameters: `W [columns, classes]` row by row, then `bias [classes]` if there is one.
///
/// # Cost
/// As [`LinearModel`](super::LinearModel), times the number of classes; a state keeps one number for each row and class.
///
/// # Example
/// ```
/// use refit_io::data::{LibsvmOptions, parse_libsvm};
/// use refit_train::{
///     objective::{SoftmaxConfig, SoftmaxModel},
///     optim::second::{FiniteSum, Sample},
/// };
/// let table = parse_libsvm(b"1 1:1\n2 2:1\n3 1:1 2:1\n", "toy", &LibsvmOptions::default())?;
/// let sum = SoftmaxModel::new(table, SoftmaxConfig::default())?;
/// assert_eq!(sum.dim(), 2 * 3 + 3);
/// let mut values = [0.0; 3];
/// sum.values(&[0.0; 9], Sample::All, &mut values);
/// assert!((values[0] - 3f64.ln()).abs() < 1e-15);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct SoftmaxModel {
    rows: ClassRows,
    config: SoftmaxConfig,
}

/// What a [`SoftmaxModel`] keeps of a point: the derivatives of the losses of a sample by the outputs.
#[derive(Clone, Debug)]
pub struct SoftmaxState {
    kept: OwnedSample,
    /// One for each place and class.
    slopes: Vec<f64>,
    /// Second derivatives of the penalty; empty without.
    penalty: Vec<f64>,
}

impl SoftmaxModel {
    /// The sum over the rows of `table`, whose classes are its labels in ascending order.
    ///
    /// # Errors
    /// A setting out of range; a table without rows or parameters; labels that are not at least two classes.
    pub fn new(table: Table, config: SoftmaxConfig) -> Result<Self, ObjectiveError> {
        config.penalty.check()?;
        let rows = ClassRows::new(table, config.bias)?;
        Ok(Self { rows, config })
    }

    /// The same loss over other rows, such as test rows: of as many features, labelled with the same classes.
    ///
    /// # Errors
    /// A table without rows, of another width, or with a label of another class.
    pub fn beside(&self, table: Table) -> Result<Self, ObjectiveError> {
        let (rows, config) = (self.rows.beside(table, self.config.bias)?, self.config);
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
        let mut outputs = vec![0.0; self.terms() * self.classes()];
        let parts = Parts::new(self.terms(), self.dim());
        parts.each(parts.cut(&mut outputs, self.classes()), |places, out| {
            self.fill(x, Sample::All, places, out);
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

    /// Weights without the biases, and the biases.
    fn split<'x>(&self, x: &'x [f64]) -> (&'x [f64], &'x [f64]) {
        assert_eq!(x.len(), self.dim(), "one number for each parameter");
        x.split_at(self.features().columns() * self.classes())
    }

    /// The outputs at `places`: `out [places, classes]`.
    fn fill(&self, x: &[f64], sample: Sample<'_>, places: Range<usize>, out: &mut [f64]) {
        let (w, bias) = self.split(x);
        matrix_products(self.features(), sample, places, w, self.classes(), out);
        if !bias.is_empty() {
            for out in out.chunks_exact_mut(bias.len()) {
                out.iter_mut()
                    .zip(bias)
                    .for_each(|(out, bias)| *out += bias);
            }
        }
    }

    /// `out += ` rows times `d [places, classes]`, and `d` itself to the biases.
    fn add(&self, sample: Sample<'_>, places: Range<usize>, d: &[f64], out: &mut [f64]) {
        let (w, bias) = out.split_at_mut(self.features().columns() * self.classes());
        add_outer(self.features(), sample, places, d, self.classes(), w);
        if !bias.is_empty() {
            for d in d.chunks_exact(bias.len()) {
                bias.iter_mut().zip(d).for_each(|(bias, d)| *bias += d);
            }
        }
    }

    /// Room for the outputs of a block.
    fn room(&self) -> Vec<f64> {
        vec![0.0; rows_per_block(self.features()) * self.classes()]
    }

    /// Calls `f(place, value, slopes)` for all places of a part.
    fn each_loss(
        &self,
        x: &[f64],
        sample: Sample<'_>,
        places: Range<usize>,
        mut f: impl FnMut(usize, f64, &[f64]),
    ) {
        let (mut room, k) = (self.room(), self.classes());
        for block in blocks(self.features(), places) {
            let outputs = &mut room[..block.len() * k];
            self.fill(x, sample, block.clone(), outputs);
            for (place, z) in block.zip(outputs.chunks_exact_mut(k)) {
                let class = self.rows.class(sample.term(place));
                let value = self.config.head.slopes(z, class);
                f(place, value, z);
            }
        }
    }

    /// One pass for values, the gradient and, if they are wanted, the slopes of all outputs.
    fn gradient_keeping(
        &self,
        x: &[f64],
        order: &Order<'_>,
        values: &mut [f64],
        out: &mut [f64],
        kept: Option<&mut [f64]>,
    ) -> f64 {
        let sample = order.sample();
        let ((w, _), k, penalty) = (self.split(x), self.classes(), self.config.penalty);
        let constant = penalty.value(w);
        let terms = values.len() as f64;
        let parts = Parts::new(values.len(), self.dim());
        let slices = parts.cut(&mut *values, 1).zip(parts.cut_wanted(kept, k));
        let mut squares = parts.sum(slices, out, |places, (values, mut kept), sum| {
            let (mut room, start, mut squares) = (self.room(), places.start, 0.0);
            for block in blocks(self.features(), places) {
                let outputs = &mut room[..block.len() * k];
                self.fill(x, sample, block.clone(), outputs);
                for (place, z) in block.clone().zip(outputs.chunks_exact_mut(k)) {
                    let (term, at) = (sample.term(place), place - start);
                    values[at] = self.config.head.slopes(z, self.rows.class(term)) + constant;
                    squares += z.iter().map(|z| z * z).sum::<f64>() * self.rows.square_norms[term];
                    if let Some(kept) = &mut kept {
                        kept[at * k..][..k].copy_from_slice(z);
                    }
                    let share = sample.weight(place) / terms;
                    for z in z {
                        *z *= share;
                    }
                }
                self.add(sample, block, outputs, sum);
            }
            squares
        });
        order.restore(values);
        let [square, product] = penalty.add_gradient(w, &mut out[..w.len()]);
        squares += terms * (square + 2.0 * product);
        squares
    }

    fn state(&self, x: &[f64], sample: Sample<'_>, slopes: Vec<f64>, convex: bool) -> SoftmaxState {
        let (w, _) = self.split(x);
        SoftmaxState {
            kept: OwnedSample::new(sample, self.terms()),
            slopes,
            penalty: self.config.penalty.curvatures(w, convex),
        }
    }

    fn slopes(&self, x: &[f64], sample: Sample<'_>) -> Vec<f64> {
        let (terms, k) = (sample.len(self.terms()), self.classes());
        let mut slopes = vec![0.0; terms * k];
        let parts = Parts::new(terms, self.dim());
        parts.each(parts.cut(&mut slopes, k), |places, out| {
            let start = places.start;
            self.each_loss(x, sample, places, |place, _, z| {
                out[(place - start) * k..][..k].copy_from_slice(z);
            });
        });
        slopes
    }
}

impl FiniteSum for SoftmaxModel {
    type State = SoftmaxState;

    fn dim(&self) -> usize {
        (self.features().columns() + usize::from(self.config.bias)) * self.classes()
    }

    fn terms(&self) -> usize {
        self.rows.len()
    }

    fn values(&self, x: &[f64], sample: Sample<'_>, out: &mut [f64]) {
        let (w, _) = self.split(x);
        let penalty = self.config.penalty.value(w);
        let order = Order::new(sample);
        let parts = Parts::new(out.len(), self.dim());
        parts.each(parts.cut(&mut *out, 1), |places, out| {
            let start = places.start;
            self.each_loss(x, order.sample(), places, |place, value, _| {
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

    fn hessian(&self, x: &[f64], sample: Sample<'_>) -> SoftmaxState {
        let order = Order::new(sample);
        let sample = order.sample();
        self.state(x, sample, self.slopes(x, sample), false)
    }

    fn product(&self, state: &SoftmaxState, v: &[f64], out: &mut [f64]) {
        let (sample, k) = (state.kept.sample(), self.classes());
        let parts = Parts::new(state.kept.len, self.dim());
        parts.sum(parts.nothing(), out, |places, (), sum| {
            let mut room = self.room();
            for block in blocks(self.features(), places) {
                let changes = &mut room[..block.len() * k];
                self.fill(v, sample, block.clone(), changes);
                for (place, t) in block.clone().zip(changes.chunks_exact_mut(k)) {
                    let class = self.rows.class(sample.term(place));
                    self.config
                        .head
                        .curve(&state.slopes[place * k..][..k], class, t);
                    let share = state.kept.share(place);
                    for t in t {
                        *t *= share;
                    }
                }
                self.add(sample, block, changes, sum);
            }
            0.0
        });
        Penalty::add_product(&state.penalty, v, out);
    }

    fn gradient_and_hessian(
        &self,
        x: &[f64],
        sample: Sample<'_>,
        values: &mut [f64],
        out: &mut [f64],
    ) -> Option<(Option<f64>, SoftmaxState)> {
        let mut slopes = vec![0.0; values.len() * self.classes()];
        let order = Order::new(sample);
        let squares = self.gradient_keeping(x, &order, values, out, Some(&mut slopes));
        Some((Some(squares), self.state(x, order.sample(), slopes, false)))
    }

    /// The Hessian itself, as outputs are linear; only the penalty is replaced.
    fn gauss_newton(&self, x: &[f64], sample: Sample<'_>) -> Option<SoftmaxState> {
        let order = Order::new(sample);
        let sample = order.sample();
        Some(self.state(x, sample, self.slopes(x, sample), true))
    }

    /// An upper bound; the penalty is the same in every term and left out.
    fn curvatures(&self, x: &[f64], out: &mut [f64]) -> bool {
        let parts = Parts::new(out.len(), self.dim());
        parts.each(parts.cut(out, 1), |places, out| {
            let start = places.start;
            self.each_loss(x, Sample::All, places, |place, _, slopes| {
                let most = self
                    .config
                    .head
                    .most_curvature(slopes, self.rows.class(place));
                out[place - start] = most * self.rows.square_norms[place];
            });
        });
        true
    }

    /// As for [`LinearModel`](super::LinearModel): of what differs between terms.
    fn bounds(&self) -> Option<Bounds> {
        let [slope, curvature, third] = self.config.head.bounds()?;
        let square = self.rows.square_norms.iter().copied().fold(0.0, f64::max);
        Some(Bounds {
            gradient: slope * square.sqrt(),
            hessian: curvature * square,
            lipschitz: third * square * square.sqrt() + self.config.penalty.lipschitz(),
        })
    }
}

#[cfg(test)]
mod tests;
