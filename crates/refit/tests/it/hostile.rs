//! Wrong files, wrong words, wrong places: a sentence and the right exit code, never a panic, nothing half-written.

use crate::sandbox::{Said, Sandbox};
use std::{
    ffi::OsString,
    process::{Command, Stdio},
};

/// A refusal: this exit code, one error that holds `words`, no panic, nothing on stdout.
fn refused(said: &Said, code: i32, words: &str) {
    assert_eq!(said.code, Some(code), "{}{}", said.out, said.err);
    assert!(
        said.err.contains(words),
        "expected {words:?} in:\n{}",
        said.err
    );
    assert!(!said.err.contains("panicked"), "{}", said.err);
    assert_eq!(said.out, "");
}

#[test]
fn files_that_are_missing_empty_huge_deep_or_no_text() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path().join("runs")).unwrap();
    sandbox.file("empty.yaml", "");
    sandbox.file("large.yaml", vec![b'a'; 10 << 20]);
    sandbox.file("deep.yaml", "a: ".to_owned() + &"[".repeat(100_000));
    sandbox.file("binary.yaml", [0xff, 0xfe, 0, 1]);
    let merge = |recipe: &str| sandbox.refit(&format!("merge {recipe} --out runs/x"));
    refused(&merge("missing.yaml"), 3, "cannot read `missing.yaml`");
    refused(
        &merge("missing.yaml"),
        3,
        "\nhint: check the spelling of the path",
    );
    refused(
        &merge("empty.yaml"),
        3,
        "`empty.yaml` holds nothing, expected `key: value` pairs",
    );
    refused(
        &merge("large.yaml"),
        3,
        "`large.yaml` is larger than 1048576 bytes",
    );
    refused(&merge("deep.yaml"), 3, "`deep.yaml`");
    refused(&merge("binary.yaml"), 3, "`binary.yaml` is not UTF-8 text");
    refused(&merge("runs"), 3, "`runs` is not a regular file");
    assert_eq!(sandbox.names("runs"), Vec::<String>::new());
}

/// Where something is read whole, and by which command.
#[cfg(unix)]
const READ_WHOLE: [(&str, &str); 11] = [
    ("r.yaml", "merge r.yaml --out runs/x"),
    ("c.json", "merge known.yaml --out runs/x"),
    ("f.yaml", "demo --config f.yaml --out runs/x"),
    (
        "f.yaml",
        "eval runs/m --data generated:digits --config f.yaml",
    ),
    (
        "f.json",
        "eval runs/m/model.safetensors --model f.json --data generated:digits",
    ),
    ("runs/m/config.json", "eval runs/m --data generated:digits"),
    (
        "runs/m/preprocessor_config.json",
        "eval runs/m --data generated:digits",
    ),
    (
        "runs/m/model.safetensors",
        "eval runs/m --data generated:digits",
    ),
    ("runs/m/run.json", "report runs/m"),
    ("runs/m/results.json", "report runs/m"),
    ("runs/m/metrics.jsonl", "report runs/m"),
];

#[test]
#[cfg(unix)]
fn pipes_devices_and_folders_are_refused_where_a_file_is_read() {
    let sandbox = Sandbox::new();
    sandbox.done(
        "train --data generated:digits --model recipes/models/mlp.json --steps 1 --out runs/m -q",
    );
    sandbox.file(
        "known.yaml",
        "coefficients: c.json\nbase: runs/m\nexperts: [runs/m]\n",
    );
    for (path, args) in READ_WHOLE {
        let place = sandbox.path().join(path);
        let kept = std::fs::read(&place);
        for kind in ["pipe", "device", "folder"] {
            let _ = std::fs::remove_file(&place);
            match kind {
                "pipe" => assert!(
                    Command::new("mkfifo")
                        .arg(&place)
                        .status()
                        .unwrap()
                        .success()
                ),
                "device" => std::os::unix::fs::symlink("/dev/zero", &place).unwrap(),
                _ => std::fs::create_dir(&place).unwrap(),
            }
            let words = format!("`{path}` is not a regular file");
            refused(&sandbox.soon(args), 3, &words);
        }
        std::fs::remove_dir(&place).unwrap();
        if let Ok(bytes) = kept {
            sandbox.file(path, bytes);
        }
    }
    for args in ["info p", "info p.json", "info p.yaml", "info p.safetensors"] {
        let place = sandbox.path().join(args.split_once(' ').unwrap().1);
        assert!(
            Command::new("mkfifo")
                .arg(&place)
                .status()
                .unwrap()
                .success()
        );
        refused(&sandbox.soon(args), 3, "is not a regular file");
    }
}

