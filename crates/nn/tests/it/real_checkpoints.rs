//! Published checkpoints load by name and classify real images as well as they are known to.
//!
//! The CIFAR images are JPEG streams, and decoders round differently: one image of 500 may change sides.

use burn::tensor::{Device, Tensor, TensorData};
use refit_io::{
    ckpt::Checkpoint,
    data::{Batch, FolderOptions, ImageSet, Normalise, read_task},
};
use refit_nn::{
    ImageConfig, Pass, Weights, to_host,
    zoo::{CifarResNetConfig, ConvNetConfig},
};
use refit_testkit::real_data;

/// A little more than the share of one image.
const ONE_IMAGE: f64 = 1.001 / 500.0;

/// Share of the first 500 test images that the checkpoint gets right; `None` without the real data.
fn accuracy(
    checkpoint: &str,
    data: &str,
    config: &ImageConfig,
    normalise: &Normalise,
) -> Option<f64> {
    let (checkpoint, data) = (real_data(checkpoint)?, real_data(data)?);
    let source = Checkpoint::open(checkpoint).unwrap();
    let task = read_task(data, &FolderOptions::default()).unwrap();
    let weights = Weights::load(&source, &Device::flex(), |s| config.bind(s)).unwrap();
    let model = weights.bind(|s| config.bind(s)).unwrap();
    let test: ImageSet = task.test().first(500);
    let mut correct = 0;
    for batch in Batch::chunks(&test, 125, normalise) {
        let pixels = TensorData::new(batch.pixels, batch.shape);
        let pixels = Tensor::<4>::from_data(pixels, &Device::flex());
        let logits = to_host(model.forward(pixels.into(), &mut Pass::eval()).into_value());
        let rows = logits.chunks_exact(config.num_outputs()).zip(&batch.labels);
        correct += rows
            .filter(|(row, label)| row.iter().all(|z| *z <= row[**label as usize]))
            .count();
    }
    Some(correct as f64 / test.len() as f64)
}

fn resnet(depth: usize) -> ImageConfig {
    ImageConfig::CifarResnet(CifarResNetConfig {
        depth,
        width: 16,
        num_channels: 3,
        num_labels: 10,
    })
}

#[test]
fn resnet_20_reaches_its_accuracy_on_jpeg_cifar() {
    let file = "ckpt_cifar10_resnet20.safetensors";
    let config = resnet(20);
    if let Some(found) = accuracy(
        file,
        "img32_cifar10_jpeg.npz",
        &config,
        &Normalise::imagenet(),
    ) {
        assert!((found - 0.798).abs() < ONE_IMAGE, "{found}");
    }
}

#[test]
fn resnet_56_reaches_its_accuracy_on_jpeg_cifar() {
    let file = "ckpt_cifar10_resnet56.safetensors";
    let config = resnet(56);
    if let Some(found) = accuracy(
        file,
        "img32_cifar10_jpeg.npz",
        &config,
        &Normalise::imagenet(),
    ) {
        assert!((found - 0.832).abs() < ONE_IMAGE, "{found}");
    }
}

#[test]
fn the_mnist_network_reaches_its_accuracy_only_with_its_normalisation() {
    let config = ImageConfig::ConvNet(ConvNetConfig {
        num_channels: 1,
        image_size: 28,
        channels: vec![8, 16, 24],
        kernel: 3,
        stride: 1,
        hidden: 32,
        num_labels: 10,
    });
    let file = "ckpt_mnist_cnn_bn.safetensors";
    if let Some(found) = accuracy(file, "img28_mnist.npz", &config, &Normalise::mnist()) {
        assert!((found - 0.998).abs() < 1e-9, "{found}");
        let plain = Normalise::unit(refit_io::data::ImageShape::GLYPH);
        let without = accuracy(file, "img28_mnist.npz", &config, &plain).unwrap();
        assert!(without < 0.9, "{without}");
    }
}
