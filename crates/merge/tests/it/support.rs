//! Models, sources and an entropy model small enough to be differentiated by hand.

use rand::Rng;
use refit_core::{DType, ParamPath, Seed, Source, TensorMeta};
use refit_merge::{
    Checks, EntropyMeter, EntropyModel, EntropyReport, Gradient, MergeError, TaskVectors,
    TensorSet, Theta, Weights,
};
use std::{borrow::Cow, convert::Infallible};

/// Tensors as bytes in memory.
#[derive(Default)]
pub(crate) struct MemorySource {
    metas: Vec<TensorMeta>,
    bytes: Vec<Vec<u8>>,
}

impl MemorySource {
    pub(crate) fn with(
        mut self,
        path: &str,
        dtype: DType,
        shape: &[usize],
        bytes: impl IntoIterator<Item = u8>,
    ) -> Self {
        self.metas.push(TensorMeta {
            path: path.into(),
            dtype,
            shape: shape.to_vec(),
        });
        self.bytes.push(bytes.into_iter().collect());
        self
    }

    pub(crate) fn f32(self, path: &str, values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes());
        self.with(path, DType::F32, &[values.len()], bytes)
    }
}

impl Source for MemorySource {
    type Error = Infallible;

    fn tensors(&self) -> &[TensorMeta] {
        &self.metas
    }

    fn bytes(&self, index: usize) -> Result<Cow<'_, [u8]>, Infallible> {
        Ok(Cow::Borrowed(&self.bytes[index]))
    }
}

/// A set with the given names and sizes and values drawn evenly from `-1..1`.
pub(crate) fn uniform(seed: u64, tensors: &[(&str, usize)]) -> TensorSet {
    let draw = |(name, len): &(&str, usize)| {
        let mut rng = Seed::new(seed).fork(name).rng();
        let values = (0..*len).map(|_| rng.random_range(-1.0..1.0)).collect();
        (ParamPath::new(name), vec![*len], values)
    };
    TensorSet::from_values(tensors.iter().map(draw)).unwrap()
}

/// `base + scale * uniform`: a model that was trained a little.
pub(crate) fn near(base: &TensorSet, scale: f32, seed: u64) -> TensorSet {
    let tensors = base.iter().map(|(path, shape, values)| {
        let mut rng = Seed::new(seed).fork(path).rng();
        let moved = values
            .iter()
            .map(|v| v + scale * rng.random_range(-1.0f32..1.0))
            .collect();
        (path.clone(), shape.to_vec(), moved)
    });
    TensorSet::from_values(tensors).unwrap()
}

/// Task vectors from sets, with experts called `e0`, `e1`, ...
pub(crate) fn tasks<'a>(base: &'a TensorSet, experts: &'a [TensorSet]) -> TaskVectors<'a> {
    let named = experts
        .iter()
        .enumerate()
        .map(|(k, set)| Weights::from_set(format!("e{k}"), set));
    let base = Weights::from_set("base", base);
    TaskVectors::between(base, named.collect(), &Checks::default()).unwrap()
}

/// Largest absolute difference of two sets of one layout.
pub(crate) fn distance(a: &TensorSet, b: &TensorSet) -> f32 {
    assert_eq!(a.layout(), b.layout());
    let pairs = a
        .tensors()
        .iter()
        .flatten()
        .zip(b.tensors().iter().flatten());
    pairs.fold(0.0, |most, (a, b)| most.max((a - b).abs()))
}

/// In how the gradient is handed over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Handover {
    Give,
    Add,
    Project,
}

/// `logits_t = head_t tanh(W x + b)`, with one frozen head per task and inputs without labels.
pub(crate) struct TinyModel {
    pub(crate) width: usize,
    pub(crate) inputs: usize,
    pub(crate) heads: Vec<Vec<f64>>,
    pub(crate) images: Vec<Vec<f64>>,
    pub(crate) handover: Handover,
    /// From this step on the loss is NaN.
    pub(crate) breaks_at: Option<u64>,
    /// From this step on every head gives the same answer, whatever the input.
    pub(crate) collapses_at: Option<u64>,
}

