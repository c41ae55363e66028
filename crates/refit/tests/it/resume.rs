//! A demonstration that was killed goes on; its models serve the other verbs; its data must be the same.

use crate::{
    job::{models, written},
    sandbox::Sandbox,
};

const QUICK: &str = "base: {steps: 20, warmup: 2}\nexpert: {steps: 20}\njoint: {steps: 20}\nscales: [0.3]\n\
    encoder: {hidden: [32, 32, 16]}\n\
    base-images: 50\ntuning-images: 20\ntest-images: 20\ncorrupted-images: 0\nadamerging: {steps: 4}\nquick: true\n";

#[test]
#[cfg(unix)]
fn the_program_goes_on_after_a_kill_and_its_models_serve_other_verbs() {
    let sandbox = Sandbox::new();
    sandbox.file("c.yaml", QUICK);
    sandbox.done("demo --config c.yaml --out runs/whole -q");
    let again = sandbox.refit("demo --resume runs/whole");
    assert_eq!(again.code, Some(3), "{}", again.err);
    assert!(
        again
            .err
            .contains("there is no unfinished run `runs/whole`"),
        "{}",
        again.err
    );

    kill_once_there_is(
        &sandbox,
        "demo --config c.yaml --out runs/cut",
        "runs/cut.part/seed-0/experts/faces/model.safetensors",
    );
    assert_eq!(sandbox.names("runs"), ["cut.part", "whole"]);
    let taken = sandbox.refit("demo --config c.yaml --out runs/cut");
    assert_eq!(taken.code, Some(3), "{}", taken.err);
    assert!(
        taken.err.contains("go on with `--resume runs/cut`"),
        "{}",
        taken.err
    );
    sandbox.done("demo --resume runs/cut -q");
    assert_eq!(sandbox.names("runs"), ["cut", "whole"]);
    same_demonstration(&sandbox);

    let info = sandbox.done("info runs/whole/seed-0/heads").out;
    assert!(info.contains("digits.weight"), "{info}");
    sandbox.done("eval runs/whole/seed-0/experts/digits --data generated:digits --limit 50");
    sandbox.done(
        "eval runs/whole/seed-0/ties --head runs/whole/seed-0/experts/digits --head-prefix layers.3. \
         --data generated:digits --limit 50",
    );
    sandbox.file(
        "r.yaml",
        "method: average\nbase: runs/whole/seed-0/base\nskip: [layers.3.]\n\
         experts: [runs/whole/seed-0/experts/digits, runs/whole/seed-0/experts/faces]\n",
    );
    sandbox.done("merge r.yaml --out runs/two");
}

#[test]
#[cfg(unix)]
fn a_kill_in_the_middle_of_a_stage_costs_no_more_than_since_its_last_save() {
    let sandbox = Sandbox::new();
    let long = QUICK.replace("steps: 20", "steps: 100");
    sandbox.file("c.yaml", long.replace("steps: 4}", "steps: 40}"));
    sandbox.done("demo --config c.yaml --out runs/whole -q");
    let mut args = "demo --config c.yaml --save-every 0 --out runs/cut";
    for (stage, kind) in [
        ("base", "safetensors"),
        ("experts/letters", "safetensors"),
        ("joint", "safetensors"),
        ("adamerging-layer", "json"),
    ] {
        let stage = format!("runs/cut.part/seed-0/{stage}");
        kill_once_there_is(&sandbox, args, &format!("{stage}.state.{kind}"));
        assert!(!sandbox.path().join(stage).exists(), "killed too late");
        args = "demo --resume runs/cut";
    }
    sandbox.done("demo --resume runs/cut -q");
    same_demonstration(&sandbox);
}

/// The runs `cut` and `whole` found the same and kept the same.
fn same_demonstration(sandbox: &Sandbox) {
    let outcome = |run: &str| {
        let text = std::fs::read_to_string(sandbox.path().join(run).join("results.json")).unwrap();
        written(serde_json::from_str(&text).unwrap())
    };
    assert_eq!(outcome("runs/cut"), outcome("runs/whole"));
    assert_eq!(
        models(&sandbox.path().join("runs/cut")),
        models(&sandbox.path().join("runs/whole"))
    );
}

/// Starts a demonstration and kills it when `file` has appeared.
#[cfg(unix)]
fn kill_once_there_is(sandbox: &Sandbox, args: &str, file: &str) {
    use std::time::{Duration, Instant};
    let mut child = sandbox
        .command()
        .args(args.split(' ').chain(["-q"]))
        .spawn()
        .unwrap();
    let patience = Instant::now();
    while !sandbox.path().join(file).exists() && patience.elapsed() < Duration::from_mins(1) {
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(sandbox.path().join(file).exists());
}

#[test]
fn a_run_whose_data_changed_is_not_resumed() {
    let sandbox = Sandbox::new();
    let pixel = |path: &str, value: u8| {
        let path = sandbox.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut bytes = b"P5 28 28 255\n".to_vec();
        bytes.extend([value; 28 * 28]);
        let replace = refit_io::atomic::Overwrite::Replace;
        refit_io::atomic::write_file(path, &bytes, replace).unwrap();
    };
    for task in ["one", "two"] {
        for (class, shade) in [("dark", 0), ("light", 200)] {
            for i in 0..20 {
                pixel(&format!("tasks/{task}/{class}/{i}.pgm"), shade + i);
            }
        }
    }
    sandbox.file("c.yaml", QUICK);
    sandbox.done("demo --data tasks --config c.yaml --out runs/a -q");
    let record = std::fs::read_to_string(sandbox.path().join("runs/a/run.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["inputs"].as_array().unwrap().len(), 80);

    // What a killed run leaves: the same folder under its unfinished name.
    let runs = sandbox.path().join("runs");
    std::fs::rename(runs.join("a"), runs.join("a.part")).unwrap();
    pixel("tasks/two/dark/3.pgm", 99);
    let said = sandbox.refit("demo --resume runs/a");
    assert_eq!(said.code, Some(3), "{}", said.err);
    assert!(
        said.err
            .contains("`tasks/two/dark/3.pgm` has changed since the run began"),
        "{}",
        said.err
    );
    pixel("tasks/two/dark/3.pgm", 3);
    sandbox.done("demo --resume runs/a.part -q");
    assert_eq!(sandbox.names("runs"), ["a"]);
}