#[test]
fn an_output_never_takes_the_place_of_what_is_read() {
    let sandbox = Sandbox::new();
    sandbox.train_experts();
    sandbox.file(
        "c.yaml",
        "coefficients: runs/learned/coefficients.json\nbase: runs/base\nexperts: [runs/digits]\n",
    );
    sandbox.file("runs/learned/coefficients.json", "{}");
    let train = "train --data generated:digits --init runs/base --steps 1 --force --out";
    let merge = "merge recipes/ties.yaml --force --out";
    for (args, words) in [
        (
            format!("{train} runs/base"),
            "--out `runs/base` is `runs/base`, which is read",
        ),
        (format!("{train} runs/base/x"), "lies inside `runs/base`"),
        (format!("{train} runs"), "--out `runs` holds `runs/base`"),
        (
            format!("{merge} runs/base"),
            "is `runs/base`, which is read",
        ),
        (
            format!("{merge} runs/letters"),
            "is `runs/letters`, which is read",
        ),
        (
            "merge c.yaml --force --out runs/learned".into(),
            "holds `runs/learned/coefficients.json`",
        ),
    ] {
        refused(&sandbox.refit(&args), 3, words);
    }
    assert_eq!(
        sandbox.names("runs"),
        ["base", "digits", "learned", "letters"]
    );
}

