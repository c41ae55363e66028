//! Fitting losses over rows of a file.

use crate::sandbox::{Said, Sandbox};
use refit_io::ckpt::Checkpoint;
use serde_json::Value;
use std::fmt::Write;

/// Rows of two classes that no plane parts: `b` is mostly the sign of the first of three features.
fn rows(count: u32) -> String {
    let mut text = String::new();
    // A fixed walk over the unit interval, as uneven as this needs.
    let at = |i: u32, step: f64| (f64::from(i) * step).fract();
    for i in 0..count {
        let a = [
            at(i, 0.618_034) - 0.5,
            at(i, 0.414_214) - 0.5,
            at(i, 0.732_051) - 0.5,
        ];
        let noisy = i.is_multiple_of(7);
        let label = if (a[0] > 0.0) == noisy { "-1" } else { "+1" };
        let _ = writeln!(text, "{label} 1:{:.6} 2:{:.6} 3:{:.6}", a[0], a[1], a[2]);
    }
    text
}

fn json(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap()
}

fn text(sandbox: &Sandbox, name: &str) -> String {
    std::fs::read_to_string(sandbox.path().join(name)).unwrap()
}

/// The parameters in a file.
fn weights(sandbox: &Sandbox, name: &str) -> Vec<f64> {
    let checkpoint = Checkpoint::open(sandbox.path().join(name)).unwrap();
    let tensor = checkpoint.view("w").unwrap();
    let values = tensor.bytes.as_chunks::<8>().0.iter();
    values.map(|bytes| f64::from_le_bytes(*bytes)).collect()
}

/// Mean of `(b - sigmoid(a^T w + bias))^2` and the length of its gradient, straight from the definition.
fn sigmoid_square(text: &str, w: &[f64]) -> (f64, f64) {
    let (mut loss, mut gradient, mut count) = (0.0, vec![0.0; w.len()], 0.0);
    for line in text.lines() {
        let mut words = line.split(' ');
        let b = if words.next() == Some("+1") { 1.0 } else { 0.0 };
        let mut a = vec![0.0; w.len()];
        *a.last_mut().unwrap() = 1.0;
        for word in words {
            let (index, value) = word.split_once(':').unwrap();
            // Rows are kept in single precision.
            let value = value.parse::<f32>().unwrap();
            a[index.parse::<usize>().unwrap() - 1] = f64::from(value);
        }
        let z: f64 = a.iter().zip(w).map(|(a, w)| a * w).sum();
        let s = 1.0 / (1.0 + (-z).exp());
        loss += (b - s) * (b - s);
        let slope = -2.0 * (b - s) * s * (1.0 - s);
        gradient
            .iter_mut()
            .zip(&a)
            .for_each(|(g, a)| *g += slope * a);
        count += 1.0;
    }
    let square: f64 = gradient.iter().map(|g| g * g).sum();
    (loss / count, square.sqrt() / count)
}

#[test]
fn a_fit_writes_a_certified_point_and_everything_about_it() {
    let sandbox = Sandbox::new();
    let data = rows(3000);
    sandbox.file("a.txt", &data);
    sandbox.file("b.txt", rows(100));
    let said = sandbox.done(
        "fit --data a.txt --test b.txt --start random --start-scale 3 --eps-g 1e-6 --out runs/x --json",
    );
    let found = json(&said);
    assert_eq!(found["status"], "second-order");
    assert_eq!(
        (&found["rows"], &found["parameters"]),
        (&3000.into(), &4.into())
    );
    // The definition agrees with what was said, up to the rounding of sums of 3000 terms.
    let w = weights(&sandbox, "runs/x/weights.safetensors");
    let (loss, gradient) = sigmoid_square(&data, &w);
    assert!((found["loss"].as_f64().unwrap() - loss).abs() < 1e-12);
    assert!(gradient <= 1e-6 && (found["gradient"].as_f64().unwrap() - gradient).abs() < 1e-12);
    assert!(found["curvature_bound"].as_f64().unwrap() >= -1e-3);
    assert!(found["gradient_bound"].as_f64().unwrap() <= 1e-6);
    assert!(found["confidence"].as_f64().unwrap() >= 0.99);
    assert!(
        found["test-error"].as_f64().unwrap() < 0.5 && found["seconds"].as_f64().unwrap() > 0.0
    );
    assert_eq!(weights(&sandbox, "runs/x/start.safetensors").len(), 4);

    // The last line of the trace has all work but that of the certificate.
    let trace = text(&sandbox, "runs/x/trace.csv");
    let head: Vec<&str> = trace.lines().next().unwrap().split(',').collect();
    let last: Vec<&str> = trace.lines().last().unwrap().split(',').collect();
    let cell = |name| last[head.iter().position(|known| *known == name).unwrap()];
    assert_eq!(cell("solver"), "tr");
    assert_eq!(cell("trial"), found["trials"].to_string());
    let work: u64 = cell("propagations").parse().unwrap();
    assert!(work > 0 && work < found["propagations"].as_u64().unwrap());

    let names = sandbox.names("runs/x");
    let expected = [
        "config.json",
        "metrics.jsonl",
        "report.html",
        "results.json",
        "run.json",
        "start.safetensors",
        "trace.csv",
        "weights.safetensors",
    ];
    assert_eq!(names, expected);
    let config: Value = serde_json::from_str(&text(&sandbox, "runs/x/config.json")).unwrap();
    assert_eq!(config["classes"], serde_json::json!([-1.0, 1.0]));
    assert_eq!(config["layout"], "w [features], bias");

    // The page can be made again from the files beside it, byte by byte.
    let page = text(&sandbox, "runs/x/report.html");
    for words in [
        "a certified second-order point",
        "id=\"found\"",
        "id=\"way\"",
        "id=\"work\"",
    ] {
        assert!(page.contains(words), "{words}");
    }
    sandbox.done("report runs/x");
    assert_eq!(text(&sandbox, "runs/x/report.html"), page);
}

