//! `refit embed` on a tiny encoder.

use crate::sandbox::Sandbox;
use burn::tensor::Device;
use refit_core::{DType, Seed, Sink, TensorMeta};
use refit_io::ckpt::{Checkpoint, CheckpointWriter, WriteOptions, encode_f32};
use refit_nn::{NnError, Scope, Weights, zoo::TextConfig};
use refit_testkit::{TINY_WORDS, tiny_tokenizer};
use serde_json::{Value, json};

/// The folder that the help page speaks of.
pub(crate) const ENCODER: &str = "models/all-MiniLM-L6-v2";
const WIDTH: usize = 8;

fn config() -> Value {
    json!({
        "model_type": "bert", "architectures": ["BertModel"], "vocab_size": TINY_WORDS.len(), "hidden_size": WIDTH,
        "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 12, "max_position_embeddings": 16,
    })
}

/// A sentence encoder of random weights: the mean of tokens, of length 1.
pub(crate) fn encoder(sandbox: &Sandbox) {
    let put = |name: &str, value: &Value| {
        sandbox.file(&format!("{ENCODER}/{name}"), value.to_string());
    };
    std::fs::create_dir_all(sandbox.path().join(ENCODER).join("1_Pooling")).unwrap();
    put("config.json", &config());
    put("tokenizer.json", &tiny_tokenizer());
    put(
        "modules.json",
        &json!([
            { "path": "", "type": "sentence_transformers.models.Transformer" },
            { "path": "1_Pooling", "type": "sentence_transformers.models.Pooling" },
            { "path": "2_Normalize", "type": "sentence_transformers.models.Normalize" },
        ]),
    );
    put(
        "1_Pooling/config.json",
        &json!({ "pooling_mode_mean_tokens": true }),
    );
    put("sentence_bert_config.json", &json!({ "max_seq_length": 6 }));
    weights(sandbox, ENCODER, &config());
}

/// Random weights for a text model.
pub(crate) fn weights(sandbox: &Sandbox, folder: &str, config: &Value) {
    let config = TextConfig::read(config.as_object().unwrap()).unwrap();
    weights_of(sandbox, folder, |scope| config.bind(scope));
}

/// Random weights for whatever `bind` asks for.
pub(crate) fn weights_of<M>(
    sandbox: &Sandbox,
    folder: &str,
    bind: impl FnOnce(&Scope<'_>) -> Result<M, NnError>,
) {
    let weights = Weights::create(Seed::new(4), &Device::flex(), bind).unwrap();
    let metas = weights.layout().specs().iter().map(|spec| TensorMeta {
        path: spec.path.clone(),
        dtype: DType::F32,
        shape: spec.shape.clone(),
    });
    let metas: Vec<TensorMeta> = metas.collect();
    let path = sandbox.path().join(folder).join("model.safetensors");
    let mut writer =
        CheckpointWriter::create(path, metas.clone(), WriteOptions::default()).unwrap();
    for (meta, values) in metas.iter().zip(weights.into_host()) {
        // Starts are too tame to tell texts apart.
        let values: Vec<f32> = values.iter().map(|value| value * 20.0).collect();
        writer
            .put(meta, &encode_f32(meta, &values).unwrap())
            .unwrap();
    }
    writer.finish().unwrap();
}

/// What the help page reads.
pub(crate) fn sentences(sandbox: &Sandbox) {
    sandbox.file("sentences.txt", "learn from models\nmodel\n\nlearn\n");
}

/// What the help page of `refit tune` reads: which of two words comes more often, with two that are told wrongly.
pub(crate) fn questions(sandbox: &Sandbox) {
    let mut text = String::from("split\tlabel\ttext\n");
    for (part, count) in [("train", 24), ("test", 9)] {
        for at in 0..count {
            let words = ["learn", "from", "models", "model"];
            let first = words[at % 4];
            let second = words[at / 4 % 4];
            let third = words[at / 3 % 4];
            let odd = at % 11 == 5;
            let label = if first.starts_with("model") == odd {
                "verb"
            } else {
                "noun"
            };
            text += &format!("{part}\t{label}\t{first} {second} {third}\n");
        }
    }
    sandbox.file("questions.tsv", text);
}

fn rows(text: &str) -> Vec<Vec<f32>> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_text_has_one_vector_in_whatever_company() {
    let sandbox = Sandbox::new();
    encoder(&sandbox);
    sentences(&sandbox);
    let together = rows(
        &sandbox
            .done(&format!("embed {ENCODER} --input sentences.txt"))
            .out,
    );
    assert_eq!(together.len(), 4);
    let alone = ["learn from models", "model", "", "learn"].map(|text| {
        sandbox.file("one.txt", format!("{text}\n"));
        rows(
            &sandbox
                .done(&format!("embed {ENCODER} --input one.txt"))
                .out,
        )
        .remove(0)
    });
    for (a, b) in together.iter().zip(&alone) {
        assert_eq!(a.len(), WIDTH);
        let length: f32 = a.iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-5, "{length}");
        assert!(a.iter().chain(b).all(|x| x.is_finite()));
        let apart = a
            .iter()
            .zip(b)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(apart < 1e-5, "{apart}");
    }
    assert_ne!(together[0], together[1]);
}

