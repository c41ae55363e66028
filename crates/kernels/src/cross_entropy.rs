//! Cross-entropy of logits against class indices, with label smoothing, without probabilities in memory.
//!
//! Source: Szegedy et al. 2015, arXiv:1512.00567, section 7 (label smoothing).

use crate::math::exp;
use crate::memory::{buffer, contiguous, floats, indices, tensor, width};
use crate::parallel::{for_row_blocks, rows_per_block, zip_blocks};
use crate::route::{is_host, is_host_f32};
use crate::simd::{sum1, vectorized};
use crate::softmax::{LogSum, log_softmax};
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{Int, Shape, Tensor};
use std::sync::Arc;

/// Cross-entropy of each row, `-(1 - s) log p_t - s mean_j log p_j` with target `t` and smoothing `s`.
///
/// # Shapes
/// `logits [n, c]`, `targets [n]` with values in `0..c`, `smoothing` in `[0, 1)` -> `[n]`, in nats. A row
/// with NaN gives NaN.
/// # Panics
/// If a target is no class.
/// # Cost
/// One pass over the logits each way; the backward pass keeps them and one number per row.
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// let device = Device::flex();
/// let logits = Tensor::<2>::zeros([1, 4], &device);
/// let loss = refit_kernels::cross_entropy(logits, Tensor::from_ints([2], &device), 0.1);
/// assert!((loss.into_scalar::<f32>() - 4f32.ln()).abs() < 1e-6);
/// ```
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>, smoothing: f32) -> Tensor<1> {
    let [n, c] = logits.dims();
    let fits = targets.dims() == [n] && c > 0;
    let (logits, targets) = (logits.into_dispatch(), targets.into_dispatch());
    if fits && is_host_f32([&logits]) && is_host(&targets) {
        let loss = <Dispatch as CrossEntropyExtension>::nats(logits, targets, smoothing);
        return Tensor::from_dispatch(loss);
    }
    let log_p = log_softmax(Tensor::<2>::from_dispatch(logits));
    let targets = Tensor::<1, Int>::from_dispatch(targets).reshape([n, 1]);
    let hit = log_p.clone().gather(1, targets).reshape([n]);
    let even = log_p.mean_dim(1).reshape([n]);
    let smoothing = f64::from(smoothing);
    (hit * (1.0 - smoothing) + even * smoothing).neg()
}

/// Cross-entropy as one operator of the backend.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait CrossEntropyExtension: Backend {
    /// The loss of each row.
    fn nats(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        smoothing: f32,
    ) -> FloatTensor<Self>;
}

impl CrossEntropyExtension for Flex {
    fn nats(logits: FlexTensor, targets: FlexTensor, smoothing: f32) -> FlexTensor {
        forward(State::new(logits, &targets, smoothing)).0
    }
}

impl<C: CheckpointStrategy> CrossEntropyExtension for Autodiff<Flex, C> {
    fn nats(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        smoothing: f32,
    ) -> FloatTensor<Self> {
        let (logits, node) = logits.into_parts();
        let (loss, state) = forward(State::new(logits, &targets, smoothing));
        match Loss.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(state, loss),
            OpsKind::UnTracked(prep) => prep.finish(loss),
        }
    }
}

/// What the backward pass needs.
#[derive(Clone, Debug)]
struct State {
    logits: FlexTensor,
    targets: Arc<Vec<usize>>,
    smoothing: f32,
    log_sums: Arc<Vec<LogSum>>,
}

impl State {
    fn new(logits: FlexTensor, targets: &FlexTensor, smoothing: f32) -> Self {
        let targets = indices(targets);
        let log_sums = Arc::new(Vec::new());
        Self {
            logits: contiguous(logits),
            targets: Arc::new(targets),
            smoothing,
            log_sums,
        }
    }
}

#[derive(Debug)]
struct Loss;

impl Backward<Flex, 1> for Loss {
    type State = State;

    fn backward(self, ops: Ops<State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node);
        if let [Some(parent)] = ops.parents {
            grads.register::<Flex>(parent.id, backward(&ops.state, grad));
        }
    }
}

fn forward(mut state: State) -> (FlexTensor, State) {
    let (logits, classes) = (floats(&state.logits), width(&state.logits));
    let mut loss = buffer(state.targets.len());
    let mut log_sums = vec![LogSum::default(); loss.len()];
    let per_block = rows_per_block(classes);
    zip_blocks(
        (&mut loss, per_block),
        (&mut log_sums, per_block),
        |block, loss, log_sums| {
            let first = block * per_block;
            let targets = &state.targets[first..];
            vectorized(
                #[inline(always)]
                || {
                    let rows = logits[first * classes..].chunks_exact(classes).zip(targets);
                    for ((loss, log_sum), (row, &target)) in loss.iter_mut().zip(log_sums).zip(rows)
                    {
                        *log_sum = LogSum::of(row);
                        let even = sum1(row, |x| log_sum.below(x)) / classes as f32;
                        let hit = log_sum.below(row[target]);
                        // Without smoothing a logit of -inf elsewhere must not make 0 * inf.
                        let s = state.smoothing;
                        *loss = if s > 0.0 {
                            (s - 1.0) * hit - s * even
                        } else {
                            -hit
                        };
                    }
                },
            );
        },
    );
    state.log_sums = Arc::new(log_sums);
    (tensor(loss, Shape::from([state.targets.len()])), state)
}

