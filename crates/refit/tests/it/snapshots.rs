//! Help pages, errors with their hints, dry-run plans and JSON, as they are printed.

use crate::sandbox::Sandbox;
use insta::{assert_snapshot, with_settings};

#[test]
fn help_pages() {
    let sandbox = Sandbox::new();
    with_settings!({ omit_expression => true }, {
        assert_snapshot!("help", sandbox.done("--help").out);
        for verb in ["demo", "train", "eval", "merge", "extract", "embed", "generate", "classify", "fit", "tune", "info", "report", "completions", "man"] {
            let help = sandbox.done(&format!("{verb} --help")).out;
            assert_snapshot!(format!("help-{verb}"), help);
        }
    });
}

#[test]
fn errors_and_hints() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path().join("runs")).unwrap();
    sandbox.file(
        "typo.yaml",
        "method: task-arithmetc\nbase: runs/base\nexperts: [runs/a]\n",
    );
    sandbox.file(
        "keys.yaml",
        "method: ties\nbase: runs/base\nexperts: [runs/a]\nkeepp: 0.2\n",
    );
    sandbox.file("twice.yaml", "method: ties\nmethod: dare\n");
    sandbox.file(
        "access.yaml",
        "method: adamerging\nbase: runs/base\nexperts: [runs/a]\n",
    );
    let mut text = String::new();
    for args in [
        "merge typo.yaml --out runs/x",
        "merge keys.yaml --out runs/x",
        "merge twice.yaml --out runs/x",
        "merge access.yaml --out runs/x",
        "merge recipes/ties.yaml --out runs/x",
        "info nothing.safetensors",
        "report runs",
        "eval runs --data generated:digits",
        "train --data generated:digits --model recipes/models/resnet20.json --out runs/x",
        "train --data generated:digits --out runs/x",
        "demo --device gpu",
        "man mrege",
        "fit --data generated:100,3 --solver tr,lbgfs --out runs/x",
        "fit --data generated:100,3 --objective logsitic --out runs/x",
        "fit --data generated:100 --out runs/x",
        "fit --data generated:100,3 --eps-g 0 --out runs/x",
        "fit --data no-such-rows.txt --out runs/x",
    ] {
        let said = sandbox.refit(args);
        assert_eq!(said.out, "");
        text += &format!(
            "$ refit {args}\n{}[exit {}]\n\n",
            said.err,
            said.code.unwrap()
        );
    }
    with_settings!({ omit_expression => true }, { assert_snapshot!("errors", text) });
}

#[test]
fn dry_run_plans() {
    let sandbox = Sandbox::new();
    sandbox.train_experts();
    let mut text = String::new();
    for args in [
        "demo --dry-run",
        "train --data generated:digits --model recipes/models/mlp.json --out runs/x --dry-run",
        "merge recipes/ties.yaml --out runs/x --dry-run",
        "merge recipes/adamerging.yaml --out runs/x --dry-run --json",
        "eval runs/digits --data generated:digits --dry-run",
        "fit --data generated:1000,5 --solver tr,arc:full,lbfgs --budget-propagations 1000000 --out runs/x --dry-run",
        "info recipes/adamerging.yaml",
    ] {
        text += &format!("$ refit {args}\n{}\n", sandbox.done(args).out);
    }
    assert_eq!(sandbox.names("runs"), ["base", "digits", "letters"]);
    with_settings!({ omit_expression => true }, { assert_snapshot!("plans", text) });
}
