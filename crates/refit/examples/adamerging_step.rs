//! Time and memory of a layer-wise AdaMerging step on a vision transformer of 20 M parameters.
//!
//! Prints, for 2, 8 and 20 experts in mapped files, the median time of a step as a multiple of its own forward and
//! backward pass, and the peak of allocated bytes beside that of the pass alone. Eight images of 28 x 28 pixels for
//! each of eight tasks. Arguments: steps [default: 7].

#![expect(clippy::print_stdout, reason = "the output of this program")]
#![expect(
    clippy::unwrap_used,
    reason = "the model is made here and known to fit"
)]

use burn::tensor::{Device, Distribution, Tensor};
use refit_core::{DType, Seed, Sink, TensorMeta};
use refit_io::ckpt::{Checkpoint, CheckpointWriter, WriteOptions, encode_f32};
use refit_merge::{
    AdaMerging, AdaMergingConfig, Checks, EntropyModel, EntropyReport, Gradient, MergeError,
    Session, TaskVectors, Theta, Weights as MergeWeights,
};
use refit_nn::{
    ImageConfig, Pass, Weights,
    zoo::{Pooling, VitConfig},
};
use refit_testkit::Counting;
use refit_train::{loss::mean_entropy, value_and_gradient};
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

const TASKS: usize = 8;
const IMAGES: usize = 8;
const CLASSES: usize = 10;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> Result<(), Box<dyn Error>> {
    let steps = std::env::args().nth(1).map_or(Ok(7), |s| s.parse())?;
    let folder = std::env::temp_dir().join(format!("adamerging-step-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let result = measure(&folder, steps);
    std::fs::remove_dir_all(&folder)?;
    result
}

fn measure(folder: &Path, steps: usize) -> Result<(), Box<dyn Error>> {
    let model = ImageConfig::Vit(vit());
    let device = Device::flex();
    let create = |seed| Weights::create(Seed::new(seed), &device, |scope| model.bind(scope));
    for expert in 0..3 {
        save(
            &create(expert)?,
            &folder.join(format!("{expert}.safetensors")),
        )?;
    }
    let base = create(0)?;
    let size = base.layout().num_values() * size_of::<f32>();
    println!("{:.1} M parameters", size as f64 / 4e6);
    let mut pass = EntropyPass::new(model, &base);
    let before = Counting::start();
    let mut alone = Vec::new();
    let mut theta = base.to_host();
    for _ in 0..steps {
        let start = Instant::now();
        let (_, next) = pass.run(theta);
        alone.push(start.elapsed());
        theta = next;
    }
    drop(theta);
    println!(
        "forward and backward alone: {:.3} s, peak {:.2} models",
        median(&mut alone),
        models(before, size)
    );
    drop(base);
    for experts in [2, 8, 20] {
        let files = (0..=experts).map(|k| {
            Checkpoint::open(folder.join(format!(
                "{}.safetensors",
                if k == 0 { 0 } else { 1 + k % 2 }
            )))
        });
        let files = files.collect::<Result<Vec<_>, _>>()?;
        let before = Counting::start();
        let named = files[1..]
            .iter()
            .enumerate()
            .map(|(k, file)| MergeWeights::open(format!("expert {k}"), file));
        let tasks = TaskVectors::between(
            MergeWeights::open("base", &files[0])?,
            named.collect::<Result<_, _>>()?,
            &Checks::default(),
        )?;
        let method = AdaMerging::try_from(AdaMergingConfig::default())?;
        let mut session = Session::start(&method, tasks)?;
        let (mut whole, mut share) = (Vec::new(), Vec::new());
        for _ in 0..steps {
            let start = Instant::now();
            session.step(&mut pass)?;
            whole.push(start.elapsed());
            share.push(start.elapsed().div_f64(pass.last.as_secs_f64()));
        }
        println!(
            "K = {experts}: step {:.3} s, {:.3} x its own forward and backward, peak {:.2} models",
            median(&mut whole),
            median(&mut share),
            models(before, size)
        );
    }
    Ok(())
}

fn vit() -> VitConfig {
    VitConfig {
        hidden_size: 384,
        num_hidden_layers: 11,
        num_attention_heads: 6,
        intermediate_size: 1536,
        layer_norm_eps: 1e-6,
        image_size: 28,
        patch_size: 7,
        num_channels: 1,
        pooling: Pooling::Mean,
        num_labels: CLASSES,
    }
}

fn models(before: usize, size: usize) -> f64 {
    (Counting::peak() - before) as f64 / size as f64
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

/// The model's part of a step: entropy of every task's predictions, and its gradient.
struct EntropyPass {
    model: ImageConfig,
    layout: std::sync::Arc<refit_nn::ParamLayout>,
    images: Tensor<4>,
    last: Duration,
}

type Buffers = Vec<Vec<f32>>;

impl EntropyPass {
    fn new(model: ImageConfig, weights: &Weights) -> Self {
        let shape = [TASKS * IMAGES, 1, 28, 28];
        Self {
            model,
            layout: weights.layout().clone(),
            images: Tensor::random(shape, Distribution::Default, &weights.device()),
            last: Duration::ZERO,
        }
    }

    /// Gradient, and the weights again.
    fn run(&self, theta: Buffers) -> (Buffers, Buffers) {
        let weights = Weights::from_host(&self.layout, theta, &self.images.device());
        let (_, gradient, ()) = value_and_gradient(&weights, |tracked| {
            let model = tracked.bind(|scope| self.model.bind(scope))?;
            let logits = model.forward(self.images.clone().into(), &mut Pass::eval());
            Ok::<_, refit_nn::NnError>((mean_entropy(logits.into_value()), ()))
        })
        .unwrap();
        (gradient.into_buffers(), weights.into_host())
    }
}

impl EntropyModel for EntropyPass {
    type Error = MergeError;

    fn entropy_gradient(
        &mut self,
        _step: u64,
        theta: &mut Theta,
        gradient: &mut Gradient<'_>,
    ) -> Result<EntropyReport, MergeError> {
        let start = Instant::now();
        let (parts, weights) = self.run(theta.take());
        self.last = start.elapsed();
        for (tensor, part) in parts.into_iter().enumerate() {
            gradient.give(tensor, part)?;
        }
        theta.give_back(weights);
        Ok(EntropyReport::default())
    }
}

/// Writes the weights as a checkpoint.
fn save(weights: &Weights, path: &Path) -> Result<(), Box<dyn Error>> {
    let metas: Vec<_> = weights
        .layout()
        .specs()
        .iter()
        .map(|spec| TensorMeta {
            path: spec.path.clone(),
            dtype: DType::F32,
            shape: spec.shape.clone(),
        })
        .collect();
    let mut writer = CheckpointWriter::create(path, metas.clone(), WriteOptions::default())?;
    for (meta, values) in metas.iter().zip(weights.to_host()) {
        writer.put(meta, &encode_f32(meta, &values)?)?;
    }
    Ok(writer.finish()?)
}
