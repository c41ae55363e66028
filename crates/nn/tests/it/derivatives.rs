//! Derivatives through whole models.

use burn::tensor::{Device, Tensor};
use refit_core::Seed;
use refit_kernels::dual::{Dual, jvp};
use refit_nn::{
    ImageConfig, Pass, Weights,
    zoo::{CifarResNetConfig, ConvNetConfig, MlpConfig, Pooling, VitConfig},
};
use refit_testkit::{close, differences, normal_f64, normal_vec, tensor_f64};

fn vit(pooling: Pooling) -> ImageConfig {
    ImageConfig::Vit(VitConfig {
        hidden_size: 8,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        intermediate_size: 12,
        layer_norm_eps: 1e-5,
        image_size: 7, // one row and one column do not fill a patch
        patch_size: 3,
        num_channels: 2,
        pooling,
        num_labels: 3,
    })
}

/// The slope of a smooth function of the logits along a random direction, by `Dual` and by differences, in f64.
fn check(config: &ImageConfig, channels: usize, side: usize) {
    let fresh = Weights::create(Seed::new(3), &Device::flex(), |s| config.bind(s)).unwrap();
    let lengths: Vec<usize> = fresh
        .layout()
        .specs()
        .iter()
        .map(refit_nn::ParamSpec::len)
        .collect();
    let start: Vec<f64> = fresh
        .to_host()
        .concat()
        .into_iter()
        .map(f64::from)
        .collect();
    // Short, so that differences stay on one side of every rectifier's kink.
    let direction: Vec<f64> = normal_vec(5, start.len())
        .into_iter()
        .map(|v| 1e-3 * v)
        .collect();
    let pixels = normal_f64(7, [2, channels, side, side]);
    let split = |flat: &[f64]| {
        let mut rest = flat;
        let mut take = |n: usize| {
            let (head, tail) = rest.split_at(n);
            rest = tail;
            tensor_f64(head.to_vec(), [n])
        };
        lengths.iter().map(|&n| take(n)).collect::<Vec<Tensor<1>>>()
    };
    let loss = |at: &[Dual<1>]| {
        let mut weights = fresh.clone();
        at.iter()
            .enumerate()
            .for_each(|(i, value)| weights.set(i, value.clone()));
        let model = weights.bind(|s| config.bind(s)).unwrap();
        let logits = model.forward(pixels.clone().into(), &mut Pass::eval());
        logits.clone().tanh().sum() + (logits.clone() * logits).mean()
    };
    let (_, slope) = jvp(loss, &split(&start), &split(&direction));
    let value = |x: &[f64]| {
        let at: Vec<Dual<1>> = split(x).into_iter().map(Dual::constant).collect();
        loss(&at)
            .into_value()
            .into_data()
            .try_to_vec::<f64>()
            .unwrap()
    };
    let expected = differences::directional(value, &start, &direction);
    close(
        slope.into_data().try_to_vec::<f64>().unwrap(),
        expected,
        1e-6,
        1e-12,
    )
    .unwrap();
}

#[test]
fn a_vision_transformer_with_a_class_token() {
    check(&vit(Pooling::Cls), 2, 7);
}

#[test]
fn a_vision_transformer_with_mean_pooling() {
    check(&vit(Pooling::Mean), 2, 7);
}

#[test]
fn a_perceptron() {
    check(
        &ImageConfig::Mlp(MlpConfig {
            inputs: 8,
            hidden: vec![5],
            num_labels: 3,
        }),
        2,
        2,
    );
}

#[test]
fn a_convolutional_network_with_batch_norm() {
    let config = ConvNetConfig {
        num_channels: 1,
        image_size: 8,
        channels: vec![3, 4],
        kernel: 3,
        stride: 1,
        hidden: 5,
        num_labels: 3,
    };
    check(&ImageConfig::ConvNet(config), 1, 8);
}

#[test]
fn a_residual_network() {
    let config = CifarResNetConfig {
        depth: 8,
        width: 2,
        num_channels: 1,
        num_labels: 3,
    };
    check(&ImageConfig::CifarResnet(config), 1, 8);
}
