//! What holds of every family that reads text, whatever its weights: no reference is needed.

use burn::tensor::Device;
use proptest::prelude::*;
use refit_core::{DType, ParamPath, Seed, Sink, Source, TensorMeta};
use refit_io::ckpt::{Checkpoint, CheckpointWriter, WriteOptions, encode_f32};
use refit_kernels::dual::Dual;
use refit_nn::{
    ImageConfig, NnError, Pass, Scope, Weights, to_host,
    zoo::{
        ClipConfig, Decoding, Generator, Sampling, Seq2Seq, Side, Stop, TextConfig, TextDecoder,
        TextModel, TokenBatch,
    },
};
use refit_testkit::{close_in_norm, normal, normal_vec};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Families with the architecture that says most.
const FAMILIES: [(&str, &str); 12] = [
    ("bert", "BertForMaskedLM"),
    ("roberta", "RobertaForTokenClassification"),
    ("distilbert", "DistilBertForSequenceClassification"),
    ("gpt2", "GPT2LMHeadModel"),
    ("opt", "OPTForSequenceClassification"),
    ("llama", "LlamaForTokenClassification"),
    ("mistral", "MistralForCausalLM"),
    ("mixtral", "MixtralForCausalLM"),
    ("qwen2", "Qwen2ForSequenceClassification"),
    ("qwen3", "Qwen3ForCausalLM"),
    ("t5", "T5EncoderModel"),
    ("t5", "T5ForConditionalGeneration"),
];

/// States are of order one after a norm, and sums of some ten terms round a few times.
const CLOSE: f32 = 1e-5;

/// Every family, tiny, in the words of its own `config.json`.
pub(crate) fn all() -> Vec<(String, TextConfig)> {
    let config = |(family, architecture): (&str, &str)| {
        let keys = all_keys(family, architecture);
        (architecture.to_owned(), TextConfig::read(&keys).unwrap())
    };
    FAMILIES.into_iter().map(config).collect()
}

/// Sizes of a tiny model in the words of every family.
fn all_keys(family: &str, architecture: &str) -> Map<String, Value> {
    let keys = json!({
            "model_type": family, "architectures": [architecture], "num_labels": 3, "vocab_size": 31,
            "pad_token_id": 1, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "intermediate_size": 24, "max_position_embeddings": 40, "head_dim": 4,
            "type_vocab_size": 2, "sliding_window": 3, "num_local_experts": 4,
            "dim": 16, "n_layers": 2, "n_heads": 4, "hidden_dim": 24,
            "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 40,
            "ffn_dim": 24, "word_embed_proj_dim": 12,
            "d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2, "num_heads": 4,
            "relative_attention_num_buckets": 6, "relative_attention_max_distance": 8,
    });
    let Value::Object(keys) = keys else {
        unreachable!("an object was written")
    };
    keys
}

