//! What the program writes where.

use crate::sandbox::Sandbox;
use serde_json::Value;

#[test]
fn json_is_one_document_on_stdout_and_words_go_to_stderr() {
    let sandbox = Sandbox::new();
    let train =
        "train --data generated:faces --model recipes/models/mlp.json --steps 3 --out runs/faces";
    let said = sandbox.done(&format!("{train} --json"));
    let json: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        (json["steps"].as_u64(), json["out"].as_str()),
        (Some(3), Some("runs/faces"))
    );

    let json: Value = serde_json::from_str(&sandbox.done("info runs/faces --json").out).unwrap();
    assert_eq!(json["kind"], "checkpoint");
    assert_eq!(json["architecture"]["model_type"], "mlp");
    assert_eq!(json["tensors"].as_array().unwrap().len(), 4);

    let said = sandbox.done("eval runs/faces --data generated:faces --limit 10 --json");
    let json: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        (json["images"].as_u64(), json["split"].as_str()),
        (Some(10), Some("test"))
    );
}

#[test]
fn a_run_folder_tells_how_it_came_to_be() {
    let sandbox = Sandbox::new();
    let args = "train --data generated:faces --model recipes/models/mlp.json --steps 20 --out runs/faces --seed 5 -q";
    sandbox.done(args);
    let text = std::fs::read_to_string(sandbox.path().join("runs/faces/run.json")).unwrap();
    let record: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(record["verb"], "train");
    assert_eq!(record["seed"], 5);
    assert_eq!(record["stop"], "done");
    assert_eq!(record["settings"]["fit"]["steps"], 20);
    let command: Vec<&str> = record["command"]
        .as_array()
        .unwrap()
        .iter()
        .map(|w| w.as_str().unwrap())
        .collect();
    assert_eq!(command.join(" "), format!("refit {args}"));
    // The page can be made again from the files beside it, byte by byte.
    let page = || std::fs::read_to_string(sandbox.path().join("runs/faces/report.html")).unwrap();
    let first = page();
    assert!(first.contains("id=\"training\""));
    sandbox.done("report runs/faces");
    assert_eq!(page(), first);
}

#[test]
fn the_same_seed_gives_the_same_weights_for_any_number_of_threads() {
    let sandbox = Sandbox::new();
    let train = |out: &str, extra: &str| {
        sandbox.done(&format!(
            "train --data generated:faces --model recipes/models/vit-tiny.json --steps 4 --batch 8 -q --out runs/{out} {extra}"
        ));
        std::fs::read(
            sandbox
                .path()
                .join("runs")
                .join(out)
                .join("model.safetensors"),
        )
        .unwrap()
    };
    let one = train("a", "--threads 1");
    assert!(one == train("b", "--threads 2"));
    assert!(one != train("c", "--seed 1"));
}

#[test]
fn quiet_says_nothing() {
    let sandbox = Sandbox::new();
    let said = sandbox.done(
        "train --data generated:faces --model recipes/models/mlp.json --steps 2 --out runs/a -q",
    );
    assert_eq!(said.err, "");
}

#[test]
fn the_manual_page_of_a_verb_is_named_after_it() {
    let sandbox = Sandbox::new();
    let page = sandbox.done("man merge").out;
    assert!(page.contains(".TH REFIT-MERGE 1"), "{page}");
    let name =
        ".SH NAME\nrefit\\-merge \\- Combine fine\\-tuned checkpoints of one base into one model\n";
    assert!(page.contains(name), "{page}");
    assert!(page.contains("\\fBrefit merge\\fR "), "{page}");
    let page = sandbox.done("man").out;
    assert!(
        page.contains(".SH NAME\nrefit \\- Learn from models that already exist\n"),
        "{page}"
    );
}
