//! Any model as a finite sum: a function of named weights, whose outputs a loss scores against a class.
//!
//! Of the model only its outputs are asked, as a [`Dual`](refit_kernels::dual::Dual). With the slopes `s` of the loss by
//! the outputs `z`, the gradient of one term is `J^T s`, one pass in reverse mode. A product with its Hessian is the
//! gradient of `<z, c> + <z', s>`, where `z' = J v` is the tangent along `v`, `c = Hess(loss) z'`, and `c` and `s` are
//! held fixed; the first part alone is the product with the Gauss-Newton matrix. Source: Pearlmutter 1994, Neural
//! Computation 6(1); Schraudolph 2002, Neural Computation 14(7).

use super::classes::error_rate;
use crate::optim::second::{FiniteSum, OwnedSample, Sample};
use burn::tensor::{Device, Tensor, TensorData};
use refit_kernels::dual::Dual;
use refit_math::vector::{add_scaled, dot};
use refit_nn::{NnError, ParamSpec, Role, Weights, to_host};
use std::ops::Range;

mod config;
mod outputs;
mod sum;

pub use config::{DualConfig, DualError};
use outputs::Batch;
pub use outputs::Outputs;

/// A finite sum over the rows of a model that is given as a function of named weights.
///
/// The model computes in single precision, so that a change of a parameter below its last place there changes nothing;
/// the loss and every sum over rows are in double precision. The value of a row has the same bits in every sample where
/// the kernels of the model treat each row alike; those of this project do.
///
/// # Shapes
/// Parameters: the chosen weights one after the other, in the order of their layout.
///
/// # Cost
/// A forward pass for values, twice that more for a gradient; a product is a pass with tangents there and back, whatever
/// a state keeps: about twice a gradient.
///
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// use refit_core::Seed;
/// use refit_kernels::dual::Dual;
/// use refit_nn::{NnError, Weights, blocks::Linear};
/// use refit_train::{
///     objective::{DualConfig, DualModel, Outputs},
///     optim::second::{FiniteSum, Sample},
/// };
/// /// One feature, which is 1 in the first row and 2 in the second.
/// struct Rows;
/// impl Outputs for Rows {
///     fn terms(&self) -> usize { 2 }
///     fn classes(&self) -> usize { 2 }
///     fn class(&self, term: usize) -> usize { term }
///     fn outputs(&self, at: &Weights, terms: &[u32]) -> Result<Dual<2>, NnError> {
///         let values: Vec<f32> = terms.iter().map(|&term| 1.0 + term as f32).collect();
///         let rows = Tensor::<1>::from_data(&values[..], &at.device()).unsqueeze_dim(1);
///         Ok(at.bind(|scope| Linear::bind(scope, 1, 2))?.forward(rows.into()))
///     }
/// }
/// let start = Weights::create(Seed::new(0), &Device::flex(), |scope| Linear::bind(scope, 1, 2))?;
/// let sum = DualModel::new(Rows, start, |_| true, DualConfig::default())?;
/// let mut values = [0.0; 2];
/// sum.values(&[0.0; 4], Sample::All, &mut values);
/// assert!((values[1] - 2f64.ln()).abs() < 1e-15);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct DualModel<M> {
    model: M,
    weights: Weights,
    /// The same values where reverse mode can go through them, as constants.
    constants: Weights,
    device: Device,
    /// Place in the layout and among the parameters, of each chosen weight.
    parts: Vec<(usize, Range<usize>)>,
    config: DualConfig,
}

/// What a [`DualModel`] keeps of a point: the point itself.
#[derive(Clone, Debug)]
pub struct DualState {
    kept: OwnedSample,
    x: Vec<f64>,
    gauss_newton: bool,
}

impl<M: Outputs> DualModel<M> {
    /// The sum over all rows of `model`, as a function of those of its weights that `choose` picks; the others stay what
    /// they are.
    ///
    /// # Errors
    /// A setting out of range; no row, or no weight to choose; a model that does not run on its first row.
    pub fn new(
        model: M,
        weights: Weights,
        choose: impl Fn(&ParamSpec) -> bool,
        config: DualConfig,
    ) -> Result<Self, DualError> {
        config.check()?;
        if model.terms() == 0 {
            return Err(DualError::NoRow);
        }
        let specs = weights.layout().specs().iter().enumerate();
        let trained = specs.filter(|(_, spec)| spec.role == Role::Weight);
        let weights_of_model = trained.clone().count();
        let mut end = 0;
        let parts: Vec<_> = trained
            .filter(|(_, spec)| choose(spec))
            .map(|(at, spec)| {
                let start = end;
                end += spec.len();
                (at, start..end)
            })
            .collect();
        if end == 0 {
            return Err(DualError::NoWeight {
                weights: weights_of_model,
            });
        }
        model.outputs(&weights, &[0])?;
        let mut constants = weights.clone();
        for (at, value) in weights.values().iter().enumerate() {
            constants.set(at, value.value().clone().autodiff());
        }
        Ok(Self {
            device: weights.device(),
            model,
            weights,
            constants,
            parts,
            config,
        })
    }

