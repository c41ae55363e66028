//! `refit embed` on a tiny encoder.

use crate::sandbox::Sandbox;
use burn::tensor::Device;
use refit_core::{DType, Seed, Sink, Source, TensorMeta};
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
    sandbox.file("many.txt", "learn from models\nlearn from models model\n");
    let cut = rows(&sandbox.done(&format!("{line} --max-length 4")).out);
    let whole = rows(&sandbox.done(&line).out);
    assert_eq!(cut[0], cut[1]);
    assert_ne!(whole[0], whole[1]);
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
        "tokens of a text 6",
        "vectors     mean of the tokens, of length 1",
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
    // Weights in a format that only `refit merge` reads, and a file that is none.
    std::fs::create_dir(sandbox.path().join("models/bin")).unwrap();
    sandbox.file("models/bin/config.json", config().to_string());
    for (file, turns) in [("training_args.bin", false), ("pytorch_model.bin", true)] {
        sandbox.file(&format!("models/bin/{file}"), "no archive");
        let said = sandbox.refit("embed models/bin --input lines.txt").err;
        let hint = "`merge_method: passthrough` turns `pytorch_model.bin` into safetensors";
        assert_eq!(said.contains(hint), turns, "{file}\n{said}");
        assert!(said.contains("holds no `model.safetensors`"), "{said}");
    }
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
    refused(
        "1_Pooling/config.json",
        br#"{"pooling_mode_mean_tokens": false}"#,
        "asks for another way",
    );
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

/// The vectors of a run that has to succeed.
fn embedded(sandbox: &Sandbox, folder: &str) -> Vec<Vec<f32>> {
    rows(
        &sandbox
            .done(&format!("embed {folder} --input lines.txt"))
            .out,
    )
}

/// Says in the folder of the encoder how tokens are pooled, without a norm behind.
fn pooled_by(sandbox: &Sandbox, pooling: &Value) {
    let modules = json!([
        { "path": "", "type": "sentence_transformers.models.Transformer" },
        { "path": "1_Pooling", "type": "sentence_transformers.models.Pooling" },
    ]);
    sandbox.file(&format!("{ENCODER}/modules.json"), modules.to_string());
    let file = format!("{ENCODER}/1_Pooling/config.json");
    sandbox.file(&file, pooling.to_string());
}

#[test]
fn a_folder_says_how_tokens_are_pooled() {
    let sandbox = Sandbox::new();
    sandbox.file("lines.txt", "learn from models\nmodel\n");
    encoder(&sandbox);
    let by = |pooling: Value| {
        pooled_by(&sandbox, &pooling);
        embedded(&sandbox, ENCODER)
    };
    let ways = ["cls", "lasttoken", "mean", "max", "mean_sqrt_len_tokens"]
        .map(|way| by(json!({ "pooling_mode": way, "embedding_dimension": WIDTH })));
    let [first, last, mean, most, root] = &ways;
    assert_eq!(&by(json!({ "pooling_mode_cls_token": true })), first);
    assert_eq!(&by(json!({ "pooling_mode_lasttoken": true })), last);
    assert_eq!(&by(json!({ "pooling_mode_max_tokens": true })), most);
    // `[CLS] learn from models [SEP]` are five tokens, `[CLS] model [SEP]` three.
    for (row, tokens) in [(0, 5f32), (1, 3.0)] {
        for at in 0..WIDTH {
            let scaled = mean[row][at] * tokens.sqrt();
            assert!((root[row][at] - scaled).abs() < 1e-5 * (1.0 + scaled.abs()));
            let single = first[row][at].max(last[row][at]).max(mean[row][at]);
            assert!(most[row][at] >= single - 1e-6);
        }
        assert!(first[row] != last[row] && mean[row] != most[row]);
    }
}

#[test]
fn a_decoder_gives_vectors_too() {
    let sandbox = Sandbox::new();
    sandbox.file("lines.txt", "learn from models\nmodel\n");
    let folder = |causal: bool| {
        let name = if causal { "models/one" } else { "models/both" };
        std::fs::create_dir_all(sandbox.path().join(name)).unwrap();
        let config = json!({
            "model_type": "mistral", "architectures": ["MistralModel"], "vocab_size": TINY_WORDS.len(), "hidden_size": WIDTH,
            "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 12,
            "max_position_embeddings": 24, "sliding_window": 3, "is_causal": causal,
        });
        sandbox.file(&format!("{name}/config.json"), config.to_string());
        sandbox.file(
            &format!("{name}/tokenizer.json"),
            tiny_tokenizer().to_string(),
        );
        weights(&sandbox, name, &config);
        name
    };
    let [one, both] = [true, false].map(|causal| embedded(&sandbox, folder(causal)));
    assert_eq!((one.len(), one[0].len()), (2, WIDTH));
    assert_ne!(one, both); // with the same weights
    // Alone a text has the vector that it has beside a longer one.
    sandbox.file("lines.txt", "model\n");
    for (name, among) in [("models/one", one), ("models/both", both)] {
        let alone = embedded(&sandbox, name).remove(0);
        let apart = alone.iter().zip(&among[1]).map(|(a, b)| (a - b).abs());
        assert!(apart.fold(0.0, f32::max) < 1e-5, "{name}");
    }
}