/// Fresh weights, moved far enough that every part of a model matters.
pub(crate) fn weights<M>(bind: impl Fn(&Scope<'_>) -> Result<M, NnError>) -> Weights {
    let device = Device::flex();
    let fresh = Weights::create(Seed::new(3), &device, bind).unwrap();
    let moved = |(i, values): (usize, Vec<f32>)| {
        let noise = normal_vec(i as u64, values.len());
        let pairs = values.into_iter().zip(noise);
        pairs.map(|(x, z)| x + 0.2 * z as f32).collect()
    };
    let moved = fresh.to_host().into_iter().enumerate().map(moved);
    Weights::from_host(fresh.layout(), moved.collect(), &device)
}

#[test]
fn settings_that_no_model_has_are_named() {
    for (json, start) in [
        (
            json!({ "model_type": "mixtral", "num_local_experts": 2, "num_experts_per_tok": 3 }),
            "`num_experts_per_tok` is 3, expected at most `num_local_experts` 2",
        ),
        (
            json!({ "model_type": "mixtral", "num_local_experts": 100_000 }),
            "`num_local_experts` is 100000, expected at most",
        ),
        (
            json!({ "model_type": "t5", "relative_attention_num_buckets": 7 }),
            "`relative_attention_num_buckets` is 7, expected an even number",
        ),
        (
            json!({ "model_type": "t5", "relative_attention_max_distance": 16 }),
            "`relative_attention_max_distance` is 16, expected more than half",
        ),
        (
            json!({ "model_type": "t5", "architectures": ["T5Model"] }),
            "`architectures` is `T5Model`, expected a name that ends with one of ForConditionalGeneration",
        ),
        (
            json!({ "model_type": "t5", "feed_forward_proj": "gated-gelo" }),
            "`gated-gelo`",
        ),
        (
            json!({ "model_type": "gpt2", "architectures": ["GPT2ForQuestionAnswering"] }),
            "`architectures` is `GPT2ForQuestionAnswering`, expected a name that ends",
        ),
    ] {
        let found = TextConfig::read(json.as_object().unwrap()).unwrap_err();
        let found = found.to_string();
        assert!(found.contains(start), "{found}");
    }
}

#[test]
fn classes_are_asked_for_where_there_are_some() {
    let read = |architecture: &str| {
        let json = json!({ "model_type": "gpt2", "architectures": [architecture], "id2label": {} });
        TextConfig::read(json.as_object().unwrap())
    };
    assert!(read("GPT2LMHeadModel").is_ok() && read("GPT2Model").is_ok());
    let error = read("GPT2ForSequenceClassification").unwrap_err();
    assert!(
        error.to_string().starts_with("`num_labels` is 0"),
        "{error}"
    );
}

/// As `modeling_llama.py` and its like have it (transformers 5.24).
#[test]
fn every_family_has_the_biases_that_its_own_keys_name() {
    let attention = ["q_proj", "k_proj", "v_proj", "o_proj"];
    let all = [&attention[..], &["gate_proj", "up_proj", "down_proj"]].concat();
    let none: &[&str] = &[];
    for (family, always, asked) in [
        ("llama", none, &all[..]),
        ("mistral", none, none),
        ("mixtral", none, none),
        ("qwen2", &attention[..3], &attention[..3]),
        ("qwen3", none, &attention[..]),
    ] {
        for (given, expected) in [(false, always), (true, asked)] {
            let mut keys = all_keys(family, "Model");
            keys.insert("attention_bias".into(), given.into());
            keys.insert("mlp_bias".into(), given.into());
            let config = TextConfig::read(&keys).unwrap();
            let weights = weights(|s| config.bind(s));
            let specs = weights.layout().specs().iter();
            let biased = specs.filter_map(|spec| {
                let path = spec.path.as_str().strip_prefix("layers.0.")?;
                path.strip_suffix(".bias")?.rsplit('.').next()
            });
            let found: BTreeSet<&str> = biased.collect();
            let expected: BTreeSet<&str> = expected.iter().copied().collect();
            assert_eq!(found, expected, "{family} {given}");
        }
    }
}

/// A checkpoint of weights whose tensors `rename` calls otherwise, or leaves out.
fn stored(
    weights: &Weights,
    dtype: DType,
    rename: impl Fn(&ParamPath) -> Option<ParamPath>,
) -> Checkpoint {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("model.safetensors");
    let metas = weights.metas().into_iter().zip(weights.to_host());
    let (metas, values): (Vec<_>, Vec<_>) = metas
        .filter_map(|(meta, values)| {
            let path = rename(&meta.path)?;
            Some((
                TensorMeta {
                    path,
                    dtype,
                    ..meta
                },
                values,
            ))
        })
        .unzip();
    let mut writer =
        CheckpointWriter::create(&file, metas.clone(), WriteOptions::default()).unwrap();
    for (meta, values) in metas.iter().zip(&values) {
        let bytes = encode_f32(meta, values).unwrap();
        writer.put(meta, &bytes).unwrap();
    }
    writer.finish().unwrap();
    Checkpoint::open(&file).unwrap()
}

#[test]
fn a_table_that_is_used_twice_may_stand_in_a_file_as_the_head_alone() {
    for (family, architecture, part, table) in [
        ("gpt2", "GPT2LMHeadModel", "transformer", "wte.weight"),
        (
            "opt",
            "OPTForCausalLM",
            "model",
            "decoder.embed_tokens.weight",
        ),
        ("llama", "LlamaForCausalLM", "model", "embed_tokens.weight"),
        ("qwen3", "Qwen3ForCausalLM", "model", "embed_tokens.weight"),
    ] {
        let mut keys = all_keys(family, architecture);
        keys.insert("tie_word_embeddings".into(), true.into());
        let config = TextConfig::read(&keys).unwrap();
        let weights = weights(|s| config.bind(s));
        let whole = |path: &ParamPath| Some(ParamPath::new(part).join(path));
        let head_alone = |path: &ParamPath| match path.as_str() {
            path if path == table => Some("lm_head.weight".into()),
            _ => whole(path),
        };
        let batch = TokenBatch::new(&[vec![5u32, 6, 7, 8], vec![9, 10]], 1, Side::Right);
        let say = |weights: &Weights| said(&weights.bind(|s| config.bind(s)).unwrap(), &batch);
        let device = Device::flex();
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let usual = stored(&weights, dtype, whole);
            let other = stored(&weights, dtype, head_alone);
            let expected = Weights::load(&usual, &device, |s| config.bind(s)).unwrap();
            let found = Weights::load(&other, &device, |s| config.bind(s)).unwrap();
            assert_eq!(say(&found), say(&expected), "{family}");
            let halves = Weights::load_as_stored(&other, &device, |s| config.bind(s)).unwrap();
            let expected = Weights::load_as_stored(&usual, &device, |s| config.bind(s)).unwrap();
            assert_eq!(say(&halves), say(&expected), "{family}");
            // It is saved by the names it came with.
            let again = stored(&found, dtype, |path| Some(path.clone()));
            for at in 0..other.tensors().len() {
                assert_eq!(again.tensors()[at], other.tensors()[at], "{family}");
                assert_eq!(
                    again.bytes(at).unwrap(),
                    other.bytes(at).unwrap(),
                    "{family}"
                );
            }
        }
    }
}

