//! How the rows of a frozen head come from the features of the base.

use super::{
    JobError,
    encoder::{MultiTask, features},
};
use burn::tensor::{Int, Tensor, TensorData};
use refit_core::{Seed, Silent};
use refit_io::data::{Batch, ImageSet, Normalise};
use refit_kernels::dual::{self, Dual};
use refit_nn::{Init, NnError, Pass, Weights, to_host};
use refit_train::{
    Objective, TrainConfig, Trainer, loss,
    optim::{AdamWConfig, OptimConfig},
};

/// Images as unit features, with their labels.
pub(super) struct Features {
    /// Row after row of `width`.
    values: Vec<f32>,
    labels: Vec<u32>,
    classes: usize,
    width: usize,
}

impl Features {
    pub(super) fn of(
        set: &ImageSet,
        model: &MultiTask,
        base: &Weights,
        normalise: &Normalise,
    ) -> Result<Self, JobError> {
        let bound = base.bind(|scope| model.encoder.bind(scope))?;
        let (mut values, mut labels) = (Vec::new(), Vec::new());
        for batch in Batch::chunks(set, 250, normalise) {
            labels.extend(&batch.labels);
            let features = to_host(features(&bound, batch, &base.device()));
            for feature in features.chunks_exact(model.width) {
                let square: f64 = feature.iter().map(|&x| f64::from(x).powi(2)).sum();
                let length = square.sqrt().max(1e-12);
                values.extend(feature.iter().map(|&x| (f64::from(x) / length) as f32));
            }
        }
        Ok(Self {
            values,
            labels,
            classes: set.class_count(),
            width: model.width,
        })
    }

    fn rows(&self) -> impl Iterator<Item = (&[f32], u32)> {
        let rows = self.values.chunks_exact(self.width);
        rows.zip(self.labels.iter().copied())
    }

    /// Row `j` is the mean direction of class `j`, `scale` long: `[classes, width]`, flat.
    pub(super) fn prototypes(&self, scale: f64) -> Vec<f32> {
        let mut sums = vec![0f64; self.classes * self.width];
        for (feature, label) in self.rows() {
            let row = &mut sums[label as usize * self.width..][..self.width];
            row.iter_mut()
                .zip(feature)
                .for_each(|(s, &x)| *s += f64::from(x));
        }
        sums.chunks_exact(self.width)
            .flat_map(|row| {
                let length = row.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-12);
                row.iter().map(move |x| (x / length * scale) as f32)
            })
            .collect()
    }

    /// Logistic regression on features `scale` long, with [`PENALTY`]: `[classes, width]`, flat.
    pub(super) fn probe(&self, scale: f64, on: &Weights) -> Result<Vec<f32>, JobError> {
        let mut regression = Regression {
            features: self,
            scale,
        };
        let failed = |source| JobError::Train {
            stage: "heads".to_owned(),
            source,
        };
        let start = Weights::create(Seed::new(0), &on.device(), |scope| {
            scope.tensor("weight", [self.classes, self.width], Init::Zeros)
        })?;
        let fit = Trainer::new(probe_training())?
            .fit(start, &mut regression, |_| (), &Silent)
            .map_err(failed)?;
        let rows = fit.weights.into_host().swap_remove(0);
        Ok(rows
            .iter()
            .map(|&w| (f64::from(w) * scale) as f32)
            .collect())
    }

    /// The factor of `rows` at which their cross-entropy on these features, averaged over images and then over classes,
    /// is least: then they are as sure as they are right. 1 where there are no images.
    pub(super) fn temperature(&self, rows: &[f32]) -> f64 {
        if self.labels.is_empty() {
            return 1.0;
        }
        let mut counts = vec![0.0; self.classes];
        for &label in &self.labels {
            counts[label as usize] += 1.0;
        }
        let logits: Vec<f64> = self
            .rows()
            .flat_map(|(feature, _)| {
                let dot = move |row: &[f32]| {
                    let products = row.iter().zip(feature);
                    products.map(|(&w, &x)| f64::from(w) * f64::from(x)).sum()
                };
                rows.chunks_exact(self.width).map(dot)
            })
            .collect();
        let loss = |log_factor: f64| -> f64 {
            let factor = log_factor.exp();
            let rows = logits.chunks_exact(self.classes).zip(&self.labels);
            rows.map(|(row, &label)| {
                let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = row.iter().map(|z| (factor * (z - most)).exp()).sum();
                let loss = sum.ln() - factor * (row[label as usize] - most);
                loss / counts[label as usize]
            })
            .sum()
        };
        least(loss, [-4.0, 4.0]).exp()
    }
}

/// Weight of the squared length of all rows of a probe; ours.
const PENALTY: f32 = 0.01;

