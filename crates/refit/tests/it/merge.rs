//! Merging checkpoints from recipes, from training to scoring.

use crate::real::both_ways;
use crate::sandbox::Sandbox;
use refit_core::Source;
use refit_io::ckpt::Checkpoint;

#[test]
fn every_method_merges_trained_experts() {
    let sandbox = Sandbox::new();
    sandbox.train_experts();
    for method in ["average", "task-arithmetic", "ties", "dare"] {
        let plan = sandbox
            .done(&format!(
                "merge recipes/{method}.yaml --out runs/{method} --dry-run"
            ))
            .out;
        assert!(
            plan.contains("2 kept from the base") && plan.contains("nothing was written"),
            "{plan}"
        );
        sandbox.done(&format!("merge recipes/{method}.yaml --out runs/{method}"));
        let files = sandbox.names(&format!("runs/{method}"));
        for file in [
            "config.json",
            "model.safetensors",
            "preprocessor_config.json",
            "report.html",
            "run.json",
        ] {
            assert!(files.iter().any(|f| f == file), "{method}: {files:?}");
        }
        let args = format!(
            "eval runs/{method} --head runs/digits --head-prefix layers.1. --data generated:digits --limit 50 --json"
        );
        let score: serde_json::Value = serde_json::from_str(&sandbox.done(&args).out).unwrap();
        assert_eq!(score["images"], 50);
    }
    the_average_is_the_mean(&sandbox);
    the_record_names_every_file_that_was_read(&sandbox);
    a_seed_on_the_command_line_wins_over_that_of_the_recipe(&sandbox);
    held_and_streamed_merges_answer_alike(&sandbox);
    adamerging_learns_coefficients_that_can_be_used_again(&sandbox);
    a_run_that_diverges_fails_and_leaves_nothing(&sandbox);
    what_is_skipped_is_checked(&sandbox);
    the_plan_counts_what_adaptation_holds(&sandbox);
}

fn open(sandbox: &Sandbox, run: &str) -> Checkpoint {
    Checkpoint::open(sandbox.path().join(run)).unwrap()
}

fn the_average_is_the_mean(sandbox: &Sandbox) {
    let [merged, digits, letters, base] =
        ["runs/average", "runs/digits", "runs/letters", "runs/base"].map(|run| open(sandbox, run));
    for meta in merged.tensors() {
        let name = meta.path.as_str();
        let values = |c: &Checkpoint| c.tensor_f32(name).unwrap();
        let found = values(&merged);
        if name.starts_with("layers.1.") {
            assert_eq!(found, values(&base), "{name}");
            continue;
        }
        for ((m, d), l) in found.iter().zip(values(&digits)).zip(values(&letters)) {
            assert!((m - f32::midpoint(d, l)).abs() < 1e-6, "{name}");
        }
    }
}