#[test]
fn solvers_start_alike_and_end_at_one_minimum() {
    let sandbox = Sandbox::new();
    sandbox.file("a.txt", rows(2000));
    let said = sandbox.done(
        "fit --data a.txt --objective logistic --ridge 0.01 --start ones --eps-g 1e-7 \
         --solver tr:full,tr:hessian --solver arc,gauss-newton,lbfgs --out runs/x --json",
    );
    let found = json(&said);
    let arms = found["arms"].as_array().unwrap();
    let names: Vec<&str> = arms
        .iter()
        .map(|arm| arm["solver"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["tr:full", "tr:hessian", "arc", "gauss-newton", "lbfgs"]
    );
    for arm in arms {
        // The loss is strongly convex by the ridge: at a gradient g it is within g^2 / (2 * 0.01) of its minimum.
        let off = arm["loss"].as_f64().unwrap() - arms[0]["loss"].as_f64().unwrap();
        assert!(off.abs() <= 1e-12, "{arm}");
        let certified = arm["solver"] != "lbfgs";
        assert_eq!(
            arm["status"],
            if certified {
                "second-order"
            } else {
                "first-order-only"
            }
        );
    }
    assert_eq!(found["solver"], "tr:full");
    let x = weights(&sandbox, "runs/x/weights.safetensors");
    let y = weights(&sandbox, "runs/x/weights-lbfgs.safetensors");
    assert!(x.iter().zip(&y).all(|(x, y)| (x - y).abs() < 1e-4));
    let page = text(&sandbox, "runs/x/report.html");
    assert!(page.contains("L-BFGS") && page.contains("TR, 5 % of the Hessian"));
}

#[test]
fn all_rows_are_the_exact_method_and_threads_change_no_bit() {
    let sandbox = Sandbox::new();
    let args = "fit --data generated:6000,8 --start random --start-scale 6 -q";
    let of = |name: &str, more: &str| {
        sandbox.done(&format!("{args} {more} --out runs/{name}"));
        let point = |line: &str| {
            let cells: Vec<&str> = line.split(',').collect();
            cells[1..cells.len() - 1].join(",") // all but solver and seconds
        };
        let trace = text(&sandbox, &format!("runs/{name}/trace.csv"));
        trace.lines().map(point).collect::<Vec<_>>()
    };
    let one = of("a", "--threads 1");
    assert_eq!(one, of("b", "--threads 2"));
    assert_ne!(one, of("c", "--seed 1"));
    let whole = "--sampling fixed --hessian-share 1 --gradient-share 1 --value-share 1";
    assert_eq!(of("d", whole), of("e", "--solver tr:full"));
}

#[test]
fn every_objective_can_be_fitted() {
    let sandbox = Sandbox::new();
    sandbox.file("a.txt", rows(400));
    let mut several = rows(200).replace("+1 ", "3 ");
    several += &rows(100).replace("-1 ", "7 ");
    sandbox.file("three.txt", several);
    for (at, (objective, data, parameters)) in [
        ("sigmoid-square", "a.txt", 4),
        ("logistic", "a.txt", 4),
        ("square", "a.txt", 4),
        ("smooth-huber", "a.txt", 4),
        ("cauchy", "a.txt", 4),
        ("geman-mcclure", "a.txt", 4),
        ("softmax", "three.txt", 4 * 4),
        (
            "network --hidden 3 --ridge 1e-3",
            "three.txt",
            4 * 3 + 4 * 4,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let args = format!(
            "fit --data {data} --objective {objective} --eps-g 1e-3 --out runs/{at} --json"
        );
        let found = json(&sandbox.done(&args));
        assert_eq!(found["status"], "second-order", "{objective}");
        assert_eq!(found["parameters"], parameters, "{objective}");
        let classes = !["square", "smooth-huber", "cauchy", "geman-mcclure"].contains(&objective);
        assert_eq!(found["error"].is_number(), classes, "{objective}");
    }
}

#[test]
fn a_budget_ends_a_fit_with_what_was_reached() {
    let sandbox = Sandbox::new();
    let args = "fit --data generated:5000,10 --start random --start-scale 6 --solver tr,lbfgs,sgd --eps-g 1e-9";
    let found = json(&sandbox.done(&format!(
        "{args} --budget-propagations 40000 --out runs/x --json"
    )));
    for arm in found["arms"].as_array().unwrap() {
        assert_eq!(arm["status"], "budget-exhausted");
        assert!(arm["propagations"].as_u64().unwrap() >= 40_000);
        assert!(arm["curvature_bound"].is_null());
    }
    let record: Value = serde_json::from_str(&text(&sandbox, "runs/x/run.json")).unwrap();
    assert_eq!(record["stop"], "budget-exhausted");
}

#[test]
fn trials_that_were_all_taken_back_are_told() {
    let sandbox = Sandbox::new();
    let said = sandbox.done(
        "fit --data generated:5000,10 --start random --start-scale 6 --solver tr:full --radius 1000 --budget-steps 4 \
         --out runs/x --json",
    );
    let trace = text(&sandbox, "runs/x/trace.csv");
    assert_eq!(trace.lines().count(), 1 + 4, "{trace}");
    assert_eq!(json(&said)["trials"], 4);
    let results: Value = serde_json::from_str(&text(&sandbox, "runs/x/results.json")).unwrap();
    assert_eq!(results["arms"][0]["trials"], 4);
}

#[test]
fn a_method_that_diverges_does_not_stop_the_others() {
    let sandbox = Sandbox::new();
    let args = "fit --data generated:2000,5 --objective square --rate 1e6 --epochs 300";
    let said = sandbox.done(&format!("{args} --solver sgd,lbfgs --out runs/x --json"));
    let found = json(&said);
    assert_eq!(
        (&found["status"], &found["loss"]),
        (&"diverged".into(), &Value::Null)
    );
    assert_eq!(found["arms"][1]["status"], "first-order-only");
    assert!(said.err.contains("warning: `sgd` diverged"), "{}", said.err);
    assert!(
        !sandbox
            .names("runs/x")
            .contains(&"weights.safetensors".to_owned())
    );
    let said = sandbox.refit(&format!("{args} --solver sgd --out runs/y"));
    assert_eq!(said.code, Some(1));
    assert!(
        said.err.contains("nothing was written\nhint: lower --rate"),
        "{}",
        said.err
    );
    assert!(sandbox.names("runs").iter().all(|name| name == "x"));
}

#[test]
fn rows_that_cannot_be_fitted_are_refused_by_line_and_label() {
    let sandbox = Sandbox::new();
    let good = rows(20);
    let refused = |text: &str, more: &str, words: &[&str]| {
        sandbox.file("bad.txt", text);
        let said = sandbox.refit(&format!("fit --data bad.txt {more} --out runs/x"));
        assert_eq!(said.code, Some(3), "{}", said.err);
        for words in words {
            assert!(said.err.contains(words), "{words}\n{}", said.err);
        }
        assert!(sandbox.names("runs").is_empty());
    };
    refused(
        &format!("{good}1 1:nan\n"),
        "",
        &["line 21", "`nan`", "finite"],
    );
    refused(&format!("{good}nan 1:1\n"), "", &["line 21", "label `nan`"]);
    refused(
        &format!("{good}+1 1:1 1:2\n"),
        "",
        &["line 21", "index 1 twice"],
    );
    refused(
        &format!("{good}+1 2:1 1:2\n"),
        "",
        &["line 21", "index 1 after index 2"],
    );
    refused(&format!("{good}+1 0:1\n"), "", &["line 21", "index 0"]);
    refused(
        &format!("{good}+1 one\n"),
        "",
        &["line 21", "`one`", "`index:value`"],
    );
    refused(
        &format!("{good}+1 4:1\n"),
        "--features 3",
        &["line 21", "index 4", "at most 3"],
    );
    refused("", "", &["no row"]);
    refused(
        "1 1:1\n1 1:2\n",
        "",
        &["every label is 1, expected at least two classes"],
    );
    refused(
        "1 1:1\n2 1:2\n3 1:2\n",
        "",
        &["3 classes, expected two", "softmax"],
    );
    refused(
        "1\n-1\n",
        "--no-bias",
        &["no feature, expected one or a bias"],
    );
    refused("1\n-1\n", "--test missing.txt", &["`missing.txt`"]);
    sandbox.file("test.txt", "2 1:1\n");
    refused(
        &good,
        "--test test.txt",
        &[
            "`test`",
            "label of row 1, counted from 1, is 2",
            "none of the known classes",
        ],
    );
    // Other systems do not tell how much memory they have.
    if cfg!(target_os = "linux") {
        refused(
            "0 1:1\n1 134000000:1\n",
            "",
            &["of memory, this machine has"],
        );
    }
    refused("PK\u{3}\u{4}", "", &["`bad.txt`", "zip archive"]);
    refused(
        "16777216 1:1\n16777217 1:2\n",
        "",
        &["the label 16777216 cannot be told"],
    );
    sandbox.file("wide.txt", "1 9:1\n");
    refused(
        &good,
        "--test wide.txt",
        &["`wide.txt`", "line 1", "index 9", "at most 3"],
    );
}

#[test]
fn settings_that_cannot_be_are_refused_and_slips_get_the_nearest_name() {
    let sandbox = Sandbox::new();
    for (args, code, words) in [
        (
            "--eps-g 0",
            3,
            "`eps-g` is 0, expected a finite number above 0",
        ),
        ("--eta 1", 3, "`eta` is 1, expected a number in (0, 1)"),
        ("--solver tr,tr", 3, "`solver` names `tr` twice"),
        (
            "--solver arc --sub-problem gltr",
            3,
            "is not one of `arc`, which takes `lanczos` or `gradient`",
        ),
        (
            "--solver tr:adaptive,tr",
            3,
            "`solver` names `tr:adaptive` and `tr`, which are the same",
        ),
        (
            "--objective network --no-bias",
            3,
            "`no-bias` does not go with the network",
        ),
        (
            "--eta 0.9",
            3,
            "`eta-good` is 0.8, expected a number in [eta, 1)",
        ),
        ("--ridge -1", 3, "`ridge` is -1"),
        ("--solver sgd --momentum 1 --dry-run", 3, "`momentum` is 1"),
        (
            "--objective network --draw curvature --dry-run",
            3,
            "asks for curvatures of the rows",
        ),
        ("--features 3", 3, "does not go with generated rows"),
        ("--start-scale nan", 3, "`start-scale` is NaN"),
        ("--ridge=-1", 3, "`ridge` is -1"),
        ("--solver lbfgs --memory 0 --dry-run", 3, "`memory` is 0"),
        ("--objective network --hidden 0", 3, "`hidden` is 0"),
        (
            "--objective square --sampling theory --dry-run",
            3,
            "theory needs bounds",
        ),
        ("--solver trr", 2, "did you mean `tr`?"),
        ("--solver tr:steps-norm", 2, "did you mean `step-norm`?"),
        ("--sampling adaptiv", 2, "adaptive"),
        ("--data generated:5", 2, "`generated:ROWS,COLUMNS`"),
    ] {
        let data = if args.contains("--data") {
            ""
        } else {
            "--data generated:200,3"
        };
        let said = sandbox.refit(&format!("fit {data} {args} --out runs/x"));
        assert_eq!(said.code, Some(code), "{args}\n{}", said.err);
        assert!(said.err.contains(words), "{args}\n{}", said.err);
        assert!(sandbox.names("runs").is_empty(), "{args}");
    }
}

#[test]
fn indices_may_count_from_zero() {
    let sandbox = Sandbox::new();
    sandbox.file("one.txt", "3 1:2\n");
    sandbox.file("zero.txt", "3 0:2\n");
    let args = "--objective square --no-bias --eps-g 1e-9";
    sandbox.done(&format!("fit --data one.txt {args} --out one"));
    sandbox.done(&format!(
        "fit --data zero.txt --zero-based {args} --out zero"
    ));
    let [one, zero] =
        ["one", "zero"].map(|run| weights(&sandbox, &format!("{run}/weights.safetensors")));
    assert_eq!(one, zero);
    let said = sandbox.refit("fit --resume none --eps-g 1e-3");
    assert!(
        said.code == Some(2) && said.err.contains("--eps-g"),
        "{}",
        said.err
    );
}

#[test]
fn one_row_and_one_parameter_are_enough_for_numbers() {
    let sandbox = Sandbox::new();
    sandbox.file("one.txt", "3 1:2\n");
    let found =
        json(&sandbox.done(
            "fit --data one.txt --objective square --no-bias --eps-g 1e-9 --out runs/x --json",
        ));
    assert_eq!(found["status"], "second-order");
    // (2 w - 3)^2 / 2 is least at 3/2, and |gradient| = |2 (2 w - 3)| <= 1e-9.
    let w = weights(&sandbox, "runs/x/weights.safetensors");
    assert!((w[0] - 1.5).abs() <= 2.5e-10, "{w:?}");
}

#[cfg(unix)]
mod interrupted {
    use super::*;
    use crate::interrupt::{interrupted, start, wait_for};

    /// Small steps, so that there is time to stop in the middle.
    const SLOW: &str = "fit --data generated:20000,30 --start random --start-scale 6 --eps-g 1e-9 \
                        --solver tr:full,arc --sigma 1e5 --radius 1e-3 --gamma 1.01 --budget-steps 400";

    /// Waits until a state is saved that has a trial behind it.
    fn wait_for_trial(sandbox: &Sandbox, state: &str) {
        let patience = std::time::Instant::now();
        let done = || {
            let text = std::fs::read_to_string(sandbox.path().join(state)).ok()?;
            let saved: Value = serde_json::from_str(&text).ok()?;
            saved["state"]["trials"].as_u64()
        };
        while done().is_none_or(|trials| trials == 0) {
            assert!(patience.elapsed().as_secs() < 60, "no trial was saved");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }

    /// The same numbers but for time.
    fn same(sandbox: &Sandbox, a: &str, b: &str) {
        let bytes = |run: &str, name: &str| {
            std::fs::read(sandbox.path().join("runs").join(run).join(name)).unwrap()
        };
        for name in ["weights-arc.safetensors", "start.safetensors"] {
            assert!(bytes(a, name) == bytes(b, name), "{name} differs");
        }
        same_lines(sandbox, a, b);
    }

    /// The same weights, trials, points and files.
    fn same_lines(sandbox: &Sandbox, a: &str, b: &str) {
        let bytes = |run: &str, name: &str| {
            std::fs::read(sandbox.path().join("runs").join(run).join(name)).unwrap()
        };
        let name = "weights.safetensors";
        assert!(bytes(a, name) == bytes(b, name), "{name} differs");
        let trace = |run: &str| {
            let text = text(sandbox, &format!("runs/{run}/trace.csv"));
            let lines = text
                .lines()
                .map(|line| line.rsplit_once(',').unwrap().0.to_owned());
            lines.collect::<Vec<_>>()
        };
        assert_eq!(trace(a), trace(b));
        let metrics = |run: &str| {
            let text = text(sandbox, &format!("runs/{run}/metrics.jsonl"));
            let without = |line: &str| {
                let mut line: Value = serde_json::from_str(line).unwrap();
                line.as_object_mut().unwrap().remove("seconds");
                line
            };
            text.lines().map(without).collect::<Vec<_>>()
        };
        assert_eq!(metrics(a), metrics(b));
        assert_eq!(
            sandbox.names(&format!("runs/{a}")),
            sandbox.names(&format!("runs/{b}"))
        );
    }

    #[test]
    fn a_fit_goes_on_bit_for_bit() {
        let sandbox = Sandbox::new();
        sandbox.done(&format!("{SLOW} --out runs/whole -q"));
        let child = start(&sandbox, &format!("{SLOW} --out runs/half"));
        wait_for(&sandbox, "runs/half.part/metrics.jsonl");
        let said = interrupted(child);
        for words in [
            "error: interrupted in `",
            "the state is in `runs/half.part`\nhint: go on with `refit fit --resume runs/half`",
        ] {
            assert!(said.err.contains(words), "{}", said.err);
        }
        let plan = sandbox.done("fit --resume runs/half --dry-run").out;
        assert!(plan.contains("nothing was written"), "{plan}");
        assert!(trials_done(&sandbox, "half") > 0);
        sandbox.done("fit --resume runs/half -q");
        same(&sandbox, "half", "whole");
        let again = sandbox.refit("fit --resume runs/half");
        assert_eq!(again.code, Some(3), "{}", again.err);

        let mut child = start(&sandbox, &format!("{SLOW} --save-every 0 --out runs/cut"));
        wait_for_trial(&sandbox, "runs/cut.part/state.json");
        child.kill().unwrap(); // SIGKILL: no chance to tidy up
        child.wait().unwrap();
        assert!(trials_done(&sandbox, "cut") > 0);
        let state = text(&sandbox, "runs/cut.part/state.json");
        sandbox.done("fit --resume runs/cut -q");
        same(&sandbox, "cut", "whole");

        // It is the state that is gone on from: another point ends at another place.
        let child = start(&sandbox, &format!("{SLOW} --save-every 0 --out runs/moved"));
        wait_for_trial(&sandbox, "runs/moved.part/state.json");
        interrupted(child);
        let mut moved: Value = serde_json::from_str(&state).unwrap();
        let first = &mut moved["state"]["x"][0];
        *first = (first.as_u64().unwrap() ^ 1 << 40).into();
        sandbox.file("runs/moved.part/state.json", moved.to_string());
        sandbox.done("fit --resume runs/moved -q");
        let end = |run: &str| weights(&sandbox, &format!("runs/{run}/weights.safetensors"));
        assert_ne!(end("moved"), end("whole"));
    }

    /// Trials that an unfinished run is known to have done.
    fn trials_done(sandbox: &Sandbox, run: &str) -> u64 {
        let plan = sandbox.done(&format!("fit --resume runs/{run} --dry-run --json"));
        json(&plan)["trials_done"].as_u64().unwrap()
    }

    #[test]
    fn steps_that_were_taken_back_leave_the_same_lines_after_a_kill() {
        let sandbox = Sandbox::new();
        // Of so few rows many a step is no good, and the search goes on from where it stands.
        for (name, looks) in [("seen", "exact"), ("told", "sample")] {
            let args = format!(
                "fit --data generated:2000,20 --start random --start-scale 6 --eps-g 1e-9 --solver tr:fixed \
                 --gradient-share 0.01 --value-share 0.01 --hessian-share 0.01 --budget-steps 300 --looks {looks}"
            );
            sandbox.done(&format!("{args} --out runs/{name} -q"));
            let trace = text(&sandbox, &format!("runs/{name}/trace.csv"));
            let taken = |line: &str| line.split(',').nth(16) == Some("1");
            let back = trace.lines().skip(1).filter(|line| !taken(line)).count();
            assert!(back > 20, "{back}");
            let cut = format!("cut-{name}");
            let mut child = start(&sandbox, &format!("{args} --save-every 0 --out runs/{cut}"));
            wait_for_trial(&sandbox, &format!("runs/{cut}.part/state.json"));
            child.kill().unwrap();
            child.wait().unwrap();
            sandbox.done(&format!("fit --resume runs/{cut} -q"));
            same_lines(&sandbox, &cut, name);
        }
    }

    #[test]
    fn a_fit_does_not_go_on_with_other_rows_or_a_damaged_state() {
        let sandbox = Sandbox::new();
        sandbox.file("a.txt", rows(5000));
        let args = "fit --data a.txt --start ones --eps-g 1e-9 --solver arc --sigma 1e6 --gamma 1.001 --budget-steps 100000";
        let child = start(&sandbox, &format!("{args} --out runs/x"));
        wait_for(&sandbox, "runs/x.part/metrics.jsonl");
        interrupted(child);
        let state = std::fs::read(sandbox.path().join("runs/x.part/state.json")).unwrap();
        for text in [&b"{}"[..], &state[..state.len() / 2]] {
            sandbox.file("runs/x.part/state.json", text);
            let said = sandbox.refit("fit --resume runs/x");
            assert_eq!(said.code, Some(3), "{}", said.err);
            assert!(said.err.contains("state.json"), "{}", said.err);
        }
        sandbox.file("runs/x.part/state.json", &state);
        sandbox.file("a.txt", rows(5001));
        let said = sandbox.refit("fit --resume runs/x");
        assert_eq!(said.code, Some(3), "{}", said.err);
        assert!(
            said.err.contains("`a.txt` has changed since the run began"),
            "{}",
            said.err
        );
    }
}
