//! The published checkpoints, through the command line.

use crate::sandbox::Sandbox;
use refit_testkit::real_folder;
use serde_json::Value;

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