/// Sizes of the tiny model: inputs, features, classes, images per task.
const SIZES: (usize, usize, usize, usize) = (5, 4, 3, 12);

impl TinyModel {
    pub(crate) fn new(seed: u64, tasks: usize) -> Self {
        let (inputs, width, classes, images) = SIZES;
        let mut rng = Seed::new(seed).fork("tiny model").rng();
        let mut draw = |n: usize, scale: f64| -> Vec<f64> {
            (0..n)
                .map(|_| scale * rng.random_range(-1.0..1.0))
                .collect()
        };
        Self {
            width,
            inputs,
            heads: (0..tasks).map(|_| draw(classes * width, 3.0)).collect(),
            images: (0..tasks).map(|_| draw(images * inputs, 2.0)).collect(),
            handover: Handover::Give,
            breaks_at: None,
            collapses_at: None,
        }
    }

    /// A base and `experts` task vectors for this model; tensors `b`, `W` and one that it does not use.
    pub(crate) fn weights(seed: u64, experts: usize) -> (TensorSet, Vec<TensorSet>) {
        let (inputs, width, ..) = SIZES;
        let base = uniform(
            seed,
            &[("enc.b", width), ("enc.w", width * inputs), ("unused", 3)],
        );
        let experts = (0..experts)
            .map(|k| near(&base, 0.8, seed + 100 + k as u64))
            .collect();
        (base, experts)
    }

    /// Entropies and the gradient with respect to `b` and `W`, all in double precision.
    pub(crate) fn run(&self, b: &[f64], w: &[f64]) -> (EntropyReport, Vec<f64>, Vec<f64>) {
        let (mut db, mut dw) = (vec![0.0; b.len()], vec![0.0; w.len()]);
        let mut report = EntropyReport::default();
        for (head, images) in self.heads.iter().zip(&self.images) {
            let classes = head.len() / self.width;
            let rows: Vec<&[f64]> = images.chunks(self.inputs).collect();
            let features: Vec<Vec<f64>> = rows.iter().map(|x| self.features(b, w, x)).collect();
            let logits: Vec<f64> = features
                .iter()
                .flat_map(|z| head.chunks(self.width).map(|row| dot(row, z)))
                .collect();
            let mut meter = EntropyMeter::new(classes);
            let gradient = meter.add(&logits);
            for ((x, z), g) in rows.iter().zip(&features).zip(gradient.chunks(classes)) {
                for i in 0..self.width {
                    let dz: f64 = (0..classes).map(|c| g[c] * head[c * self.width + i]).sum();
                    let da = dz * (1.0 - z[i] * z[i]);
                    db[i] += da;
                    for (j, x) in x.iter().enumerate() {
                        dw[i * self.inputs + j] += da * x;
                    }
                }
            }
            report.tasks.push(meter.finish());
        }
        (report, db, dw)
    }

    fn features(&self, b: &[f64], w: &[f64], x: &[f64]) -> Vec<f64> {
        (0..self.width)
            .map(|i| (b[i] + dot(&w[i * self.inputs..], x)).tanh())
            .collect()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl EntropyModel for TinyModel {
    type Error = MergeError;

    fn entropy_gradient(
        &mut self,
        step: u64,
        theta: &mut Theta,
        gradient: &mut Gradient<'_>,
    ) -> Result<EntropyReport, MergeError> {
        let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
        let buffers = theta.take();
        let (mut report, db, dw) = self.run(&wide(&buffers[0]), &wide(&buffers[1]));
        theta.give_back(buffers);
        for (tensor, part) in [db, dw].iter().enumerate() {
            let part: Vec<f32> = part.iter().map(|&v| v as f32).collect();
            match self.handover {
                Handover::Give => gradient.give(tensor, part)?,
                Handover::Add => gradient.add(tensor, &part)?,
                Handover::Project => gradient.project(tensor, &part)?,
            }
        }
        if self.breaks_at.is_some_and(|at| step >= at) {
            report.tasks[0].loss = f64::NAN;
        }
        if self.collapses_at.is_some_and(|at| step >= at) {
            (report.tasks[0].marginal, report.tasks[0].mean) = (0.01, 0.005);
        }
        Ok(report)
    }
}
