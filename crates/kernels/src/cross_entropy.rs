//! Cross-entropy of logits against class indices, with label smoothing, without probabilities in memory.
//!
//! Source: Szegedy et al. 2015, arXiv:1512.00567, section 7 (label smoothing).

use crate::math::exp;
use crate::memory::{buffer, contiguous, floats, indices, tensor, width};
use crate::parallel::{for_row_blocks, rows_per_block, zip_blocks};
use crate::route::{is_host, is_host_f32};
use crate::simd::{sum1, vectorized};
use crate::softmax::{log_softmax, log_sum_exp};
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
    /// `log sum_j exp(logit_j)` of each row.
    log_sums: Arc<Vec<f32>>,
}

impl State {
    fn new(logits: FlexTensor, targets: &FlexTensor, smoothing: f32) -> Self {
        let targets = indices(targets);
        let log_sums = Arc::new(vec![0.0; targets.len()]);
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
    let mut log_sums = vec![0.0; loss.len()];
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
                        *log_sum = log_sum_exp(row);
                        let even = sum1(row, |x| x - *log_sum) / classes as f32;
                        let hit = row[target] - *log_sum;
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
                        *dx = g * (exp(x - log_sum) - even);
                    }
                    dx[state.targets[row]] -= g * (1.0 - state.smoothing);
                }
            },
        );
    });
    tensor(dx, state.logits.shape())
}