#[test]
fn vectors_go_to_json_and_to_files() {
    let sandbox = Sandbox::new();
    encoder(&sandbox);
    sentences(&sandbox);
    let line = format!("embed {ENCODER} --input sentences.txt");
    let lines = rows(&sandbox.done(&line).out);
    let json: Value = serde_json::from_str(&sandbox.done(&format!("{line} --json")).out).unwrap();
    let json: Vec<Vec<f32>> = serde_json::from_value(json["embeddings"].clone()).unwrap();
    assert_eq!(json, lines);
    sandbox.done(&format!("{line} --out v.safetensors"));
    let file = Checkpoint::open(sandbox.path().join("v.safetensors")).unwrap();
    assert_eq!(file.tensor_f32("embeddings").unwrap(), lines.concat());
    assert_eq!(file.view("embeddings").unwrap().meta.shape, [4, WIDTH]);
    let again = sandbox.refit(&format!("{line} --out v.safetensors"));
    assert_eq!(again.code, Some(3), "{}", again.err);
    sandbox.done(&format!("{line} --out v.safetensors --force"));
}

#[test]
fn vectors_of_many_blocks_are_those_of_each_text_and_nothing_gives_nothing() {
    let sandbox = Sandbox::new();
    encoder(&sandbox);
    let line = format!("embed {ENCODER} --input many.txt");
    let words = ["learn", "from", "models", "model"];
    let text = |at: usize| format!("{} {}\n", words[at % 4], words[at / 4 % 4]);
    sandbox.file("many.txt", (0..5000).map(text).collect::<String>());
    let many = rows(&sandbox.done(&line).out);
    assert_eq!(many.len(), 5000);
    // Texts come again after 16, also across the end of a block.
    for at in 16..5000 {
        let apart = many[at]
            .iter()
            .zip(&many[at % 16])
            .map(|(a, b)| (a - b).abs());
        assert!(apart.fold(0.0, f32::max) < 1e-5, "{at}");
    }
    let json: Value = serde_json::from_str(&sandbox.done(&format!("{line} --json")).out).unwrap();
    assert_eq!(json["embeddings"].as_array().unwrap().len(), 5000);
    let cut = rows(&sandbox.done(&format!("{line} --max-length 3")).out);
    assert_ne!(cut[0], many[0]);
    let said = sandbox.refit(&format!("{line} --max-length 7"));
    assert!(
        said.code == Some(3) && said.err.contains("3..=6"),
        "{}",
        said.err
    );
    sandbox.file("many.txt", "");
    assert_eq!(sandbox.done(&line).out, "");
    let json: Value = serde_json::from_str(&sandbox.done(&format!("{line} --json")).out).unwrap();
    assert_eq!(json, json!({ "embeddings": [] }));
}

