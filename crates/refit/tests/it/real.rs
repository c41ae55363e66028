//! The published checkpoints, through the command line.

use crate::sandbox::Sandbox;
use refit_testkit::real_folder;
use serde_json::Value;
use std::path::Path;

#[test]
fn resnet20_reaches_the_known_accuracy() {
    let Some(data) = real_folder() else { return };
    let sandbox = Sandbox::new();
    let (model, images) = (
        data.join("ckpt_cifar10_resnet20.safetensors"),
        data.join("img32_cifar10_jpeg.npz"),
    );
    let said = sandbox.done(&format!(
        "eval {} --model recipes/models/resnet20.json --normalise imagenet --data {} --limit 500 --json",
        model.display(),
        images.display()
    ));
    let score: Value = serde_json::from_str(&said.out).unwrap();
    // The data folder's README has 0.798 on the first 500 test images (the tests of refit-nn count them exactly); these
    // are 500 others, so two standard errors are left for chance.
    let correct = score["correct"].as_u64().unwrap();
    assert!((381..=417).contains(&correct), "{score}");
    let info = sandbox.done(&format!("info {}", model.display())).out;
    assert!(info.contains("all values are finite"), "{info}");
}

#[test]
fn the_mnist_network_reaches_the_known_accuracy() {
    let Some(data) = real_folder() else { return };
    let sandbox = Sandbox::new();
    let said = sandbox.done(&format!(
        "eval {} --model recipes/models/conv-net.json --normalise mnist --data {} --limit 500 --json",
        data.join("ckpt_mnist_cnn_bn.safetensors").display(),
        data.join("img28_mnist.npz").display()
    ));
    let score: Value = serde_json::from_str(&said.out).unwrap();
    // The data folder's README has 0.998 on the first 500 test images; refit-nn counts those exactly.
    assert!(score["correct"].as_u64().unwrap() >= 496, "{score}");
}

#[test]
fn tuned_resnets_merge_to_the_same_accuracy_by_either_kind_of_recipe() {
    let Some(data) = real_folder() else { return };
    let sandbox = Sandbox::new();
    let read = |path: &Path| std::fs::read(path).unwrap();
    let weights = read(&data.join("ckpt_cifar10_resnet20.safetensors"));
    let config = read(&sandbox.path().join("recipes/models/resnet20.json"));
    sandbox.file("base/model.safetensors", weights);
    sandbox.file("base/config.json", config);
    let images = data.join("img32_cifar10_jpeg.npz");
    let images = images.display();
    for seed in 1..=2 {
        sandbox.done(&format!(
            "train --data {images} --init base --steps 6 --batch 32 --rate 1e-4 --seed {seed} --out tuned{seed} -q"
        ));
    }
    let count = both_ways(&sandbox, "base", ["tuned1", "tuned2"], "", &|model| {
        format!("eval {model} --data {images} --limit 500 --json")
    });
    // Each tuned model alone has about 0.82; a merge of two neighbours falls below neither by more than chance.
    assert!(count >= 390, "{count} of 500");
}

/// Merges two experts by task arithmetic, held in memory and streamed; the number of right answers, which must be the
/// same.
pub(crate) fn both_ways(
    sandbox: &Sandbox,
    base: &str,
    [a, b]: [&str; 2],
    skip: &str,
    eval: &dyn Fn(&str) -> String,
) -> u64 {
    sandbox.file(
        "held.yaml",
        format!("method: task-arithmetic\nscale: 0.5\nbase: {base}\nexperts: [{a}, {b}]\nskip: [{skip}]\n"),
    );
    let kept = if skip.is_empty() {
        "0.5".to_owned()
    } else {
        format!("[{{filter: {skip}, value: 0}}, {{value: 0.5}}]")
    };
    sandbox.file(
        "streamed.yaml",
        format!(
            "merge_method: task_arithmetic\nbase_model: {base}\nmodels:\n  \
             - {{model: {a}, parameters: {{weight: {kept}}}}}\n  \
             - {{model: {b}, parameters: {{weight: {kept}}}}}\n\
             parameters: {{normalize: false}}\ndtype: float32\n"
        ),
    );
    let [held, streamed] = ["held", "streamed"].map(|kind| {
        sandbox.done(&format!("merge {kind}.yaml --out merged-{kind}"));
        let said = sandbox.done(&eval(&format!("merged-{kind}")));
        let score: Value = serde_json::from_str(&said.out).unwrap();
        score["correct"].as_u64().unwrap()
    });
    assert_eq!(held, streamed);
    held
}
