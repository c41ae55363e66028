//! Derivatives through whole models.

use crate::families;
use burn::tensor::Tensor;
use refit_kernels::dual::{Dual, jvp};
use refit_nn::{
    ImageConfig, ImageModel, NnError, Pass, Role, Scope, Weights,
    zoo::{
        CifarResNetConfig, Clip, ClipConfig, ConvNetConfig, Dinov2, Dinov2Config, MlpConfig,
        Pooling, ResNet, ResNetConfig, ResNetLayer, ResNetNorm, Side, TextModel, TokenBatch,
        VitConfig,
    },
};
use refit_testkit::{close, differences, normal, normal_f64, normal_vec, tensor_f64};
use serde_json::json;
use std::collections::BTreeSet;

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

/// The slope of a smooth function of what a model says along a random direction: by `Dual`, by reverse mode and by
/// differences, in f64.
fn check<M, const D: usize>(
    weights: &Weights,
    bind: impl Fn(&Scope<'_>) -> Result<M, NnError>,
    say: impl Fn(&M) -> Dual<D>,
) {
    let lengths = weights
        .layout()
        .specs()
        .iter()
        .map(refit_nn::ParamSpec::len);
    let lengths: Vec<usize> = lengths.collect();
    let start = weights.to_host().concat().into_iter().map(f64::from);
    let start: Vec<f64> = start.collect();
    // Short, so that differences stay on one side of every rectifier's kink, and every token with its experts.
    let direction = normal_vec(5, start.len()).into_iter().map(|v| 1e-3 * v);
    let direction: Vec<f64> = direction.collect();
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
        let mut weights = weights.clone();
        at.iter()
            .enumerate()
            .for_each(|(i, value)| weights.set(i, value.clone()));
        let said = say(&weights.bind(&bind).unwrap());
        said.clone().tanh().sum() + (said.clone() * said).mean()
    };
    let (_, slope) = jvp(loss, &split(&start), &split(&direction));
    let numbers = |x: Tensor<1>| x.into_data().try_to_vec::<f64>().unwrap();
    let value = |x: &[f64]| {
        let at: Vec<Dual<1>> = split(x).into_iter().map(Dual::constant).collect();
        numbers(loss(&at).into_value())
    };
    let expected = differences::directional(value, &start, &direction);
    close(numbers(slope), expected.clone(), 1e-6, 1e-12).unwrap();
    let leaves: Vec<Tensor<1>> = split(&start)
        .into_iter()
        .map(|x| x.autodiff().require_grad())
        .collect();
    let at: Vec<Dual<1>> = leaves.iter().cloned().map(Dual::constant).collect();
    let gradients = loss(&at).into_value().backward();
    let along = leaves
        .iter()
        .zip(split(&direction))
        .filter_map(|(leaf, v)| {
            let gradient = leaf.grad(&gradients)?;
            Some(numbers((gradient * v).sum())[0])
        });
    close(vec![along.sum::<f64>()], expected, 1e-6, 1e-12).unwrap();
}

fn check_image(config: &ImageConfig, channels: usize, side: usize) {
    // Fresh biases of zero stand on the kinks of rectifiers that see nothing else.
    let weights = families::weights(|s| config.bind(s));
    let pixels = normal_f64(7, [2, channels, side, side]);
    let say = |model: &ImageModel| model.forward(pixels.clone().into(), &mut Pass::eval());
    check(&weights, |s| config.bind(s), say);
}

/// Texts of different length, filled up on either side.
fn batches() -> [TokenBatch; 2] {
    let texts = [vec![3, 4, 5, 6, 7], vec![8, 9], vec![10]];
    [Side::Right, Side::Left].map(|side| TokenBatch::new(&texts, 1, side))
}

#[test]
fn every_family_that_reads_text() {
    for (_, config) in families::all() {
        let weights = families::weights(|s| config.bind(s));
        for batch in batches() {
            let say = |model: &TextModel| model.forward(&batch).unwrap();
            check(&weights, |s| config.bind(s), say);
        }
    }
}

#[test]
fn a_text_that_answers_another() {
    let (_, config) = families::all().pop().unwrap();
    let weights = families::weights(|s| config.bind(s));
    check(
        &weights,
        |s| config.bind(s),
        |model: &TextModel| {
            let TextModel::Answerer(model) = model else {
                panic!("a model that answers")
            };
            model
                .forward(&batches()[0], &[vec![11, 12], vec![], vec![13]])
                .unwrap()
        },
    );
}