#[test]
fn a_table_that_is_missing_is_the_one_tensor_that_is_missing() {
    for (family, architecture, part, table) in [
        ("llama", "LlamaForCausalLM", "model", "embed_tokens.weight"),
        ("gpt2", "GPT2LMHeadModel", "transformer", "wte.weight"),
        (
            "bert",
            "BertModel",
            "bert",
            "embeddings.word_embeddings.weight",
        ),
        (
            "distilbert",
            "DistilBertModel",
            "distilbert",
            "embeddings.word_embeddings.weight",
        ),
    ] {
        let config = TextConfig::read(&all_keys(family, architecture)).unwrap();
        let weights = weights(|s| config.bind(s));
        let whole = |path: &ParamPath| match path.as_str() {
            "lm_head.weight" => path.clone(),
            _ => ParamPath::new(part).join(path),
        };
        for bare in [false, true] {
            let name = |path: &ParamPath| if bare { path.clone() } else { whole(path) };
            let bind = |s: &Scope<'_>| config.bind(s);
            let all = stored(&weights, DType::F32, |path| Some(name(path)));
            assert!(
                Weights::load(&all, &Device::flex(), bind).is_ok(),
                "{family}"
            );
            let rest = stored(&weights, DType::F32, |path| {
                (path.as_str() != table).then(|| name(path))
            });
            let error = Weights::load(&rest, &Device::flex(), bind).unwrap_err();
            let missing = format!("tensor `{}` is missing", name(&table.into()));
            assert!(error.to_string().starts_with(&missing), "{error}");
        }
    }
}

/// A tiny decoder with a head of its own, and what else its configuration says.
fn decoder(keys: &Value) -> (TextConfig, Weights) {
    let mut all = json!({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 31, "hidden_size": 16,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 24,
        "max_position_embeddings": 40,
    });
    let more = keys.as_object().unwrap().clone();
    all.as_object_mut().unwrap().extend(more);
    let config = TextConfig::read(all.as_object().unwrap()).unwrap();
    let weights = weights(|s| config.bind(s));
    (config, weights)
}

