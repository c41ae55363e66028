//! One vector for a whole text.

use super::TokenBatch;
use crate::blocks::look_up;
use burn::tensor::{Bool, Tensor, TensorData};
use refit_kernels::dual::Dual;

/// How the states of tokens become one vector, in the names of sentence encoders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// The first token that is no padding.
    First,
    /// The last token that is no padding.
    Last,
    /// The mean of all tokens that are no padding.
    Mean,
    /// The sum of all tokens that are no padding, over the root of their number.
    MeanSqrtLen,
    /// The largest of each entry, padding aside.
    Max,
}

impl Pool {
    /// `states [rows, tokens, d]` of `batch` -> `[rows, d]`. A row of padding alone gives zeros.
    ///
    /// # Panics
    /// If the states are not those of the batch.
    #[must_use]
    pub fn apply(self, states: Dual<3>, batch: &TokenBatch) -> Dual<2> {
        let [rows, tokens, d] = states.dims();
        assert_eq!(
            [rows, tokens],
            [batch.rows(), batch.tokens()],
            "states of the batch"
        );
        if self == Self::Max {
            return max(states, batch);
        }
        let mut weights = vec![0f32; rows * tokens];
        let every = tokens.max(1);
        for (weights, padding) in weights.chunks_mut(every).zip(batch.padding().chunks(every)) {
            let count = padding.iter().filter(|&&padding| !padding).count() as f32;
            let share = match self {
                Self::MeanSqrtLen => count.sqrt().recip(),
                _ => count.recip(),
            };
            let one = match self {
                Self::First => padding.iter().position(|padding| !padding),
                Self::Last => padding.iter().rposition(|padding| !padding),
                _ => None,
            };
            for (at, (weight, &padding)) in weights.iter_mut().zip(padding).enumerate() {
                *weight = match (self, padding) {
                    (_, true) => 0.0,
                    (Self::First | Self::Last, false) => f32::from(u8::from(one == Some(at))),
                    (_, false) => share,
                };
            }
        }
        let weights = TensorData::new(weights, [rows, 1, tokens]);
        let options = (&states.device(), states.value().dtype());
        let weights = Dual::constant(Tensor::<3>::from_data(weights, options));
        weights.matmul(states).reshape([rows, d])
    }
}

/// One state of every row of `states [rows, tokens, d]`, that of the token `at` -> `[rows, d]`.
pub(super) fn pick(states: Dual<3>, at: &[usize]) -> Dual<2> {
    let [rows, tokens, d] = states.dims();
    let places = at.iter().enumerate().map(|(row, at)| row * tokens + at);
    look_up(states.reshape([rows * tokens, d]), places, [1, rows]).reshape([rows, d])
}

/// The largest of each entry. Padding is lowered beyond what any state reaches first; a row of padding is zeros.
fn max(states: Dual<3>, batch: &TokenBatch) -> Dual<2> {
    let [rows, tokens, d] = states.dims();
    let host = TensorData::new(batch.padding().to_vec(), [rows, tokens, 1]);
    let padding = Tensor::<3, Bool>::from_data(host, &states.device().inner());
    let values = states.value().clone().inner();
    let values = values.mask_fill(padding.clone().expand([rows, tokens, d]), f64::NEG_INFINITY);
    let largest = states.gather(1, &values.argmax(1));
    let real = padding
        .bool_not()
        .any_dim(1)
        .float()
        .cast(largest.value().dtype());
    (largest * Dual::constant(real)).reshape([rows, d])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{to_host, zoo::Side};
    use burn::tensor::Device;

    fn pooled(pool: Pool) -> Vec<f32> {
        let batch = TokenBatch::new(&[vec![1, 1, 1], vec![1], vec![]], 0, Side::Right);
        let states: Vec<f32> = [
            [1.0, 9.0],
            [3.0, 0.0],
            [5.0, 3.0], // all tokens
            [-2.0, -4.0],
            [70.0, 70.0],
            [70.0, 70.0], // the first
            [70.0, 70.0],
            [70.0, 70.0],
            [70.0, 70.0], // none
        ]
        .concat();
        let states = TensorData::new(states, [3, 3, 2]);
        let states = Dual::constant(Tensor::from_data(states, &Device::flex()));
        to_host(pool.apply(states, &batch).into_value())
    }

    #[test]
    fn padding_takes_no_part() {
        assert_eq!(pooled(Pool::First), [1.0, 9.0, -2.0, -4.0, 0.0, 0.0]);
        assert_eq!(pooled(Pool::Last), [5.0, 3.0, -2.0, -4.0, 0.0, 0.0]);
        assert_eq!(pooled(Pool::Max), [5.0, 9.0, -2.0, -4.0, 0.0, 0.0]);
        let root = 3f32.sqrt();
        for (pool, first) in [
            (Pool::Mean, [3.0, 4.0]),
            (Pool::MeanSqrtLen, [9.0 / root, 12.0 / root]),
        ] {
            let found = pooled(pool);
            let expected = [first[0], first[1], -2.0, -4.0, 0.0, 0.0];
            let close = found
                .iter()
                .zip(expected)
                .all(|(a, b)| (a - b).abs() < 1e-6);
            assert!(close, "{pool:?}: {found:?}");
        }
    }
}
