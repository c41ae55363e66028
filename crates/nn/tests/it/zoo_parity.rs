//! Every family answers as the reference implementation does. `parity/zoo.py` makes models and answers; the environment
//! variable `REFIT_ZOO` names their folder.

use burn::tensor::{Device, Tensor, TensorData};
use refit_core::{DType, Seed, Source};
use refit_io::{
    atomic::Overwrite,
    ckpt::{Checkpoint, CheckpointWriter, WriteOptions},
};
use refit_kernels::dual::Dual;
use refit_nn::{
    NnError, Pass, Scope, Weights, to_host,
    zoo::{
        ClipConfig, Dinov2Config, Generator, ResNet, ResNetConfig, Sampling, Side, Stop,
        TextConfig, TextModel, TokenBatch, Vit, VitConfig,
    },
};
use serde_json::{Map, Value};
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Models that read text, and those of them that write: an older folder has fewer.
const TEXT_MODELS: usize = 60;
const WRITERS: usize = 29;
/// Largest absolute difference of a state or a logit; those of files of half precision too, which hold the very numbers that
/// the reference computed with as f32, and which products widen without losing a digit.
const CLOSE: f32 = 1e-4;
/// Largest difference of a gradient, relative to the largest entry of its tensor, or to a thousandth of the largest of
/// all: some gradients are zero but for rounding.
const CLOSE_GRADIENT: f32 = 1e-3;

/// The folder that `REFIT_ZOO` names; says so where there is none.
fn zoo() -> Option<PathBuf> {
    let root = std::env::var_os("REFIT_ZOO").map(PathBuf::from);
    if root.is_none() {
        let _ = writeln!(
            io::stderr(),
            "skipped: REFIT_ZOO names no models of parity/zoo.py"
        );
    }
    root
}

fn folders(kind: &str, least: usize) -> Vec<PathBuf> {
    let Some(root) = zoo() else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = std::fs::read_dir(root.join(kind))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    assert!(found.len() >= least, "{} models", found.len());
    found
}

struct Case<C> {
    name: String,
    expected: Checkpoint,
    config: C,
    weights: Weights,
}

