//! Adapters extracted, merged and folded in, from files to files.

use crate::sandbox::Sandbox;
use refit_core::{Change, DType, Sink, TensorMeta};
use refit_io::{
    adapter::read_adapter,
    ckpt::{Checkpoint, CheckpointWriter, WriteOptions, encode_f32},
};

const SHAPES: [(&str, &[usize]); 5] = [
    ("model.embed_tokens.weight", &[10, 6]),
    ("model.layers.0.mlp.up_proj.weight", &[12, 6]),
    ("model.layers.0.mlp.down_proj.weight", &[6, 12]),
    ("model.norm.weight", &[6]),
    ("lm_head.weight", &[10, 6]),
];

fn value(seed: usize, tensor: usize, at: usize) -> f32 {
    let mixed = seed * 7919 + tensor * 104_729 + at * 31 + at * at * 17;
    ((mixed % 2003) as f32 - 1001.0) / 1024.0
}

/// A matrix of rank one that depends on the seed; small enough beside the weights.
fn outer(seed: usize, tensor: usize, cols: usize, at: usize) -> f32 {
    0.1 * value(seed, tensor, at / cols) * value(seed + 1, tensor + 7, at % cols)
}

/// Writes a model; `seed` adds a change of rank one to matrices and one of any kind to `whole`.
pub(crate) fn model(sandbox: &Sandbox, name: &str, seed: Option<usize>, whole: &[&str]) {
    let metas: Vec<TensorMeta> = SHAPES
        .iter()
        .map(|(name, shape)| TensorMeta {
            path: (*name).into(),
            dtype: DType::F32,
            shape: shape.to_vec(),
        })
        .collect();
    let folder = sandbox.path().join(name);
    let mut writer =
        CheckpointWriter::create(&folder, metas.clone(), WriteOptions::default()).unwrap();
    for (tensor, meta) in metas.iter().enumerate() {
        let path = meta.path.as_str();
        let changed = path.contains("proj") || whole.contains(&path);
        let values: Vec<f32> = (0..meta.len())
            .map(|at| {
                let change = seed
                    .filter(|_| changed)
                    .map(|seed| outer(seed, tensor, meta.shape[meta.shape.len() - 1], at));
                value(1, tensor, at) + change.unwrap_or(0.0)
            })
            .collect();
        writer
            .put(meta, &encode_f32(meta, &values).unwrap())
            .unwrap();
    }
    writer.finish().unwrap();
    let config = r#"{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 1,
        "vocab_size": 10, "tie_word_embeddings": false}"#;
    sandbox.file(&format!("{name}/config.json"), config);
}

/// The largest difference of two models.
fn distance(sandbox: &Sandbox, a: &str, b: &str) -> f32 {
    let open = |name: &str| Checkpoint::open(sandbox.path().join(name)).unwrap();
    let (a, b) = (open(a), open(b));
    let pairs = SHAPES.iter().flat_map(|(name, _)| {
        let (a, b) = (a.tensor_f32(*name).unwrap(), b.tensor_f32(*name).unwrap());
        a.into_iter()
            .zip(b)
            .map(|(a, b)| (a - b).abs())
            .collect::<Vec<_>>()
    });
    pairs.fold(0.0, f32::max)
}

/// Folds `adapter` into the base.
fn fold(sandbox: &Sandbox, adapter: &str, out: &str) {
    let recipe =
        format!("merge_method: passthrough\nmodels: [{{model: base+{adapter}}}]\ndtype: float32\n");
    sandbox.file("fold.yaml", recipe);
    sandbox.done(&format!("merge fold.yaml --out {out}"));
}

