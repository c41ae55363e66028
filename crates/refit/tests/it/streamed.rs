//! Merges by recipes of recipe tools, from files to files.

use crate::sandbox::Sandbox;
use refit::merging::{MergeJob, MergeOptions};
use refit_core::{
    Adapter, AdapterTensor, Change, DType, LowRank, Placement, Seed, Silent, Sink, Source,
    TensorMeta,
};
use refit_io::{
    adapter::{AdapterOptions, write_adapter},
    ckpt::{Checkpoint, CheckpointWriter, WriteOptions, encode_f32},
};
use std::{process::Stdio, time::Duration};

/// Names and shapes of a small model with `layers` layers.
pub(crate) fn metas(layers: usize, width: usize, words: usize) -> Vec<TensorMeta> {
    let meta = |name: String, shape: &[usize]| TensorMeta {
        path: name.into(),
        dtype: DType::BF16,
        shape: shape.to_vec(),
    };
    let mut metas = vec![meta("model.embed_tokens.weight".into(), &[words, width])];
    for layer in 0..layers {
        let name = |end: &str| format!("model.layers.{layer}.{end}");
        metas.push(meta(name("mlp.up_proj.weight"), &[2 * width, width]));
        metas.push(meta(name("mlp.down_proj.weight"), &[width, 2 * width]));
        metas.push(meta(name("input_layernorm.weight"), &[width]));
    }
    metas.push(meta("model.norm.weight".into(), &[width]));
    metas.push(meta("lm_head.weight".into(), &[words, width]));
    metas
}

fn value(seed: u64, tensor: usize, at: usize) -> f32 {
    let mixed = Seed::new(seed).get() as usize * 7919 + tensor * 104_729 + at * 31;
    ((mixed % 2003) as f32 - 1001.0) / 1024.0
}

/// Writes a model whose values depend on its name's seed; `spoil` may change them.
pub(crate) fn model(
    sandbox: &Sandbox,
    name: &str,
    seed: u64,
    metas: &[TensorMeta],
    spoil: impl Fn(&str, &mut [f32]),
) {
    let folder = sandbox.path().join(name);
    let options = WriteOptions::default();
    let mut writer = CheckpointWriter::create(&folder, metas.to_vec(), options).unwrap();
    for (tensor, meta) in metas.iter().enumerate() {
        let mut values: Vec<f32> = (0..meta.len()).map(|at| value(seed, tensor, at)).collect();
        spoil(meta.path.as_str(), &mut values);
        writer
            .put(meta, &encode_f32(meta, &values).unwrap())
            .unwrap();
    }
    writer.finish().unwrap();
    let layers = metas.len() / 3 - 1;
    let config = format!(
        r#"{{"model_type": "llama", "num_hidden_layers": {layers}, "vocab_size": {}}}"#,
        metas[0].shape[0]
    );
    sandbox.file(&format!("{name}/config.json"), config);
}

pub(crate) fn small(sandbox: &Sandbox) {
    for (name, seed) in [("base", 1), ("a", 2), ("b", 3)] {
        model(sandbox, name, seed, &metas(2, 6, 10), |_, _| {});
    }
}

pub(crate) const LINEAR: &str = "merge_method: linear
models:
  - model: a
    parameters: {weight: 3}
  - model: b
    parameters: {weight: 1}
dtype: float32
";

