//! Whole networks: the rules compose.

use super::*;
use crate::dual::{self, AttentionMask};
use burn::tensor::{Bool, TensorData};
use refit_testkit::{integers, normal_f64};

#[test]
fn a_perceptron_with_one_hidden_layer() {
    // The images are constants without autodiff, as in training.
    check(&normals([8 * 5, 8, 3 * 8, 3]), |p| {
        let images = fixed(&p[0], normal_f64(9, [6, 5]));
        let hidden = dual::linear(images, p[0].clone().reshape([8, 5]), Some(p[1].clone()));
        let weight = p[2].clone().reshape([3, 8]);
        let logits = dual::linear(dual::gelu(hidden), weight, Some(p[3].clone()));
        dual::cross_entropy(logits, integers(1, [6], 3), 0.1).mean()
    });
}

const WIDTH: usize = 6;
const TOKENS: usize = 5;

/// Parameters of a pre-norm transformer block: two norms, four projections, two layers of the perceptron.
fn block_parameters() -> Vec<Vec<f64>> {
    let square = WIDTH * WIDTH;
    let mut all = normals([
        WIDTH,
        WIDTH,
        square,
        square,
        square,
        square,
        WIDTH,
        WIDTH,
        2 * square,
        2 * square,
    ]);
    // Weights as small as those of a trained network; norms near one.
    all.iter_mut().flatten().for_each(|w| *w *= 0.4);
    for norm in [0, 6] {
        all[norm].iter_mut().for_each(|w| *w += 1.0);
    }
    all
}

fn block(x: Dual<3>, p: &[Dual<1>], mask: AttentionMask) -> Dual<3> {
    let matrix = |i: usize, out: usize| p[i].clone().reshape([out, p[i].dims()[0] / out]);
    let h = dual::layer_norm(x.clone(), p[0].clone(), p[1].clone(), 1e-5);
    let project = |i: usize| dual::linear(h.clone(), matrix(i, WIDTH), None);
    let mixed = dual::attention(project(2), project(3), project(4), 2, 2, mask);
    let x = x + dual::linear(mixed, matrix(5, WIDTH), None);
    let h = dual::layer_norm(x.clone(), p[6].clone(), p[7].clone(), 1e-5);
    let h = dual::gelu_tanh(dual::linear(h, matrix(8, 2 * WIDTH), None));
    x + dual::linear(h, matrix(9, WIDTH), None)
}

#[test]
fn a_transformer_block_under_every_mask() {
    let hidden = TensorData::from([
        [false, false, true, false, false],
        [true, false, false, true, false],
    ]);
    let masks: [&dyn Fn(&Dual<1>) -> AttentionMask; 4] = [
        &|_| AttentionMask::None,
        &|_| AttentionMask::Causal,
        &|_| AttentionMask::Padding(Tensor::<2, Bool>::from_data(hidden.clone(), &device())),
        &|like| AttentionMask::Additive(fixed(like, normal_f64(4, [1, 2, TOKENS, TOKENS]))),
    ];
    for mask in masks {
        check(&block_parameters(), |p| {
            let x = fixed(&p[0], normal_f64(9, [2, TOKENS, WIDTH]));
            flat(block(x, p, mask(&p[0])).mean_dim(1))
        });
    }
}

#[test]
fn a_convolutional_network_with_batch_norm() {
    check(&normals([3 * 2 * 9, 3, 3, 5 * 3]), |p| {
        let images = fixed(&p[0], normal_f64(9, [4, 2, 7, 7]));
        let kernel = p[0].clone().reshape([3, 2, 3, 3]);
        let maps = dual::conv2d(images, kernel, None, [2, 2], [1, 1]);
        let maps = dual::batch_norm_train(maps, p[1].clone(), p[2].clone(), 1e-5).output;
        let pooled = dual::max_pool2d(dual::silu(maps), [2, 2], [2, 2], [0, 0]);
        let features: Dual<2> = dual::avg_pool2d(pooled, [2, 2], [2, 2], [0, 0]).flatten(1, 3);
        let logits = dual::linear(features, p[3].clone().reshape([5, 3]), None);
        dual::cross_entropy(logits, integers(1, [4], 5), 0.0).mean()
    });
}
