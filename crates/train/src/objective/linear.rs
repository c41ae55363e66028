//! Losses of a linear model: `f_i(x) = phi(a_i^T w + bias; b_i)` plus a penalty.
//!
//! A term's gradient is `phi' a_i` and its Hessian `phi'' a_i a_i^T`, so that a point keeps one number for each term and
//! a product with the Hessian is one pass over the rows: `t = a_i^T v`, then `out += phi'' t a_i` while the row is in the
//! cache. Of sparse rows of few columns the matrix is formed after as many products as it costs. Source for the sigmoid with squared loss: Xu, Roosta and Mahoney 2017, arXiv:1708.07827.

use super::{
    LossAt, ObjectiveError, Penalty,
    classes::{check_beside, check_rows, labels},
    order::Order,
    parts::Parts,
    rows::{self, MOST_ROWS, add_rows, blocks, products},
};
use crate::optim::second::{Bounds, FiniteSum, Sample};
use rayon::prelude::*;
use refit_io::data::{Classes, Features, Table};
use std::ops::Range;

mod config;
mod matrix;
mod second;

pub use config::LinearConfig;
use second::Matrix;

/// A finite sum over the rows of a table, of a loss of a linear model.
///
/// Parameters: a weight for each column, then the bias if there is one. Rows are in single, everything else in double
/// precision; threads share the rows in parts that do not depend on their number.
///
/// # Cost
/// One pass over the rows for values, a gradient, or a product, in the order of the rows: a sample that does not ascend is
/// sorted first. 12 bytes for each row beside the table, and 16 for each
/// row of a sample while its Hessian is kept.
#[derive(Clone, Debug)]
pub struct LinearModel {
    features: Features,
    /// 0 or 1 for losses of two classes.
    targets: Vec<f32>,
    /// The labels behind 0 and 1; `None` where targets are numbers.
    classes: Option<Classes>,
    /// `|a_i|^2`, and 1 more with a bias.
    square_norms: Vec<f64>,
    /// Products after which the matrix of a sample is formed.
    products: Option<u32>,
    config: LinearConfig,
}

/// What a [`LinearModel`] keeps of a point: second derivatives of the losses of a sample.
#[derive(Clone, Debug)]
pub struct LinearState {
    /// In ascending order; `None`: every term.
    terms: Option<Vec<u32>>,
    /// `weight phi'' / m` for each place.
    coefficients: Vec<f64>,
    /// The sum over the rows; then nothing is kept of them.
    matrix: Option<Vec<f64>>,
    /// Second derivatives of the penalty; empty without.
    penalty: Vec<f64>,
}

impl LinearModel {
    /// The sum over the rows of `table`. A loss of two classes takes the smaller label for 0 and the larger for 1.
    ///
    /// # Errors
    /// A setting out of range; a table without rows or parameters; labels that are not two classes where the loss needs
    /// them.
    pub fn new(table: Table, config: LinearConfig) -> Result<Self, ObjectiveError> {
        config.loss.check()?;
        config.penalty.check()?;
        check_rows(&table, config.bias)?;
        let classes = config.loss.is_binary().then(|| table.classes()).transpose();
        let classes = classes.map_err(labels(&table))?;
        match classes {
            Some(classes) if classes.count() != 2 => Err(ObjectiveError::NotBinary {
                table: table.name().to_owned(),
                found: classes.count(),
            }),
            classes => Ok(Self::of(table, classes, config)),
        }
    }

    /// The same loss over other rows, such as test rows: of as many features, labelled with the same classes.
    ///
    /// # Errors
    /// A table without rows, of another width, or with a label of another class.
    pub fn beside(&self, table: Table) -> Result<Self, ObjectiveError> {
        check_beside(&table, &self.features)?;
        let known = self.classes.as_ref();
        let classes = known.map(|known| table.classes_among(known)).transpose();
        let classes = classes.map_err(labels(&table))?;
        Ok(Self::of(table, classes, self.config))
    }

    fn of(table: Table, classes: Option<Classes>, config: LinearConfig) -> Self {
        let (features, mut targets) = table.into_parts();
        if let Some(classes) = &classes {
            let pairs = targets.iter_mut().zip(classes.of_rows());
            pairs.for_each(|(target, &class)| *target = class as f32);
        }
        let mut square_norms = rows::square_norms(&features);
        let bias = f64::from(u8::from(config.bias));
        for norm in &mut square_norms {
            *norm += bias;
        }
        Self {
            products: matrix::cost(&features),
            features,
            targets,
            classes: classes.map(Classes::without_rows),
            square_norms,
            config,
        }
    }

    /// The rows.
    pub const fn features(&self) -> &Features {
        &self.features
    }

    /// `a_i^T w + bias` of every row.
    ///
    /// # Panics
    /// When `x` does not have [`dim`](FiniteSum::dim) entries.
    pub fn margins(&self, x: &[f64]) -> Vec<f64> {
        let mut margins = vec![0.0; self.terms()];
        let parts = Parts::new(margins.len(), self.dim());
        parts.each(parts.cut(&mut margins, 1), |places, out| {
            self.products(x, Sample::All, places, out);
        });
        margins
    }