fn keys(folder: &Path) -> Map<String, Value> {
    let text = std::fs::read_to_string(folder.join("config.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Writes what was read once more; `parity/zoo.py --check` compares.
fn save(weights: &Weights, folder: &Path) {
    let out = folder.join("saved");
    std::fs::create_dir_all(&out).unwrap();
    std::fs::copy(folder.join("config.json"), out.join("config.json")).unwrap();
    let options = WriteOptions {
        metadata: [("format".into(), "pt".into())].into(),
        overwrite: Overwrite::Replace,
        ..WriteOptions::default()
    };
    let path = out.join("model.safetensors");
    let mut writer = CheckpointWriter::create(path, weights.metas(), options).unwrap();
    weights.save(&mut writer).unwrap();
    writer.finish().unwrap();
}

/// One file, or the list of several.
fn weights_of(folder: &Path) -> PathBuf {
    let files = ["model.safetensors", "model.safetensors.index.json"];
    let mut files = files.map(|name| folder.join(name)).into_iter();
    files.find(|path| path.exists()).unwrap()
}

impl<C> Case<C> {
    fn open<M>(
        folder: &Path,
        config: C,
        bind: impl Fn(&C, &Scope<'_>) -> Result<M, NnError>,
    ) -> Self {
        let source = Checkpoint::open(weights_of(folder)).unwrap();
        let weights = Weights::load(&source, &Device::flex(), |s| bind(&config, s)).unwrap();
        save(&weights, folder);
        Self {
            name: folder.display().to_string(),
            expected: Checkpoint::open(folder.join("expected.safetensors")).unwrap(),
            config,
            weights,
        }
    }

    fn numbers(&self, name: &str) -> Vec<u32> {
        let view = self.expected.view(name).unwrap();
        assert_eq!(view.meta.dtype, DType::I64, "{name}");
        let words = view.bytes.chunks_exact(8);
        let read = |word: &[u8]| i64::from_le_bytes(word.try_into().unwrap());
        words
            .map(|word| u32::try_from(read(word)).unwrap())
            .collect()
    }

    fn rows(&self, ids: &str, mask: &str) -> Vec<Vec<u32>> {
        let tokens = self.expected.view(ids).unwrap().meta.shape[1];
        let (ids, mask) = (self.numbers(ids), self.numbers(mask));
        let rows = ids.chunks(tokens).zip(mask.chunks(tokens));
        let real = |(ids, mask): (&[u32], &[u32])| {
            let kept = ids.iter().zip(mask).filter(|&(_, &mask)| mask == 1);
            kept.map(|(&id, _)| id).collect()
        };
        rows.map(real).collect()
    }

    fn batch(&self) -> TokenBatch {
        let batch = TokenBatch::new(&self.rows("ids", "mask"), 1, Side::Right);
        if self.expected.view("types").is_err() {
            return batch;
        }
        batch.with_types(&self.rows("types", "mask"), Side::Right)
    }

    /// Words of answers, where the model is given some.
    fn answers(&self) -> Option<Vec<Vec<u32>>> {
        let given = self.expected.view("answers").is_ok();
        given.then(|| self.rows("answers", "answer_mask"))
    }

    fn pixels(&self) -> Dual<4> {
        let view = self.expected.view("pixels").unwrap();
        let shape: [usize; 4] = view.meta.shape.clone().try_into().unwrap();
        let values = TensorData::new(self.expected.tensor_f32("pixels").unwrap(), shape);
        Dual::constant(Tensor::from_data(values, &Device::flex()))
    }

    /// Compares the gradient of `sum(probe * logits)` for every weight.
    fn compare_gradients<const D: usize>(&self, tracked: &Weights, logits: Dual<D>) {
        let probe = self.expected.tensor_f32("probe").unwrap();
        let probe = TensorData::new(probe, logits.dims());
        let probe = Tensor::<D>::from_data(probe, &logits.device());
        let sum = (logits * Dual::constant(probe)).sum();
        let gradients = sum.into_value().backward();
        let names = self.expected.tensors().iter();
        let names = names.map(|meta| meta.path.as_str());
        let names: Vec<&str> = names.filter(|name| name.starts_with("grad.")).collect();
        assert!(!names.is_empty(), "{}: no gradient", self.name);
        let most = |name: &str| {
            let values = self.expected.tensor_f32(name).unwrap();
            values.iter().fold(0f32, |most, x| most.max(x.abs()))
        };
        let floor = 1e-3 * names.iter().map(|name| most(name)).fold(0.0, f32::max);
        let mut compared = 0;
        for (spec, value) in tracked.layout().specs().iter().zip(tracked.values()) {
            let name = format!("grad.{}", spec.path);
            let Ok(expected) = self.expected.tensor_f32(name.as_str()) else {
                continue; // a part that nothing reads
            };
            let found = to_host(value.value().grad(&gradients).unwrap());
            let difference = apart(&found, &expected, &[false]);
            let limit = CLOSE_GRADIENT * most(&name).max(floor);
            assert!(difference < limit, "{} {name}: {difference}", self.name);
            compared += 1;
        }
        assert_eq!(compared, names.len(), "{}", self.name);
    }
}

fn text_case(folder: &Path) -> Case<TextConfig> {
    let config = TextConfig::read(&keys(folder)).unwrap();
    Case::open(folder, config, TextConfig::bind)
}

/// [`text_case`] of a model that only runs, as verbs open one: what the file holds in half precision stays so.
fn running_case(folder: &Path) -> Case<TextConfig> {
    let mut case = text_case(folder);
    let source = Checkpoint::open(weights_of(folder)).unwrap();
    let weights = Weights::load_as_stored(&source, &Device::flex(), |s| case.config.bind(s));
    case.weights = weights.unwrap();
    let mut dtypes = case.weights.values().iter().map(|v| v.value().dtype());
    let keeps_halves = dtypes.any(|dtype| dtype != burn::tensor::DType::F32);
    let is_half = folder.to_string_lossy().ends_with("-half");
    assert_eq!(keeps_halves, is_half, "{}", folder.display());
    case
}

/// What the model says of the batch of a case, and which tokens of that are padding.
fn say(case: &Case<TextConfig>, model: &TextModel) -> (Dual<3>, Vec<bool>) {
    let batch = case.batch();
    let (logits, padding) = match (model, case.answers()) {
        (TextModel::Answerer(model), Some(answers)) => {
            let logits = model.forward(&batch, &answers).unwrap();
            let started: Vec<Vec<u32>> = answers.iter().map(|a| [&[0], &a[..]].concat()).collect();
            let started = TokenBatch::new(&started, 0, Side::Right);
            (logits, started.padding().to_vec())
        }
        _ => (model.forward(&batch).unwrap(), batch.padding().to_vec()),
    };
    let [rows, tokens, _] = logits.dims();
    let one_per_row = tokens == 1 && padding.len() > rows;
    let padding = if one_per_row {
        vec![false; rows]
    } else {
        padding
    };
    (logits, padding)
}

/// The largest difference of tokens that are no padding.
fn apart(found: &[f32], expected: &[f32], padding: &[bool]) -> f32 {
    assert_eq!(found.len(), expected.len());
    assert!(found.iter().chain(expected).all(|x| x.is_finite()));
    let width = found.len() / padding.len();
    let pairs = found.chunks(width).zip(expected.chunks(width)).zip(padding);
    let real = pairs.filter(|(_, padding)| !**padding);
    let differences = real.flat_map(|((a, b), _)| a.iter().zip(b).map(|(a, b)| (a - b).abs()));
    differences.fold(0.0, f32::max)
}

#[test]
fn states_and_logits_are_those_of_the_reference() {
    for folder in folders("text", TEXT_MODELS) {
        let case = running_case(&folder);
        let model = case.weights.bind(|s| case.config.bind(s)).unwrap();
        let batch = case.batch();
        let states = to_host(model.states(&batch).unwrap().into_value());
        let expected = case.expected.tensor_f32("states").unwrap();
        let difference = apart(&states, &expected, batch.padding());
        assert!(difference < CLOSE, "{}: {difference}", folder.display());
        let (logits, padding) = say(&case, &model);
        let expected = case.expected.tensor_f32("logits").unwrap();
        let difference = apart(&to_host(logits.into_value()), &expected, &padding);
        assert!(difference < CLOSE, "{}: {difference}", folder.display());
    }
}

#[test]
fn gradients_are_those_of_the_reference() {
    for folder in folders("text", TEXT_MODELS) {
        let case = text_case(&folder);
        let tracked = case.weights.tracked();
        let model = tracked.bind(|s| case.config.bind(s)).unwrap();
        case.compare_gradients(&tracked, say(&case, &model).0);
    }
}

#[test]
fn pictures_are_seen_as_by_the_reference() {
    for folder in folders("pictures", 14) {
        let keys = keys(&folder);
        match keys["model_type"].as_str().unwrap() {
            "vit" => {
                let case = Case::open(&folder, VitConfig::read(&keys).unwrap(), Vit::bind);
                compare(&case, Vit::bind, |case, model| model.forward(case.pixels()));
            }
            "dinov2" => {
                let bind = Dinov2Config::bind;
                let case = Case::open(&folder, Dinov2Config::read(&keys).unwrap(), bind);
                compare(&case, bind, |case, model| {
                    model.forward(case.pixels()).unwrap()
                });
            }
            "resnet" => {
                let config = ResNetConfig::read(&keys).unwrap();
                let case = Case::open(&folder, config, ResNet::bind);
                compare(&case, ResNet::bind, |case, model| {
                    model.forward(case.pixels(), &mut Pass::eval())
                });
            }
            "clip" => {
                let bind = ClipConfig::bind;
                let case = Case::open(&folder, ClipConfig::read(&keys).unwrap(), bind);
                compare(&case, bind, |case, model| {
                    let texts = model.texts(&case.batch()).unwrap();
                    model.logits(model.images(case.pixels()).unwrap(), texts)
                });
            }
            other => panic!("{other}"),
        }
    }
}

/// Compares logits and gradients.
fn compare<C, M>(
    case: &Case<C>,
    bind: impl Fn(&C, &Scope<'_>) -> Result<M, NnError>,
    forward: impl Fn(&Case<C>, &M) -> Dual<2>,
) {
    let tracked = case.weights.tracked();
    let model = tracked.bind(|s| bind(&case.config, s)).unwrap();
    let logits = forward(case, &model);
    let found = to_host(logits.value().clone().inner());
    let expected = case.expected.tensor_f32("logits").unwrap();
    let difference = apart(&found, &expected, &[false]);
    assert!(difference < CLOSE, "{}: {difference}", case.name);
    case.compare_gradients(&tracked, logits);
}

/// A file that says nothing means what it means to the reference.
#[test]
fn settings_that_are_left_out_are_those_of_the_reference() {
    let Some(root) = zoo() else {
        return;
    };
    let mut compared = 0;
    for entry in std::fs::read_dir(root.join("defaults")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let full: Map<String, Value> = serde_json::from_str(&text).unwrap();
        let family = &full["model_type"];
        let bare = Map::from_iter([("model_type".to_owned(), family.clone())]);
        match family.as_str().unwrap() {
            "vit" => same(VitConfig::read, &bare, &full),
            "dinov2" => same(Dinov2Config::read, &bare, &full),
            "clip" => same(ClipConfig::read, &bare, &full),
            "resnet" => same(ResNetConfig::read, &bare, &full),
            _ => same(TextConfig::read, &bare, &full),
        }
        compared += 1;
    }
    assert_eq!(compared, 15);
}

fn same<C: std::fmt::Debug + PartialEq>(
    read: impl Fn(&Map<String, Value>) -> Result<C, refit_core::ConfigError>,
    bare: &Map<String, Value>,
    full: &Map<String, Value>,
) {
    assert_eq!(read(bare).unwrap(), read(full).unwrap());
}

#[test]
fn greedy_words_are_those_of_the_reference() {
    let mut written = 0;
    for folder in folders("text", TEXT_MODELS) {
        let case = running_case(&folder);
        if case.expected.view("words").is_err() {
            continue; // nothing is written
        }
        let model = case.weights.bind(|s| case.config.bind(s)).unwrap();
        let prompts = case.rows("prompts", "prompt_mask");
        let expected = case.numbers("words");
        let words = expected.len() / prompts.len();
        let stop = Stop {
            most: words,
            ..Stop::default()
        };
        let (greedy, seeds) = (Sampling::default(), vec![Seed::new(0); prompts.len()]);
        let mut generator = match &model {
            TextModel::Decoder(model) => Generator::new(model, &prompts, &seeds, greedy, stop),
            TextModel::Answerer(model) => {
                let batch = TokenBatch::new(&prompts, 1, Side::Right);
                Generator::answering(model, &batch, &seeds, greedy, stop)
            }
            _ => continue,
        }
        .unwrap();
        while !generator.is_done() {
            generator.next_words().unwrap();
        }
        for (row, expected) in expected.chunks(words).enumerate() {
            let found = generator.answer(row);
            assert_eq!(found, expected, "{} row {row}", folder.display());
        }
        written += 1;
    }
    assert!(written >= WRITERS || zoo().is_none(), "{written}");
}
