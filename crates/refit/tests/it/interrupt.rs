//! Ctrl-C saves the state; going on gives the weights of an uninterrupted run.

#![cfg(unix)]

use crate::sandbox::{Said, Sandbox};
use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const TRAIN: &str =
    "train --data generated:digits --model recipes/models/mlp.json --batch 8 --warmup 5";

#[test]
fn an_interrupted_training_goes_on_bit_for_bit() {
    let sandbox = Sandbox::new();
    sandbox.done(&format!("{TRAIN} --steps 4000 --out runs/whole -q"));
    let said = interrupted(&sandbox, &format!("{TRAIN} --steps 4000 --out runs/half"));
    assert_eq!(said.code, Some(130), "{}", said.err);
    assert!(
        said.err.contains("stopping at the next safe point"),
        "{}",
        said.err
    );
    let hint = "hint: go on with `refit train --resume runs/half --out runs/half-2`";
    assert!(said.err.contains(hint), "{}", said.err);
    sandbox.done("info runs/half");

    sandbox.done("train --resume runs/half --out runs/half-2 -q");
    let weights =
        |run: &str| std::fs::read(sandbox.path().join(run).join("model.safetensors")).unwrap();
    assert!(
        weights("runs/half-2") == weights("runs/whole"),
        "the resumed weights differ"
    );
    assert!(
        weights("runs/half") != weights("runs/whole"),
        "the run was not interrupted"
    );
    // A finished run has nothing to go on with.
    let again = sandbox.refit("train --resume runs/half-2 --out runs/x");
    assert_eq!(again.code, Some(3), "{}", again.err);
}

/// Starts the program and presses Ctrl-C once it trains.
fn interrupted(sandbox: &Sandbox, args: &str) -> Said {
    let child = sandbox
        .command()
        .args(args.split_whitespace())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let id = child.id().to_string();
    // Training has begun when the first measurements are written.
    let begun = || {
        let folders = std::fs::read_dir(sandbox.path().join("runs"))
            .unwrap()
            .flatten();
        folders
            .filter(|f| f.file_name().to_string_lossy().starts_with(".refit-"))
            .any(|f| {
                f.path()
                    .join("metrics.jsonl")
                    .metadata()
                    .is_ok_and(|m| m.len() > 0)
            })
    };
    let patience = Instant::now();
    while !begun() && patience.elapsed() < Duration::from_mins(1) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let pressed = Command::new("kill").args(["-INT", &id]).status().unwrap();
    assert!(pressed.success());
    child.wait_with_output().unwrap().into()
}

#[test]
fn a_signal_before_work_begins_ends_the_program() {
    let sandbox = Sandbox::new();
    let made = Command::new("mkfifo")
        .arg(sandbox.path().join("r.yaml"))
        .status();
    assert!(made.unwrap().success());
    // Nobody writes into the pipe, so the program waits for its recipe.
    let mut child = sandbox
        .command()
        .args(["merge", "r.yaml", "--out", "runs/x"])
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