#[test]
fn a_model_whose_tokens_see_those_behind_them_writes_nothing() {
    for (family, architecture) in [
        ("llama", "LlamaForCausalLM"),
        ("gpt2", "GPT2LMHeadModel"),
        ("opt", "OPTForCausalLM"),
    ] {
        let keys = json!({
            "model_type": family, "architectures": [architecture], "is_causal": false, "num_attention_heads": 4,
            "n_embd": 16, "n_layer": 1, "n_head": 4, "n_positions": 40, "ffn_dim": 24, "num_key_value_heads": 4,
        });
        let (config, weights) = decoder(&keys);
        let text = config.check_causal().unwrap_err().to_string();
        assert!(
            text.starts_with("`is_causal` is false, expected `true`"),
            "{text}"
        );
        let TextModel::Decoder(model) = weights.bind(|s| config.bind(s)).unwrap() else {
            panic!("a decoder")
        };
        let texts = [vec![5u32, 6, 7, 8], vec![9, 10]];
        let batch = TokenBatch::new(&texts, 1, Side::Right);
        let error = model.states(&batch, Some(&mut Decoding::default()));
        assert!(matches!(error, Err(NnError::Config(_))), "{family}");
        let sampling = Sampling::default();
        let seeds = [Seed::new(0); 2];
        let generator = Generator::new(&model, &texts, &seeds, sampling, Stop::default());
        assert!(generator.is_err(), "{family}");
        // The first token sees the last.
        let states = real(model.states(&batch, None).unwrap(), &batch);
        let other = [vec![5u32, 6, 7, 11], vec![9, 10]];
        let other = TokenBatch::new(&other, 1, Side::Right);
        let others = real(model.states(&other, None).unwrap(), &other);
        assert_ne!(states[0], others[0], "{family}");
        assert_close(family, &states[4..], &others[4..]);
    }
    let t5 = json!({ "model_type": "t5", "is_causal": false });
    assert!(TextConfig::read(t5.as_object().unwrap()).is_err());
}

#[test]
fn scores_that_are_not_finite_become_no_words() {
    let (config, mut weights) = decoder(&json!({}));
    let at = weights.layout().position("embed_tokens.weight").unwrap();
    let mut table = weights.to_host().swap_remove(at);
    table[7 * 16] = f32::NAN;
    let table = burn::tensor::Tensor::<1>::from_floats(&table[..], &Device::flex());
    weights.set(at, table);
    let TextModel::Decoder(model) = weights.bind(|s| config.bind(s)).unwrap() else {
        panic!("a decoder")
    };
    for temperature in [0.0, 1.0] {
        let sampling = Sampling {
            temperature,
            ..Sampling::default()
        };
        let seeds = [Seed::new(0); 2];
        let prompts = [vec![5u32, 6], vec![7, 8, 9]];
        let mut generator =
            Generator::new(&model, &prompts, &seeds, sampling, Stop::default()).unwrap();
        let error = generator.next_words().unwrap_err();
        assert!(matches!(error, NnError::Scores { row: 2 }), "{error}");
    }
}

#[test]
fn heads_are_left_out_of_a_model_that_is_read_for_its_states() {
    for (name, family, architecture) in [
        ("bert.", "bert", "BertForMaskedLM"),
        ("roberta.", "roberta", "RobertaForMaskedLM"),
        ("bert.", "bert", "BertForSequenceClassification"),
        ("distilbert.", "distilbert", "DistilBertForMaskedLM"),
        ("model.", "qwen3", "Qwen3ForCausalLM"),
        ("", "t5", "T5ForConditionalGeneration"),
    ] {
        let keys = all_keys(family, architecture);
        let whole = TextConfig::read(&keys).unwrap();
        let weights = weights(|s| whole.bind(s));
        // Files put the names of the model in front of those of its parts.
        let is_head = |path: &str| {
            let heads = [
                "cls.",
                "lm_head.",
                "classifier.",
                "vocab_",
                "pre_classifier.",
            ];
            heads.iter().any(|head| path.starts_with(head))
        };
        let source = stored(&weights, DType::F32, |path| {
            let stays = is_head(path.as_str());
            Some(if stays {
                path.clone()
            } else {
                format!("{name}{path}").into()
            })
        });
        let mut keys = keys;
        keys.remove("architectures");
        let bare = TextConfig::read(&keys).unwrap();
        let loaded = Weights::load(&source, &Device::flex(), |s| bare.bind(s));
        let loaded = loaded.unwrap_or_else(|error| panic!("{architecture}: {error}"));
        assert!(
            loaded.metas().len() < source.tensors().len(),
            "{architecture}"
        );
    }
}

#[test]
fn as_many_tensors_as_were_looked_for_are_said_to_be_missing() {
    let (config, weights) = decoder(&json!({}));
    let source = stored(&weights, DType::F32, |path| Some(path.clone()));
    assert!(Weights::load(&source, &Device::flex(), |s| config.bind(s)).is_ok());
    // A hundred layers more than the file has: the search ends before all are named.
    let keys = json!({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 31, "hidden_size": 16,
        "num_hidden_layers": 102, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 24,
    });
    let deeper = TextConfig::read(keys.as_object().unwrap()).unwrap();
    let error = Weights::load(&source, &Device::flex(), |s| deeper.bind(s)).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("at least ") && text.contains(" tensors are missing: "),
        "{text}"
    );
}

