//! One row of `bench/models.py`: a pre-trained model runs or takes training steps, and says how long that took.
//!
//! `cargo run --release -p refit --example time_models -- ROW FOLDER TURNS THREADS` prints a JSON object: seconds of loading, and of
//! every turn. Rows: `images` and `image-step` for a CLIP model, `text-step` for a sentence encoder.

use burn::tensor::{Device, Int, Tensor, TensorData};
use refit_io::ckpt::Checkpoint;
use refit_kernels::{cross_entropy, dual::Dual};
use refit_nn::{
    NnError, Weights, to_host,
    zoo::{Clip, ClipConfig, Pool, Side, TextConfig, TokenBatch},
};
use refit_train::{
    optim::{AdamWConfig, OptimConfig},
    value_and_gradient,
};
use serde_json::{Map, Value, json};
use std::{fs, path::Path, time::Instant};

type Failure = Box<dyn std::error::Error>;

const IMAGES: usize = 32;
const IMAGES_PER_STEP: usize = 16;
/// Rows and tokens of a step on text.
const TEXTS: [usize; 2] = [32, 64];
const RATE: f64 = 1e-5;

#[expect(clippy::print_stdout, reason = "the answer of the program")]
fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .collect();
    let [row, folder, turns, threads] = &args[..] else {
        return Err("expected ROW FOLDER TURNS THREADS".into());
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.parse()?);
    pool.build_global()?;
    let (folder, turns) = (Path::new(folder), turns.parse()?);
    let begin = Instant::now();
    let keys: Map<String, Value> = serde_json::from_slice(&fs::read(folder.join("config.json"))?)?;
    let checkpoint = Checkpoint::open(folder)?;
    let device = Device::flex();
    let (load, seconds) = if row == "text-step" {
        let config = TextConfig::read(&keys)?;
        let weights = Weights::load(&checkpoint, &device, |s| config.bind(s))?;
        let load = begin.elapsed().as_secs_f64();
        drop(checkpoint);
        let batch = texts(config.size().words);
        let targets = targets(TEXTS[0], i64::try_from(config.size().hidden)?, &device);
        let loss = |at: &Weights| {
            let states = at.bind(|s| config.bind(s))?.states(&batch)?;
            let pooled = Pool::Mean.apply(states, &batch).into_value();
            Ok(cross_entropy(pooled, targets.clone(), 0.0).mean())
        };
        (load, steps(weights, turns, loss)?)
    } else {
        let config = ClipConfig::read(&keys)?;
        let weights = Weights::load(&checkpoint, &device, |s| config.bind(s))?;
        let load = begin.elapsed().as_secs_f64();
        drop(checkpoint);
        let count = if row == "images" {
            IMAGES
        } else {
            IMAGES_PER_STEP
        };
        let pixels = pixels(count, config.image_size(), &device);
        if row == "images" {
            let model: Clip = weights.bind(|s| config.bind(s))?;
            let see = || {
                model
                    .images(pixels.clone())
                    .map(|found| to_host(found.into_value()))
            };
            (
                load,
                (0..turns).map(|_| timed(see)).collect::<Result<_, _>>()?,
            )
        } else {
            let targets = targets(count, i64::try_from(config.width())?, &device);
            let loss = |at: &Weights| {
                let found = at.bind(|s| config.bind(s))?.images(pixels.clone())?;
                Ok(cross_entropy(found.into_value(), targets.clone(), 0.0).mean())
            };
            (load, steps(weights, turns, loss)?)
        }
    };
    println!("{}", json!({ "load": load, "seconds": seconds }));
    Ok(())
}

fn timed<T>(work: impl FnOnce() -> Result<T, NnError>) -> Result<f64, NnError> {
    let begin = Instant::now();
    std::hint::black_box(work()?);
    Ok(begin.elapsed().as_secs_f64())
}

/// Training steps with AdamW: value, gradient, new weights.
fn steps(
    weights: Weights,
    turns: usize,
    loss: impl Fn(&Weights) -> Result<Tensor<1>, NnError>,
) -> Result<Vec<f64>, Failure> {
    let layout = weights.layout().clone();
    let mut optimizer = OptimConfig::Adamw(AdamWConfig::default()).build(&layout)?;
    let device = weights.device();
    let mut values = weights.into_host();
    let mut seconds = Vec::new();
    for _ in 0..turns {
        let begin = Instant::now();
        let at = Weights::from_host(&layout, values, &device);
        let (_, gradient, ()) = value_and_gradient(&at, |at| loss(at).map(|loss| (loss, ())))?;
        values = at.into_host();
        let mut gradient = gradient.into_buffers();
        // What the loss does not reach is left alone, as PyTorch leaves it.
        let specs = layout.specs().iter().zip(&mut gradient);
        for (_, unused) in specs.filter(|(spec, _)| is_of_texts(spec.path.as_str())) {
            unused.clear();
        }
        optimizer.step(RATE, &mut values, &gradient);
        seconds.push(begin.elapsed().as_secs_f64());
    }
    Ok(seconds)
}

/// Whether a tensor of CLIP belongs to the side that reads texts.
fn is_of_texts(name: &str) -> bool {
    ["text_model", "text_projection", "logit_scale"]
        .iter()
        .any(|start| name.starts_with(start))
}

/// Texts of one length, of words drawn alike.
fn texts(words: usize) -> TokenBatch {
    let [rows, tokens] = TEXTS;
    let ids = refit_testkit::integers_vec(1, rows * tokens, words);
    let ids: Vec<u32> = ids.into_iter().map(|id| id as u32).collect();
    let rows: Vec<&[u32]> = ids.chunks(tokens).collect();
    TokenBatch::new(&rows, 0, Side::Right)
}

fn pixels(count: usize, side: usize, device: &Device) -> Dual<4> {
    let shape = [count, 3, side, side];
    let values = refit_testkit::normal_vec(2, shape.iter().product());
    let values: Vec<f32> = values.into_iter().map(|v| v as f32).collect();
    Tensor::<4>::from_data(TensorData::new(values, shape), device).into()
}

fn targets(rows: usize, classes: i64, device: &Device) -> Tensor<1, Int> {
    let values: Vec<i64> = (0i64..).take(rows).map(|row| row % classes).collect();
    Tensor::from_data(TensorData::new(values, [rows]), device)
}
