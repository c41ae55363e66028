//! Ctrl-C and a kill leave a saved state; going on gives the weights of an uninterrupted run.

#![cfg(unix)]

use crate::sandbox::{Said, Sandbox};
use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const TRAIN: &str =
    "train --data generated:digits --model recipes/models/mlp.json --batch 8 --warmup 5";

#[test]
fn an_interrupted_training_goes_on_bit_for_bit() {
    let sandbox = Sandbox::new();
    sandbox.done(&format!("{TRAIN} --steps 4000 --out runs/whole -q"));
    let child = start(&sandbox, &format!("{TRAIN} --steps 4000 --out runs/half"));
    // Training has begun when the first measurements are written.
    wait_for(&sandbox, "runs/half.part/metrics.jsonl");
    let id = child.id().to_string();
    let pressed = Command::new("kill").args(["-INT", &id]).status().unwrap();
    assert!(pressed.success());
    let said: Said = child.wait_with_output().unwrap().into();
    assert_eq!(said.code, Some(130), "{}", said.err);
    for words in [
        "stopping at the next safe point",
        "the state is in `runs/half.part`\n",
        "hint: go on with `refit train --resume runs/half`",
    ] {
        assert!(said.err.contains(words), "{}", said.err);
    }
    assert_eq!(sandbox.names("runs"), ["half.part", "whole"]);

    sandbox.done("train --resume runs/half -q");
    same_run(&sandbox, "half", "whole");
    // A finished run has nothing to go on with.
    let again = sandbox.refit("train --resume runs/half");
    assert_eq!(again.code, Some(3), "{}", again.err);
}

#[test]
fn a_killed_training_goes_on_from_its_last_saved_state() {
    let sandbox = Sandbox::new();
    let args = format!("{TRAIN} --steps 300 --augment glyphs");
    sandbox.done(&format!("{args} --out runs/whole -q"));
    let mut child = start(&sandbox, &format!("{args} --save-every 0 --out runs/cut"));
    wait_for(&sandbox, "runs/cut.part/state.safetensors");
    child.kill().unwrap(); // SIGKILL: no chance to tidy up
    child.wait().unwrap();
    assert_eq!(sandbox.names("runs"), ["cut.part", "whole"]);
    let plan = sandbox.done("train --resume runs/cut --dry-run --json").out;
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    let done = plan["done"].as_u64().unwrap();
    assert!((1..300).contains(&done), "{done} steps were done");

    sandbox.done("train --resume runs/cut -q");
    same_run(&sandbox, "cut", "whole");
}

#[test]
fn a_training_that_was_killed_before_its_first_save_starts_again() {
    let sandbox = Sandbox::new();
    sandbox.file("mine.json", MLP);
    let args = "train --data generated:digits --model mine.json --batch 8 --steps 60";
    sandbox.done(&format!("{args} --out runs/whole -q"));
    let mut child = start(&sandbox, &format!("{args} --out runs/cut"));
    wait_for(&sandbox, "runs/cut.part/run.json");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(
        !sandbox
            .path()
            .join("runs/cut.part/state.safetensors")
            .exists()
    );

    sandbox.file("mine.json", MLP.replace("16", "17"));
    let said = sandbox.refit("train --resume runs/cut");
    assert_eq!(said.code, Some(3), "{}", said.err);
    let words = "`mine.json` has changed since the run began";
    assert!(said.err.contains(words), "{}", said.err);
    let said = sandbox.refit("demo --resume runs/cut");
    let words =
        "`runs/cut` is a run of `refit train`\nhint: go on with `refit train --resume runs/cut`";
    assert!(said.err.contains(words), "{}", said.err);

    sandbox.file("mine.json", MLP);
    sandbox.done("train --resume runs/cut -q");
    same_run(&sandbox, "cut", "whole");
}

