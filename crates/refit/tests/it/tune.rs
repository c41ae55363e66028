//! Fitting heads and adapters to texts on a tiny encoder.

use crate::{
    embed::{ENCODER, encoder, questions},
    sandbox::{Said, Sandbox},
};
use refit_io::{adapter::read_adapter, ckpt::Checkpoint};
use serde_json::Value;

fn json(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap()
}

fn prepared() -> Sandbox {
    let sandbox = Sandbox::new();
    encoder(&sandbox);
    questions(&sandbox);
    sandbox
}

fn tensor(sandbox: &Sandbox, file: &str, name: &str) -> Vec<f32> {
    let checkpoint = Checkpoint::open(sandbox.path().join(file)).unwrap();
    let tensor = checkpoint.view(name).unwrap();
    let values = tensor.bytes.as_chunks::<4>().0.iter();
    values.map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

#[test]
fn adapters_are_refused_where_maps_are_stored_turned_over() {
    let sandbox = prepared();
    let config = r#"{"model_type": "gpt2", "vocab_size": 64, "n_positions": 16, "n_embd": 8, "n_layer": 1, "n_head": 2}"#;
    sandbox.file(&format!("{ENCODER}/config.json"), config);
    let said = sandbox.refit(&format!(
        "tune {ENCODER} --data questions.tsv --method lora --out x"
    ));
    assert_eq!(said.code, Some(3), "{}", said.err);
    assert!(said.err.contains("does not go with GPT-2"), "{}", said.err);
}

#[test]
fn a_head_is_fitted_to_a_certified_point_and_reads_the_vectors_of_embed() {
    let sandbox = prepared();
    let said = sandbox.done(&format!(
        "tune {ENCODER} --data questions.tsv --test questions.tsv --ridge 0.01 --eps-g 1e-6 \
         --solver tr,lbfgs --out runs/x --json"
    ));
    let found = json(&said);
    assert_eq!(found["status"], "second-order", "{}", said.err);
    assert_eq!(
        (&found["rows"], &found["features"]),
        (&24.into(), &8.into())
    );
    assert_eq!(found["parameters"], 18);
    assert_eq!(found["labels"], serde_json::json!(["noun", "verb"]));
    assert!(found["gradient"].as_f64().unwrap() <= 1e-6);
    let losses: Vec<f64> = (0..2)
        .map(|at| found["arms"][at]["loss"].as_f64().unwrap())
        .collect();
    // Both at the one minimum of a loss whose curvature is 0.01 at least: apart by |g|^2 over that.
    assert!((losses[0] - losses[1]).abs() < 1e-9, "{losses:?}");
    for file in [
        "report.html",
        "trace.csv",
        "weights.safetensors",
        "head/config.json",
        "results.json",
    ] {
        assert!(sandbox.path().join("runs/x").join(file).is_file(), "{file}");
    }
    // The head on the vectors of `embed` is right as often as was told.
    let rows = std::fs::read_to_string(sandbox.path().join("questions.tsv")).unwrap();
    let rows: Vec<Vec<&str>> = rows
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    let train: Vec<&Vec<&str>> = rows.iter().filter(|row| row[0] == "train").collect();
    let lines: Vec<&str> = train.iter().map(|row| row[2]).collect();
    sandbox.file("texts.txt", lines.join("\n"));
    let vectors = sandbox
        .done(&format!("embed {ENCODER} --input texts.txt"))
        .out;
    let weight = tensor(
        &sandbox,
        "runs/x/head/model.safetensors",
        "classifier.weight",
    );
    let bias = tensor(&sandbox, "runs/x/head/model.safetensors", "classifier.bias");
    let wrong = vectors.lines().zip(&train).filter(|(line, row)| {
        let vector: Vec<f32> = serde_json::from_str(line).unwrap();
        let output = |class: usize| {
            let weight = &weight[class * 8..][..8];
            bias[class] + vector.iter().zip(weight).map(|(a, b)| a * b).sum::<f32>()
        };
        let said = if output(1) > output(0) {
            "verb"
        } else {
            "noun"
        };
        said != row[1]
    });
    let error = wrong.count() as f64 / 24.0;
    assert!((error - found["error"].as_f64().unwrap()).abs() < 1e-12);
    // `noun` or `verb`, whichever 24 texts have more often; the test has it in some of nine.
    let of = |part: &str, label: &str| {
        let rows = rows.iter().filter(|row| row[0] == part && row[1] == label);
        rows.count()
    };
    let most = if of("train", "verb") > of("train", "noun") {
        "verb"
    } else {
        "noun"
    };
    assert_eq!(found["majority"], most);
    let error = 1.0 - of("test", most) as f64 / 9.0;
    assert!((found["majority_error"].as_f64().unwrap() - error).abs() < 1e-12);
}

#[test]
fn an_adapter_lowers_the_loss_and_folds_into_the_encoder() {
    let sandbox = prepared();
    let said = sandbox.done(&format!(
        "tune {ENCODER} --data questions.tsv --test questions.tsv --method lora --rank 2 --alpha 4 --layers 1 \
         --solver tr:full,adamw --budget-steps 12 --rate 0.01 --out runs/x --json"
    ));
    let found = json(&said);
    // Query and value of the last layer, 8 by 8 each with factors of 2 by 8; a head of 2 by 8 and biases.
    assert_eq!(found["parameters"], 2 * 2 * (2 * 8) + 18, "{}", said.err);
    let results = std::fs::read_to_string(sandbox.path().join("runs/x/results.json")).unwrap();
    let results: Value = serde_json::from_str(&results).unwrap();
    let begins = results["begins"]["loss"].as_f64().unwrap();
    for arm in 0..2 {
        let loss = found["arms"][arm]["loss"].as_f64().unwrap();
        assert!(loss < begins, "{arm}: {loss} of {begins}");
    }
    let adapter = read_adapter(sandbox.path().join("runs/x/adapter")).unwrap();
    let mut targets: Vec<String> = (adapter.adapter.tensors.iter())
        .map(|tensor| tensor.target.as_str().to_owned())
        .collect();
    targets.sort();
    assert_eq!(
        targets,
        ["query", "value"].map(|map| format!("encoder.layer.1.attention.self.{map}.weight"))
    );
    // Folded in, the encoder's vectors under the head are wrong exactly as often as was told.
    let model = format!("{ENCODER}+runs/x/adapter");
    sandbox.file(
        "fold.yaml",
        format!("merge_method: passthrough\nmodels: [{{model: {model}}}]\ndtype: float32\n"),
    );
    sandbox.done("merge fold.yaml --out merged");
    for file in [
        "tokenizer.json",
        "modules.json",
        "sentence_bert_config.json",
    ] {
        let to = sandbox.path().join("merged").join(file);
        if !to.exists() {
            std::fs::copy(sandbox.path().join(ENCODER).join(file), to).unwrap();
        }
    }
    let pooling = sandbox.path().join("merged/1_Pooling");
    std::fs::create_dir_all(&pooling).unwrap();
    let config = sandbox.path().join(ENCODER).join("1_Pooling/config.json");
    std::fs::copy(config, pooling.join("config.json")).unwrap();
    let rows = std::fs::read_to_string(sandbox.path().join("questions.tsv")).unwrap();
    let train: Vec<Vec<&str>> = (rows.lines().map(|line| line.split('\t').collect()))
        .filter(|row: &Vec<&str>| row[0] == "train")
        .collect();
    let lines: Vec<&str> = train.iter().map(|row| row[2]).collect();
    sandbox.file("texts.txt", lines.join("\n"));
    let vectors = sandbox.done("embed merged --input texts.txt").out;
    let weight = tensor(
        &sandbox,
        "runs/x/head/model.safetensors",
        "classifier.weight",
    );
    let bias = tensor(&sandbox, "runs/x/head/model.safetensors", "classifier.bias");
    let mut loss = 0.0;
    for (line, row) in vectors.lines().zip(&train) {
        let vector: Vec<f64> = serde_json::from_str(line).unwrap();
        let output = |class: usize| {
            let weight = &weight[class * 8..][..8];
            let pairs = vector.iter().zip(weight);
            f64::from(bias[class]) + pairs.map(|(a, b)| a * f64::from(*b)).sum::<f64>()
        };
        let (noun, verb) = (output(0), output(1));
        let apart = if row[1] == "noun" {
            verb - noun
        } else {
            noun - verb
        };
        loss += apart.exp().ln_1p() / train.len() as f64;
    }
    // Single precision, in another order of sums.
    let told = found["loss"].as_f64().unwrap();
    assert!((loss - told).abs() < 1e-4, "{loss} {told}");
}

#[test]
fn what_cannot_be_tuned_is_refused() {
    let sandbox = prepared();
    sandbox.file("one.tsv", "a\tmodel\na\tlearn\n");
    sandbox.file("bad.tsv", "a\tmodel\nlearn\n");
    sandbox.file(
        "pairs.tsv",
        "label\ttext_a\ttext_b\na\tmodel\tlearn\nb\tlearn\tmodel\n",
    );
    sandbox.file("latin.tsv", b"a\tmodel\nb\t\xe9\n");
    for (args, words) in [
        (
            "--data one.tsv",
            "`one.tsv` has the label `a` alone, expected two labels or more",
        ),
        (
            "--data bad.tsv",
            "line 2 of `bad.tsv` is not `label<TAB>text`",
        ),
        ("--data latin.tsv", "line 2 of `latin.tsv` is not UTF-8"),
        ("--data pairs.tsv", "holds pairs of texts"),
        ("--data no.tsv", "cannot read `no.tsv`"),
        (
            "--data questions.tsv --method lora --targets qeury",
            "`targets` is qeury, expected one of ",
        ),
        (
            "--data questions.tsv --method lora --rank 9",
            "`rank` is 9, expected at most 8",
        ),
        ("--data questions.tsv --method lora --rank 0", "`rank` is 0"),
        (
            "--data questions.tsv --method lora --start ones",
            "`method lora` does not go with",
        ),
        (
            "--data questions.tsv --method lora --start-scale 5",
            "`method lora` does not go with",
        ),
        (
            "--data questions.tsv --method lora --sampling theory --dry-run",
            "theory needs bounds on the terms, which adapters have not",
        ),
        (
            "--data questions.tsv --method lora --draw curvature --dry-run",
            "which adapters do not know",
        ),
        (
            "--data questions.tsv --method lora --ridge -1",
            "`ridge` is -1",
        ),
        ("--data questions.tsv --max-length 99", "`max-length` is 99"),
        ("--data questions.tsv --eps-g 0", "`eps-g` is 0"),
    ] {
        let said = sandbox.refit(&format!("tune {ENCODER} {args} --out runs/x"));
        assert_eq!(said.code, Some(3), "{args}: {}", said.err);
        assert!(said.err.contains(words), "{args}: {}", said.err);
        assert!(!sandbox.path().join("runs/x").exists());
        assert!(!sandbox.path().join("runs/x.part").exists());
    }
    let plan = sandbox.done(&format!(
        "tune {ENCODER} --data questions.tsv --method lora --rank 1 --out runs/x --dry-run"
    ));
    for words in [
        "additions to 4 maps, 82 parameters",
        "start       random\nuntil       no gradient longer than 1e-4, no curvature below -1e-2",
        "memory      ",
    ] {
        assert!(plan.out.contains(words), "{}", plan.out);
    }
    assert!(!sandbox.path().join("runs").exists());
}

#[test]
fn a_budget_ends_a_tuning_and_the_same_seed_gives_the_same_bits() {
    let sandbox = prepared();
    let run = |out: &str, threads: usize| {
        sandbox.done(&format!(
            "tune {ENCODER} --data questions.tsv --method lora --rank 1 --solver arc --budget-steps 4 --seed 3 \
             --threads {threads} --out runs/{out} -q"
        ));
        let path = sandbox.path().join("runs").join(out);
        let of = |name: &str| std::fs::read(path.join(name)).unwrap();
        (
            of("weights.safetensors"),
            of("adapter/adapter_model.safetensors"),
        )
    };
    assert_eq!(run("a", 1), run("b", 2));
}

#[test]
fn what_is_written_beside_adapters_says_what_they_are() {
    let sandbox = prepared();
    sandbox.done(&format!(
        "tune {ENCODER} --data questions.tsv --test questions.tsv --method lora --rank 1 --layers 1 --targets value \
         --solver sgd,tr --rate 1e6 --ridge 1 --budget-steps 3 --out runs/x"
    ));
    let read =
        |name: &str| std::fs::read_to_string(sandbox.path().join("runs/x").join(name)).unwrap();
    let parse = |name: &str| serde_json::from_str::<Value>(&read(name)).unwrap();
    let config = parse("config.json");
    let layout = config["layout"].as_str().unwrap();
    assert!(
        layout
            .contains("value: lora_A [1, 8], lora_B [8, 1]; classifier: weight [classes, 8], bias"),
        "{layout}"
    );
    assert_eq!(config["labels"], serde_json::json!(["noun", "verb"]));
    assert_eq!(parse("run.json")["dtype"], "F32, sums over rows F64");
    let results = parse("results.json");
    assert_eq!(results["texts"]["fitted"], "a head, and additions to 1 map");
    let page = read("report.html");
    for words in ["over 24 texts of 2 labels", "A guess to beat: to answer"] {
        assert!(page.contains(words), "{words}");
    }
}

/// Nobody listens any more.
struct Gone;

impl refit_core::Progress for Gone {
    fn begin(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, _: u64) {}
    fn note(&self, _: &str) {}

    fn cancelled(&self) -> bool {
        true
    }
}

#[test]
fn reading_texts_stops_when_asked() {
    let sandbox = prepared();
    for method in ["head", "lora --layers 1"] {
        let out = format!("runs/{}", &method[..4]);
        let args =
            format!("tune {ENCODER} --data questions.tsv --budget-steps 1 --method {method}");
        sandbox.done(&format!("{args} --out {out}"));
        let run = std::fs::read_to_string(sandbox.path().join(&out).join("run.json")).unwrap();
        let mut run: Value = serde_json::from_str(&run).unwrap();
        let place = |file: &str| Value::from(sandbox.path().join(file).display().to_string());
        run["settings"]["fit"]["data"] = place("questions.tsv");
        run["settings"]["model"] = place(ENCODER);
        let settings = serde_json::from_value(run["settings"].take()).unwrap();
        let tuning = refit::tuning::Tuning::new(settings).unwrap();
        let stopped = tuning
            .fit(&burn::tensor::Device::flex(), &Gone)
            .unwrap_err();
        assert_eq!(stopped.to_string(), "interrupted", "{method}");
    }
}

#[test]
fn flags_that_change_nothing_are_told_by_name() {
    let sandbox = prepared();
    let said = sandbox.done(&format!(
        "tune {ENCODER} --data questions.tsv --solver lbfgs --sigma 2 --rank 3 --rate 0.1 --ridge 0.01 \
         --start-scale 2 --failure 0.1 --out runs/x"
    ));
    for words in [
        "warning: --sigma changes nothing without arc",
        "warning: --rank changes nothing without --method lora",
        "warning: --rate changes nothing without sgd or adamw",
        "warning: --start-scale changes nothing without another start than zeros",
        "warning: --failure changes nothing without tr, arc or gauss-newton",
    ] {
        assert!(said.err.contains(words), "{}", said.err);
    }
    assert_eq!(
        said.err.matches("changes nothing").count(),
        5,
        "{}",
        said.err
    );
    let said = sandbox.done(
        "fit --data generated:200,3 --solver arc:full --radius 2 --hidden 3 --growth 1.5 --sampling fixed --out runs/y",
    );
    for words in [
        "--radius changes nothing without tr or gauss-newton",
        "--hidden changes nothing without the network",
        "--growth changes nothing without samples by step",
        "--sampling changes nothing without a solver that names no sampling of its own",
    ] {
        assert!(said.err.contains(words), "{}", said.err);
    }
    assert_eq!(
        said.err.matches("changes nothing").count(),
        4,
        "{}",
        said.err
    );
}

#[cfg(unix)]
#[test]
fn a_killed_tuning_goes_on_bit_for_bit() {
    use crate::interrupt::{start, wait_for};
    let sandbox = prepared();
    for (name, method) in [
        ("head", "--method head"),
        ("lora", "--method lora --rank 1"),
    ] {
        // Small steps, so that there is time to stop in the middle.
        let args = format!(
            "tune {ENCODER} --data questions.tsv {method} --solver arc:full --sigma 1e5 --gamma 1.01 --ridge 0.01 \
             --eps-g 1e-9 --budget-steps 300 --looks sample"
        );
        sandbox.done(&format!("{args} --out runs/{name} -q"));
        let mut child = start(
            &sandbox,
            &format!("{args} --save-every 0 --out runs/cut-{name}"),
        );
        wait_for(&sandbox, &format!("runs/cut-{name}.part/state.json"));
        let resume = format!("tune --resume runs/cut-{name}");
        let done = || {
            let plan = json(&sandbox.done(&format!("{resume} --dry-run --json")));
            plan["trials_done"].as_u64().unwrap()
        };
        let patience = std::time::Instant::now();
        while done() == 0 {
            assert!(patience.elapsed().as_secs() < 60, "no trial was saved");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(done() > 0);
        for (more, words) in [
            ("--epochs 1", "cannot be used with"),
            ("--solver arc", "cannot be used with"),
            ("--rank 1", "cannot be used with"),
        ] {
            let said = sandbox.refit(&format!("{resume} {more}"));
            assert!(
                said.code == Some(2) && said.err.contains(words),
                "{}",
                said.err
            );
        }
        let said = sandbox.refit(&format!("fit --resume runs/cut-{name}"));
        assert!(said.err.contains("a run of `refit tune`"), "{}", said.err);
        sandbox.done(&format!("tune --resume runs/cut-{name} -q"));
        let files = sandbox.names(&format!("runs/{name}"));
        assert_eq!(files, sandbox.names(&format!("runs/cut-{name}")));
        let read = |run: &str, file: &str| {
            std::fs::read(sandbox.path().join("runs").join(run).join(file)).unwrap()
        };
        let mut same = vec!["weights.safetensors", "head/model.safetensors"];
        if name == "lora" {
            same.push("adapter/adapter_model.safetensors");
        }
        for file in same {
            let cut = read(&format!("cut-{name}"), file);
            assert!(read(name, file) == cut, "{name}: {file} differs");
        }
        let trials = |run: &str| {
            let text = String::from_utf8(read(run, "trace.csv")).unwrap();
            let lines = text
                .lines()
                .map(|line| line.rsplit_once(',').unwrap().0.to_owned());
            lines.collect::<Vec<_>>()
        };
        assert_eq!(trials(name), trials(&format!("cut-{name}")));
    }
}