#[test]
fn prompts_of_the_folder_go_in_front_of_texts() {
    let sandbox = Sandbox::new();
    encoder(&sandbox);
    let settings = format!("{ENCODER}/config_sentence_transformers.json");
    let prompts = |default: Value| {
        let keys = json!({ "prompts": { "query": "learn ", "passage": "" }, "default_prompt_name": default });
        sandbox.file(&settings, keys.to_string());
    };
    let of = |text: &str| {
        sandbox.file("lines.txt", format!("{text}\n"));
        embedded(&sandbox, ENCODER).remove(0)
    };
    let (bare, whole) = (of("models"), of("learn models"));
    prompts(Value::Null);
    assert_eq!(of("models"), bare);
    prompts(json!("query"));
    assert_eq!(of("models"), whole);
    // What is asked is read behind `learn `, what is found is not: only one order finds the right text.
    sandbox.file(
        "pairs.tsv",
        "query\ttext\nmodels\tlearn models\nfrom\tlearn from\n",
    );
    let eval = format!("eval {ENCODER} --task retrieval --data pairs.tsv --json");
    let score: Value = serde_json::from_str(&sandbox.done(&eval).out).unwrap();
    assert_eq!(score["accuracy"], json!(1.0));
    // Without the prompt in the pool its tokens are read and take no part. `[CLS] learn models [SEP]`: two of four.
    let by = |way: &str, include: bool| {
        pooled_by(
            &sandbox,
            &json!({ "pooling_mode": way, "include_prompt": include }),
        );
        of("models")
    };
    let (all, half) = (by("mean", true), by("mean", false));
    let (first, third, last) = (by("cls", true), by("cls", false), by("lasttoken", false));
    for at in 0..WIDTH {
        let mean = f32::midpoint(third[at], last[at]);
        assert!((half[at] - mean).abs() < 1e-5 * (1.0 + mean.abs()));
    }
    assert!(first != third && all != half);
    for (key, value, words) in [
        (
            "prompts",
            json!({ "query": 3 }),
            "expected a text for each name",
        ),
        (
            "default_prompt_name",
            json!("asked"),
            "expected one of `prompts`",
        ),
    ] {
        sandbox.file(&settings, json!({ key: value }).to_string());
        let said = sandbox.refit(&format!("embed {ENCODER} --input lines.txt"));
        assert!(
            said.code == Some(3) && said.err.contains(words),
            "{}",
            said.err
        );
    }
}

#[test]
fn the_tokenizer_says_how_long_texts_are_where_nothing_else_does() {
    let sandbox = Sandbox::new();
    encoder(&sandbox);
    sandbox.file("lines.txt", "learn from models learn from models\n");
    let cut = |sentence: Value, tokenizer: Value| {
        let file = |name: &str| format!("{ENCODER}/{name}");
        sandbox.file(&file("sentence_bert_config.json"), sentence.to_string());
        sandbox.file(&file("tokenizer_config.json"), tokenizer.to_string());
        sandbox
            .done(&format!("embed {ENCODER} --input lines.txt"))
            .err
    };
    let words = |limit: usize| format!("1 of 1 texts have {limit} tokens or more");
    let said = cut(
        json!({ "max_seq_length": 6 }),
        json!({ "model_max_length": 4 }),
    );
    assert!(said.contains(&words(6)), "{said}");
    for sentence in [json!({}), json!({ "max_seq_length": null })] {
        let said = cut(sentence, json!({ "model_max_length": 4 }));
        assert!(said.contains(&words(4)), "{said}");
    }
    let said = cut(json!({}), json!({ "model_max_length": 1e30 }));
    assert!(!said.contains("tokens or more"), "{said}");
}

#[test]
fn packed_weights_and_vectors_that_are_no_numbers_are_refused() {
    let sandbox = Sandbox::new();
    encoder(&sandbox);
    sandbox.file("lines.txt", "learn\nlearn models\nmodels\n");
    let path = sandbox.path().join(ENCODER).join("model.safetensors");
    let file = Checkpoint::open(&path).unwrap();
    let metas = file.tensors().to_vec();
    let mut values: Vec<Vec<f32>> = metas
        .iter()
        .map(|meta| file.tensor_f32(meta.path.as_str()).unwrap())
        .collect();
    drop(file);
    let write = |metas: &[TensorMeta], values: &[Vec<f32>]| {
        let options = WriteOptions {
            overwrite: refit_io::atomic::Overwrite::Replace,
            ..WriteOptions::default()
        };
        let mut writer = CheckpointWriter::create(&path, metas.to_vec(), options).unwrap();
        for (meta, values) in metas.iter().zip(values) {
            let bytes = match meta.dtype {
                DType::I32 => vec![0; meta.size_bytes()],
                _ => encode_f32(meta, values).unwrap(),
            };
            writer.put(meta, &bytes).unwrap();
        }
        writer.finish().unwrap();
    };
    // A word and a place that are finite, and too large together: only in the second text they meet.
    let table = |name: &str| {
        let name = format!("embeddings.{name}_embeddings.weight");
        let at = metas.iter().position(|meta| meta.path.as_str() == name);
        at.unwrap()
    };
    let words = table("word");
    let word = TINY_WORDS.iter().position(|word| *word == "models");
    values[words][word.unwrap() * WIDTH] = 3e38;
    values[table("position")][2 * WIDTH] = 3e38;
    write(&metas, &values);
    let said = sandbox.refit(&format!("embed {ENCODER} --input lines.txt"));
    assert!(
        said.code == Some(3) && said.err.contains("of text 2 is not finite"),
        "{}",
        said.err
    );
    let mut packed = metas.clone();
    packed[words].dtype = DType::I32;
    write(&packed, &values);
    let mut config = config();
    config["quantization_config"] = json!({ "quant_method": "awq", "bits": 4 });
    sandbox.file(&format!("{ENCODER}/config.json"), config.to_string());
    let said = sandbox.refit(&format!("embed {ENCODER} --input lines.txt"));
    assert!(
        said.code == Some(3) && said.err.contains("`quant_method` `awq`"),
        "{}",
        said.err
    );
}
