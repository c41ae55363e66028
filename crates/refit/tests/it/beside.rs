//! What stands beside the weights of a streamed merge: configuration, tokenizer, chat template.

use crate::{
    sandbox::Sandbox,
    streamed::{metas, model},
};
use refit_core::{DType, Sink, TensorMeta};
use refit_io::ckpt::{Checkpoint, CheckpointWriter, TensorReader, WriteOptions};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Settings of a tokenizer with a number that no floating-point number is.
const SETTINGS: &str = r#"{"model_max_length": 1000000000000000019884624838656, "pad_token": "x"}"#;

/// A model of one layer whose tokenizer knows `words`, in the order of their ids.
fn worded(sandbox: &Sandbox, name: &str, seed: u64, words: &[&str]) {
    model(sandbox, name, seed, &metas(1, 4, words.len()), |_, _| {});
    tokenizer(sandbox, name, words);
    sandbox.file(&format!("{name}/tokenizer_config.json"), SETTINGS);
}

fn tokenizer(sandbox: &Sandbox, name: &str, words: &[&str]) {
    let ids = words.iter().enumerate();
    let ids: BTreeMap<&str, usize> = ids.map(|(id, &word)| (word, id)).collect();
    let json = json!({"added_tokens": [], "model": {"type": "WordLevel", "vocab": ids}});
    sandbox.file(&format!("{name}/tokenizer.json"), json.to_string());
}

fn json(sandbox: &Sandbox, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(sandbox.path().join(name)).unwrap()).unwrap()
}

fn text(sandbox: &Sandbox, name: &str) -> String {
    std::fs::read_to_string(sandbox.path().join(name)).unwrap()
}

/// The tokens of a model and the row of each in its embedding.
fn rows(sandbox: &Sandbox, name: &str) -> BTreeMap<String, Vec<f32>> {
    let tokenizer = json(sandbox, &format!("{name}/tokenizer.json"));
    let model = Checkpoint::open(sandbox.path().join(name)).unwrap();
    let values = model.tensor_f32("model.embed_tokens.weight").unwrap();
    let words = tokenizer["model"]["vocab"].as_object().unwrap().iter();
    let words = words.map(|(word, id)| (word.clone(), id.as_u64().unwrap()));
    let added = tokenizer["added_tokens"].as_array().unwrap().iter();
    let added = added.map(|t| {
        (
            t["content"].as_str().unwrap().into(),
            t["id"].as_u64().unwrap(),
        )
    });
    let row = |id: u64| values[4 * id as usize..][..4].to_vec();
    words
        .chain(added)
        .map(|(word, id)| (word, row(id)))
        .collect()
}

/// A recipe that averages `names`, with more lines.
fn mean(names: &[&str], lines: &str) -> String {
    let entry = |name: &&str| format!("  - {{model: {name}, parameters: {{weight: 1}}}}\n");
    let entries: String = names.iter().map(entry).collect();
    format!("merge_method: linear\nmodels:\n{entries}{lines}")
}

#[test]
fn a_result_has_the_tokenizer_of_the_stage_that_it_comes_from() {
    let sandbox = Sandbox::new();
    worded(&sandbox, "a", 1, &["x", "y", "z"]);
    worded(&sandbox, "b", 2, &["y", "z", "w", "v"]);
    worded(&sandbox, "c", 3, &["w", "u", "x"]);
    for (source, tokens) in [("union", 5), ("b", 4)] {
        let lines =
            format!("name: one\ntokenizer_source: {source}\nchat_template: \"{{{{ one }}}}\"\n");
        let first = mean(&["a", "b"], &lines);
        sandbox.file("one.yaml", &first);
        sandbox.file("two.yaml", format!("{first}---\n{}", mean(&["one"], "")));
        sandbox.done("merge one.yaml --out one -q --force");
        sandbox.done("merge two.yaml --out two -q --force");
        assert_eq!(rows(&sandbox, "two").len(), tokens);
        assert_eq!(rows(&sandbox, "one"), rows(&sandbox, "two"));
        let names = sandbox.names("one");
        assert_eq!(names, sandbox.names("two"));
        let same = [
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "chat_template.jinja",
        ];
        for name in same {
            let of = |run: &str| text(&sandbox, &format!("{run}/{name}"));
            assert_eq!(of("one"), of("two"), "{name}");
        }
        assert_eq!(json(&sandbox, "two/config.json")["vocab_size"], tokens);
    }
}