#[test]
fn a_merge_writes_a_model_that_other_tools_read() {
    let sandbox = Sandbox::new();
    small(&sandbox);
    sandbox.file("linear.yaml", format!("{LINEAR}chat_template: chatml\n"));
    let plan = sandbox.done("merge linear.yaml --out out/x --dry-run").out;
    assert!(plan.contains("9 merged, 0 copied"), "{plan}");
    assert!(sandbox.names("out").is_empty());
    sandbox.done("merge linear.yaml --out out/x");
    let expected = [
        "README.md",
        "chat_template.jinja",
        "config.json",
        "model.safetensors",
        "recipe.yaml",
        "report.html",
        "run.json",
    ];
    assert_eq!(sandbox.names("out/x"), expected);
    assert_eq!(sandbox.names("out"), ["x"]);
    let open = |name: &str| Checkpoint::open(sandbox.path().join(name)).unwrap();
    let (found, a, b) = (open("out/x"), open("a"), open("b"));
    assert_eq!(found.metadata()["format"], "pt");
    for meta in found.tensors() {
        let name = meta.path.as_str();
        let values = |of: &Checkpoint| of.tensor_f32(name).unwrap();
        assert_eq!(meta.dtype, DType::F32);
        for ((found, a), b) in values(&found).iter().zip(values(&a)).zip(values(&b)) {
            let expected = f64::from(a).mul_add(0.75, 0.25 * f64::from(b));
            assert!((f64::from(*found) - expected).abs() < 1e-7, "{name}");
        }
    }
    let again = sandbox.refit("merge linear.yaml --out out/x");
    assert_eq!(again.code, Some(3), "{}", again.err);
    let own = sandbox.refit("merge linear.yaml --out a --force");
    assert!(
        own.code == Some(3) && own.err.contains("which is read"),
        "{}",
        own.err
    );
}

#[test]
fn shards_seeds_and_threads_are_as_asked() {
    let sandbox = Sandbox::new();
    small(&sandbox);
    let dare = "merge_method: dare_ties
base_model: base
models:
  - {model: a, parameters: {weight: 0.5, density: 0.5}}
  - {model: b, parameters: {weight: 0.5, density: 0.5}}
";
    sandbox.file("dare.yaml", dare);
    sandbox.done("merge dare.yaml --out one --threads 1 --seed 4");
    sandbox.done("merge dare.yaml --out two --threads 2 --seed 4 --shard-size 200B --memory 1KiB");
    sandbox.done("merge dare.yaml --out other --seed 5");
    let read = |name: &str| {
        let model = Checkpoint::open(sandbox.path().join(name)).unwrap();
        let names = model.tensors().iter().map(|meta| meta.path.to_string());
        let tensors = names.map(|name| (model.tensor_f32(name.as_str()).unwrap(), name));
        tensors.collect::<Vec<_>>()
    };
    assert!(
        sandbox
            .names("two")
            .iter()
            .any(|name| name.ends_with("index.json"))
    );
    let sorted = |name: &str| {
        let mut tensors = read(name);
        tensors.sort_by(|a, b| a.1.cmp(&b.1));
        tensors
    };
    assert_eq!(sorted("one"), sorted("two"));
    assert_ne!(sorted("one"), sorted("other"));
}

/// Writes the adapter `tuned` for one tensor of [`small`] models, and returns what it adds.
fn tuned(sandbox: &Sandbox, target: &str) -> Vec<f32> {
    let left: Vec<f32> = (0..12).map(|i| i as f32 / 8.0).collect();
    let right: Vec<f32> = (0..6).map(|i| 1.0 - i as f32 / 4.0).collect();
    let factors = LowRank::new([12, 6], 1, left, right, 0.5).unwrap();
    let dense = factors.to_dense();
    let change = Change::LowRank {
        factors,
        placement: Placement::Linear,
        magnitude: None,
    };
    let adapter = Adapter {
        name: "tuned".into(),
        tensors: vec![AdapterTensor {
            target: target.into(),
            change,
        }],
    };
    let folder = sandbox.path().join("tuned");
    write_adapter(&folder, &adapter, &AdapterOptions::default()).unwrap();
    dense
}

#[test]
fn adapters_are_folded_and_results_are_merged_again() {
    let sandbox = Sandbox::new();
    small(&sandbox);
    let target = "model.layers.0.mlp.up_proj.weight";
    let dense = tuned(&sandbox, target);
    let recipes = "name: folded
merge_method: passthrough
models: [{model: base+tuned}]
dtype: float32
---
merge_method: task_arithmetic
base_model: base
models: [{model: folded, parameters: {weight: 2}}]
dtype: float32
";
    sandbox.file("two.yaml", recipes);
    sandbox.done("merge two.yaml --out out");
    assert!(!sandbox.names("out").iter().any(|name| name == "steps"));
    let open = |name: &str| Checkpoint::open(sandbox.path().join(name)).unwrap();
    let (out, base) = (open("out"), open("base"));
    let values = |of: &Checkpoint| of.tensor_f32(target).unwrap();
    for ((found, base), change) in values(&out).iter().zip(values(&base)).zip(dense) {
        assert!((found - (base + 2.0 * change)).abs() < 1e-6);
    }
}