/// Enough for a convex problem of a few thousand numbers; ours.
fn probe_training() -> TrainConfig {
    TrainConfig {
        steps: 500,
        optimizer: OptimConfig::Adamw(AdamWConfig {
            rate: 0.05,
            decay: 0.0,
            betas: [0.9, 0.98],
            ..AdamWConfig::default()
        }),
        ..TrainConfig::default()
    }
}

/// Where a function with one valley in `[low, high]` is least, to 1e-4 (golden-section search).
fn least(f: impl Fn(f64) -> f64, [mut low, mut high]: [f64; 2]) -> f64 {
    let golden = (5f64.sqrt() - 1.0) / 2.0;
    while high - low > 1e-4 {
        let step = golden * (high - low);
        if f(high - step) <= f(low + step) {
            high = low + step;
        } else {
            low = high - step;
        }
    }
    f64::midpoint(low, high)
}

/// Multinomial logistic regression; every step sees all rows.
struct Regression<'a> {
    features: &'a Features,
    scale: f64,
}

impl Objective for Regression<'_> {
    type Batch = ();
    type Error = NnError;

    fn loss(&mut self, weights: &Weights, (): (), _: &mut Pass) -> Result<Tensor<1>, NnError> {
        let Features {
            values,
            labels,
            classes,
            width,
        } = self.features;
        let rows: Dual<2> =
            weights.bind(|scope| scope.tensor("weight", [*classes, *width], Init::Zeros))?;
        let device = weights.device();
        let features = TensorData::new(values.clone(), [labels.len(), *width]);
        let features = Tensor::<2>::from_data(features, &device);
        let targets: Vec<i64> = labels.iter().map(|&label| i64::from(label)).collect();
        let targets =
            Tensor::<1, Int>::from_data(TensorData::new(targets, [labels.len()]), &device);
        let penalty = rows.clone().into_value().powi_scalar(2).sum() * PENALTY;
        let logits = dual::linear(features.into(), rows.mul_scalar(self.scale), None);
        Ok(loss::mean_cross_entropy(logits.into_value(), targets, 0.0) + penalty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use refit_nn::ImageConfig;

    fn features(values: &[f32], labels: &[u32]) -> Features {
        Features {
            values: values.to_vec(),
            labels: labels.to_vec(),
            classes: 2,
            width: values.len().checked_div(labels.len()).unwrap_or(1),
        }
    }

    #[test]
    fn prototypes_point_along_the_mean_of_a_class() {
        let set = features(&[1.0, 0.0, 0.0, 1.0, -0.6, -0.8], &[0, 0, 1]);
        let rows = set.prototypes(10.0);
        let half = 10.0 / 2f32.sqrt();
        for (found, expected) in rows.iter().zip([half, half, -6.0, -8.0]) {
            assert!((found - expected).abs() < 1e-5, "{rows:?}");
        }
    }

    /// Both classes at the same two places, one three times as often at each: probabilities must be 3/4.
    #[test]
    fn a_temperature_makes_rows_as_sure_as_they_are_right() {
        let values = [1.0, 1.0, 1.0, 1.0, -1.0, -1.0, -1.0, -1.0];
        let set = features(&values, &[0, 0, 0, 1, 1, 1, 1, 0]);
        let rows = [5.0, -5.0];
        let factor = set.temperature(&rows);
        assert!((factor * 10.0 - 3f64.ln()).abs() < 1e-3, "{factor}");
        // A class that is rarer weighs as much.
        let rare = features(&values[..6], &[0, 0, 0, 1, 1, 0]);
        let loss = |z: f64| {
            let [right, wrong] = [1.0 + (-z).exp(), 1.0 + z.exp()].map(f64::ln);
            (3.0 * right + wrong) / 4.0 + f64::midpoint(right, wrong)
        };
        let z = rare.temperature(&rows) * 10.0;
        assert!(loss(z) < loss(z + 0.01) && loss(z) < loss(z - 0.01), "{z}");
        assert!((features(&[], &[]).temperature(&rows) - 1.0).abs() < 1e-12);
    }

    /// With one feature `x = +-1` and rows `(-w, w)` the optimum solves `s sigma(-2 s w) = 2 PENALTY w`.
    #[test]
    fn a_probe_is_the_optimum_of_its_regression() {
        let set = features(&[-1.0, 1.0], &[0, 1]);
        let config = ImageConfig::Mlp(refit_nn::zoo::MlpConfig {
            inputs: 1,
            hidden: vec![1],
            num_labels: 0,
        });
        let device = Device::flex();
        let on = Weights::create(Seed::new(0), &device, |scope| config.bind(scope)).unwrap();
        let scale = 2.0;
        let rows = set.probe(scale, &on).unwrap();
        let w = f64::from(rows[1]) / scale;
        let slope = scale / (1.0 + (2.0 * scale * w).exp()) - 2.0 * f64::from(PENALTY) * w;
        assert!(
            slope.abs() < 1e-3 && (rows[0] + rows[1]).abs() < 1e-3,
            "{rows:?}"
        );
    }
}