/// `d logit_j = dy (p_j - (1 - s) [j = t] - s / c)`.
fn backward(state: &State, grad: FlexTensor) -> FlexTensor {
    let grad = contiguous(grad);
    let (logits, grad) = (floats(&state.logits), floats(&grad));
    let classes = width(&state.logits);
    let even = state.smoothing / classes as f32;
    let mut dx = buffer(logits.len());
    for_row_blocks(&mut dx, classes, |first, block| {
        vectorized(
            #[inline(always)]
            || {
                for (row, dx) in (first..).zip(block.chunks_exact_mut(classes)) {
                    let x = &logits[row * classes..];
                    let (g, log_sum) = (grad[row], state.log_sums[row]);
                    for (dx, &x) in dx.iter_mut().zip(x) {
                        *dx = g * (exp(log_sum.below(x)) - even);
                    }
                    dx[state.targets[row]] -= g * (1.0 - state.smoothing);
                }
            },
        );
    });
    tensor(dx, state.logits.shape())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{
        battery, host, nan_reaches, normal, same_for_any_thread_count, shaped, tensors,
    };
    use burn::tensor::DType;
    use refit_testkit::{close_in_norm, integers, integers_vec, reference};

    fn op([n, c]: [usize; 2], smoothing: f32) -> impl Fn(&[Tensor<1>]) -> Tensor<1> {
        move |x| {
            let targets = integers(7, [n], c).to_device(&x[0].device());
            cross_entropy(shaped(&x[0], [n, c]), targets, smoothing)
        }
    }

    #[test]
    fn values_agree_with_the_definition() {
        for ([n, c], s) in [([1, 1], 0.0), ([5, 7], 0.0), ([5, 7], 0.1), ([3, 101], 0.3)] {
            let x = normal(1, n * c);
            let log_p = reference::log_softmax(&x, c);
            let targets = integers_vec(7, n, c);
            let row = |i: usize| {
                let row = &log_p[i * c..(i + 1) * c];
                let even = row.iter().sum::<f64>() / c as f64;
                -(1.0 - s) * row[targets[i] as usize] - s * even
            };
            let expected: Vec<f64> = (0..n).map(row).collect();
            let found = host(&op([n, c], s as f32)(&tensors(
                &[x],
                DType::F32,
                &burn::tensor::Device::default(),
            )));
            close_in_norm(found, expected, 5e-7, 1e-7).unwrap();
        }
    }

    #[test]
    fn gradients_agree_with_f64() {
        for size in [[0, 3], [1, 1], [5, 7], [3, 101]] {
            battery(op(size, 0.0), &[normal(2, size[0] * size[1])], 1e-6);
            battery(op(size, 0.25), &[normal(2, size[0] * size[1])], 1e-6);
        }
    }

    #[test]
    fn a_class_of_probability_zero_costs_nothing_unless_it_is_the_target() {
        let logits = Tensor::<2>::from_floats(
            [[0.0, f32::NEG_INFINITY]; 2],
            &burn::tensor::Device::default(),
        );
        let targets = Tensor::from_ints([0, 1], &burn::tensor::Device::default());
        let loss = host(&cross_entropy(logits, targets, 0.0));
        assert_eq!(loss, [0.0, f64::INFINITY]);
    }

    #[test]
    #[should_panic(expected = "out of bounds")]
    fn a_target_that_is_no_class_panics() {
        let targets = Tensor::from_ints([-1], &burn::tensor::Device::default());
        let _ = cross_entropy(
            Tensor::<2>::zeros([1, 4], &burn::tensor::Device::default()),
            targets,
            0.0,
        );
    }

    #[test]
    fn views_are_read_in_their_own_order() {
        let op = |x: &[Tensor<1>]| {
            let targets = integers(7, [6], 4).to_device(&x[0].device());
            cross_entropy(shaped(&x[0], [4, 6]).swap_dims(0, 1), targets, 0.1)
        };
        battery(op, &[normal(4, 24)], 1e-6);
    }

    #[test]
    fn nan_passes_and_threads_change_nothing() {
        nan_reaches(op([2, 40], 0.0), &[normal(5, 80)], 43, 1);
        same_for_any_thread_count(op([301, 257], 0.1), &[normal(6, 301 * 257)]);
    }
}
