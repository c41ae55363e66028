//! Inputs drawn from a seed: the same on every machine and for any number of threads.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use rand::Rng;
use refit_core::Seed;
use std::{f64::consts::TAU, ops::Range};

/// Standard normal values.
///
/// ```
/// use refit_testkit::normal_vec;
/// assert_eq!(normal_vec(7, 3), normal_vec(7, 5)[..3]);
/// assert_ne!(normal_vec(7, 3), normal_vec(8, 3));
/// ```
pub fn normal_vec(seed: u64, len: usize) -> Vec<f64> {
    let mut rng = Seed::new(seed).fork("testkit/normal").rng();
    // Box and Muller 1958, one of the pair; `1 - u` is in (0, 1], where the logarithm is finite.
    let mut draw =
        || (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt() * (TAU * rng.random::<f64>()).cos();
    (0..len).map(|_| draw()).collect()
}

/// Values spread evenly over a range.
pub fn uniform_vec(seed: u64, len: usize, range: Range<f64>) -> Vec<f64> {
    let mut rng = Seed::new(seed).fork("testkit/uniform").rng();
    let width = range.end - range.start;
    (0..len)
        .map(|_| range.start + width * rng.random::<f64>())
        .collect()
}

/// Integers in `0..below`.
pub fn integers_vec(seed: u64, len: usize, below: usize) -> Vec<i64> {
    let mut rng = Seed::new(seed).fork("testkit/integers").rng();
    (0..len)
        .map(|_| rng.random_range(0..below as u64).cast_signed())
        .collect()
}

/// Standard normal values as `f32` on the CPU.
pub fn normal<const D: usize>(seed: u64, shape: [usize; D]) -> Tensor<D> {
    tensor(
        normal_vec(seed, shape.iter().product()),
        shape,
        DType::F32,
        &Device::flex(),
    )
}

/// Standard normal values as `f64` on the CPU.
pub fn normal_f64<const D: usize>(seed: u64, shape: [usize; D]) -> Tensor<D> {
    tensor_f64(normal_vec(seed, shape.iter().product()), shape)
}

/// Evenly spread values as `f32` on the CPU.
pub fn uniform<const D: usize>(seed: u64, shape: [usize; D], range: Range<f64>) -> Tensor<D> {
    let values = uniform_vec(seed, shape.iter().product(), range);
    tensor(values, shape, DType::F32, &Device::flex())
}

/// Evenly spread values as `f64` on the CPU.
pub fn uniform_f64<const D: usize>(seed: u64, shape: [usize; D], range: Range<f64>) -> Tensor<D> {
    tensor_f64(uniform_vec(seed, shape.iter().product(), range), shape)
}

/// Integers in `0..below` on the CPU.
pub fn integers<const D: usize>(seed: u64, shape: [usize; D], below: usize) -> Tensor<D, Int> {
    let values = integers_vec(seed, shape.iter().product(), below);
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

/// Host values, row by row, as a tensor of a chosen float type on a device.
pub fn tensor<const D: usize>(
    values: Vec<f64>,
    shape: [usize; D],
    dtype: DType,
    device: &Device,
) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), (device, dtype))
}

/// Host values, row by row, as an `f64` tensor on the CPU.
pub fn tensor_f64<const D: usize>(values: Vec<f64>, shape: [usize; D]) -> Tensor<D> {
    tensor(values, shape, DType::F64, &Device::flex())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_values_have_mean_zero_and_variance_one() {
        let x = normal_vec(1, 100_000);
        let mean = x.iter().sum::<f64>() / 1e5;
        let square = x.iter().map(|v| v * v).sum::<f64>() / 1e5;
        // Five standard errors: sqrt(1 / n) and sqrt(2 / n).
        assert!(
            mean.abs() < 0.016 && (square - 1.0).abs() < 0.023,
            "{mean} {square}"
        );
    }

    #[test]
    fn ranges_are_kept_and_dtypes_are_as_asked() {
        assert!(
            uniform_vec(2, 1000, -3.0..2.0)
                .iter()
                .all(|v| (-3.0..2.0).contains(v))
        );
        assert!(integers_vec(3, 1000, 7).iter().all(|v| (0..7).contains(v)));
        assert_eq!(normal(4, [2, 0, 3]).dims(), [2, 0, 3]);
        assert_eq!(normal(4, [2]).dtype(), DType::F32);
        assert_eq!(
            normal_f64(4, [2]).try_into_vec_as::<f64>().unwrap(),
            normal_vec(4, 2)
        );
    }
}
