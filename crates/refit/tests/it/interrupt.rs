//! Ctrl-C and a kill leave a saved state; going on gives the weights of an uninterrupted run.

#![cfg(unix)]

use crate::{
    hostile::where_files_end,
    sandbox::{Said, Sandbox},
};
use refit_core::{DType, Sink, TensorMeta};
use refit_io::ckpt::CheckpointWriter;
use std::{
    os::unix::fs::{PermissionsExt, symlink},
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
    let said = interrupted(child);
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
fn a_merge_that_learns_goes_on_bit_for_bit() {
    let sandbox = Sandbox::new();
    sandbox.train_experts();
    let recipe = std::fs::read_to_string(sandbox.path().join("recipes/adamerging.yaml")).unwrap();
    let recipe = recipe.replace("batch-size: 16", "batch-size: 4");
    sandbox.file("learn.yaml", recipe.replace("steps: 500", "steps: 400"));
    sandbox.done("merge learn.yaml --out runs/whole -q");

    let child = start(&sandbox, "merge learn.yaml --out runs/half");
    wait_for(&sandbox, "runs/half.part/metrics.jsonl");
    let said = interrupted(child);
    for words in [
        "interrupted; the state after step ",
        "is in `runs/half.part`\nhint: go on with `refit merge --resume runs/half`",
    ] {
        assert!(said.err.contains(words), "{}", said.err);
    }
    let again = sandbox.refit("merge learn.yaml --out runs/half");
    assert!(
        again.err.contains("holds an unfinished run"),
        "{}",
        again.err
    );
    let plan = sandbox.done("merge --resume runs/half --dry-run").out;
    assert!(plan.contains("nothing was written"), "{plan}");

    sandbox.done("merge --resume runs/half -q");
    same_run(&sandbox, "half", "whole");
    let page = std::fs::read_to_string(sandbox.path().join("runs/half/report.html")).unwrap();
    assert!(page.contains("What was learned") && page.contains("Adaptation"));
}

#[test]
fn a_merge_that_learns_loses_at_most_a_second_to_a_kill() {
    let sandbox = Sandbox::new();
    sandbox.train_experts();
    let recipe = std::fs::read_to_string(sandbox.path().join("recipes/adamerging.yaml")).unwrap();
    sandbox.file("learn.yaml", recipe.replace("steps: 500", "steps: 1000000"));
    let mut child = start(&sandbox, "merge learn.yaml --out runs/x");
    wait_for(&sandbox, "runs/x.part/adaptation.json");
    child.kill().unwrap();
    child.wait().unwrap();
    let state = std::fs::read(sandbox.path().join("runs/x.part/adaptation.json")).unwrap();

    // A recipe that asks for other steps is another merge.
    sandbox.file("learn.yaml", recipe.replace("steps: 500", "steps: 1"));
    let said = sandbox.refit("merge --resume runs/x");
    assert_eq!(said.code, Some(3), "{}", said.err);
    let words = "`learn.yaml` has changed since the run began";
    assert!(said.err.contains(words), "{}", said.err);
    sandbox.file("learn.yaml", recipe.replace("steps: 500", "steps: 1000000"));

    // A state that is none, and one that is torn.
    for text in [&b"{}"[..], &state[..state.len() / 2]] {
        sandbox.file("runs/x.part/adaptation.json", text);
        let said = sandbox.refit("merge --resume runs/x");
        assert_eq!(said.code, Some(3), "{}", said.err);
        assert!(said.err.contains("adaptation.json"), "{}", said.err);
        assert!(sandbox.path().join("runs/x.part/run.json").exists());
    }
    // Beginning again is always possible, and does away with what there was.
    sandbox.done("merge recipes/average.yaml --out runs/x --force");
    let names = sandbox.names("runs");
    assert!(names.contains(&"x".to_owned()), "{names:?}");
}

#[cfg(unix)]
#[test]
fn a_merge_that_learns_stops_when_it_cannot_be_measured() {
    let sandbox = Sandbox::new();
    sandbox.train_experts();
    let recipe = std::fs::read_to_string(sandbox.path().join("recipes/adamerging.yaml")).unwrap();
    // Without a stop it would go on for days.
    sandbox.file("learn.yaml", recipe.replace("steps: 500", "steps: 1000000"));
    // Room for what a fast machine saves after the first second, and not for many more.
    let said = where_files_end(&sandbox, 768, "merge learn.yaml --out runs/x");
    assert_eq!(said.code, Some(1), "{}", said.err);
    let words = ["cannot write", "--resume runs/x"];
    assert!(
        words.iter().all(|words| said.err.contains(words)),
        "{}",
        said.err
    );
    assert!(sandbox.path().join("runs/x.part").is_dir());
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
    pictures(&sandbox, "pictures");
    sandbox.done("train --data pictures --model mine.json --steps 1 --batch 4 --out runs/a -q");
    let read = |name: &str| std::fs::read_to_string(sandbox.path().join(name)).unwrap();
    let record: serde_json::Value = serde_json::from_str(&read("runs/a/run.json")).unwrap();
    let inputs = record["inputs"].as_array().unwrap();
    let found = inputs.iter().find(|i| i["path"] == "pictures").unwrap();
    let folder = sandbox.path().join("pictures");
    let files = refit_io::data::task_files(&folder).unwrap();
    let digest = refit_io::ckpt::digest_files(&folder, &files).unwrap();
    assert_eq!(found["sha256"], digest.sha256.as_str());
    assert_eq!(
        (&found["files"], &found["bytes"]),
        (&40.into(), &digest.bytes.into())
    );
    let page = read("runs/a/report.html");
    assert!(page.contains("pictures (40 files)") && page.contains(&digest.sha256));

    as_if_killed(&sandbox, "runs/a");
    picture(&sandbox, "pictures/dark/3", 99);
    let said = sandbox.refit("train --resume runs/a");
    assert_eq!(said.code, Some(3), "{}", said.err);
    let words = "`pictures` has changed since the run began";
    assert!(said.err.contains(words), "{}", said.err);
    picture(&sandbox, "pictures/dark/3", 3);
    sandbox.done("train --resume runs/a -q");
}

#[test]
fn what_lies_beside_the_data_may_be_anything_and_may_change() {
    let sandbox = Sandbox::new();
    for part in ["train", "test"] {
        pictures(&sandbox, &format!("d/{part}"));
    }
    let home = sandbox.path().join("d");
    symlink("..", home.join("train/dark/up")).unwrap();
    symlink("nowhere", home.join("train/dark/gone")).unwrap();
    sandbox.file("d/train/dark/secret.txt", "mine");
    std::fs::create_dir(home.join("lost+found")).unwrap();
    for name in ["train/dark/secret.txt", "lost+found"] {
        std::fs::set_permissions(home.join(name), PermissionsExt::from_mode(0o0)).unwrap();
    }
    sandbox.file("d/README", "before");
    sandbox.done("train --data d --model mine.json --steps 1 --batch 4 --out runs/a -q");
    as_if_killed(&sandbox, "runs/a");
    sandbox.file("d/README", "after");
    sandbox.file("d/train/light/log.txt", "new");
    std::fs::create_dir_all(home.join("run/dark")).unwrap();
    sandbox.done("train --resume runs/a -q");
    sandbox.done("train --data d --model mine.json --steps 1 --batch 4 --out runs/b -q");
    // So that whoever owns the folder can remove it.
    std::fs::set_permissions(home.join("lost+found"), PermissionsExt::from_mode(0o700)).unwrap();
}

#[test]
fn an_output_inside_the_data_is_refused_before_any_work() {
    let sandbox = Sandbox::new();
    pictures(&sandbox, "whole");
    for part in ["train", "test"] {
        pictures(&sandbox, &format!("parts/{part}"));
    }
    for task in ["one", "two"] {
        pictures(&sandbox, &format!("tasks/{task}"));
    }
    let home = sandbox.path().canonicalize().unwrap();
    let train = "train --model mine.json --steps 1 --batch 4 --data";
    for (args, data) in [
        (format!("{train} whole --out whole/run"), "whole"),
        (format!("{train} parts --out parts/run"), "parts"),
        (format!("{train} parts/. --out parts/train/run"), "parts"),
        (
            format!("{train} whole --out parts/../whole --force"),
            "whole",
        ),
        (format!("{train} whole --out whole/run --dry-run"), "whole"),
        (
            "demo --quick --data tasks --out tasks/run".to_owned(),
            "tasks",
        ),
    ] {
        let before = sandbox.names(data);
        let said = sandbox.refit(&args);
        assert_eq!(said.code, Some(3), "{args}: {}", said.err);
        let next = format!(
            "hint: give an --out outside of `{}`",
            home.join(data).display()
        );
        for words in ["lies inside the data", &next] {
            assert!(said.err.contains(words), "{args}: {}", said.err);
        }
        assert_eq!(sandbox.names(data), before, "{args}");
    }
    // A name that begins alike is another folder.
    sandbox.done(&format!("{train} whole --out whole-run -q"));
}

#[test]
fn who_only_looks_at_a_run_keeps_nobody_from_writing_it() {
    let sandbox = Sandbox::new();
    let mut child = start(
        &sandbox,
        &format!("{TRAIN} --steps 100000 --save-every 0 --out runs/long"),
    );
    wait_for(&sandbox, "runs/long.part/state.safetensors");
    let record = || std::fs::read(sandbox.path().join("runs/long.part/run.json")).unwrap();
    let before = record();
    let plan = sandbox.refit("train --resume runs/long --dry-run");
    let again = sandbox.refit("train --resume runs/long");
    let lives = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(lives);
    assert_eq!(plan.code, Some(0), "{}", plan.err);
    assert!(plan.out.contains("nothing was written"), "{}", plan.out);
    assert_eq!(record(), before);
    // The run itself has one writer.
    assert!(again.err.contains("another process"), "{}", again.err);
}

#[test]
fn a_run_that_cannot_be_finished_says_how_to_go_on() {
    let sandbox = Sandbox::new();
    pictures(&sandbox, "pictures");
    let train = "train --data pictures --model mine.json --steps 2 --batch 4 --out runs";
    sandbox.done(&format!("{train}/whole -q"));
    // Room for all but the page.
    let size = |name: &str| {
        let path = sandbox.path().join("runs/whole").join(name);
        std::fs::metadata(path).map_or(0, |file| file.len())
    };
    let model = size("model.safetensors");
    let blocks = (4 * model).max(2 * size("run.json")).div_ceil(512);
    let page = size("report.html");
    assert!(
        512 * blocks < page,
        "{blocks} blocks, a page of {page} bytes"
    );

    let said = where_files_end(&sandbox, blocks as u32, &format!("{train}/cut"));
    assert_eq!(said.code, Some(1), "{}", said.err);
    for words in [
        "runs/cut.part/report.html",
        "hint: the last saved state is kept; when the cause is mended, go on with `refit train --resume runs/cut`",
    ] {
        assert!(said.err.contains(words), "{}", said.err);
    }
    let record = std::fs::read_to_string(sandbox.path().join("runs/cut.part/run.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["stop"], "interrupted");
    sandbox.done("train --resume runs/cut -q");
    same_run(&sandbox, "cut", "whole");
}

#[test]
fn a_run_that_goes_on_is_saved_as_often_as_before_unless_told_otherwise() {
    let sandbox = Sandbox::new();
    sandbox.done(&format!("{TRAIN} --steps 6 --save-every 7 --out runs/a -q"));
    as_if_killed(&sandbox, "runs/a");
    for (extra, expected) in [("", 7), (" --save-every 9", 9)] {
        let plan = format!("train --resume runs/a --dry-run --json{extra}");
        let plan: serde_json::Value = serde_json::from_str(&sandbox.done(&plan).out).unwrap();
        assert_eq!(plan["settings"]["save_every"], expected);
    }
}

#[test]
fn who_goes_on_from_elsewhere_hears_where_paths_were_given() {
    let sandbox = Sandbox::new();
    pictures(&sandbox, "pictures");
    let home = sandbox.path().canonicalize().unwrap();
    let said_in = |folder: &str, run: &str| -> Said {
        let mut command = sandbox.command();
        command.current_dir(home.join(folder));
        let said = command.args(["train", "--resume", run]).output();
        said.unwrap().into()
    };
    for (data, path) in [("pictures", "mine.json"), ("generated:digits", "mlp.json")] {
        sandbox.file("mlp.json", MLP);
        let train = format!("train --data {data} --model {path} --steps 1 --batch 4");
        sandbox.done(&format!("{train} --out ./runs/a -q"));
        as_if_killed(&sandbox, "runs/a");
        let said = said_in("runs", "a");
        assert_eq!(said.code, Some(3), "{}", said.err);
        let there = home.display();
        let words = format!("hint: paths were given relative to `{there}`: go on from there\n");
        assert!(said.err.contains(&words), "{}", said.err);
        let said = said_in("", "runs/a");
        assert_eq!(said.code, Some(0), "{}", said.err);
        std::fs::remove_dir_all(home.join("runs/a")).unwrap();
    }
    // A path that leads up tells less.
    let train = "train --data pictures --model mine.json --steps 1 --batch 4";
    sandbox.done(&format!("{train} --out runs/../runs/b -q"));
    as_if_killed(&sandbox, "runs/b");
    let words = "hint: paths were given relative to the folder where the run was begun";
    let said = said_in("runs", "b");
    assert!(said.err.contains(words), "{}", said.err);
}

/// Presses Ctrl-C, and returns what the program says to that.
pub(crate) fn interrupted(child: Child) -> Said {
    let id = child.id().to_string();
    let pressed = Command::new("kill").args(["-INT", &id]).status().unwrap();
    assert!(pressed.success());
    let said: Said = child.wait_with_output().unwrap().into();
    assert_eq!(said.code, Some(130), "{}", said.err);
    said
}

/// Twenty dark and twenty light pictures, and `mine.json` for them.
fn pictures(sandbox: &Sandbox, folder: &str) {
    let model = MLP.replace("784", "16").replace("[16]", "[2]");
    sandbox.file("mine.json", model.replace("10}", "2}"));
    for class in ["dark", "light"] {
        std::fs::create_dir_all(sandbox.path().join(folder).join(class)).unwrap();
    }
    for i in 0..20 {
        picture(sandbox, &format!("{folder}/dark/{i}"), i);
        picture(sandbox, &format!("{folder}/light/{i}"), 200 + i);
    }
}

/// A picture of one shade.
fn picture(sandbox: &Sandbox, name: &str, shade: u8) {
    let bytes = [b"P5 4 4 255\n".as_slice(), &[shade; 16]].concat();
    sandbox.file(&format!("{name}.pgm"), bytes);
}

/// What a kill right before the end leaves: the same folder under its unfinished name.
fn as_if_killed(sandbox: &Sandbox, run: &str) {
    let run = sandbox.path().join(run);
    std::fs::rename(&run, refit::run::part_path(&run)).unwrap();
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
pub(crate) fn start(sandbox: &Sandbox, args: &str) -> Child {
    sandbox
        .command()
        .args(args.split_whitespace())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits until there is a file that is not empty.
pub(crate) fn wait_for(sandbox: &Sandbox, file: &str) {
    let path = sandbox.path().join(file);
    let there = || path.metadata().is_ok_and(|m| m.len() > 0);
    let patience = Instant::now();
    while !there() && patience.elapsed() < Duration::from_mins(1) {
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(there(), "`{file}` did not appear");
}

#[test]
fn a_signal_ends_the_program_while_nobody_reads_what_it_found() {
    let sandbox = Sandbox::new();
    let metas: Vec<TensorMeta> = (0..3000)
        .map(|i| TensorMeta {
            path: format!("layers.{i}.weight").into(),
            dtype: DType::F32,
            shape: vec![1],
        })
        .collect();
    let file = sandbox.path().join("many.safetensors");
    let options = refit_io::ckpt::WriteOptions::default();
    let mut writer = CheckpointWriter::create(&file, metas.clone(), options).unwrap();
    for meta in &metas {
        writer.put(meta, &1f32.to_le_bytes()).unwrap();
    }
    writer.finish().unwrap();
    ends_at_the_first_signal(&sandbox, &["info", "many.safetensors", "-v"]);
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
    ends_at_the_first_signal(&sandbox, &["info", "r.yaml", "-v"]);
}

/// Runs the program with a stdout that nobody reads, until it waits, and ends it politely.
fn ends_at_the_first_signal(sandbox: &Sandbox, args: &[&str]) {
    let mut child = sandbox
        .command()
        .args(args)
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