#[test]
fn an_adapter_is_folded_into_the_result_of_an_earlier_recipe() {
    let sandbox = Sandbox::new();
    small(&sandbox);
    tuned(&sandbox, "model.layers.0.mlp.up_proj.weight");
    let last = "merge_method: slerp
base_model: a
models: [{model: a}, {model: FIRST+tuned}]
parameters: {t: 0.25}
dtype: float32
";
    sandbox.file("first.yaml", LINEAR);
    sandbox.done("merge first.yaml --out first-out");
    sandbox.file("last.yaml", last.replace("FIRST", "first-out"));
    sandbox.done("merge last.yaml --out two");
    let last = last.replace("FIRST", "first");
    sandbox.file("one.yaml", format!("name: first\n{LINEAR}---\n{last}"));
    sandbox.done("merge one.yaml --out one");
    let weights =
        |name: &str| std::fs::read(sandbox.path().join(name).join("model.safetensors")).unwrap();
    assert!(weights("one") == weights("two"));
    // The adapter is among what is read.
    let own = sandbox.refit("merge one.yaml --out tuned --force");
    assert!(
        own.code == Some(3) && own.err.contains("which is read"),
        "{}",
        own.err
    );
}

#[test]
fn an_output_inside_a_model_is_refused() {
    let sandbox = Sandbox::new();
    small(&sandbox);
    sandbox.file("r.yaml", LINEAR);
    for command in [
        "merge r.yaml --out b/merged",
        "extract b --base a --out a/lora",
    ] {
        let said = sandbox.refit(command);
        assert_eq!(said.code, Some(3), "{}", said.err);
        assert!(said.err.contains("lies inside"), "{}", said.err);
    }
    // A file alone does not make its folder a model.
    let file = LINEAR.replace("model: a", "model: a/model.safetensors");
    sandbox.file("r.yaml", file);
    sandbox.done("merge r.yaml --out a/merged");
}

