//! What holds of every family that reads text, whatever its weights: no reference is needed.

use burn::tensor::Device;
use proptest::prelude::*;
use refit_core::{Seed, Sink};
use refit_io::ckpt::{Checkpoint, CheckpointWriter, WriteOptions, encode_f32};
use refit_kernels::dual::Dual;
use refit_nn::{
    NnError, Scope, Weights, to_host,
    zoo::{
        Decoding, Generator, Sampling, Seq2Seq, Side, Stop, TextConfig, TextDecoder, TextModel,
        TokenBatch,
    },
};
use refit_testkit::normal_vec;
use serde_json::{Map, Value, json};

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
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("model.safetensors");
        // Files put the names of the model in front of those of its parts.
        let is_head = |path: &str| {
            let heads = [
                "cls.",
                "lm_head.",
                "classifier.",
                "vocab_",
                "pre_classifier.",
            ];
            heads.iter().any(|head| path.starts_with(head)) || path.starts_with(name)
        };
        let mut metas = weights.metas();
        for meta in &mut metas {
            if !is_head(meta.path.as_str()) {
                meta.path = format!("{name}{}", meta.path).as_str().into();
            }
        }
        let values = weights.to_host();
        let mut writer =
            CheckpointWriter::create(&file, metas.clone(), WriteOptions::default()).unwrap();
        for (meta, values) in metas.iter().zip(&values) {
            writer
                .put(meta, &encode_f32(meta, values).unwrap())
                .unwrap();
        }
        writer.finish().unwrap();
        let source = Checkpoint::open(&file).unwrap();
        let mut keys = keys;
        keys.remove("architectures");
        let bare = TextConfig::read(&keys).unwrap();
        let loaded = Weights::load(&source, &Device::flex(), |s| bare.bind(s));
        let loaded = loaded.unwrap_or_else(|error| panic!("{architecture}: {error}"));
        assert!(loaded.metas().len() < metas.len(), "{architecture}");
    }
}

#[test]
fn as_many_tensors_as_were_looked_for_are_said_to_be_missing() {
    let (config, weights) = decoder(&json!({}));
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("model.safetensors");
    let mut writer =
        CheckpointWriter::create(&file, weights.metas(), WriteOptions::default()).unwrap();
    weights.save(&mut writer).unwrap();
    writer.finish().unwrap();
    let source = Checkpoint::open(&file).unwrap();
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
    let bound = |(name, config): (String, TextConfig)| {
        let model = weights(|s| config.bind(s)).bind(|s| config.bind(s));
        (name, model.unwrap())
    };
    all().into_iter().map(bound).collect()
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