    /// Share of the rows whose label is on the other side: a margin of at least 0 stands for the larger label.
    ///
    /// # Panics
    /// When `x` does not have [`dim`](FiniteSum::dim) entries.
    pub fn error_rate(&self, x: &[f64]) -> f64 {
        let margins = self.margins(x);
        let wrong = |(margin, target): &(&f64, &f32)| (**margin >= 0.0) != (**target > 0.5);
        margins.iter().zip(&self.targets).filter(wrong).count() as f64 / self.terms() as f64
    }

    /// Weights without the bias, and the bias.
    fn split<'x>(&self, x: &'x [f64]) -> (&'x [f64], f64) {
        assert_eq!(x.len(), self.dim(), "one number for each parameter");
        let columns = self.features.columns();
        (&x[..columns], x.get(columns).copied().unwrap_or(0.0))
    }

    /// `out_j = a_j^T v + bias` for the rows at `places`.
    fn products(&self, v: &[f64], sample: Sample<'_>, places: Range<usize>, out: &mut [f64]) {
        let (w, bias) = self.split(v);
        products(&self.features, sample, places, w, out);
        for product in out {
            *product += bias;
        }
    }

    /// `out += sum_j c_j a_j`, and the sum of the `c_j` to the bias.
    fn add_rows(&self, sample: Sample<'_>, places: Range<usize>, c: &[f64], out: &mut [f64]) {
        let columns = self.features.columns();
        add_rows(&self.features, sample, places, c, &mut out[..columns]);
        if let Some(bias) = out.get_mut(columns) {
            *bias += c.iter().sum::<f64>();
        }
    }

    /// Calls `f(j, loss at the margin of j)` for all places of a part.
    fn each_loss(
        &self,
        x: &[f64],
        sample: Sample<'_>,
        places: Range<usize>,
        mut f: impl FnMut(usize, LossAt),
    ) {
        let mut margins = [0.0; MOST_ROWS];
        for block in blocks(&self.features, places) {
            let margins = &mut margins[..block.len()];
            self.products(x, sample, block.clone(), margins);
            for (place, &margin) in block.zip(&*margins) {
                let target = f64::from(self.targets[sample.term(place)]);
                f(place, self.config.loss.at(margin, target));
            }
        }
    }

    /// One pass for values, the gradient and, if they are wanted, the coefficients of the Hessian in ascending order.
    fn gradient_keeping(
        &self,
        x: &[f64],
        order: &Order<'_>,
        values: &mut [f64],
        out: &mut [f64],
        coefficients: Option<&mut [f64]>,
    ) -> f64 {
        let ((w, _), sample) = (self.split(x), order.sample());
        let penalty = self.config.penalty;
        let constant = penalty.value(w);
        let share = 1.0 / sample.len(self.terms()).max(1) as f64;
        let parts = Parts::new(values.len(), self.dim());
        let slices = parts
            .cut(&mut *values, 1)
            .zip(parts.cut_wanted(coefficients, 1));
        let mut squares = parts.sum(slices, out, |places, (values, mut kept), sum| {
            let start = places.start;
            let (mut slopes, mut squares) = ([0.0; MOST_ROWS], 0.0);
            for block in blocks(&self.features, places) {
                let slopes = &mut slopes[..block.len()];
                self.products(x, sample, block.clone(), slopes);
                for (place, slope) in block.clone().zip(&mut *slopes) {
                    let term = sample.term(place);
                    let at = self.config.loss.at(*slope, f64::from(self.targets[term]));
                    let weight = sample.weight(place) * share;
                    values[place - start] = at.value + constant;
                    squares += at.slope * at.slope * self.square_norms[term];
                    if let Some(kept) = &mut kept {
                        kept[place - start] = weight * at.curvature;
                    }
                    *slope = weight * at.slope;
                }
                self.add_rows(sample, block, slopes, sum);
            }
            squares
        });
        order.restore(values);
        let terms = 1.0 / share;
        let [square, product] = penalty.add_gradient(w, &mut out[..w.len()]);
        squares += terms * (square + 2.0 * product);
        squares
    }

    fn state(
        &self,
        x: &[f64],
        order: Order<'_>,
        coefficients: Vec<f64>,
        matrix: Matrix,
    ) -> LinearState {
        let (w, _) = self.split(x);
        let convex = matrix == Matrix::GaussNewton;
        LinearState {
            terms: order.into_terms(),
            coefficients,
            matrix: None,
            penalty: self.config.penalty.curvatures(w, convex),
        }
    }

    fn matrix(&self, x: &[f64], sample: Sample<'_>, matrix: Matrix) -> LinearState {
        let order = Order::new(sample);
        let (sample, terms) = (order.sample(), sample.len(self.terms()));
        let share = 1.0 / terms.max(1) as f64;
        let mut coefficients = vec![0.0; terms];
        let parts = Parts::new(terms, self.dim());
        parts.each(parts.cut(&mut coefficients, 1), |places, out| {
            let start = places.start;
            self.each_loss(x, sample, places, |place, at| {
                out[place - start] = matrix.of(at) * sample.weight(place) * share;
            });
        });
        self.state(x, order, coefficients, matrix)
    }

    /// `out = H v` without the penalty, in one pass over the rows.
    fn product_by_rows(&self, state: &LinearState, v: &[f64], out: &mut [f64]) {
        let sample = state.sample();
        let parts = Parts::new(state.coefficients.len(), self.dim());
        parts.sum(parts.nothing(), out, |places, (), sum| {
            let mut products = [0.0; MOST_ROWS];
            for block in blocks(&self.features, places) {
                let products = &mut products[..block.len()];
                self.products(v, sample, block.clone(), products);
                let coefficients = &state.coefficients[block.clone()];
                let pairs = products.iter_mut().zip(coefficients);
                pairs.for_each(|(product, c)| *product *= c);
                self.add_rows(sample, block, products, sum);
            }
            0.0
        });
    }
}

