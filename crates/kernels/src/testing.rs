//! Checks that every fused operator passes. An operator under test takes flat tensors, reshapes
//! them as it likes and returns a flat tensor.

use burn::tensor::{DType, Device, GradientCheckpointingStrategy, Tensor};
use refit_testkit::{close_in_norm, differences, normal_vec, tensor, with_threads};

/// Standard normal values that `f32` holds exactly.
pub(crate) fn normal(seed: u64, len: usize) -> Vec<f64> {
    normal_vec(seed, len)
        .into_iter()
        .map(|x| f64::from(x as f32))
        .collect()
}

/// Values of a flat tensor.
pub(crate) fn host(t: &Tensor<1>) -> Vec<f64> {
    t.clone()
        .try_into_vec_as()
        .expect("a float tensor converts to f64")
}

/// A flat tensor in another shape; Burn's `reshape` reads a 0 as "keep this axis".
pub(crate) fn shaped<const D: usize>(t: &Tensor<1>, shape: [usize; D]) -> Tensor<D> {
    if shape.contains(&0) {
        return Tensor::empty(shape, (&t.device(), t.dtype()));
    }
    t.clone().reshape(shape)
}

/// The inverse of [`shaped`].
pub(crate) fn flat<const D: usize>(t: Tensor<D>) -> Tensor<1> {
    if t.dims().contains(&0) {
        return Tensor::empty([0], (&t.device(), t.dtype()));
    }
    t.flatten(0, D - 1)
}

/// Flat tensors on the CPU.
pub(crate) fn tensors(inputs: &[Vec<f64>], dtype: DType, device: &Device) -> Vec<Tensor<1>> {
    inputs
        .iter()
        .map(|x| tensor(x.clone(), [x.len()], dtype, device))
        .collect()
}

/// The result and the gradients of its inner product with fixed normal values.
pub(crate) fn result_and_gradients(
    op: impl Fn(&[Tensor<1>]) -> Tensor<1>,
    inputs: &[Vec<f64>],
    dtype: DType,
    strategy: GradientCheckpointingStrategy,
) -> Vec<Vec<f64>> {
    let device = Device::flex().autodiff();
    let leaves: Vec<_> = tensors(inputs, dtype, &device)
        .into_iter()
        .map(|x| {
            x.with_gradient_checkpointing_strategy(strategy)
                .require_grad()
        })
        .collect();
    let y = op(&leaves);
    let mut results = vec![host(&y)];
    if results[0].is_empty() {
        return results; // nothing to differentiate
    }
    let weights = normal(99, results[0].len());
    let weights = tensor(weights, [results[0].len()], dtype, &Device::flex());
    let grads = (y * weights).sum().backward();
    let gradient = |x: &Tensor<1>| x.grad(&grads).map_or(vec![0.0; x.dims()[0]], |g| host(&g));
    results.extend(leaves.iter().map(gradient));
    results
}

/// The `f32` result and gradients agree with those of Burn's operators in `f64`, these with central
/// differences, and neither recording nor checkpointing changes a bit.
pub(crate) fn battery(op: impl Fn(&[Tensor<1>]) -> Tensor<1>, inputs: &[Vec<f64>], tolerance: f64) {
    let plain = GradientCheckpointingStrategy::Disabled;
    let fast = result_and_gradients(&op, inputs, DType::F32, plain);
    let wide = result_and_gradients(&op, inputs, DType::F64, plain);
    for (i, (fast, wide)) in fast.iter().zip(&wide).enumerate() {
        close_in_norm(fast, wide, tolerance, tolerance)
            .unwrap_or_else(|e| panic!("output, gradients..: entry {i}: {e}"));
    }
    let balanced = GradientCheckpointingStrategy::Balanced;
    assert_eq!(
        bits(&fast),
        bits(&result_and_gradients(&op, inputs, DType::F32, balanced))
    );
    let untracked = host(&op(&tensors(inputs, DType::F32, &Device::flex())));
    assert_eq!(bits(&fast[..1]), bits(&[untracked]));
    differences_agree(op, inputs, &wide);
}

fn differences_agree(
    op: impl Fn(&[Tensor<1>]) -> Tensor<1>,
    inputs: &[Vec<f64>],
    found: &[Vec<f64>],
) {
    let weights = normal(99, found[0].len());
    for (which, gradient) in found.iter().skip(1).enumerate() {
        let value = |x: &[f64]| {
            let mut inputs = inputs.to_vec();
            inputs[which] = x.to_vec();
            let y = host(&op(&tensors(&inputs, DType::F64, &Device::flex())));
            y.iter().zip(&weights).map(|(y, w)| y * w).sum()
        };
        let expected = differences::gradient(value, &inputs[which]);
        close_in_norm(gradient, expected, 1e-7, 1e-7)
            .unwrap_or_else(|e| panic!("gradient of input {which}: {e}"));
    }
}

/// Result and gradients do not change in a single bit between one, two and three threads.
pub(crate) fn same_for_any_thread_count(
    op: impl Fn(&[Tensor<1>]) -> Tensor<1> + Send + Sync,
    inputs: &[Vec<f64>],
) {
    let run = || {
        bits(&result_and_gradients(
            &op,
            inputs,
            DType::F32,
            GradientCheckpointingStrategy::Disabled,
        ))
    };
    let one = with_threads(1, run);
    assert_eq!(one, with_threads(2, run));
    assert_eq!(one, with_threads(3, run));
}

fn bits(results: &[Vec<f64>]) -> Vec<Vec<u64>> {
    results
        .iter()
        .map(|r| r.iter().map(|x| x.to_bits()).collect())
        .collect()
}

/// NaN in entry `at` of the first input reaches entry `out` of the result.
pub(crate) fn nan_reaches(
    op: impl Fn(&[Tensor<1>]) -> Tensor<1>,
    inputs: &[Vec<f64>],
    at: usize,
    out: usize,
) {
    let mut inputs = inputs.to_vec();
    inputs[0][at] = f64::NAN;
    let y = host(&op(&tensors(&inputs, DType::F32, &Device::flex())));
    assert!(y[out].is_nan(), "entry {out} is {}", y[out]);
}
