//! Every dense operator and whole transformer blocks: `cargo bench -p refit-kernels`.
//!
//! Sizes are those of the blocks; times per element count the elements of the result. `bench/` holds
//! the comparison with PyTorch.

mod cases;
#[path = "cases/conv.rs"]
mod conv;

use burn::tensor::{Device, Int, Tensor};
use cases::{Block, CASES, Case};
use divan::{Bencher, counter::ItemsCount};
use refit_kernels::{
    AttentionMask, attention, cross_entropy, embedding, gelu, gelu_tanh, layer_norm, linear,
    log_softmax, rms_norm, silu, softmax,
};
use refit_testkit::{integers, normal};

fn main() {
    divan::main();
}

fn each(b: Bencher, shape: [usize; 2], f: impl Fn(Tensor<2>) -> Tensor<2> + Sync) {
    let x = normal(1, shape);
    b.counter(ItemsCount::new(shape[0] * shape[1]))
        .bench(|| f(x.clone()));
}

const HIDDEN: [usize; 2] = [800, 3072];
const STREAM: [usize; 2] = [800, 768];

#[divan::bench]
fn gelu_exact(b: Bencher) {
    each(b, HIDDEN, gelu);
}

#[divan::bench]
fn gelu_by_tanh(b: Bencher) {
    each(b, HIDDEN, gelu_tanh);
}

#[divan::bench]
fn silu_plain(b: Bencher) {
    each(b, HIDDEN, silu);
}

#[divan::bench]
fn softmax_rows(b: Bencher) {
    each(b, STREAM, softmax);
}

#[divan::bench]
fn log_softmax_rows(b: Bencher) {
    each(b, STREAM, log_softmax);
}

#[divan::bench]
fn layer_norm_rows(b: Bencher) {
    let (weight, bias) = (normal(2, [768]), normal(3, [768]));
    each(b, STREAM, |x| {
        layer_norm(x, weight.clone(), bias.clone(), 1e-5)
    });
}

#[divan::bench]
fn rms_norm_rows(b: Bencher) {
    let weight = normal(2, [768]);
    each(b, STREAM, |x| rms_norm(x, weight.clone(), 1e-5));
}

#[divan::bench]
fn linear_768_to_3072(b: Bencher) {
    let (weight, bias) = (normal(2, [3072, 768]), normal(3, [3072]));
    each(b, STREAM, |x| linear(x, weight.clone(), Some(bias.clone())));
}

#[divan::bench]
fn cross_entropy_1000_classes(b: Bencher) {
    let targets: Tensor<1, Int> = integers(2, [800], 1000);
    each(b, [800, 1000], |x| {
        cross_entropy(x, targets.clone(), 0.1).reshape([800, 1])
    });
}

#[divan::bench]
fn embedding_30000_words(b: Bencher) {
    let ids: Tensor<2, Int> = integers(2, [16, 50], 30_000);
    each(b, [30_000, 128], |table| {
        embedding(table, ids.clone()).reshape([800, 128])
    });
}

#[divan::bench]
fn attention_12_heads(b: Bencher) {
    let x = normal(1, [16, 50, 768]);
    b.counter(ItemsCount::new(16usize * 50 * 768))
        .bench(|| attention(x.clone(), x.clone(), x.clone(), 12, 12, AttentionMask::None));
}

#[divan::bench(args = CASES.map(|c| c.name))]
fn block_forward(b: Bencher, name: &str) {
    let (case, device) = (find(name), Device::flex());
    let (block, x) = (Block::new(case, &device), case.input(&device));
    b.counter(ItemsCount::new(case.tokens * case.batch))
        .bench(|| block.forward(x.clone()));
}

#[divan::bench(args = CASES.map(|c| c.name))]
fn block_forward_and_backward(b: Bencher, name: &str) {
    let (case, device) = (find(name), Device::flex().autodiff());
    let (block, x) = (Block::new(case, &device), case.input(&device));
    b.counter(ItemsCount::new(case.tokens * case.batch))
        .bench(|| block.train(&x));
}

fn find(name: &str) -> Case {
    *CASES
        .iter()
        .find(|c| c.name == name)
        .expect("a name from `CASES`")
}

/// Counts the operations of the forward pass; backward takes about twice as many more.
#[divan::bench(args = conv::STACKS.iter().map(|stack| stack.name))]
fn conv_forward(b: Bencher, name: &str) {
    let net = conv_net(name, &Device::flex());
    b.counter(ItemsCount::new(net.operations()))
        .bench(|| net.forward());
}

#[divan::bench(args = conv::STACKS.iter().map(|stack| stack.name))]
fn conv_forward_backward(b: Bencher, name: &str) {
    let net = conv_net(name, &Device::flex().autodiff());
    b.counter(ItemsCount::new(net.operations()))
        .bench(|| net.train());
}

fn conv_net(name: &str, device: &Device) -> conv::Net {
    let stack = conv::STACKS.into_iter().find(|stack| stack.name == name);
    conv::Net::new(stack.expect("invariant: a name of the list"), device)
}