#[test]
fn a_stage_with_a_tokenizer_is_merged_by_token_again() {
    let sandbox = Sandbox::new();
    worded(&sandbox, "a", 1, &["x", "y", "z"]);
    worded(&sandbox, "b", 2, &["y", "z", "w"]);
    worded(&sandbox, "c", 3, &["w", "u", "x"]);
    let union = "tokenizer_source: union\ndtype: float32\n";
    let stages = [
        mean(&["a", "b"], &format!("name: one\n{union}")),
        mean(&["one", "c"], union),
    ];
    sandbox.file("r.yaml", stages.join("---\n"));
    let plan = sandbox.done("merge r.yaml --out out --dry-run").out;
    for words in [
        "tokenizer   of a, 1 tokens added, 4 rows matched by token",
        "tokenizer   of one, 1 tokens added, 5 rows matched by token",
    ] {
        assert!(plan.contains(words), "{plan}");
    }
    sandbox.done("merge r.yaml --out out -q");
    let page = std::fs::read_to_string(sandbox.path().join("out/report.html")).unwrap();
    assert!(page.contains("of one, 1 tokens added, 5 rows matched by token"));
    let (out, a, b, c) = (
        rows(&sandbox, "out"),
        rows(&sandbox, "a"),
        rows(&sandbox, "b"),
        rows(&sandbox, "c"),
    );
    assert_eq!(out.keys().collect::<Vec<_>>(), ["u", "w", "x", "y", "z"]);
    let mean = |a: &[f32], b: &[f32]| {
        a.iter()
            .zip(b)
            .map(|(a, b)| f32::midpoint(*a, *b))
            .collect::<Vec<_>>()
    };
    // What only one side knows is that side's own; sums of values of BF16 are exact here.
    assert_eq!(out["u"], c["u"]);
    assert_eq!(out["y"], mean(&a["y"], &b["y"]));
    assert_eq!(out["x"], mean(&a["x"], &c["x"]));
    assert_eq!(out["w"], mean(&b["w"], &c["w"]));
}

#[test]
fn models_packed_in_an_unknown_way_are_passed_through_and_nothing_else() {
    let sandbox = Sandbox::new();
    for name in ["a", "b"] {
        quantised(&sandbox, name);
        let config = sandbox.path().join(name).join("config.json");
        let told = std::fs::read_to_string(&config).unwrap();
        assert!(told.contains("gptq"), "{told}");
        sandbox.file(&format!("{name}/config.json"), told.replace("gptq", "awq"));
    }
    sandbox.file("mean.yaml", mean(&["a", "b"], ""));
    let said = sandbox.refit("merge mean.yaml --out out --dry-run");
    let words = "is packed into I32 (`quant_method` `awq`), which cannot be read as weights";
    assert!(
        said.code == Some(3) && said.err.contains(words),
        "{}",
        said.err
    );
    sandbox.file("own.yaml", "base: a\nexperts: [b]\nmethod: average\n");
    let said = sandbox.refit("merge own.yaml --out out");
    assert!(
        said.code == Some(3) && said.err.contains(words),
        "{}",
        said.err
    );
    let said = sandbox.refit("extract b --base a --out out");
    assert!(
        said.code == Some(3) && said.err.contains(words),
        "{}",
        said.err
    );
    sandbox.file(
        "copy.yaml",
        "merge_method: passthrough\nmodels: [{model: a}]\n",
    );
    sandbox.done("merge copy.yaml --out copy -q");
    assert!(sandbox.done("info copy").out.contains("I32"));
}