#[test]
fn what_does_not_fit_is_told_before_anything_is_written() {
    let sandbox = Sandbox::new();
    small(&sandbox);
    model(&sandbox, "large", 4, &metas(2, 6, 11), |_, _| {});
    model(&sandbox, "deep", 5, &metas(3, 6, 10), |_, _| {});
    let spoil = |name: &str, values: &mut [f32]| {
        if name == "model.norm.weight" {
            values[4] = f32::NAN;
        }
    };
    model(&sandbox, "spoilt", 6, &metas(2, 6, 10), spoil);
    tuned(&sandbox, "model.layers.7.mlp.up_proj.weight");
    std::fs::rename(sandbox.path().join("tuned"), sandbox.path().join("other")).unwrap();
    let with = |model: &str| LINEAR.replace("model: b", &format!("model: {model}"));
    for (recipe, words) in [
        (
            LINEAR.replace("merge_method: linear", "merge_method: liner"),
            "did you mean `linear`?",
        ),
        (
            LINEAR.replace("weight: 3", "wieght: 3"),
            "did you mean `weight`?",
        ),
        (
            LINEAR.replace("models:", "modles:"),
            "did you mean `models`?",
        ),
        (with("large"), "`tokenizer_source: union`"),
        (with("no-such-model"), "`no-such-model`"),
        (
            with("spoilt"),
            "`model.norm.weight` of `spoilt` holds NaN at position 4",
        ),
        (
            format!("{LINEAR}chat_template: chatnl\n"),
            "did you mean `chatml`?",
        ),
        (
            format!("name: first\n{LINEAR}---\n{}", with("firs")),
            "did you mean `first`?",
        ),
        (
            format!("name: first\n{LINEAR}---\n{}", with("first+none")),
            "`none`",
        ),
        (
            format!("name: first\n{LINEAR}---\n{}", with("first+other")),
            "the adapter `other` changes `model.layers.7.mlp.up_proj.weight`, which the model has not",
        ),
        ("merge_method: [".to_owned(), "line"),
        ("merge_method: linear\nslices: []\n".to_owned(), "`slices`"),
        (
            "name: x\nmerge_method: slerp\nmodels: [{model: x}]\n".to_owned(),
            "x",
        ),
    ] {
        sandbox.file("r.yaml", &recipe);
        let said = sandbox.refit("merge r.yaml --out out");
        assert_eq!(said.code, Some(3), "{recipe}\n{}", said.err);
        assert!(said.err.contains(words), "{recipe}\n{}", said.err);
        assert!(
            !sandbox
                .names(".")
                .iter()
                .any(|name| name.starts_with("out")),
            "{recipe}"
        );
    }
    sandbox.file("r.yaml", with("spoilt"));
    sandbox.done("merge r.yaml --out out --nan allow");
    let file = sandbox.path().join("b/model.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    sandbox.file("b/model.safetensors", &bytes[..bytes.len() - 7]);
    sandbox.file("r.yaml", LINEAR);
    let cut = sandbox.refit("merge r.yaml --out cut");
    assert!(
        cut.code == Some(3) && cut.err.contains("b/model.safetensors"),
        "{}",
        cut.err
    );
    let own = sandbox.refit("merge recipes/ties.yaml --out o --memory 1GiB");
    assert_eq!(own.code, Some(2), "{}", own.err);
}

#[test]
fn a_merge_that_is_killed_anywhere_goes_on_to_the_same_bytes() {
    let sandbox = Sandbox::new();
    let metas = metas(24, 192, 3000);
    for (name, seed) in [("base", 1), ("a", 2), ("b", 3)] {
        model(&sandbox, name, seed, &metas, |_, _| {});
    }
    let ties = "merge_method: ties
base_model: base
models:
  - {model: a, parameters: {weight: 0.5, density: 0.3}}
  - {model: b, parameters: {weight: 0.5, density: 0.3}}
";
    sandbox.file("ties.yaml", ties);
    sandbox.done("merge ties.yaml --out whole -q --shard-size 1MB");
    let weights = |run: &str| {
        let names = sandbox.names(run).into_iter();
        let names = names.filter(|name| name.starts_with("model"));
        let read = |name: String| std::fs::read(sandbox.path().join(run).join(&name)).unwrap();
        names
            .map(|name| (name.clone(), read(name)))
            .collect::<Vec<_>>()
    };
    let expected = weights("whole");
    let (mut kills, mut met_at_work) = (0, 0);
    for turn in 0..10u64 {
        let mut args = "merge ties.yaml --out cut -q --threads 1 --shard-size 1MB".to_owned();
        loop {
            let mut child = sandbox
                .command()
                .args(args.split_whitespace())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_millis(8 + 13 * turn + 60 * kills % 70));
            if child
                .try_wait()
                .unwrap()
                .is_some_and(|status| status.success())
            {
                break;
            }
            child.kill().unwrap();
            let ended = child.wait().unwrap();
            if ended.success() {
                break;
            }
            kills += 1;
            let names = sandbox.names(".");
            if names.iter().any(|name| name == "cut") {
                // The kill came between the last name and the exit: what is there has to be whole.
                break;
            }
            if names.iter().any(|name| name == "cut.part") {
                met_at_work += 1;
                args = "merge --resume cut -q --threads 1".to_owned();
            }
            if kills % 3 == 0 {
                sandbox.done(&args);
                break;
            }
        }
        assert_eq!(weights("cut"), expected, "after {kills} kills");
        std::fs::remove_dir_all(sandbox.path().join("cut")).unwrap();
    }
    assert!(met_at_work > 0, "of {kills} kills none met a merge at work");
}