#[test]
fn long_texts_and_odd_padding_are_what_files_say() {
    let long = json!({ "model_type": "mistral", "max_position_embeddings": 10_485_760, "sliding_window": 2_097_152 });
    let config = TextConfig::read(long.as_object().unwrap()).unwrap();
    assert_eq!(config.size().longest, 10_485_760);
    let table = json!({ "model_type": "gpt2", "n_positions": 10_485_760 });
    assert!(TextConfig::read(table.as_object().unwrap()).is_err());
    for family in ["bert", "roberta"] {
        let none = json!({ "model_type": family, "pad_token_id": -1 });
        let none = TextConfig::read(none.as_object().unwrap()).unwrap();
        let bare = json!({ "model_type": family });
        assert_eq!(none, TextConfig::read(bare.as_object().unwrap()).unwrap());
    }
}

#[test]
fn a_decoder_that_answers_needs_a_text_and_keeps_to_it() {
    let (_, TextModel::Answerer(model)) = models().pop().unwrap() else {
        panic!("a model that answers")
    };
    let batch = |rows: usize| TokenBatch::new(&vec![[3u32]; rows], 1, Side::Right);
    let text = |memory: &mut Decoding| {
        let error = model.decoder().states(&batch(2), Some(memory)).unwrap_err();
        error.to_string()
    };
    let empty = text(&mut Decoding::default());
    assert!(empty.starts_with("`memory` is empty"), "{empty}");
    let other = text(&mut model.remember(&batch(3)).unwrap());
    assert!(other.starts_with("`memory` is 2 texts"), "{other}");
}

fn models() -> Vec<(String, TextModel)> {
    all().into_iter().map(bound).collect()
}

fn bound((name, config): (String, TextConfig)) -> (String, TextModel) {
    let model = weights(|s| config.bind(s)).bind(|s| config.bind(s));
    (name, model.unwrap())
}

/// More tokens than a tile of attention has (64), behind more padding than that and behind none.
#[test]
fn long_texts_say_the_same_alone_and_behind_padding() {
    let words = |count: u32| -> Vec<u32> { (0..count).map(|i| 3 + 7 * i % 27).collect() };
    let texts = [words(150), words(73), words(3)];
    for (family, architecture) in FAMILIES {
        let mut keys = all_keys(family, architecture);
        for key in ["max_position_embeddings", "n_positions"] {
            keys.insert(key.into(), 160.into());
        }
        let config = TextConfig::read(&keys).unwrap();
        let (name, model) = bound((architecture.to_owned(), config));
        let [right, left] =
            [Side::Right, Side::Left].map(|side| said(&model, &TokenBatch::new(&texts, 1, side)));
        let mut alone = [Vec::new(), Vec::new()];
        for text in &texts {
            let said = said(&model, &TokenBatch::new(&[text], 1, Side::Right));
            alone
                .iter_mut()
                .zip(said)
                .for_each(|(all, one)| all.extend(one));
        }
        for at in [0, 1] {
            assert_close(&name, &right[at], &alone[at]);
            assert_close(&name, &left[at], &alone[at]);
        }
    }
}

/// Models of pictures of 6 x 6 or more, of one channel.
fn picture_models() -> Vec<(ImageConfig, Weights)> {
    let same = json!({
        "num_labels": 3, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12,
        "image_size": 6, "patch_size": 3, "num_channels": 1,
        "embedding_size": 4, "hidden_sizes": [8, 16], "depths": [1, 2],
    });
    let families = [
        ("vit", "ViTForImageClassification"),
        ("dinov2", "Dinov2ForImageClassification"),
        ("resnet", "ResNetForImageClassification"),
    ];
    let model = |(family, architecture): (&str, &str)| {
        let mut keys = same.as_object().unwrap().clone();
        keys.insert("model_type".into(), family.into());
        keys.insert("architectures".into(), json!([architecture]));
        let config = ImageConfig::read(&keys).unwrap();
        let weights = weights(|s| config.bind(s));
        (config, weights)
    };
    families.into_iter().map(model).collect()
}

/// The word that ends a text of [`clip`].
const END: u32 = 30;

