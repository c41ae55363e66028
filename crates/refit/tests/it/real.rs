//! The published checkpoints, through the command line.

use crate::sandbox::{Sandbox, repository};
use serde_json::Value;
use std::path::PathBuf;

/// The folder of real data, if this machine has it.
fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("REFIT_DATA")
        .map_or_else(|| repository().join("../shared/data"), PathBuf::from);
    let found = folder.is_dir().then(|| folder.canonicalize().unwrap());
    if found.is_none() {
        println!("skipped: no real data");
    }
    found
}

#[test]
fn resnet20_reaches_the_known_accuracy() {
    let Some(data) = data() else { return };
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
    // The data folder's README has 0.798 (399) with the pixels of libjpeg. Our decoder rounds its inverse transform
    // otherwise (at most 4 of 255 levels apart); a forward pass in NumPy gives 399 on those pixels and 400 on ours.
    assert_eq!(score["correct"], 400, "{score}");
    let info = sandbox.done(&format!("info {}", model.display())).out;
    assert!(info.contains("all values are finite"), "{info}");
}

#[test]
fn the_mnist_network_reaches_the_known_accuracy() {
    let Some(data) = data() else { return };
    let sandbox = Sandbox::new();
    let said = sandbox.done(&format!(
        "eval {} --model recipes/models/conv-net.json --normalise mnist --data {} --limit 500 --json",
        data.join("ckpt_mnist_cnn_bn.safetensors").display(),
        data.join("img28_mnist.npz").display()
    ));
    let score: Value = serde_json::from_str(&said.out).unwrap();
    // 0.998 on the first 500 test images: the data folder's README.
    assert_eq!(score["correct"], 499, "{score}");
}
