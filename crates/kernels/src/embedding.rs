//! Embedding: rows of a table by index, and the sum of gradient rows back into the table.

use crate::memory::{buffer, contiguous, floats, halves, indices, tensor, width};
use crate::parallel::for_row_blocks;
use crate::route::{is_half, is_host, is_host_f32, is_plain_half};
use crate::simd::vectorized;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{DType, Int, Shape, Tensor, module};
use std::sync::Arc;

/// Rows of a table.
///
/// # Shapes
/// `table [vocabulary, d]`, `ids [b, n]` with values in `0..vocabulary` -> `[b, n, d]`; rows of half precision are
/// widened to `f32`.
/// # Panics
/// If an id is not a row of the table.
/// # Cost
/// One copy of `b n d` values; the gradient has the size of the table.
/// # Example
/// ```
/// use burn::tensor::{Device, Tensor};
/// let device = Device::flex();
/// let table = Tensor::<2>::from_floats([[1.0, 2.0], [3.0, 4.0]], &device);
/// let rows = refit_kernels::embedding(table, Tensor::from_ints([[1, 0, 1]], &device));
/// assert_eq!(rows.into_data().try_to_vec::<f32>().unwrap(), [3.0, 4.0, 1.0, 2.0, 3.0, 4.0]);
/// ```
pub fn embedding(table: Tensor<2>, ids: Tensor<2, Int>) -> Tensor<3> {
    let half = is_half(table.dtype());
    let (table, ids) = (table.into_dispatch(), ids.into_dispatch());
    if is_host(&ids) && (is_host_f32([&table]) || is_plain_half(&table)) {
        return Tensor::from_dispatch(<Dispatch as EmbeddingExtension>::look_up(table, ids));
    }
    let rows = module::embedding(Tensor::from_dispatch(table), Tensor::from_dispatch(ids));
    if half { rows.cast(DType::F32) } else { rows }
}

/// The look-up as one operator of the backend.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait EmbeddingExtension: Backend {
    /// The rows `ids` of `table`.
    fn look_up(table: FloatTensor<Self>, ids: IntTensor<Self>) -> FloatTensor<Self>;
}

impl EmbeddingExtension for Flex {
    fn look_up(table: FlexTensor, ids: FlexTensor) -> FlexTensor {
        forward(&contiguous(table), &indices(&ids), &ids.shape())
    }
}

impl<C: CheckpointStrategy> EmbeddingExtension for Autodiff<Flex, C> {
    fn look_up(table: FloatTensor<Self>, ids: IntTensor<Self>) -> FloatTensor<Self> {
        let (table, node) = table.into_parts();
        let (table, rows) = (contiguous(table), Arc::new(indices(&ids)));
        let y = forward(&table, &rows, &ids.shape());
        match LookUp.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((rows, table.shape()), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }
}

#[derive(Debug)]
struct LookUp;

impl Backward<Flex, 1> for LookUp {
    type State = (Arc<Vec<usize>>, Shape);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = contiguous(grads.consume::<Flex>(&ops.node));
        let (rows, table) = ops.state;
        if let [Some(parent)] = ops.parents {
            grads.register::<Flex>(parent.id, backward(&grad, &rows, table));
        }
    }
}

fn forward(table: &FlexTensor, rows: &[usize], ids: &Shape) -> FlexTensor {
    let d = width(table);
    let mut y = buffer(rows.len() * d);
    if is_half(table.dtype()) {
        let (bits, kind) = halves(table);
        for_row_blocks(&mut y, d, |first, block| {
            for (y, &row) in block.chunks_exact_mut(d).zip(&rows[first..]) {
                let bits = &bits[row * d..][..d];
                vectorized(
                    #[inline(always)]
                    || kind.widen(bits.iter().copied(), y),
                );
            }
        });
        return tensor(y, Shape::from([ids[0], ids[1], d]));
    }
    let source = floats(table);
    for_row_blocks(&mut y, d, |first, block| {
        for (y, &row) in block.chunks_exact_mut(d).zip(&rows[first..]) {
            y.copy_from_slice(&source[row * d..][..d]);
        }
    });
    tensor(y, Shape::from([ids[0], ids[1], d]))
}

/// Adds gradient rows in the order of the ids, on one thread: rows may repeat.
fn backward(grad: &FlexTensor, rows: &[usize], shape: Shape) -> FlexTensor {
    let (grad, d) = (floats(grad), shape[1]);
    let mut dt = vec![0.0; shape.num_elements()];
    for (g, &row) in grad.chunks_exact(d.max(1)).zip(rows) {
        for (t, &g) in dt[row * d..][..d].iter_mut().zip(g) {
            *t += g;
        }
    }
    tensor(dt, shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{battery, flat, nan_reaches, normal, same_for_any_thread_count, shaped};
    use refit_testkit::integers;

    fn op([b, n]: [usize; 2], [rows, d]: [usize; 2]) -> impl Fn(&[Tensor<1>]) -> Tensor<1> {
        move |x| {
            let ids = integers(3, [b, n], rows).to_device(&x[0].device());
            flat(embedding(shaped(&x[0], [rows, d]), ids))
        }
    }

    #[test]
    fn values_and_gradients_agree_with_f64_when_rows_repeat() {
        for (ids, table) in [
            ([2, 5], [3, 7]),
            ([1, 1], [1, 1]),
            ([0, 3], [2, 3]),
            ([3, 4], [5, 0]),
        ] {
            battery(op(ids, table), &[normal(1, table[0] * table[1])], 5e-7);
        }
    }

    #[test]
    fn ids_and_table_may_be_views() {
        let op = |x: &[Tensor<1>]| {
            let ids = integers(3, [3, 2], 4)
                .to_device(&x[0].device())
                .swap_dims(0, 1);
            flat(embedding(shaped(&x[0], [5, 4]).swap_dims(0, 1), ids))
        };
        battery(op, &[normal(2, 20)], 5e-7);
    }

    #[test]
    fn rows_of_half_precision_come_back_widened() {
        let device = burn::tensor::Device::flex();
        for dtype in [DType::F16, DType::BF16] {
            let table = Tensor::<2>::from_floats([[1.0, -2.0], [0.5, 3.0]], &device).cast(dtype);
            let ids = Tensor::<2, Int>::from_ints([[1, 0, 1]], &device);
            let rows = embedding(table, ids);
            assert_eq!(rows.dtype(), DType::F32);
            let rows = rows.into_data().try_to_vec::<f32>().unwrap();
            assert_eq!(rows, [0.5, 3.0, 1.0, -2.0, 0.5, 3.0]);
        }
    }

    #[test]
    #[should_panic(expected = "out of")]
    fn an_id_outside_the_table_panics() {
        let table = Tensor::<2>::zeros([2, 3], &burn::tensor::Device::default());
        let _ = embedding(
            table,
            Tensor::from_ints([[2]], &burn::tensor::Device::default()),
        );
    }

    #[test]
    fn nan_passes_and_threads_change_nothing() {
        nan_reaches(op([1, 1], [1, 3]), &[normal(4, 3)], 2, 2);
        same_for_any_thread_count(op([40, 25], [50, 33]), &[normal(5, 50 * 33)]);
    }
}
