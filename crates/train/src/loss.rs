//! Losses on logits.

use burn::tensor::{Device, Int, Tensor, TensorData};
use refit_kernels::{cross_entropy, log_softmax};
use refit_nn::to_host;

/// Mean cross-entropy: `logits [n, c]`, `targets [n]`, label smoothing in `[0, 1)` -> `[1]`.
#[must_use]
pub fn mean_cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>, smoothing: f32) -> Tensor<1> {
    cross_entropy(logits, targets, smoothing).mean()
}

/// Labels as the targets of a loss: `[n]`.
#[must_use]
pub fn targets(labels: &[u32], device: &Device) -> Tensor<1, Int> {
    let labels: Vec<i64> = labels.iter().map(|&label| i64::from(label)).collect();
    let len = labels.len();
    Tensor::from_data(TensorData::new(labels, [len]), device)
}

/// Mean prediction entropy in nats: `logits [n, c]` -> `[1]`. From the log-softmax, without a floor inside the
/// logarithm, so that confident predictions are not biased.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// let even = Tensor::<2>::zeros([3, 4], &Device::flex());
/// let entropy = refit_train::loss::mean_entropy(even).into_scalar::<f32>();
/// assert!((entropy - 4f32.ln()).abs() < 1e-6);
/// ```
#[must_use]
pub fn mean_entropy(logits: Tensor<2>) -> Tensor<1> {
    let log_p = log_softmax(logits);
    let p = log_p.clone().exp();
    (p * log_p).sum_dim(1).mean().neg()
}

/// Entropy in nats of the average prediction over a batch: near 0 when all inputs get one class, at most `ln c`.
#[must_use]
pub fn marginal_entropy(logits: Tensor<2>) -> f64 {
    let p = log_softmax(logits).exp().mean_dim(0);
    to_host(p)
        .iter()
        .map(|&p| f64::from(p))
        .filter(|&p| p > 0.0)
        .map(|p| -p * p.ln())
        .sum()
}

/// Whether the largest logit of each row is at the target; NaN rows are wrong.
#[must_use]
pub fn is_correct(logits: Tensor<2>, targets: &[u32]) -> Vec<bool> {
    let [_, classes] = logits.dims();
    to_host(logits)
        .chunks_exact(classes.max(1))
        .zip(targets)
        .map(|(row, &target)| {
            let target = target as usize;
            let best = row[target];
            // The first of equal maxima wins, as everywhere else.
            row.iter()
                .enumerate()
                .all(|(j, &z)| z < best || j == target || (z <= best && j > target))
                && !best.is_nan()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_first_class_and_nan_is_wrong() {
        let rows = [
            [1.0, 1.0],
            [1.0, 1.0],
            [f32::NAN, 0.0],
            [f32::NAN, 0.0],
            [0.0, 2.0],
        ];
        let logits = Tensor::<2>::from_floats(rows, &Device::flex());
        let found = is_correct(logits, &[0, 1, 0, 1, 1]);
        assert_eq!(found, [true, false, false, false, true]);
    }

    #[test]
    fn a_collapsed_model_has_no_marginal_entropy() {
        let one_class = Tensor::<2>::from_floats([[50.0, 0.0], [60.0, 0.0]], &Device::flex());
        assert!(marginal_entropy(one_class) < 1e-6);
        let both = Tensor::<2>::from_floats([[50.0, 0.0], [0.0, 50.0]], &Device::flex());
        assert!((marginal_entropy(both) - 2f64.ln()).abs() < 1e-6);
    }

    #[test]
    fn the_entropy_gradient_is_minus_p_times_log_p_plus_entropy() {
        let z = [0.3f32, -1.2, 2.0];
        let logits = Tensor::<2>::from_floats([z], &Device::flex().autodiff()).require_grad();
        let grads = mean_entropy(logits.clone()).backward();
        let found: Vec<f32> = logits
            .grad(&grads)
            .unwrap()
            .into_data()
            .try_to_vec()
            .unwrap();
        let total: f64 = z.iter().map(|&z| f64::from(z).exp()).sum();
        let p = z.map(|z| f64::from(z).exp() / total);
        let entropy: f64 = p.iter().map(|p| -p * p.ln()).sum();
        for (found, p) in found.iter().zip(p) {
            assert!((f64::from(*found) + p * (p.ln() + entropy)).abs() < 1e-6);
        }
    }
}