fn the_record_names_every_file_that_was_read(sandbox: &Sandbox) {
    let record = std::fs::read_to_string(sandbox.path().join("runs/average/run.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    let inputs = record["inputs"].as_array().unwrap();
    for run in ["base", "digits", "letters"] {
        for name in [
            "model.safetensors",
            "config.json",
            "preprocessor_config.json",
        ] {
            let path = format!("runs/{run}/{name}");
            let found = inputs.iter().find(|input| input["path"] == path.as_str());
            let file = sandbox.path().join(&path);
            let hash = refit_io::ckpt::sha256_file(&file).unwrap();
            assert_eq!(found.unwrap()["sha256"], hash.as_str(), "{path}");
        }
    }
}

fn a_seed_on_the_command_line_wins_over_that_of_the_recipe(sandbox: &Sandbox) {
    let recipe = std::fs::read_to_string(sandbox.path().join("recipes/dare.yaml")).unwrap();
    assert!(recipe.contains("seed: 0"));
    sandbox.file("seven.yaml", recipe.replace("seed: 0", "seed: 7"));
    let merged = |recipe: &str, out: &str, flags: &str| {
        sandbox.done(&format!("merge {recipe} --out runs/{out} {flags}"));
        let run = sandbox.path().join("runs").join(out);
        let record = std::fs::read_to_string(run.join("run.json")).unwrap();
        let record: serde_json::Value = serde_json::from_str(&record).unwrap();
        assert_eq!(record["seed"], record["settings"]["settings"]["seed"]);
        let weights = std::fs::read(run.join("model.safetensors")).unwrap();
        (record["seed"].as_u64().unwrap(), weights)
    };
    let (seed, own) = merged("seven.yaml", "dare-own", "");
    assert_eq!(seed, 7);
    let (seed, flag) = merged("recipes/dare.yaml", "dare-flag", "--seed 7");
    assert_eq!(seed, 7);
    assert!(flag == own, "--seed 7 and `seed: 7` differ");
    let (seed, won) = merged("seven.yaml", "dare-won", "--seed 0");
    let zero = std::fs::read(sandbox.path().join("runs/dare/model.safetensors")).unwrap();
    assert_eq!(seed, 0);
    assert!(won == zero && zero != own, "--seed 0 did not win");
}

fn held_and_streamed_merges_answer_alike(sandbox: &Sandbox) {
    let experts = ["runs/digits", "runs/letters"];
    let count = both_ways(sandbox, "runs/base", experts, "layers.1.", &|model| {
        format!(
            "eval {model} --head runs/digits --head-prefix layers.1. --data generated:digits --json"
        )
    });
    assert!(count > 0);
}

fn adamerging_learns_coefficients_that_can_be_used_again(sandbox: &Sandbox) {
    let recipe = std::fs::read_to_string(sandbox.path().join("recipes/adamerging.yaml")).unwrap();
    let quick = recipe
        .replace("steps: 500", "steps: 3")
        .replace("batch-size: 16", "batch-size: 4");
    sandbox.file("quick.yaml", quick);
    sandbox.done("merge quick.yaml --out runs/learned");
    let text = sandbox.done("info runs/learned/coefficients.json").out;
    assert!(
        text.contains("digits") && text.contains("letters"),
        "{text}"
    );
    let again = "coefficients: runs/learned/coefficients.json\nbase: runs/base\n\
                 experts: [runs/letters, runs/digits]\nskip: [layers.1.]\n";
    sandbox.file("again.yaml", again);
    sandbox.done("merge again.yaml --out runs/again");
    let (learned, again) = (open(sandbox, "runs/learned"), open(sandbox, "runs/again"));
    for meta in learned.tensors() {
        let name = meta.path.as_str();
        let (a, b) = (
            learned.tensor_f32(name).unwrap(),
            again.tensor_f32(name).unwrap(),
        );
        assert!(
            a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-6),
            "{name}"
        );
    }
}

fn a_run_that_diverges_fails_and_leaves_nothing(sandbox: &Sandbox) {
    let recipe = std::fs::read_to_string(sandbox.path().join("recipes/adamerging.yaml")).unwrap();
    let wild = recipe
        .replace("clamp: forward", "clamp: off")
        .replace("learning-rate: 0.001", "learning-rate: 3e38");
    sandbox.file("wild.yaml", wild);
    let said = sandbox.refit("merge wild.yaml --out runs/wild");
    assert_eq!(said.code, Some(1), "{}", said.err);
    let words = "stopped being finite in step 1; nothing was written\nhint: lower `learning-rate`";
    assert!(said.err.contains(words), "{}", said.err);
    assert!(!sandbox.names("runs").contains(&"wild".to_owned()));
}

fn what_is_skipped_is_checked(sandbox: &Sandbox) {
    let recipe = |skip: &str| {
        let text =
            format!("method: average\nbase: runs/base\nexperts: [runs/digits]\nskip: {skip}\n");
        sandbox.file("skip.yaml", text);
        sandbox.refit("merge skip.yaml --out runs/skipped --dry-run")
    };
    let said = recipe("[layers.]");
    assert_eq!(said.code, Some(3), "{}", said.err);
    let words = "no tensor is merged: `skip` leaves out all weights of `runs/base`\nhint: ";
    assert!(said.err.contains(words), "{}", said.err);
    let said = recipe("[layers.1., head.]");
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(
        said.err,
        "warning: no tensor of the base begins with `head.` (`skip`)\n"
    );
}

fn the_plan_counts_what_adaptation_holds(sandbox: &Sandbox) {
    let recipe = std::fs::read_to_string(sandbox.path().join("recipes/adamerging.yaml")).unwrap();
    let memory = |recipe: String| {
        sandbox.file("memory.yaml", recipe);
        let plan = sandbox.done("merge memory.yaml --out runs/x --dry-run --json");
        let plan: serde_json::Value = serde_json::from_str(&plan.out).unwrap();
        assert_eq!(plan["learns"], true);
        plan["memory_bytes"].as_u64().unwrap()
    };
    // 784 x 256 weights and 256 biases are merged; weights, the gradient so far and that of a batch take four
    // bytes each.
    let values = 784 * 256 + 256;
    assert_eq!(memory(recipe.clone()), 12 * values);
    // A quarter of two task vectors, six bytes for each entry.
    let plus = memory(recipe.replace("plus: null", "plus: {keep: 0.25}"));
    assert_eq!(plus, 12 * values + 2 * values / 4 * 6);
    let text = sandbox.done("merge memory.yaml --out runs/x --dry-run").out;
    assert!(text.contains("and the activations of one batch"), "{text}");
}

#[test]
fn a_dry_run_refuses_data_as_the_run_does() {
    let sandbox = Sandbox::new();
    sandbox.done(
        "train --data generated:digits --model recipes/models/mlp.json --out runs/mlp --steps 1 -q",
    );
    for class in ["a", "b"] {
        std::fs::create_dir_all(sandbox.path().join("small").join(class)).unwrap();
        for i in 0..9 {
            let picture = [b"P5 8 8 255\n".as_slice(), &[i; 64]].concat();
            sandbox.file(&format!("small/{class}/{i}.pgm"), picture);
        }
    }
    sandbox.file("torn.npz", b"PK\x03\x04");
    for (data, words) in [
        ("missing.npz", "cannot read `missing.npz`"),
        ("torn.npz", "`torn.npz` is not a valid npz file"),
        ("generated:faces", "the data has 8 classes, the model 10"),
        ("small", "images are 1x8x8, the model takes 784 values"),
    ] {
        let recipe = format!(
            "method: adamerging\nbase: runs/mlp\nskip: [layers.1.]\n\
             experts: [{{path: runs/mlp, data: '{data}'}}]\n"
        );
        sandbox.file("r.yaml", recipe);
        let args = [
            format!("eval runs/mlp --data {data}"),
            "merge r.yaml --out runs/x".to_owned(),
        ];
        for args in args {
            let (plan, run) = (
                sandbox.refit(&format!("{args} --dry-run")),
                sandbox.refit(&args),
            );
            assert_eq!(
                (plan.code, run.code),
                (Some(3), Some(3)),
                "{args}: {plan:?}"
            );
            assert_eq!(plan.err, run.err, "{args}");
            assert!(plan.err.contains(words), "{args}: {}", plan.err);
        }
    }
    for flags in ["", "--dry-run"] {
        let said = sandbox.refit(&format!(
            "eval runs/mlp --data generated:digits --normalise imagenet {flags}"
        ));
        assert_eq!(said.code, Some(3), "{}", said.err);
        let words = "the pre-processing has statistics of 3 channels, the images have 1\nhint: ";
        assert!(said.err.contains(words), "{}", said.err);
    }
    assert_eq!(sandbox.names("runs"), ["mlp"]);
}

#[test]
fn experts_that_do_not_fit_are_refused_by_the_dry_run() {
    let sandbox = Sandbox::new();
    let train = "--steps 1 --batch 8 -q";
    for model in ["conv-net", "mlp"] {
        sandbox.done(&format!(
            "train --data generated:digits --model recipes/models/{model}.json --out runs/{model} {train}"
        ));
    }
    sandbox.file(
        "r.yaml",
        "method: average\nbase: runs/conv-net\nexperts: [runs/mlp]\n",
    );
    let said = sandbox.refit("merge r.yaml --out runs/x --dry-run");
    assert_eq!(said.code, Some(3));
    assert!(
        said.err.contains("differ from the base: missing"),
        "{}",
        said.err
    );
    assert!(
        said.err.contains("hint: experts must share one base"),
        "{}",
        said.err
    );
    let learns = "method: adamerging\nbase: runs/mlp\nexperts: [runs/mlp]\n";
    sandbox.file("r.yaml", learns);
    let said = sandbox.refit("merge r.yaml --out runs/x --dry-run");
    assert_eq!(said.code, Some(4), "{}", said.err);
    assert!(
        said.err
            .contains("needs data access `unlabelled`, granted is `none`"),
        "{}",
        said.err
    );
}