    /// The model.
    pub const fn model(&self) -> &M {
        &self.model
    }

    /// The chosen weights as they were given, which is where a search may begin.
    pub fn start(&self) -> Vec<f64> {
        let mut x = Vec::with_capacity(self.dim());
        for (at, _) in &self.parts {
            let values = to_host(self.weights.values()[*at].value().clone());
            x.extend(values.into_iter().map(f64::from));
        }
        x
    }

    /// All weights, with the chosen ones from `x`.
    ///
    /// # Panics
    /// When `x` does not have [`dim`](FiniteSum::dim) entries.
    pub fn weights(&self, x: &[f64]) -> Weights {
        let mut weights = self.weights.clone();
        for (at, value) in self.tensors(x) {
            weights.set(at, value);
        }
        weights
    }

    /// The outputs of every row: `[rows, classes]`; NaN where the model does not run.
    ///
    /// # Panics
    /// When `x` does not have [`dim`](FiniteSum::dim) entries.
    pub fn outputs(&self, x: &[f64]) -> Vec<f64> {
        let k = self.model.classes();
        let mut outputs = vec![f64::NAN; self.terms() * k];
        let at = self.weights(x);
        for places in self.batches(Sample::All) {
            let Ok(z) = self.model.outputs(&at, &places.terms) else {
                continue;
            };
            let z = to_host(z.into_value());
            for (&place, z) in places.places.iter().zip(z.chunks_exact(k)) {
                let out = &mut outputs[place * k..][..k];
                out.iter_mut()
                    .zip(z)
                    .for_each(|(out, z)| *out = f64::from(*z));
            }
        }
        outputs
    }

    /// Share of the rows that get another class than their own; NaN outputs are wrong.
    ///
    /// # Panics
    /// When `x` does not have [`dim`](FiniteSum::dim) entries.
    pub fn error_rate(&self, x: &[f64]) -> f64 {
        self.score(&self.outputs(x))
    }

    /// Mean value and [`error_rate`](Self::error_rate), by one pass for both.
    ///
    /// # Panics
    /// When `x` does not have [`dim`](FiniteSum::dim) entries.
    pub fn loss_and_error_rate(&self, x: &[f64]) -> (f64, f64) {
        let mut outputs = self.outputs(x);
        let error = self.score(&outputs);
        let rows = outputs.chunks_exact_mut(self.model.classes()).enumerate();
        let values = rows.map(|(term, z)| self.config.head.slopes(z, self.model.class(term)));
        let mut values: Vec<f64> = values.collect();
        self.penalise(x, &mut values);
        (values.iter().sum::<f64>() / values.len() as f64, error)
    }

    fn score(&self, outputs: &[f64]) -> f64 {
        let classes: Vec<u32> = (0..self.terms())
            .map(|term| self.model.class(term) as u32)
            .collect();
        error_rate(outputs, &classes, self.model.classes())
    }

    /// The chosen weights at `x` on the device.
    fn tensors<'x>(&'x self, x: &'x [f64]) -> impl Iterator<Item = (usize, Tensor<1>)> + 'x {
        assert_eq!(x.len(), self.dim(), "one number for each parameter");
        self.parts.iter().map(|(at, range)| {
            let values: Vec<f32> = x[range.clone()].iter().map(|&x| x as f32).collect();
            let len = values.len();
            let data = TensorData::new(values, [len]);
            (*at, Tensor::from_data(data, &self.device))
        })
    }

    /// All weights with the chosen ones from `x` as leaves of a graph, and changing along `v`.
    fn tracked(&self, x: &[f64], v: Option<&[f64]>) -> Weights {
        let mut weights = self.constants.clone();
        for (at, value) in self.tensors(x) {
            weights.set(at, value.autodiff().require_grad());
        }
        for (at, change) in v.into_iter().flat_map(|v| self.tensors(v)) {
            let value = weights.values()[at].value().clone();
            weights.set(at, Dual::with_tangent(value, change.autodiff()));
        }
        weights
    }

    /// A sample in batches of rows of one length: a function of the sample alone.
    fn batches(&self, sample: Sample<'_>) -> Vec<Batch> {
        let length = |place: &usize| self.model.length(sample.term(*place)).max(1);
        let mut places: Vec<usize> = (0..sample.len(self.terms())).collect();
        places.sort_by_key(length);
        let runs = places.chunk_by(|a, b| length(a) == length(b));
        let cut = |run: &[usize]| {
            let rows = (self.config.batch / length(&run[0])).max(1);
            let batches = run.chunks(rows).map(|places| Batch {
                places: places.to_vec(),
                terms: places.iter().map(|&at| sample.term(at) as u32).collect(),
            });
            batches.collect::<Vec<_>>()
        };
        runs.flat_map(cut).collect()
    }