fn keys(json: &serde_json::Value) -> serde_json::Map<String, serde_json::Value> {
    json.as_object().unwrap().clone()
}

#[test]
fn dinov2_on_pictures_of_its_size_and_another() {
    let config = Dinov2Config::read(&keys(&json!({
        "model_type": "dinov2", "architectures": ["Dinov2ForImageClassification"], "num_labels": 3,
        "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 6,
        "patch_size": 3, "num_channels": 1, "layer_norm_eps": 1e-5,
    })))
    .unwrap();
    let weights = families::weights(|s| config.bind(s));
    for shape in [[6, 6], [9, 5]] {
        let pixels = normal_f64(7, [2, 1, shape[0], shape[1]]);
        let say = |model: &Dinov2| model.forward(pixels.clone().into()).unwrap();
        check(&weights, |s| config.bind(s), say);
    }
}

#[test]
fn clip_from_images_and_texts() {
    let tower = json!({
        "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2,
        "image_size": 6, "patch_size": 3, "num_channels": 1,
        "vocab_size": 31, "max_position_embeddings": 8, "eos_token_id": 2,
    });
    let config = json!({ "model_type": "clip", "vision_config": tower, "text_config": tower, "projection_dim": 6 });
    let config = ClipConfig::read(&keys(&config)).unwrap();
    let weights = families::weights(|s| config.bind(s));
    let pixels = normal_f64(7, [2, 1, 6, 6]);
    for batch in batches() {
        let say = |model: &Clip| {
            let images = model.images(pixels.clone().into()).unwrap();
            model.logits(images, model.texts(&batch).unwrap())
        };
        check(&weights, |s| config.bind(s), say);
    }
}

fn small_resnet() -> ResNetConfig {
    ResNetConfig {
        num_channels: 1,
        embedding_size: 4,
        hidden_sizes: vec![8, 16],
        depths: vec![1, 2],
        num_groups: 2,
        num_labels: 3,
        ..ResNetConfig::default()
    }
}

#[test]
fn residual_networks_of_every_kind() {
    for (layer_type, norm) in [
        (ResNetLayer::Basic, ResNetNorm::Batch),
        (ResNetLayer::Bottleneck, ResNetNorm::Batch),
        (ResNetLayer::Bottleneck, ResNetNorm::Group),
    ] {
        let config = ResNetConfig {
            layer_type,
            norm,
            ..small_resnet()
        };
        check_image(&ImageConfig::Resnet(config), 1, 16);
    }
}

#[test]
fn a_residual_network_in_training_notes_every_statistic() {
    let config = small_resnet();
    let bind = |scope: &Scope<'_>| ResNet::bind(&config, scope);
    let weights = families::weights(bind);
    let pixels = normal_f64(7, [3, 1, 16, 16]);
    check(&weights, bind, |model: &ResNet| {
        model.forward(pixels.clone().into(), &mut Pass::train())
    });
    let mut pass = Pass::train();
    let pixels = normal(7, [3, 1, 16, 16]);
    let _ = weights
        .bind(bind)
        .unwrap()
        .forward(pixels.into(), &mut pass);
    let noted = pass.into_statistics();
    let noted: BTreeSet<String> = noted.iter().map(|(path, _)| path.to_string()).collect();
    let buffers = weights.layout().specs().iter();
    let buffers = buffers.filter(|spec| spec.role == Role::Buffer);
    assert_eq!(noted, buffers.map(|spec| spec.path.to_string()).collect());
}

#[test]
fn a_vision_transformer_with_a_class_token() {
    check_image(&vit(Pooling::Cls), 2, 7);
}

#[test]
fn a_vision_transformer_with_mean_pooling() {
    check_image(&vit(Pooling::Mean), 2, 7);
}

#[test]
fn a_perceptron() {
    check_image(
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
    check_image(&ImageConfig::ConvNet(config), 1, 8);
}

#[test]
fn a_residual_network() {
    let config = CifarResNetConfig {
        depth: 8,
        width: 2,
        num_channels: 1,
        num_labels: 3,
    };
    check_image(&ImageConfig::CifarResnet(config), 1, 8);
}
