//! Plain `f64` versions of what fast kernels do, one line of mathematics at a time.

/// `a [m, k]` times `b [k, n]` -> `[m, n]`, all row by row.
///
/// # Panics
/// If the lengths do not fit.
///
/// ```
/// use refit_testkit::reference::matmul;
/// assert_eq!(matmul(&[1.0, 2.0], &[3.0, 4.0], [1, 2, 1]), [11.0]);
/// assert_eq!(matmul(&[1.0, 2.0], &[3.0, 4.0], [2, 1, 2]), [3.0, 4.0, 6.0, 8.0]);
/// ```
pub fn matmul(a: &[f64], b: &[f64], [m, k, n]: [usize; 3]) -> Vec<f64> {
    assert_eq!((a.len(), b.len()), (m * k, k * n), "a [m, k] and b [k, n]");
    let entry = |i: usize, j: usize| (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum();
    (0..m * n).map(|at| entry(at / n, at % n)).collect()
}

/// `a [m, n]` -> `[n, m]`, row by row.
///
/// # Panics
/// If the length does not fit.
pub fn transpose(a: &[f64], [m, n]: [usize; 2]) -> Vec<f64> {
    assert_eq!(a.len(), m * n, "a [m, n]");
    (0..m * n).map(|at| a[at % m * n + at / m]).collect()
}

/// Softmax of each row of `width` values.
///
/// # Panics
/// If the last row is not whole.
///
/// ```
/// use refit_testkit::reference::softmax;
/// assert_eq!(softmax(&[2.0, 2.0, f64::NEG_INFINITY, 1e9], 2), [0.5, 0.5, 0.0, 1.0]);
/// ```
pub fn softmax(x: &[f64], width: usize) -> Vec<f64> {
    rows(x, width)
        .flat_map(|row| {
            let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = row.iter().map(|v| (v - top).exp()).collect();
            let total: f64 = weights.iter().sum();
            weights.into_iter().map(move |w| w / total)
        })
        .collect()
}

/// Log-softmax of each row of `width` values.
///
/// # Panics
/// If the last row is not whole.
pub fn log_softmax(x: &[f64], width: usize) -> Vec<f64> {
    rows(x, width)
        .flat_map(|row| {
            let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let log_total = row.iter().map(|v| (v - top).exp()).sum::<f64>().ln() + top;
            row.iter().map(move |v| v - log_total)
        })
        .collect()
}

fn rows(x: &[f64], width: usize) -> impl Iterator<Item = &[f64]> {
    assert!(
        width > 0 && x.len().is_multiple_of(width),
        "whole rows of {width}"
    );
    x.chunks_exact(width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{close, normal_vec};

    #[test]
    fn transposing_twice_and_the_transposed_product_agree() {
        let (a, b) = (normal_vec(1, 6), normal_vec(2, 12));
        assert_eq!(transpose(&transpose(&a, [2, 3]), [3, 2]), a);
        let product = transpose(&matmul(&a, &b, [2, 3, 4]), [2, 4]);
        let swapped = matmul(&transpose(&b, [3, 4]), &transpose(&a, [2, 3]), [4, 3, 2]);
        close(swapped, product, 1e-14, 1e-15).unwrap();
    }

    #[test]
    fn rows_of_softmax_sum_to_one_and_its_logarithm_is_log_softmax() {
        let p = softmax(&normal_vec(3, 15), 5);
        assert!(
            p.chunks(5)
                .all(|row| (row.iter().sum::<f64>() - 1.0).abs() < 1e-15)
        );
        let logs: Vec<f64> = p.iter().map(|p| p.ln()).collect();
        close(log_softmax(&normal_vec(3, 15), 5), logs, 1e-13, 1e-14).unwrap();
    }
}