fn clip() -> (ClipConfig, Weights) {
    let tower = json!({
        "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": 6, "patch_size": 3, "num_channels": 1,
        "vocab_size": 31, "max_position_embeddings": 10, "eos_token_id": END,
    });
    let keys = json!({
        "model_type": "clip", "vision_config": tower, "text_config": tower, "projection_dim": 6,
    });
    let config = ClipConfig::read(keys.as_object().unwrap()).unwrap();
    let weights = weights(|s| config.bind(s));
    (config, weights)
}

/// The numbers of a matrix, row by row.
fn numbers(matrix: Dual<2>) -> Vec<f64> {
    let numbers = to_host(matrix.into_value());
    numbers.into_iter().map(f64::from).collect()
}

/// As [`assert_close`], of numbers whose size no norm sets.
fn assert_near(name: &str, found: Vec<f64>, expected: Vec<f64>) {
    let near = close_in_norm(found, expected, f64::from(CLOSE), 0.0);
    near.unwrap_or_else(|apart| panic!("{name}: {apart}"));
}

/// One list of numbers for each token of `batch` that is no padding.
fn real(states: Dual<3>, batch: &TokenBatch) -> Vec<Vec<f32>> {
    let width = states.dims()[2];
    let states = to_host(states.into_value());
    let tokens = states.chunks(width).zip(batch.padding());
    let real = tokens.filter(|(_, padding)| !**padding);
    real.map(|(state, _)| state.to_vec()).collect()
}

fn assert_close(name: &str, found: &[Vec<f32>], expected: &[Vec<f32>]) {
    let numbers = |of: &[Vec<f32>]| of.concat();
    let (found, expected) = (numbers(found), numbers(expected));
    assert_eq!(found.len(), expected.len(), "{name}");
    let pairs = found.iter().zip(&expected);
    let apart = pairs.fold(0f32, |most, (a, b)| most.max((a - b).abs()));
    assert!(apart <= CLOSE, "{name}: {apart}");
}

/// States and answers of a batch, those of padding left out.
fn said(model: &TextModel, batch: &TokenBatch) -> [Vec<Vec<f32>>; 2] {
    let states = real(model.states(batch).unwrap(), batch);
    let answer = model.forward(batch).unwrap();
    let answer = if answer.dims()[1] == batch.tokens() {
        real(answer, batch)
    } else {
        let width = answer.dims()[2];
        let answer = to_host(answer.into_value());
        answer.chunks(width).map(<[f32]>::to_vec).collect()
    };
    [states, answer]
}

/// Texts of words that no family keeps for itself.
fn texts() -> impl Strategy<Value = Vec<Vec<u32>>> {
    prop::collection::vec(prop::collection::vec(3u32..31, 1..9), 1..4)
}

