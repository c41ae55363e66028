//! What a step of AdaMerging costs beside the model: bytes per second against a plain copy.
//!
//! 20 M parameters in tensors of a transformer, eight experts, layer-wise. `update` is the whole of a step but the
//! model's own work: project the gradient, Adam, new weights. Counted are the bytes that one pass must read: task
//! vectors, base and gradient, and the weights that it writes.

#![expect(
    clippy::unwrap_used,
    reason = "inputs are made here and known to be good"
)]

use divan::{Bencher, counter::BytesCount};
use refit_core::{DType, ParamPath, Seed, Silent, Source, TensorMeta};
use refit_merge::recipe::{RecipeMethod, Target};
use refit_merge::stream::merge_values;
use refit_merge::{
    AdaMerging, AdaMergingConfig, Checks, EntropyModel, EntropyReport, Gradient, Grouping,
    MergeConfig, MergeError, Plus, Session, TaskVectors, Theta, Weights,
};
use std::{borrow::Cow, convert::Infallible, sync::LazyLock};

const EXPERTS: usize = 8;

fn main() {
    divan::main();
}

/// A model that lends its bytes, like a mapped file.
struct Lender {
    metas: Vec<TensorMeta>,
    bytes: Vec<Vec<u8>>,
}

impl Lender {
    fn new(dtype: DType, seed: u32) -> Self {
        let sizes = (0..28).flat_map(|_| [768, 768 * 768, 3072, 48, 96 * 1024]);
        let shape = sizes.enumerate().map(|(i, n)| TensorMeta {
            path: format!("blocks.{}.{}", i / 5, i % 5).into(),
            dtype,
            shape: vec![n],
        });
        let metas: Vec<_> = shape.collect();
        let bytes = metas.iter().map(|meta| values(meta, seed)).collect();
        Self { metas, bytes }
    }

    fn parameters(&self) -> usize {
        self.metas.iter().map(TensorMeta::len).sum()
    }
}

fn values(meta: &TensorMeta, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let mut draw = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 * 6e-8 - 0.5
    };
    match meta.dtype {
        DType::BF16 => (0..meta.len())
            .flat_map(|_| half::bf16::from_f32(draw()).to_le_bytes())
            .collect(),
        _ => (0..meta.len()).flat_map(|_| draw().to_le_bytes()).collect(),
    }
}

impl Source for Lender {
    type Error = Infallible;

    fn tensors(&self) -> &[TensorMeta] {
        &self.metas
    }

    fn bytes(&self, index: usize) -> Result<Cow<'_, [u8]>, Infallible> {
        Ok(Cow::Borrowed(&self.bytes[index]))
    }
}

static SINGLE: LazyLock<[Lender; EXPERTS + 1]> =
    LazyLock::new(|| std::array::from_fn(|k| Lender::new(DType::F32, k as u32)));
static HALF: LazyLock<[Lender; EXPERTS + 1]> =
    LazyLock::new(|| std::array::from_fn(|k| Lender::new(DType::BF16, k as u32)));