#[test]
fn files_of_another_kind_are_named_and_told_where_they_belong() {
    let sandbox = Sandbox::new();
    sandbox.file("index.json", r#"{"weight_map": {"a": "x.safetensors"}}"#);
    sandbox.file("f.npz", "");
    sandbox.file("c.json", r#"{"format": "refit-coefficients"}"#);
    for (args, words) in [
        ("info index.json", "x.safetensors"),
        (
            "info recipes/models/mlp.json",
            "`recipes/models/mlp.json` is neither the index",
        ),
        ("info c.json", "`c.json`: "),
        (
            "merge recipes --out runs/x",
            "hint: give a file; `recipes/`",
        ),
        (
            "train --model recipes/ties.yaml --data generated:digits --out runs/x",
            "`recipes/ties.yaml` is not JSON",
        ),
        (
            "demo --data f.npz --out runs/x",
            "hint: give the folder that holds it",
        ),
    ] {
        let said = sandbox.refit(args);
        refused(&said, 3, words);
        assert!(said.err.contains("hint: "), "{args}: {}", said.err);
    }
}

/// Runs the program where no file may be larger than `blocks` of 512 bytes: what a full disk does, without a disk.
#[cfg(unix)]
pub(crate) fn where_files_end(sandbox: &Sandbox, blocks: u32, args: &str) -> Said {
    let program = env!("CARGO_BIN_EXE_refit");
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec '{program}' {args}");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).current_dir(sandbox.path());
    shell.output().unwrap().into()
}

#[test]
#[cfg(unix)]
fn a_disk_that_takes_no_more_is_a_failure_that_names_the_file() {
    let sandbox = Sandbox::new();
    sandbox.train_experts();
    let before = ["base", "digits", "letters"];
    let train = "train --data generated:digits --model recipes/models/mlp.json --steps 3 --batch 8 --out runs/x";
    let merge = "merge recipes/ties.yaml --out runs/x";
    for (args, file) in [
        (train.to_owned(), "runs/x.part/model.safetensors"),
        (
            format!("{train} --save-every 0"),
            "runs/x.part/state.safetensors",
        ),
        (merge.to_owned(), "model.safetensors"),
    ] {
        let said = where_files_end(&sandbox, 400, &args);
        refused(&said, 1, file);
        assert_eq!(sandbox.names("runs"), before, "{args}");
    }
    // Room for a finished stage or two is kept, and said to be.
    let said = where_files_end(&sandbox, 400, "demo --quick --out runs/x -q");
    refused(&said, 1, "model.safetensors");
    assert!(!sandbox.names("runs").contains(&"x".to_owned()));
}

#[test]
fn misspelt_words_get_the_nearest_valid_one() {
    let sandbox = Sandbox::new();
    sandbox.file("r.yaml", "method: teis\nbase: a\nexperts: [b]\n");
    refused(
        &sandbox.refit("merge r.yaml --out runs/x"),
        3,
        "hint: did you mean `ties`?",
    );
    sandbox.file(
        "r.yaml",
        "method: ties\nbase: a\nexperts: [b]\nkeeep: 0.2\n",
    );
    refused(
        &sandbox.refit("merge r.yaml --out runs/x"),
        3,
        "hint: did you mean `keep`?",
    );
    let train = "train --model recipes/models/mlp.json --out runs/x --data";
    refused(
        &sandbox.refit(&format!("{train} generated:digts")),
        2,
        "did you mean `digits`?",
    );
    refused(
        &sandbox.refit(&format!("{train} generated:nope")),
        2,
        "use one of `digits`, `letters`, `shapes`",
    );
    refused(&sandbox.refit("mrege r.yaml"), 2, "merge");
    refused(&sandbox.refit("demo --dry-rum"), 2, "--dry-run");
    refused(
        &sandbox.refit(&format!("{train} generated:digits --optimizer adamv")),
        2,
        "'adamw'",
    );
    sandbox.file("models.json", r#"{"model_type": "vti"}"#);
    let said = sandbox.refit("train --model models.json --out runs/x --data generated:digits");
    refused(&said, 3, "hint: did you mean `vit`?");
    refused(
        &sandbox.refit("info recipse"),
        3,
        "hint: did you mean `recipes`?",
    );
}

#[test]
fn outputs_that_exist_or_have_no_home_are_refused_before_work() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path().join("runs")).unwrap();
    let train = "train --data generated:digits --model recipes/models/mlp.json --steps 1 --out";
    refused(
        &sandbox.refit(&format!("{train} runs")),
        3,
        "`runs` already exists",
    );
    sandbox.file("runs/thesis.txt", "mine");
    let foreign = "a folder that `refit` did not write";
    refused(&sandbox.refit(&format!("{train} runs --force")), 3, foreign);
    refused(
        &sandbox.refit(&format!("{train} no/such/place")),
        3,
        "there is no folder `no/such`",
    );
    sandbox.file("note.txt", "mine");
    refused(
        &sandbox.refit(&format!("{train} note.txt --force")),
        3,
        "`note.txt`",
    );
    for name in ["note.txt", "runs/thesis.txt"] {
        assert_eq!(
            std::fs::read_to_string(sandbox.path().join(name)).unwrap(),
            "mine"
        );
    }
}

#[test]
fn settings_out_of_range_and_images_that_do_not_fit_are_refused() {
    let sandbox = Sandbox::new();
    let with = |extra: &str| {
        sandbox.refit(&format!(
            "train --data generated:digits --model recipes/models/mlp.json --out runs/x {extra}"
        ))
    };
    refused(
        &with("--rate nan"),
        3,
        "`rate` is NaN, expected a positive number",
    );
    refused(&with("--batch 0"), 3, "`batch` is 0, expected 1 to 65536");
    refused(
        &with("--smoothing 1"),
        3,
        "`smoothing` is 1, expected a share in [0, 1)",
    );
    refused(&with("--steps many"), 2, "'many'");
    let resnet = "train --data generated:digits --model recipes/models/resnet20.json --out runs/x";
    refused(
        &sandbox.refit(resnet),
        3,
        "images are 1x28x28, the model takes 3x32x32",
    );
    let missing = "train --data no.npz --model recipes/models/mlp.json --out runs/x";
    refused(&sandbox.refit(missing), 3, "no.npz");
    assert_eq!(sandbox.names("runs"), Vec::<String>::new());
}

#[test]
#[cfg(unix)]
fn arguments_that_are_no_text_are_refused() {
    use std::os::unix::ffi::OsStringExt;
    let sandbox = Sandbox::new();
    let odd = OsString::from_vec(b"m\xff.yaml".to_vec());
    let said: Said = sandbox
        .command()
        .arg("info")
        .arg(&odd)
        .output()
        .unwrap()
        .into();
    refused(&said, 3, "there is no such file or folder");
    let said: Said = sandbox
        .command()
        .args(["demo", "--seed"])
        .arg(&odd)
        .output()
        .unwrap()
        .into();
    assert_eq!(said.code, Some(2), "{}", said.err);
}

#[test]
#[cfg(unix)]
fn a_file_that_may_not_be_read_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let sandbox = Sandbox::new();
    let path = sandbox
        .path()
        .join(sandbox.file("secret.yaml", "method: ties"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::File::open(&path).is_ok() {
        return; // this user may read everything
    }
    let said = sandbox.refit("merge secret.yaml --out runs/x");
    refused(&said, 3, "because: ");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let sandbox = Sandbox::new();
    let mut child = sandbox
        .command()
        .args(["completions", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let said: Said = child.wait_with_output().unwrap().into();
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
}

#[test]
fn a_checkpoint_with_a_hostile_header_is_refused() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path().join("runs")).unwrap();
    sandbox.file("long.safetensors", u64::MAX.to_le_bytes());
    sandbox.file("short.safetensors", [1, 2, 3]);
    for name in ["long", "short"] {
        refused(
            &sandbox.refit(&format!("info {name}.safetensors")),
            3,
            &format!("`{name}.safetensors`"),
        );
    }
    refused(
        &sandbox.refit("info runs"),
        3,
        "`runs` holds no `model.safetensors`",
    );
}

#[test]
fn a_config_file_sets_flags_and_the_command_line_wins() {
    let sandbox = Sandbox::new();
    sandbox.file("c.yaml", "steps: 7\nbatch: 5\ndry-run: true\ndata: generated:faces\nmodel: recipes/models/mlp.json\n");
    let plan = sandbox
        .done("train --config c.yaml --out runs/x --batch 9")
        .out;
    assert!(
        plan.contains("7 of 9 images") && plan.contains("generated:faces"),
        "{plan}"
    );
    sandbox.file("c.yaml", "stpes: 7\n");
    let said = sandbox.refit("train --config c.yaml --out runs/x");
    refused(
        &said,
        3,
        "`c.yaml` sets `stpes`, which `refit train` does not know\nhint: did you mean `steps`?",
    );
    sandbox.file("c.yaml", "steps: {a: 1}\n");
    refused(
        &sandbox.refit("train --config=c.yaml --out runs/x"),
        3,
        "expected a single value",
    );
}

#[test]
fn a_config_file_of_a_demonstration_holds_flags_and_settings() {
    let sandbox = Sandbox::new();
    let text = "seeds: 2\nbase: {steps: 7}\nadamerging: {steps: 3}\nquick: true\n";
    sandbox.file("c.yaml", text);
    let plan = |args: &str| -> serde_json::Value {
        let said = sandbox.done(&format!("demo --dry-run --json {args}"));
        serde_json::from_str(&said.out).unwrap()
    };
    let effective = plan("--config c.yaml --seeds 3");
    assert_eq!(effective["seeds"].as_array().unwrap().len(), 3);
    assert_eq!(effective["config"]["base"]["steps"], 7);
    assert_eq!(effective["config"]["adamerging"]["steps"], 3);
    let preset = plan("--quick");
    assert_eq!(effective["config"]["expert"], preset["config"]["expert"]);
    // What is printed can be given back, whole.
    sandbox.file("again.json", effective["config"].to_string());
    assert_eq!(
        plan("--quick --config again.json")["config"],
        effective["config"]
    );

    for (text, words) in [
        (
            "base: {stpes: 7}",
            "unknown key `base.stpes`\nhint: did you mean `base.steps`?",
        ),
        ("sacles: [1]", "does not know\nhint: did you mean `scales`?"),
        ("base: {rate: -1}", "`rate`"),
        (
            "encoder: {num_labels: 3}",
            "`encoder.num_labels` is 3, expected 0",
        ),
        ("heads: trianed", "did you mean `trained`?"),
    ] {
        sandbox.file("c.yaml", text);
        refused(
            &sandbox.refit("demo --config c.yaml --out runs/x"),
            3,
            words,
        );
    }
    assert_eq!(sandbox.names("runs"), Vec::<String>::new());
}

#[test]
fn folders_of_tasks_that_are_none_are_refused_before_work() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path().join("nothing")).unwrap();
    refused(
        &sandbox.refit("demo --data nothing --out runs/x"),
        3,
        "nothing",
    );
    std::fs::create_dir_all(sandbox.path().join("one/a")).unwrap();
    refused(&sandbox.refit("demo --data one --out runs/x"), 3, "one");
    refused(
        &sandbox.refit("demo --data missing --out runs/x"),
        3,
        "missing",
    );
    assert_eq!(sandbox.names("runs"), Vec::<String>::new());
}