    /// Slopes of the losses of a batch by its outputs, in place of the outputs; calls `f(place, value)`.
    fn slopes(&self, batch: &Batch, z: &Tensor<2>, mut f: impl FnMut(usize, f64)) -> Vec<f64> {
        let k = self.model.classes();
        let mut slopes: Vec<f64> = to_host(z.clone().inner())
            .into_iter()
            .map(f64::from)
            .collect();
        let rows = slopes.chunks_exact_mut(k);
        for ((&place, &term), z) in batch.places.iter().zip(&batch.terms).zip(rows) {
            let class = self.model.class(term as usize);
            f(place, self.config.head.slopes(z, class));
        }
        slopes
    }

    /// Multiplies what belongs to the places of a batch by their weights, and puts it on the device.
    fn weighted(
        &self,
        sample: Sample<'_>,
        batch: &Batch,
        values: impl Iterator<Item = f64>,
    ) -> Tensor<2> {
        let k = self.model.classes();
        let weight = |at: usize| sample.weight(batch.places[at / k]);
        let values = values.enumerate().map(|(at, v)| (weight(at) * v) as f32);
        let data = TensorData::new(values.collect::<Vec<_>>(), [batch.places.len(), k]);
        Tensor::<2>::from_data(data, &self.device).autodiff()
    }

    /// Adds the gradient of a number, times `factor`.
    fn add_gradient(&self, at: &Weights, number: &Tensor<1>, factor: f64, out: &mut [f64]) {
        if !number.is_tracked() {
            return; // it depends on no chosen weight
        }
        let gradients = number.backward();
        for (place, range) in &self.parts {
            let Some(gradient) = at.values()[*place].value().grad(&gradients) else {
                continue;
            };
            let pairs = out[range.clone()].iter_mut().zip(to_host(gradient));
            pairs.for_each(|(out, g)| *out += factor * f64::from(g));
        }
    }

    fn try_values(&self, x: &[f64], sample: Sample<'_>, out: &mut [f64]) -> Result<(), NnError> {
        let at = self.weights(x);
        for batch in self.batches(sample) {
            let z = self.model.outputs(&at, &batch.terms)?.into_value();
            self.slopes(&batch, &z, |place, value| out[place] = value);
        }
        self.penalise(x, out);
        Ok(())
    }

    fn try_gradient(
        &self,
        x: &[f64],
        sample: Sample<'_>,
        values: &mut [f64],
        out: &mut [f64],
    ) -> Result<(), NnError> {
        let at = self.tracked(x, None);
        let share = 1.0 / values.len() as f64;
        out.fill(0.0);
        for batch in self.batches(sample) {
            let z = self.model.outputs(&at, &batch.terms)?.into_value();
            let slopes = self.slopes(&batch, &z, |place, value| values[place] = value);
            let slopes = self.weighted(sample, &batch, slopes.into_iter());
            self.add_gradient(&at, &(z * slopes).sum(), share, out);
        }
        self.penalise(x, values);
        add_scaled(out, self.config.ridge, x);
        Ok(())
    }

    fn try_product(&self, state: &DualState, v: &[f64], out: &mut [f64]) -> Result<(), NnError> {
        // Of a size that single precision holds, whatever the size of the direction.
        let size = v.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
        out.fill(0.0);
        if size == 0.0 {
            return Ok(());
        }
        let unit: Vec<f64> = v.iter().map(|v| v / size).collect();
        let at = self.tracked(&state.x, Some(&unit));
        let (sample, k) = (state.kept.sample(), self.model.classes());
        let factor = size / state.kept.len as f64;
        for batch in self.batches(sample) {
            let (z, along) = self.model.outputs(&at, &batch.terms)?.into_parts();
            let Some(along) = along else { continue };
            let slopes = self.slopes(&batch, &z, |_, _| ());
            let curved = to_host(along.clone().inner());
            let mut curved: Vec<f64> = curved.into_iter().map(f64::from).collect();
            let rows = slopes.chunks_exact(k).zip(curved.chunks_exact_mut(k));
            for ((slopes, t), &term) in rows.zip(&batch.terms) {
                let class = self.model.class(term as usize);
                self.config.head.curve(slopes, class, t);
            }
            let mut number = (z * self.weighted(sample, &batch, curved.into_iter())).sum();
            if !state.gauss_newton && along.is_tracked() {
                let slopes = self.weighted(sample, &batch, slopes.into_iter());
                number = number + (along * slopes).sum();
            }
            self.add_gradient(&at, &number, factor, out);
        }
        add_scaled(out, self.config.ridge, v);
        Ok(())
    }

    /// Adds the ridge to the value of every row.
    fn penalise(&self, x: &[f64], values: &mut [f64]) {
        let ridge = 0.5 * self.config.ridge * dot(x, x);
        for value in values {
            *value += ridge;
        }
    }

    fn state(&self, x: &[f64], sample: Sample<'_>, gauss_newton: bool) -> DualState {
        DualState {
            kept: OwnedSample::new(sample, self.terms()),
            x: x.to_vec(),
            gauss_newton,
        }
    }
}

#[cfg(test)]
mod tests;
