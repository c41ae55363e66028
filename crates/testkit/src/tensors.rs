//! Inputs and values as tensors of the engine.

use crate::{Values, integers_vec, normal_vec, uniform_vec};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use std::ops::Range;

impl<const D: usize> Values for Tensor<D> {
    fn values(self) -> (Vec<usize>, Vec<f64>) {
        let shape = self.dims().to_vec();
        (
            shape,
            self.try_into_vec_as()
                .expect("a float tensor converts to f64"),
        )
    }
}

impl<const D: usize> Values for &Tensor<D> {
    fn values(self) -> (Vec<usize>, Vec<f64>) {
        self.clone().values()
    }
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
    fn shapes_and_dtypes_are_as_asked() {
        assert_eq!(normal(4, [2, 0, 3]).dims(), [2, 0, 3]);
        assert_eq!(normal(4, [2]).dtype(), DType::F32);
        assert_eq!(
            normal_f64(4, [2]).try_into_vec_as::<f64>().unwrap(),
            normal_vec(4, 2)
        );
    }
}