#[test]
fn a_kill_while_steps_are_removed_costs_nothing() {
    let sandbox = Sandbox::new();
    small(&sandbox);
    let at = |name: &str| sandbox.path().join(name).display().to_string();
    let here = |text: &str| {
        let text = text.replace("model: a", &format!("model: {}", at("a")));
        text.replace("model: b", &format!("model: {}", at("b")))
    };
    let last = LINEAR.replace("model: b", "model: first");
    let recipe = format!("name: first\n{}---\n{}", here(LINEAR), here(&last));
    sandbox.file("two.yaml", recipe);
    let recipe = sandbox.path().join("two.yaml");
    let job = MergeJob::open(&recipe, MergeOptions::default()).unwrap();
    let folder = sandbox.path().join("part");
    std::fs::create_dir(&folder).unwrap();
    job.run(&folder, &Silent).unwrap();
    let merged = || std::fs::read(folder.join("model.safetensors")).unwrap();
    let before = merged();
    assert!(!folder.join("steps").exists() && !folder.join("steps.done").exists());
    // Killed while the weights of a step were gone and its marker was not.
    std::fs::create_dir_all(folder.join("steps.done/first")).unwrap();
    sandbox.file("part/steps.done/first/complete", "");
    job.run(&folder, &Silent).unwrap();
    assert!(merged() == before && !folder.join("steps.done").exists());
}

#[test]
fn a_resumed_merge_that_cannot_go_on_keeps_what_it_has() {
    let sandbox = Sandbox::new();
    small(&sandbox);
    let last = LINEAR.replace("model: b", "model: first");
    sandbox.file("two.yaml", format!("name: first\n{LINEAR}---\n{last}"));
    // A run that stopped, as a full disk leaves it, with a step that lost its weights since.
    sandbox.done("merge two.yaml --out whole");
    std::fs::rename(
        sandbox.path().join("whole"),
        sandbox.path().join("torn.part"),
    )
    .unwrap();
    std::fs::create_dir_all(sandbox.path().join("torn.part/steps/first")).unwrap();
    sandbox.file("torn.part/steps/first/complete", "");
    let said = sandbox.refit("merge --resume torn");
    assert_eq!(said.code, Some(3), "{}", said.err);
    assert!(said.err.contains("what was merged is kept"), "{}", said.err);
    assert!(sandbox.path().join("torn.part/model.safetensors").exists());
}

#[test]
fn info_tells_what_recipes_adapters_and_other_formats_hold() {
    let sandbox = Sandbox::new();
    small(&sandbox);
    sandbox.file("linear.yaml", format!("name: first\n{LINEAR}---\n{TIES}"));
    let text = sandbox.done("info linear.yaml").out;
    for words in [
        "linear:",
        "name        first",
        "model       first",
        "ties:",
        "base        base",
    ] {
        assert!(text.contains(words), "{text}");
    }
    let target = "model.layers.0.mlp.up_proj.weight";
    tuned(&sandbox, target);
    let text = sandbox.done("info tuned").out;
    for words in [
        "adapter     tuned",
        "LORA",
        "all values are finite",
        "lora_A",
    ] {
        assert!(text.contains(words), "{text}");
    }
    let text = sandbox.done("info recipes/adapters.yaml").out;
    assert!(
        text.contains("of adapters") && text.contains("weight"),
        "{text}"
    );
    sandbox.file("gguf/model.gguf", gguf());
    for path in ["gguf", "gguf/model.gguf"] {
        let text = sandbox.done(&format!("info {path}")).out;
        for words in [
            "llama",
            "model.norm.weight",
            "-1.0000 .. 2.0000, mean 0.5000",
        ] {
            assert!(text.contains(words), "{text}");
        }
    }
}

pub(crate) const TIES: &str = "merge_method: ties
base_model: base
models: [{model: first, parameters: {weight: 1, density: 0.5}}]
";

/// The smallest file that is one: an architecture and a tensor of two values.
fn gguf() -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let (string, single) = (8u32.to_le_bytes(), 0u32.to_le_bytes());
    let mut file = [&b"GGUF"[..], &3u32.to_le_bytes()].concat();
    file.extend([1u64, 1].iter().flat_map(|count| count.to_le_bytes()));
    file.extend([text("general.architecture"), string.to_vec(), text("llama")].concat());
    file.extend(text("output_norm.weight"));
    file.extend(1u32.to_le_bytes());
    file.extend(2u64.to_le_bytes());
    file.extend(single);
    file.extend(0u64.to_le_bytes());
    file.resize(file.len().next_multiple_of(32), 0);
    file.extend([-1.0f32, 2.0].iter().flat_map(|value| value.to_le_bytes()));
    file
}