#[test]
fn a_number_of_threads_that_no_machine_has_is_refused() {
    let sandbox = Sandbox::new();
    let train = "train --data generated:digits --model recipes/models/mlp.json --out runs/x";
    for verb in [train, "demo", "merge r.yaml --out runs/x"] {
        for threads in ["0", "1025", "1000000", "-1"] {
            let said = sandbox.refit(&format!("{verb} --threads={threads}"));
            refused(&said, 2, &format!("'{threads}'"));
        }
    }
    assert_eq!(sandbox.names("runs"), Vec::<String>::new());
}

#[test]
fn data_of_one_class_teach_nothing_and_are_refused() {
    let sandbox = Sandbox::new();
    std::fs::create_dir_all(sandbox.path().join("data/only")).unwrap();
    for i in 0..9 {
        let picture = [b"P5 28 28 255\n".as_slice(), &[i; 784]].concat();
        let path = sandbox.path().join(format!("data/only/{i}.pgm"));
        let mode = refit_io::atomic::Overwrite::Refuse;
        refit_io::atomic::write_file(path, &picture, mode).unwrap();
    }
    let said = sandbox.refit("train --data data --model recipes/models/mlp.json --out runs/x");
    refused(
        &said,
        3,
        "`data` has one class, expected at least two\nhint: ",
    );
    assert_eq!(sandbox.names("runs"), Vec::<String>::new());
}

#[test]
fn names_in_files_cannot_speak_to_the_terminal_and_unread_values_are_not_called_healthy() {
    let sandbox = Sandbox::new();
    let name = "w\u{202e}x"; // control characters in names are refused altogether
    let header = format!(
        r#"{{"__metadata__": {{"note": "\\u001b]0;title\\u0007"}}, {}: {{"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}}}"#,
        serde_json::to_string(name).unwrap()
    );
    let header = header.as_bytes();
    let file = [&(header.len() as u64).to_le_bytes(), header, &[0x7f, 0x7f]].concat();
    sandbox.file("m.safetensors", file);
    let said = sandbox.done("info m.safetensors").out;
    assert!(!said.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{said}");
    assert!(said.contains("w\\u{202e}x"), "{said}");
    assert!(
        said.contains("health      unknown: no tensor can be decoded"),
        "{said}"
    );
}