#[test]
fn an_extracted_adapter_makes_the_model_again() {
    let sandbox = Sandbox::new();
    model(&sandbox, "base", None, &[]);
    model(
        &sandbox,
        "tuned",
        Some(2),
        &["model.norm.weight", "lm_head.weight"],
    );
    let plan = sandbox
        .done("extract tuned --base base --rank 1 --out lora --dry-run")
        .out;
    assert!(
        plan.contains("2 as factors, 0 as shifts of biases, 3 whole"),
        "{plan}"
    );
    assert!(sandbox.names("lora").is_empty());
    let said = sandbox
        .done("extract tuned --base base --rank 1 --out lora --json")
        .out;
    let done: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&done["low-rank"], &done["whole"], &done["unchanged"]),
        (&2.into(), &2.into(), &1.into())
    );
    assert!(done["residual"].as_f64().unwrap() < 1e-5, "{said}");
    let page = std::fs::read_to_string(sandbox.path().join("lora/report.html")).unwrap();
    for words in ["What was extracted", "2 as factors", "model.norm.weight"] {
        assert!(page.contains(words), "{words}");
    }
    let expected = [
        "adapter_config.json",
        "adapter_model.safetensors",
        "extraction.json",
        "report.html",
        "run.json",
    ];
    assert_eq!(sandbox.names("lora"), expected);
    let stored = read_adapter(sandbox.path().join("lora")).unwrap();
    assert_eq!(
        stored.config.base_model_name_or_path.as_deref(),
        Some("base")
    );
    assert_eq!(stored.config.other["task_type"], "CAUSAL_LM");
    fold(&sandbox, "lora", "again");
    let (before, after) = (
        distance(&sandbox, "base", "tuned"),
        distance(&sandbox, "again", "tuned"),
    );
    // One rounding of the weights, which are below 2.
    assert!(before > 0.01 && after <= 2.4e-7, "{before} {after}");
    let again = sandbox.refit("extract tuned --base base --out lora");
    assert_eq!(again.code, Some(3), "{}", again.err);
    let own = sandbox.refit("extract tuned --base base --out tuned --force");
    assert!(
        own.code == Some(3) && own.err.contains("which is read"),
        "{}",
        own.err
    );
}

#[test]
fn what_cannot_be_extracted_is_told_by_name() {
    let sandbox = Sandbox::new();
    model(&sandbox, "base", None, &[]);
    model(&sandbox, "tuned", Some(2), &["model.norm.weight"]);
    let refused = |args: &str, words: &str| {
        let said = sandbox.refit(&format!("extract {args} --out lora"));
        assert!(
            said.code == Some(3) && said.err.contains(words),
            "{args}: {}",
            said.err
        );
        assert!(sandbox.names("").iter().all(|name| !name.contains("lora")));
    };
    refused(
        "tuned --base base --others refuse",
        "`model.norm.weight` differs from the base and is no linear layer",
    );
    refused(
        "base --base base",
        "does not differ from its base in any weight",
    );
    refused(
        "tuned --base base --rank 0",
        "`rank` is 0, expected 1 to 65536",
    );
    refused(
        "tuned --base base --energy 1.5",
        "`energy` is 1.5, expected a share in (0, 1]",
    );
    refused("tuned --base missing", "missing");
    refused(
        "tuned --base base --skip lyers.",
        "`skip` has `lyers.`, with which no name of a tensor begins",
    );
    sandbox.done("extract tuned --base base --rank 1 --out lo");
    refused("lo --base base", "hint: write `MODEL+lo`");
}

#[test]
fn an_adapter_is_told_apart_from_the_run_that_made_it() {
    let sandbox = Sandbox::new();
    model(&sandbox, "base", None, &[]);
    model(&sandbox, "tuned", Some(2), &["model.norm.weight"]);
    sandbox.done("extract tuned --base base --rank 1 --out lora");
    let said = sandbox.done("info lora").out;
    for words in [
        "adapter     lora\n",
        "base        base\n",
        "changes     2 tensors by factors of rank 1, 0 shifted, 1 replaced\n",
        "residual    ",
        "made by     refit extract tuned --base base --rank 1 --out lora\n",
        "all values are finite",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let said = sandbox.done("info lora --json").out;
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&said["kind"], &said["replaced"]),
        (&"adapter".into(), &1.into())
    );
    assert!(said["residual"].as_f64().unwrap() < 1e-5);
    for file in ["adapter_config.json", "extraction.json", "report.html"] {
        let said = sandbox.refit(&format!("info lora/{file}"));
        assert_eq!(said.code, Some(3), "{}", said.err);
        assert!(said.err.contains("hint: "), "{}", said.err);
    }
    // What was folded in is told of in the plan and on the card.
    sandbox.file(
        "copy.yaml",
        "merge_method: passthrough\nmodels: [{model: base+lora}]\n",
    );
    let plan = sandbox.done("merge copy.yaml --out copy --dry-run").out;
    assert!(plan.contains("3 changed by adapters, 2 copied"), "{plan}");
    sandbox.done("merge copy.yaml --out copy");
    let card = std::fs::read_to_string(sandbox.path().join("copy/README.md")).unwrap();
    assert!(card.contains("- `base+lora`"), "{card}");
}