/// Texts of CLIP without their end.
fn clip_texts() -> impl Strategy<Value = Vec<Vec<u32>>> {
    prop::collection::vec(prop::collection::vec(3u32..30, 0..9), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn a_text_says_the_same_alone_and_among_others(texts in texts()) {
        for (name, model) in models() {
            let together = said(&model, &TokenBatch::new(&texts, 1, Side::Right));
            let mut alone = [Vec::new(), Vec::new()];
            for text in &texts {
                let said = said(&model, &TokenBatch::new(&[text], 1, Side::Right));
                alone.iter_mut().zip(said).for_each(|(all, one)| all.extend(one));
            }
            assert_close(&name, &together[0], &alone[0]);
            assert_close(&name, &together[1], &alone[1]);
        }
    }

    #[test]
    fn a_picture_says_the_same_alone_and_among_others(seed in any::<u64>(), count in 2usize..5) {
        let pixels = normal::<4>(seed, [count, 1, 6, 6]);
        let one = |at: usize| pixels.clone().narrow(0, at, 1);
        for (config, weights) in picture_models() {
            let model = weights.bind(|s| config.bind(s)).unwrap();
            let say = |pixels| numbers(model.forward(Dual::constant(pixels), &mut Pass::eval()));
            let alone: Vec<f64> = (0..count).flat_map(|at| say(one(at))).collect();
            assert_near(config.family(), say(pixels.clone()), alone);
        }
        let (config, weights) = clip();
        let model = weights.bind(|s| config.bind(s)).unwrap();
        let say = |pixels| numbers(model.images(Dual::constant(pixels)).unwrap());
        let alone: Vec<f64> = (0..count).flat_map(|at| say(one(at))).collect();
        assert_near("clip", say(pixels.clone()), alone);
    }

    #[test]
    fn a_text_of_clip_says_the_same_alone_and_among_others(texts in clip_texts()) {
        let (config, weights) = clip();
        let model = weights.bind(|s| config.bind(s)).unwrap();
        let ended = texts.into_iter().map(|text| [&text[..], &[END]].concat());
        let texts: Vec<Vec<u32>> = ended.collect();
        let say = |texts: &[Vec<u32>], padding: u32, side: Side| {
            numbers(model.texts(&TokenBatch::new(texts, padding, side)).unwrap())
        };
        let one = |text| say(text, 1, Side::Right);
        let alone: Vec<f64> = texts.chunks(1).flat_map(one).collect();
        for side in [Side::Right, Side::Left] {
            // Files fill texts up with the word that ends them, too.
            for padding in [1, END] {
                assert_near("clip", say(&texts, padding, side), alone.clone());
            }
        }
    }

    #[test]
    fn padding_is_not_seen_on_either_side(texts in texts()) {
        for (name, model) in models() {
            let [right, left] = [Side::Right, Side::Left]
                .map(|side| said(&model, &TokenBatch::new(&texts, 1, side)));
            assert_close(&name, &left[0], &right[0]);
            assert_close(&name, &left[1], &right[1]);
            // Another word in the place of padding changes nothing.
            let other = said(&model, &TokenBatch::new(&texts, 30, Side::Left));
            assert_close(&name, &other[0], &left[0]);
        }
    }

    #[test]
    fn what_is_remembered_is_what_would_be_read_again(texts in texts(), cuts in (1usize..5, 1usize..5)) {
        for (name, model) in models() {
            match &model {
                TextModel::Decoder(decoder) => {
                    let whole = TokenBatch::new(&texts, 1, Side::Left);
                    let expected = real(decoder.states(&whole, None).unwrap(), &whole);
                    compare_in_parts(&name, decoder, &texts, cuts, Decoding::default(), &expected);
                }
                TextModel::Answerer(model) => answer_in_parts(&name, model, &texts, cuts),
                _ => {}
            }
        }
    }
}

/// Reads texts of one length, cut in three, into a memory; texts that are shorter are filled up in front.
fn compare_in_parts(
    name: &str,
    decoder: &TextDecoder,
    texts: &[Vec<u32>],
    cuts: (usize, usize),
    mut memory: Decoding,
    expected: &[Vec<f32>],
) {
    let longest = texts.iter().map(Vec::len).max().unwrap();
    let (first, second) = (cuts.0.min(longest), (cuts.0 + cuts.1).min(longest));
    let mut rows = vec![Vec::new(); texts.len()];
    for (start, end) in [(0, first), (first, second), (second, longest)] {
        let part = |text: &Vec<u32>| {
            let lead = longest - text.len();
            text[start.max(lead) - lead..end.max(lead) - lead].to_vec()
        };
        let parts: Vec<Vec<u32>> = texts.iter().map(part).collect();
        if start == end {
            continue; // the longest text is all in front
        }
        let batch = TokenBatch::new(&parts, 1, Side::Left);
        let states = decoder.states(&batch, Some(&mut memory)).unwrap();
        let mut states = real(states, &batch).into_iter();
        for (row, part) in rows.iter_mut().zip(&parts) {
            row.extend(states.by_ref().take(part.len()));
        }
    }
    assert_close(name, &rows.concat(), expected);
}

fn answer_in_parts(name: &str, model: &Seq2Seq, texts: &[Vec<u32>], cuts: (usize, usize)) {
    let batch = TokenBatch::new(texts, 1, Side::Right);
    // Each text answers itself.
    let started: Vec<Vec<u32>> = texts
        .iter()
        .map(|t| [&[model.start()], &t[..]].concat())
        .collect();
    let whole = TokenBatch::new(&started, 1, Side::Left);
    let memory = || model.remember(&batch).unwrap();
    let decoder = model.decoder();
    let expected = decoder.states(&whole, Some(&mut memory())).unwrap();
    let expected = real(expected, &whole);
    compare_in_parts(name, decoder, &started, cuts, memory(), &expected);
    let scores = model.forward(&batch, texts).unwrap();
    let right = TokenBatch::new(&started, 1, Side::Right);
    let read = decoder.states(&right, Some(&mut memory())).unwrap();
    assert_close(
        name,
        &real(scores, &right),
        &real(decoder.read(read), &right),
    );
    assert_close(
        name,
        &real(decoder.states(&right, Some(&mut memory())).unwrap(), &right),
        &expected,
    );
}