#[test]
fn a_folder_of_data_is_an_input_and_must_stay_as_it_is() {
    let sandbox = Sandbox::new();
    sandbox.file("mine.json", MLP.replace("10}", "2}"));
    let picture = |class: &str, i: u8, shade: u8| {
        std::fs::create_dir_all(sandbox.path().join("pictures").join(class)).unwrap();
        let bytes = [b"P5 28 28 255\n".as_slice(), &[shade; 784]].concat();
        sandbox.file(&format!("pictures/{class}/{i}.pgm"), bytes);
    };
    for i in 0..20 {
        picture("dark", i, i);
        picture("light", i, 200 + i);
    }
    sandbox.done("train --data pictures --model mine.json --steps 1 --batch 4 --out runs/a -q");
    let read = |name: &str| std::fs::read_to_string(sandbox.path().join(name)).unwrap();
    let record: serde_json::Value = serde_json::from_str(&read("runs/a/run.json")).unwrap();
    let inputs = record["inputs"].as_array().unwrap();
    let found = inputs.iter().find(|i| i["path"] == "pictures").unwrap();
    let digest = refit_io::ckpt::sha256_folder(sandbox.path().join("pictures")).unwrap();
    assert_eq!(found["sha256"], digest.sha256.as_str());
    assert_eq!(
        (&found["files"], &found["bytes"]),
        (&40.into(), &digest.bytes.into())
    );
    let page = read("runs/a/report.html");
    assert!(page.contains("pictures (40 files)") && page.contains(&digest.sha256));

    // What a killed run leaves: the same folder under its unfinished name.
    let runs = sandbox.path().join("runs");
    std::fs::rename(runs.join("a"), runs.join("a.part")).unwrap();
    picture("dark", 3, 99);
    let said = sandbox.refit("train --resume runs/a");
    assert_eq!(said.code, Some(3), "{}", said.err);
    let words = "`pictures` has changed since the run began";
    assert!(said.err.contains(words), "{}", said.err);
    picture("dark", 3, 3);
    sandbox.done("train --resume runs/a -q");
}

const MLP: &str = r#"{"model_type": "mlp", "inputs": 784, "hidden": [16], "num_labels": 10}"#;

/// The same weights and measurements, and the same files.
fn same_run(sandbox: &Sandbox, a: &str, b: &str) {
    let read = |run: &str, name: &str| {
        std::fs::read(sandbox.path().join("runs").join(run).join(name)).unwrap()
    };
    for name in ["model.safetensors", "metrics.jsonl"] {
        assert!(read(a, name) == read(b, name), "{name} differs");
    }
    let names = |run: &str| sandbox.names(&format!("runs/{run}"));
    assert_eq!(names(a), names(b));
    assert!(!names(a).contains(&"state.safetensors".to_owned()));
}

/// Starts the program.
fn start(sandbox: &Sandbox, args: &str) -> Child {
    sandbox
        .command()
        .args(args.split_whitespace())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits until there is a file that is not empty.
fn wait_for(sandbox: &Sandbox, file: &str) {
    let path = sandbox.path().join(file);
    let there = || path.metadata().is_ok_and(|m| m.len() > 0);
    let patience = Instant::now();
    while !there() && patience.elapsed() < Duration::from_mins(1) {
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(there(), "`{file}` did not appear");
}

#[test]
fn a_signal_before_work_begins_ends_the_program() {
    let sandbox = Sandbox::new();
    // More than a pipe holds, and nobody reads: the program waits.
    let experts: Vec<String> = (0..5000).map(|i| format!("runs/expert-{i}")).collect();
    let recipe = format!(
        "method: average\nbase: b\nexperts: [{}]\n",
        experts.join(", ")
    );
    sandbox.file("r.yaml", recipe);
    let mut child = sandbox
        .command()
        .args(["info", "r.yaml", "-v"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(child.try_wait().unwrap(), None, "it does not wait");
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .unwrap()
            .success()
    );
    let patience = Instant::now();
    let mut ended = child.try_wait().unwrap();
    while ended.is_none() && patience.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(10));
        ended = child.try_wait().unwrap();
    }
    if ended.is_none() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let ended = ended.expect("the program is deaf to a polite kill");
    assert!(!ended.success());
}