/// A model with a matrix of GPTQ: eight outputs, eight inputs in one group, every value 1 (word of nines, zero point 8).
fn quantised(sandbox: &Sandbox, name: &str) {
    let folder = sandbox.path().join(name);
    let meta = |end: &str, dtype: DType, shape: &[usize]| TensorMeta {
        path: format!("model.layers.0.mlp.up_proj.{end}").into(),
        dtype,
        shape: shape.to_vec(),
    };
    let parts = [
        (meta("qweight", DType::I32, &[1, 8]), vec![0x99; 32]),
        (meta("qzeros", DType::I32, &[1, 1]), vec![0x77; 4]),
        (meta("scales", DType::F16, &[1, 8]), [0, 0x3c].repeat(8)),
    ];
    let metas = parts.iter().map(|(meta, _)| meta.clone()).collect();
    let mut writer = CheckpointWriter::create(&folder, metas, WriteOptions::default()).unwrap();
    for (meta, bytes) in &parts {
        writer.put(meta, bytes).unwrap();
    }
    writer.finish().unwrap();
    let config = json!({"model_type": "llama", "num_hidden_layers": 1, "torch_dtype": "float16",
        "quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 8}});
    sandbox.file(&format!("{name}/config.json"), config.to_string());
}

#[test]
fn weights_that_were_unpacked_are_no_longer_called_packed() {
    let sandbox = Sandbox::new();
    quantised(&sandbox, "q");
    let alone = "merge_method: passthrough\nmodels: [{model: q}]\n";
    let slices =
        "merge_method: passthrough\nslices: [{sources: [{model: q, layer_range: [0, 1]}]}]\n";
    let scaled = "merge_method: passthrough\nmodels: [{model: q, parameters: {scale: 2}}]\n";
    for (recipe, packed, value) in [
        (alone.to_owned(), true, 1.0),
        (format!("{alone}dtype: float32\n"), false, 1.0),
        (slices.to_owned(), false, 1.0),
        (scaled.to_owned(), false, 2.0),
    ] {
        sandbox.file("r.yaml", &recipe);
        sandbox.done("merge r.yaml --out out -q --force");
        let stored = TensorReader::open_stored(sandbox.path().join("out")).unwrap();
        assert_eq!(
            stored.tensors().len(),
            if packed { 3 } else { 1 },
            "{recipe}"
        );
        let config = json(&sandbox, "out/config.json");
        assert_eq!(
            config.get("quantization_config").is_some(),
            packed,
            "{recipe}"
        );
        // What readers make of it is the same.
        let read = TensorReader::open(sandbox.path().join("out")).unwrap();
        let at = read.locate("model.layers.0.mlp.up_proj.weight").unwrap();
        let mut values = [0.0; 64];
        read.read_f32(at, 0..64, &mut values, &mut Vec::new())
            .unwrap();
        assert_eq!(values.to_vec(), vec![value; 64], "{recipe}");
    }
}

#[test]
fn other_tokens_in_the_same_rows_are_told_before_and_while_they_are_merged() {
    let sandbox = Sandbox::new();
    worded(&sandbox, "a", 1, &["x", "y", "z"]);
    worded(&sandbox, "b", 2, &["x", "w", "z"]);
    worded(&sandbox, "c", 3, &["x", "y", "z"]);
    // What only one of the two knows contradicts nothing.
    tokenizer(&sandbox, "c", &["x", "y"]);
    let words = "row 1 is `w` in `b` and not in `a`";
    for (models, lines, warned) in [
        (["a", "b"], "", true),
        (["a", "c"], "", false),
        (["a", "b"], "tokenizer_source: union\n", false),
    ] {
        sandbox.file("r.yaml", mean(&models, lines));
        let plan = sandbox.done("merge r.yaml --out out --force --dry-run").out;
        let json = sandbox
            .done("merge r.yaml --out out --force --dry-run --json")
            .out;
        let said = sandbox.done("merge r.yaml --out out --force").err;
        for text in [plan, json, said] {
            assert_eq!(text.contains(words), warned, "{text}");
        }
    }
}

#[test]
fn the_template_that_most_models_have_is_that_of_the_result() {
    let sandbox = Sandbox::new();
    for (name, seed) in [("a", 1), ("b", 2), ("c", 3), ("d", 4)] {
        worded(&sandbox, name, seed, &["x", "y", "z"]);
    }
    let settings = |template: Value| json!({"chat_template": template}).to_string();
    sandbox.file(
        "a/tokenizer_config.json",
        settings(json!("A {{ messages }}")),
    );
    let named = json!([{"name": "tools", "template": "no"}, {"name": "default", "template": " B {{ messages }}\n"}]);
    sandbox.file("b/tokenizer_config.json", settings(named));
    // A file of its own counts more than what the settings say.
    sandbox.file(
        "c/tokenizer_config.json",
        settings(json!("A {{ messages }}")),
    );
    sandbox.file("c/chat_template.jinja", "B {{ messages }}\n");
    for (models, expected) in [
        (&["a", "b", "c", "d"][..], Some("B {{ messages }}")),
        (&["a", "b", "d"], Some("A {{ messages }}")), // as many of each: the first
        (&["d"], None),
    ] {
        sandbox.file("r.yaml", mean(models, "chat_template: auto\n"));
        sandbox.done("merge r.yaml --out out -q --force");
        let written = sandbox.path().join("out/chat_template.jinja");
        let found = std::fs::read_to_string(written).ok();
        assert_eq!(found.as_deref(), expected, "{models:?}");
        let settings = json(&sandbox, "out/tokenizer_config.json");
        let known = settings.get("chat_template").and_then(Value::as_str);
        assert_eq!(known, expected, "{models:?}");
    }
}

#[test]
fn a_dry_run_refuses_what_a_run_would_and_names_it() {
    let sandbox = Sandbox::new();
    worded(&sandbox, "b", 2, &["x", "y", "z"]);
    let broken = |name: &str, words: &str| {
        sandbox.file("r.yaml", mean(&["a", "b"], ""));
        for flag in ["--dry-run", ""] {
            let said = sandbox.refit(&format!("merge r.yaml --out out {flag}"));
            assert_eq!(said.code, Some(3), "{name}: {}", said.err);
            assert!(said.err.contains(&format!("a/{name}`")), "{}", said.err);
            assert!(said.err.contains(words), "{}", said.err);
        }
        std::fs::remove_dir_all(sandbox.path().join("a")).unwrap();
    };
    worded(&sandbox, "a", 1, &["x", "y", "z"]);
    sandbox.file("a/generation_config.json", "{'a': 1}");
    broken("generation_config.json", "is no JSON");
    worded(&sandbox, "a", 1, &["x", "y", "z"]);
    std::fs::create_dir(sandbox.path().join("a/vocab.txt")).unwrap();
    broken("vocab.txt", "is not a regular file");
    #[cfg(unix)]
    for (name, target) in [
        ("vocab.txt", "../secret"),
        ("config.json", "../secret"),
        ("merges.txt", "nowhere"),
    ] {
        sandbox.file("secret", "{}");
        worded(&sandbox, "a", 1, &["x", "y", "z"]);
        let link = sandbox.path().join("a").join(name);
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(target, link).unwrap();
        broken(name, &format!("is a link to `{target}`"));
    }
}

#[test]
fn the_first_configuration_there_is_is_that_of_the_result() {
    let sandbox = Sandbox::new();
    worded(&sandbox, "a", 1, &["x", "y", "z"]);
    worded(&sandbox, "b", 2, &["x", "y", "z"]);
    std::fs::remove_file(sandbox.path().join("a/config.json")).unwrap();
    sandbox.file("r.yaml", mean(&["a", "b"], ""));
    let said = sandbox.done("merge r.yaml --out out").err;
    let words = "warning: `a` has no `config.json`; the result has that of `b`";
    assert!(said.contains(words), "{said}");
    assert_eq!(json(&sandbox, "out/config.json")["num_hidden_layers"], 1);
}

#[test]
fn numbers_keep_their_spelling_and_a_number_of_words_that_is_none_is_told() {
    let sandbox = Sandbox::new();
    worded(&sandbox, "a", 1, &["x", "y", "z"]);
    worded(&sandbox, "b", 2, &["y", "z", "w"]);
    let config = r#"{"rms_norm_eps": 1e-05, "num_hidden_layers": 1, "vocab_size": SIZE, "big": 100000000000000000000}"#;
    for (size, lines, words) in [
        ("3", "", None),
        (
            "9",
            "",
            Some("tells of 9 words (`vocab_size`), its embedding has 3 rows"),
        ),
        ("2", "", Some("tells of 2 words")),
        ("1e20", "", Some("tells of 1e+20 words")),
        ("9", "tokenizer_source: union\n", None),
    ] {
        sandbox.file("a/config.json", config.replace("SIZE", size));
        sandbox.file("r.yaml", mean(&["a", "b"], lines));
        let said = sandbox.done("merge r.yaml --out out --force").err;
        assert_eq!(
            said.contains("words (`vocab_size`)"),
            words.is_some(),
            "{said}"
        );
        assert!(said.contains(words.unwrap_or_default()), "{said}");
        let written = text(&sandbox, "out/config.json");
        for kept in ["1e-05", " 100000000000000000000"] {
            assert!(written.contains(kept), "{written}");
        }
        let size = if lines.is_empty() { size } else { "4" };
        assert!(
            written.contains(&format!("\"vocab_size\": {size}")),
            "{written}"
        );
        let settings = text(&sandbox, "out/tokenizer_config.json");
        assert!(
            settings.contains("1000000000000000019884624838656"),
            "{settings}"
        );
    }
}

#[test]
fn a_gguf_model_tells_its_configuration_itself() {
    let sandbox = Sandbox::new();
    sandbox.file("m/model.gguf", layered_gguf(3));
    let layers = |from: usize| format!("  - sources: [{{model: m, layer_range: [{from}, 3]}}]\n");
    let stacked = format!(
        "merge_method: passthrough\nslices:\n{}{}",
        layers(0),
        layers(1)
    );
    sandbox.file(
        "whole.yaml",
        "merge_method: passthrough\nmodels: [{model: m}]\n",
    );
    sandbox.file("stacked.yaml", stacked);
    for (recipe, expected) in [("whole", 3), ("stacked", 5)] {
        sandbox.done(&format!("merge {recipe}.yaml --out {recipe} -q"));
        let config = json(&sandbox, &format!("{recipe}/config.json"));
        assert_eq!(config["model_type"], "llama");
        assert_eq!(config["num_hidden_layers"], expected);
    }
}

/// A file of the Llama family with a norm of two values in each of its layers.
fn layered_gguf(layers: u32) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let mut file = [&b"GGUF"[..], &3u32.to_le_bytes()].concat();
    file.extend(
        [u64::from(layers), 2]
            .iter()
            .flat_map(|count| count.to_le_bytes()),
    );
    file.extend(
        [
            text("general.architecture"),
            8u32.to_le_bytes().to_vec(),
            text("llama"),
        ]
        .concat(),
    );
    file.extend([text("llama.block_count"), 4u32.to_le_bytes().to_vec()].concat());
    file.extend(layers.to_le_bytes());
    for layer in 0..layers {
        file.extend(text(&format!("blk.{layer}.attn_norm.weight")));
        file.extend(1u32.to_le_bytes());
        file.extend(2u64.to_le_bytes());
        file.extend(0u32.to_le_bytes());
        file.extend(u64::from(32 * layer).to_le_bytes());
    }
    file.resize(file.len().next_multiple_of(32), 0);
    for _ in 0..layers {
        file.extend([1.0f32, 2.0].iter().flat_map(|value| value.to_le_bytes()));
        file.resize(file.len().next_multiple_of(32), 0);
    }
    file
}

#[test]
fn ends_of_stacked_slices_are_mapped_by_their_own_models() {
    let sandbox = Sandbox::new();
    worded(&sandbox, "a", 1, &["x", "y", "z"]);
    worded(&sandbox, "b", 2, &["z", "x", "y"]);
    worded(&sandbox, "c", 3, &["x", "y", "z", "w"]);
    let slice = |name: &str| format!("  - sources: [{{model: {name}, layer_range: [0, 1]}}]\n");
    let slices: String = ["a", "c", "b"].map(slice).concat();
    let recipe = format!("merge_method: passthrough\nslices:\n{slices}tokenizer_source: union\n");
    sandbox.file("r.yaml", recipe);
    sandbox.done("merge r.yaml --out out -q");
    // The embedding is that of the first, the head that of the last; the one between brings a token, and no row.
    let (out, a) = (rows(&sandbox, "out"), rows(&sandbox, "a"));
    assert_eq!(out["w"], [0.0; 4]);
    assert!(["x", "y", "z"].iter().all(|&word| out[word] == a[word]));
    let head = |name: &str| {
        let model = Checkpoint::open(sandbox.path().join(name)).unwrap();
        model.tensor_f32("lm_head.weight").unwrap()
    };
    let b = head("b");
    assert_eq!(head("out"), [&b[4..12], &b[..4], &[0.0; 4]].concat());
}

#[test]
fn a_token_without_a_row_is_told_and_does_not_stop_a_merge() {
    let sandbox = Sandbox::new();
    worded(&sandbox, "a", 1, &["x", "y", "z"]);
    worded(&sandbox, "b", 2, &["x", "y", "z"]);
    tokenizer(&sandbox, "b", &["x", "y", "z", "<pad>"]);
    for source in ["union", "base"] {
        sandbox.file(
            "r.yaml",
            mean(&["a", "b"], &format!("tokenizer_source: {source}\n")),
        );
        let words = "the embedding of `b` has no row for `<pad>`";
        assert!(
            sandbox
                .done("merge r.yaml --out out --force --dry-run")
                .out
                .contains(words)
        );
        assert!(
            sandbox
                .done("merge r.yaml --out out --force")
                .err
                .contains(words)
        );
        assert_eq!(rows(&sandbox, "out").len(), 3);
    }
}

#[test]
fn a_model_without_a_fast_tokenizer_is_told_how_to_make_one() {
    let sandbox = Sandbox::new();
    worded(&sandbox, "a", 1, &["x", "y", "z"]);
    worded(&sandbox, "b", 2, &["x", "y", "z"]);
    let fast = sandbox.path().join("b/tokenizer.json");
    std::fs::rename(fast, sandbox.path().join("b/tokenizer.model")).unwrap();
    sandbox.file("r.yaml", mean(&["a", "b"], "tokenizer_source: union\n"));
    let said = sandbox.refit("merge r.yaml --out out --dry-run");
    assert_eq!(said.code, Some(3), "{}", said.err);
    for words in [
        "`b` has no `tokenizer.json`",
        "AutoTokenizer.from_pretrained",
    ] {
        assert!(said.err.contains(words), "{}", said.err);
    }
}