impl FiniteSum for LinearModel {
    type State = LinearState;

    fn dim(&self) -> usize {
        self.features.columns() + usize::from(self.config.bias)
    }

    fn terms(&self) -> usize {
        self.targets.len()
    }

    fn values(&self, x: &[f64], sample: Sample<'_>, out: &mut [f64]) {
        let (w, _) = self.split(x);
        let penalty = self.config.penalty.value(w);
        let order = Order::new(sample);
        let parts = Parts::new(out.len(), self.dim());
        parts.each(parts.cut(&mut *out, 1), |places, out| {
            let start = places.start;
            self.each_loss(x, order.sample(), places, |place, at| {
                out[place - start] = at.value + penalty;
            });
        });
        order.restore(out);
    }

    /// Squared norms of gradients of terms are known: `phi'^2 |a_i|^2` and what the penalty adds, which draws of different
    /// weights estimate.
    fn gradient(
        &self,
        x: &[f64],
        sample: Sample<'_>,
        values: &mut [f64],
        out: &mut [f64],
    ) -> Option<f64> {
        Some(self.gradient_keeping(x, &Order::new(sample), values, out, None))
    }

    fn hessian(&self, x: &[f64], sample: Sample<'_>) -> LinearState {
        self.matrix(x, sample, Matrix::Hessian)
    }

    fn product(&self, state: &LinearState, v: &[f64], out: &mut [f64]) {
        match &state.matrix {
            Some(matrix) => matrix::product(matrix, v, out),
            None => self.product_by_rows(state, v, out),
        }
        Penalty::add_product(&state.penalty, v, out);
    }

    /// Forms the matrix of sparse rows of few columns as soon as that has paid.
    fn prepare(&self, state: &mut LinearState, products: u32) {
        let is_due = self.products.is_some_and(|cost| products >= cost);
        if !is_due || !matrix::pays(&self.features, state.coefficients.len()) {
            return;
        }
        let (sample, bias) = (state.sample(), self.config.bias);
        if let Some(matrix) = matrix::form(&self.features, sample, &state.coefficients, bias) {
            state.matrix = Some(matrix);
            (state.terms, state.coefficients) = (None, Vec::new());
        }
    }

    fn gradient_and_hessian(
        &self,
        x: &[f64],
        sample: Sample<'_>,
        values: &mut [f64],
        out: &mut [f64],
    ) -> Option<(Option<f64>, LinearState)> {
        let order = Order::new(sample);
        let mut kept = vec![0.0; values.len()];
        let squares = self.gradient_keeping(x, &order, values, out, Some(&mut kept));
        let state = self.state(x, order, kept, Matrix::Hessian);
        Some((Some(squares), state))
    }

    fn gauss_newton(&self, x: &[f64], sample: Sample<'_>) -> Option<LinearState> {
        Some(self.matrix(x, sample, Matrix::GaussNewton))
    }

    /// `|phi''| |a_i|^2`; the penalty is the same in every term and left out.
    fn curvatures(&self, x: &[f64], out: &mut [f64]) -> bool {
        let parts = Parts::new(out.len(), self.dim());
        parts.each(parts.cut(out, 1), |places, out| {
            let start = places.start;
            self.each_loss(x, Sample::All, places, |place, at| {
                out[place - start] = at.curvature.abs() * self.square_norms[place];
            });
        });
        true
    }

    /// From the loss and the longest row. Of gradient and Hessian the part that differs between terms is bounded: the
    /// penalty cancels from every difference between a sample and the whole.
    fn bounds(&self) -> Option<Bounds> {
        let [slope, curvature, third] = self.config.loss.bounds()?;
        let square = self
            .square_norms
            .iter()
            .fold(0.0, |most, &norm| f64::max(most, norm));
        Some(Bounds {
            gradient: slope * square.sqrt(),
            hessian: curvature * square,
            lipschitz: third * square * square.sqrt() + self.config.penalty.lipschitz(),
        })
    }
}

#[cfg(test)]
mod tests;