fn tasks(models: &'static [Lender; EXPERTS + 1]) -> TaskVectors<'static> {
    let weights = |(k, model)| Weights::open(format!("e{k}"), model).unwrap();
    let experts = models[1..].iter().enumerate().map(weights).collect();
    let base = Weights::open("base", &models[0]).unwrap();
    TaskVectors::between(base, experts, &Checks::default()).unwrap()
}

/// Costs nothing: takes its gradient from outside, once, and hands the same buffers over again.
struct Free(Vec<Vec<f32>>);

impl EntropyModel for Free {
    type Error = MergeError;

    fn entropy_gradient(
        &mut self,
        _step: u64,
        theta: &mut Theta,
        gradient: &mut Gradient<'_>,
    ) -> Result<EntropyReport, MergeError> {
        if self.0.is_empty() {
            self.0 = theta.tensors().to_vec();
        }
        for (tensor, part) in self.0.drain(..).enumerate() {
            gradient.give(tensor, part)?;
        }
        Ok(EntropyReport::default())
    }
}

fn update(bencher: Bencher, models: &'static [Lender; EXPERTS + 1], config: AdaMergingConfig) {
    let mut session =
        Session::start(&AdaMerging::try_from(config).unwrap(), tasks(models)).unwrap();
    let (p, width) = (
        models[0].parameters(),
        models[0].metas[0].dtype.size_bytes(),
    );
    let stored: f64 = session.tasks().densities().iter().sum();
    let task_bytes = if stored < EXPERTS as f64 {
        6.0
    } else {
        width as f64
    };
    let bytes = stored * task_bytes * p as f64 + (width * p + 4 * p + 4 * p) as f64;
    let gradient = session.theta().to_vec();
    bencher
        .counter(BytesCount::new(bytes as usize))
        .with_inputs(|| Free(gradient.clone()))
        .bench_local_refs(|model| session.step(model).unwrap());
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn update_layer_wise_f32(bencher: Bencher) {
    update(bencher, &SINGLE, AdaMergingConfig::default());
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn update_layer_wise_bf16(bencher: Bencher) {
    update(bencher, &HALF, AdaMergingConfig::default());
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn update_task_wise_f32(bencher: Bencher) {
    update(
        bencher,
        &SINGLE,
        AdaMergingConfig {
            grouping: Grouping::Task,
            ..Default::default()
        },
    );
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn update_plus_layer_wise(bencher: Bencher) {
    let plus = Some(Plus::default());
    update(
        bencher,
        &SINGLE,
        AdaMergingConfig {
            plus,
            ..Default::default()
        },
    );
}

/// The floor of reading and writing: a copy of one model, on all threads.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn copy_of_one_model(bencher: Bencher) {
    use rayon::prelude::*;
    let model: Vec<f32> = vec![1.0; SINGLE[0].parameters()];
    let mut copy = model.clone();
    bencher
        .counter(BytesCount::new(8 * model.len()))
        .bench_local(|| {
            let parts = copy.par_chunks_mut(1 << 16).zip(model.par_chunks(1 << 16));
            parts.for_each(|(to, from)| to.copy_from_slice(from));
        });
}

/// The floor of reading: a sum over the bytes of all eight experts.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn read_eight_models(bencher: Bencher) {
    use rayon::prelude::*;
    let words: Vec<&[u8]> = SINGLE[1..]
        .iter()
        .flat_map(|m| &m.bytes)
        .map(Vec::as_slice)
        .collect();
    let bytes: usize = words.iter().map(|w| w.len()).sum();
    let add = |part: &[u8]| {
        part.as_chunks::<8>()
            .0
            .iter()
            .fold(0u64, |sum, w| sum.wrapping_add(u64::from_le_bytes(*w)))
    };
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        words
            .par_iter()
            .map(|w| w.par_chunks(1 << 18).map(add).sum::<u64>())
            .sum::<u64>()
    });
}

#[divan::bench(
    sample_count = 5,
    sample_size = 1,
    args = ["average", "task-arithmetic", "ties", "dare"]
)]
fn merge_eight_models_f32(bencher: Bencher, method: &str) {
    let text = format!(r#"{{"method": "{method}"}}"#);
    let rule = serde_json::from_str::<MergeConfig>(&text)
        .unwrap()
        .check()
        .unwrap();
    let tasks = tasks(&SINGLE);
    let bytes = (EXPERTS + 2) * 4 * SINGLE[0].parameters();
    bencher
        .counter(BytesCount::new(bytes))
        .bench_local(|| rule.merge(&tasks, &Silent).unwrap());
}

/// One tensor of a recipe, three models in bfloat16 as they are decoded; bytes are those of models, base and result.
#[divan::bench(
    sample_count = 10,
    sample_size = 1,
    args = ["linear", "ties", "breadcrumbs", "sce", "della", "arcee_fusion"]
)]
fn merge_a_tensor_of_a_recipe(bencher: Bencher, method: &str) {
    const SHAPE: [usize; 2] = [1024, 2816];
    let meta = |k: usize| TensorMeta {
        path: format!("w{k}").into(),
        dtype: DType::BF16,
        shape: SHAPE.to_vec(),
    };
    let decoded = |k: usize| -> Vec<f32> {
        let bytes = values(&meta(k), k as u32);
        let bits = bytes.as_chunks::<2>().0.iter();
        bits.map(|bits| half::bf16::from_le_bytes(*bits).to_f32())
            .collect()
    };
    let base = decoded(0);
    let models: Vec<Vec<f32>> = (1..4).map(decoded).collect();
    let models = &models[..if method == "arcee_fusion" { 1 } else { 3 }];
    let models: Vec<&[f32]> = models.iter().map(Vec::as_slice).collect();
    let (path, names) = (ParamPath::from("w"), ["a", "b", "c"]);
    let target = Target {
        path: &path,
        shape: &SHAPE,
        models: &names[..models.len()],
        has_base: method != "linear",
        is_embedding: false,
        seed: Seed::new(0),
    };
    let (tensor, model) = match method {
        "sce" => (r#"{"select_topk": 0.5}"#, "{}"),
        "linear" => ("{}", r#"{"weight": 0.5}"#),
        "arcee_fusion" => ("{}", "{}"),
        _ => ("{}", r#"{"weight": 0.5, "density": 0.5}"#),
    };
    let map = |text: &str| serde_json::from_str(text).unwrap();
    let spec = RecipeMethod::named(method).unwrap().spec();
    let base = (method != "linear").then_some(base.as_slice());
    bencher
        .counter(BytesCount::new(
            4 * SHAPE[0] * SHAPE[1] * (models.len() + 2),
        ))
        .bench_local(|| {
            let settings = models.iter().map(|_| map(model)).collect();
            let rule = spec.rule(&target, map(tensor), settings).unwrap();
            merge_values(rule, &SHAPE, base, &models).unwrap()
        });
}