#[test]
fn adapters_become_one_without_their_base() {
    let sandbox = Sandbox::new();
    model(&sandbox, "base", None, &[]);
    for (name, seed) in [("a", 2), ("b", 5)] {
        model(&sandbox, name, Some(seed), &[]);
        sandbox.done(&format!(
            "extract {name} --base base --rank 1 --out lora-{name}"
        ));
    }
    let recipe = |method: &str| {
        format!(
            "adapter_method: {method}\nadapters:\n  - {{path: lora-a, weight: 0.5}}\n  - {{path: lora-b, weight: 0.25}}\n"
        )
    };
    sandbox.file("cat.yaml", recipe("cat"));
    let plan = sandbox.done("merge cat.yaml --out lora --dry-run").out;
    assert!(
        plan.contains("adapter     lora-a, weight 0.5") && plan.contains("2 merged"),
        "{plan}"
    );
    assert!(sandbox.names("lora").is_empty());
    sandbox.done("merge cat.yaml --out lora");
    let written = |name: &str| std::fs::read_to_string(sandbox.path().join("lora").join(name));
    assert_eq!(written("recipe.yaml").unwrap(), recipe("cat"));
    assert!(written("report.html").unwrap().contains("lora-b"));
    let stored = read_adapter(sandbox.path().join("lora")).unwrap();
    let Change::LowRank { factors, .. } = &stored.adapter.tensors[0].change else {
        panic!()
    };
    assert_eq!(
        (factors.rank(), stored.config.lora_alpha.to_bits()),
        (2, 2f64.to_bits())
    );
    // The base with the merged adapter is task arithmetic of the models.
    fold(&sandbox, "lora", "folded");
    let models = "models:\n  - {model: a, parameters: {weight: 0.5}}\n  - {model: b, parameters: {weight: 0.25}}\n";
    sandbox.file(
        "models.yaml",
        format!("merge_method: task_arithmetic\nbase_model: base\n{models}dtype: float32\n"),
    );
    sandbox.done("merge models.yaml --out merged");
    assert!(distance(&sandbox, "folded", "merged") <= 2.4e-7);
    for method in [
        "linear",
        "svd",
        "ties",
        "dare_linear",
        "dare_ties",
        "magnitude_prune",
        "knots",
    ] {
        sandbox.file("other.yaml", recipe(method));
        sandbox.done(&format!("merge other.yaml --out by-{method}"));
        assert!(read_adapter(sandbox.path().join(format!("by-{method}"))).is_ok());
    }
}

#[test]
fn the_recipe_of_the_repository_works() {
    let sandbox = Sandbox::new();
    sandbox.train_experts();
    for task in ["digits", "letters"] {
        sandbox.done(&format!(
            "extract runs/{task} --base runs/base --skip layers.1. --out runs/{task}-adapter"
        ));
    }
    sandbox.done("merge recipes/adapters.yaml --out runs/adapter");
    let stored = read_adapter(sandbox.path().join("runs/adapter")).unwrap();
    assert_eq!((stored.config.r, stored.adapter.tensors.len()), (16, 2));
}

#[test]
fn recipes_for_adapters_are_read_strictly() {
    let sandbox = Sandbox::new();
    model(&sandbox, "base", None, &[]);
    model(&sandbox, "a", Some(2), &["model.norm.weight"]);
    sandbox.done("extract a --base base --rank 1 --out lora");
    for (recipe, words) in [
        (
            "adapter_method: catt\nadapters: [lora]",
            "did you mean `cat`?",
        ),
        (
            "adapter_method: svd\nrnak: 4\nadapters: [lora]",
            "did you mean `rank`?",
        ),
        (
            "adapter_method: cat\ndensity: 0.5\nadapters: [lora]",
            "unknown key `density`",
        ),
        (
            "adapter_method: ties\ndensity: 2\nadapters: [lora]",
            "expected a share in (0, 1]",
        ),
        (
            "adapter_method: cat\nadapters: [{path: lora, wieght: 2}]",
            "did you mean `weight`?",
        ),
        (
            "adapter_method: cat\nadapters: []",
            "expected at least one adapter",
        ),
        ("adapter_method: cat", "`adapters` is missing"),
        ("adapter_method: cat\nadapters: [nothing]", "nothing"),
        (
            "adapter_method: cat\nadapters: [lora]",
            "replaces `model.norm.weight`, which cannot be merged",
        ),
    ] {
        sandbox.file("bad.yaml", recipe);
        let said = sandbox.refit("merge bad.yaml --out x");
        assert!(
            said.code == Some(3) && said.err.contains(words),
            "{recipe}: {}",
            said.err
        );
    }
    let said = sandbox.refit("merge bad.yaml --out x --memory 1GiB");
    assert!(
        said.code == Some(2) && said.err.contains("--memory"),
        "{}",
        said.err
    );
    assert!(sandbox.names("x").is_empty());
}