#[test]
fn info_says_what_a_model_is_and_whether_its_tensors_fit() {
    let sandbox = Sandbox::new();
    encoder(&sandbox);
    let ask = || sandbox.done(&format!("info {ENCODER}")).out;
    let said = ask();
    for words in [
        "family      bert reads texts; `refit embed`",
        "task        vectors of texts",
        "layers 2, width 8, heads 2",
        "tokens of a text 16",
        "fit         every tensor is one of the model",
    ] {
        assert!(said.contains(words), "{words}\n{said}");
    }
    let path = format!("{ENCODER}/config.json");
    let with = |key: &str, value: Value| {
        let mut config = config();
        config[key] = value;
        sandbox.file(&path, config.to_string());
        ask()
    };
    let said = with("num_hidden_layers", json!(1));
    assert!(
        said.contains("fit         no: 16 tensors belong to no part"),
        "{said}"
    );
    assert!(said.contains("and 6 more"), "{said}");
    let said = with("num_hidden_layers", json!("two"));
    assert!(
        said.contains("problem     `") && said.contains("`num_hidden_layers` is"),
        "{said}"
    );
    let said = with("model_type", json!("mamba"));
    assert!(said.contains("mamba is none that refit runs"), "{said}");
    sandbox.file(&path, "{\"model_type\": ");
    let said = ask();
    assert!(said.contains("config.json` is no JSON object"), "{said}");
}

#[test]
fn long_texts_are_told_of_and_bad_input_is_named() {
    let sandbox = Sandbox::new();
    encoder(&sandbox);
    sandbox.file("long.txt", "learn from models learn from models\nmodel\n");
    let said = sandbox.done(&format!("embed {ENCODER} --input long.txt"));
    assert!(
        said.err.contains("1 of 2 texts have 6 tokens or more"),
        "{}",
        said.err
    );
    let refused = |name: &str, content: &[u8], words: &str| {
        let path = format!("{ENCODER}/{name}");
        let before = std::fs::read(sandbox.path().join(&path)).ok();
        sandbox.file(&path, content);
        let said = sandbox.refit(&format!("embed {ENCODER} --input long.txt --dry-run"));
        assert_eq!(said.code, Some(3), "{}", said.err);
        assert!(said.err.contains(words), "{}", said.err);
        match before {
            Some(bytes) => drop(sandbox.file(&path, bytes)),
            None => std::fs::remove_file(sandbox.path().join(&path)).unwrap(),
        }
    };
    let with = |key: &str, value: Value| {
        let mut config = config();
        config[key] = value;
        config.to_string().into_bytes()
    };
    refused(
        "config.json",
        &with("model_type", json!("brt")),
        "did you mean `bert`?",
    );
    refused(
        "config.json",
        &with("hidden_size", json!("wide")),
        "`hidden_size` is",
    );
    refused(
        "config.json",
        &with("num_attention_heads", json!(3)),
        "expected a divisor of 8",
    );
    refused(
        "config.json",
        &with("vocab_size", json!(5)),
        "has 9 tokens, the model rows for 5",
    );
    refused("config.json", b"[1", "is no JSON object");
    refused("tokenizer.json", b"{}", "is no tokenizer");
    refused(
        "modules.json",
        br#"[{"type": "x.Dense"}]"#,
        "unknown module `Dense`",
    );
    refused("1_Pooling/config.json", b"{}", "asks for another way");
    sandbox.file("latin.txt", b"\xff\xfe\n");
    let said = sandbox.refit(&format!("embed {ENCODER} --input latin.txt"));
    assert!(
        said.err.contains("line 1 of `latin.txt` is not UTF-8"),
        "{}",
        said.err
    );
    let deeper = with("num_hidden_layers", json!(3));
    sandbox.file(&format!("{ENCODER}/config.json"), deeper);
    let said = sandbox.refit(&format!("embed {ENCODER} --input long.txt"));
    assert!(
        said.err
            .contains("16 tensors are missing: `encoder.layer.2."),
        "{}",
        said.err
    );
    assert!(said.err.contains(" and 6 more"), "{}", said.err);
}
