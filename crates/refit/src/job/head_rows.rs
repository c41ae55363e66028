//! How the rows of a frozen head come from the features of the base.

use super::{
    JobError,
    encoder::{MultiTask, features},
    repetition::{Named, finished},
};
use burn::tensor::{Device, Int, Tensor, TensorData};
use refit_core::Seed;
use refit_io::data::{Batch, ImageSet, Normalise};
use refit_kernels::{
    cross_entropy,
    dual::{self, Dual},
};
use refit_nn::{Init, NnError, Pass, Weights, blocks::unit_row, to_host};
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
                let feature: Vec<f64> = feature.iter().copied().map(f64::from).collect();
                values.extend(unit_row(&feature).into_iter().map(|x| x as f32));
            }
        }
        Ok(Self {
            values,
            labels,
            classes: set.class_count(),
            width: model.width,
        })
    }

    /// Images of each class.
    fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes];
        for &label in &self.labels {
            counts[label as usize] += 1;
        }
        counts
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
            .flat_map(unit_row)
            .map(|x| (x * scale) as f32)
            .collect()
    }

    /// Logistic regression on features `scale` long, every class alike, with [`PENALTY`]: `[classes, width]`, flat.
    pub(super) fn probe(
        &self,
        scale: f64,
        device: &Device,
        progress: &Named<'_>,
    ) -> Result<Vec<f32>, JobError> {
        let shape = [self.classes, self.width];
        let start = Weights::create(Seed::new(0), device, |scope| {
            scope.tensor("weight", shape, Init::Zeros)
        })?;
        let mut regression = Regression::new(self, scale, device);
        let fit = Trainer::new(probe_training())?.fit(start, &mut regression, |_| (), progress);
        let (weights, _) = finished(fit, progress.name)?;
        let rows = weights.into_host().swap_remove(0);
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
        let counts = self.counts();
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
                loss / counts[label as usize] as f64
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
struct Regression {
    features: Tensor<2>,
    targets: Tensor<1, Int>,
    /// Share of each row in the loss; without it all have the same.
    shares: Option<Tensor<1>>,
    classes: usize,
    scale: f64,
}

impl Regression {
    fn new(of: &Features, scale: f64, device: &Device) -> Self {
        let shape = [of.labels.len(), of.width];
        Self {
            features: Tensor::from_data(TensorData::new(of.values.clone(), shape), device),
            targets: loss::targets(&of.labels, device),
            shares: shares(of).map(|shares| Tensor::from_floats(shares.as_slice(), device)),
            classes: of.classes,
            scale,
        }
    }
}

/// Shares of the rows with which every class that occurs counts alike, however few images of it there are; none where
/// that is so anyway.
fn shares(of: &Features) -> Option<Vec<f32>> {
    let counts = of.counts();
    let mut present = counts.iter().filter(|&&n| n > 0);
    let first = present.next()?;
    if present.clone().all(|n| n == first) {
        return None;
    }
    let classes = 1 + present.count();
    let share = |&label: &u32| (1.0 / (classes * counts[label as usize]) as f64) as f32;
    Some(of.labels.iter().map(share).collect())
}

impl Objective for Regression {
    type Batch = ();
    type Error = NnError;

    fn loss(&mut self, weights: &Weights, (): (), _: &mut Pass) -> Result<Tensor<1>, NnError> {
        let shape = [self.classes, self.features.dims()[1]];
        let rows: Dual<2> = weights.bind(|scope| scope.tensor("weight", shape, Init::Zeros))?;
        let penalty = rows.clone().into_value().powi_scalar(2).sum() * PENALTY;
        let features = Tensor::from_inner(self.features.clone());
        let targets = Tensor::from_inner(self.targets.clone());
        let logits = dual::linear(features.into(), rows.mul_scalar(self.scale), None).into_value();
        let loss = match &self.shares {
            None => loss::mean_cross_entropy(logits, targets, 0.0),
            Some(shares) => {
                let losses = cross_entropy(logits, targets, 0.0);
                (losses * Tensor::from_inner(shares.clone())).sum()
            }
        };
        Ok(loss + penalty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use refit_core::Silent;

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

    const STAGE: Named<'_> = Named {
        name: "heads/toy",
        inner: &Silent,
    };

    /// With one feature `x = +-1` and rows `(-w, w)` the optimum solves `s sigma(-2 s w) = 2 PENALTY w`.
    #[test]
    fn a_probe_is_the_optimum_of_its_regression_however_rare_a_class_is() {
        let scale = 2.0;
        for (values, labels) in [
            (&[-1.0, 1.0][..], &[0, 1][..]),
            (&[-1.0, 1.0, 1.0, 1.0, 1.0], &[0, 1, 1, 1, 1]),
        ] {
            let set = features(values, labels);
            let rows = set.probe(scale, &Device::flex(), &STAGE).unwrap();
            let w = f64::from(rows[1]) / scale;
            let slope = scale / (1.0 + (2.0 * scale * w).exp()) - 2.0 * f64::from(PENALTY) * w;
            assert!(
                slope.abs() < 1e-3 && (rows[0] + rows[1]).abs() < 1e-3,
                "{labels:?}: {rows:?}"
            );
        }
    }

    #[test]
    fn rows_have_shares_only_where_classes_are_unlike() {
        assert_eq!(shares(&features(&[0.0; 4], &[0, 1, 1, 0])), None);
        assert_eq!(shares(&features(&[0.0; 2], &[1, 1])), None);
        assert_eq!(shares(&features(&[], &[])), None);
        let unlike = shares(&features(&[0.0; 3], &[1, 0, 1]));
        assert_eq!(unlike, Some(vec![0.25, 0.5, 0.25]));
    }

    #[test]
    fn a_probe_that_leaves_the_finite_numbers_is_named() {
        let set = features(&[f32::NAN, 1.0], &[0, 1]);
        let error = set.probe(2.0, &Device::flex(), &STAGE).unwrap_err();
        assert_eq!(error.to_string(), "stage `heads/toy` diverged");
    }

    #[test]
    fn a_probe_stops_when_it_is_asked_to() {
        let stop = refit_core::Cancel::default();
        stop.raise();
        let named = Named {
            name: "heads/toy",
            inner: &stop,
        };
        let set = features(&[-1.0, 1.0], &[0, 1]);
        let stopped = set.probe(2.0, &Device::flex(), &named);
        assert!(matches!(stopped, Err(JobError::Interrupted)), "{stopped:?}");
    }
}
