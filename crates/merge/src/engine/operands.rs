//! The same tensor of all models, read block by block.

use super::job::Operand;
use crate::{
    error::{MergeError, ModelName},
    simd,
    stream::Block,
    task_vector::NotFinite,
};
use refit_core::{DType, Progress, TensorMeta};
use std::ops::Range;

/// What one output tensor is merged from.
pub(super) struct Operands<'a> {
    /// The output tensor.
    pub(super) at: &'a TensorMeta,
    pub(super) base: Option<Operand>,
    pub(super) models: Vec<Operand>,
    pub(super) not_finite: NotFinite,
}

impl Operands<'_> {
    /// Reads the values `range` of every operand and hands them to `work` as block `number`.
    ///
    /// With `check`, values that are not finite are refused where they must not be.
    #[expect(clippy::too_many_arguments, reason = "the desk of a thread, in parts")]
    pub(super) fn with_block(
        &self,
        number: usize,
        range: &Range<usize>,
        values: &mut Vec<f32>,
        bytes: &mut Vec<u8>,
        check: bool,
        progress: &dyn Progress,
        work: impl FnOnce(&Block<'_>) -> Result<(), MergeError>,
    ) -> Result<(), MergeError> {
        if progress.cancelled() {
            return Err(MergeError::Cancelled);
        }
        let len = range.len();
        let operands = || self.base.iter().chain(&self.models);
        values.resize(len * operands().count(), 0.0);
        for (operand, values) in operands().zip(values.chunks_mut(len.max(1))) {
            let read = operand.tensor.read_f32(range.clone(), values, bytes);
            read.map_err(|error| operand.failed(&self.at.path, error))?;
            if check && self.not_finite == NotFinite::Refuse {
                self.check_finite(&operand.model, range.start, values)?;
            }
        }
        let mut views = values.chunks(len.max(1));
        let base = self.base.as_ref().and_then(|_| views.next());
        let models: Vec<&[f32]> = views.collect();
        work(&Block {
            number,
            start: range.start,
            shape: &self.at.shape,
            base,
            models: &models,
            progress,
        })
    }

    fn check_finite(
        &self,
        model: &ModelName,
        start: usize,
        values: &[f32],
    ) -> Result<(), MergeError> {
        match simd::first_not_finite(values) {
            None => Ok(()),
            Some(at) => Err(MergeError::NotFinite {
                path: self.at.path.clone(),
                model: model.clone(),
                position: start + at,
                value: values[at],
            }),
        }
    }

    /// Refuses merged values that the output cannot hold.
    pub(super) fn check_result(&self, start: usize, merged: &[f32]) -> Result<(), MergeError> {
        if self.not_finite == NotFinite::Allow {
            return Ok(());
        }
        let limit = largest(self.at.dtype);
        if simd::all_within(merged, limit) {
            return Ok(());
        }
        let spoils = |v: &f32| v.is_nan() || v.abs() >= limit;
        let at = merged.iter().position(spoils).unwrap_or(0);
        Err(MergeError::Overflow {
            path: self.at.path.clone(),
            position: start + at,
            value: merged[at],
            dtype: self.at.dtype,
        })
    }
}

/// The smallest magnitude that is no finite value once it is rounded to `dtype`.
fn largest(dtype: DType) -> f32 {
    match dtype {
        DType::F16 => 65_520.0,                     // half-way to 2^16
        DType::BF16 => f32::from_bits(0x7f7f_8000), // half-way to 2^128
        _ => f32::INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};

    #[test]
    fn the_limit_is_the_first_value_that_rounds_to_infinity() {
        for (dtype, rounds) in [
            (
                DType::F16,
                (|v| f16::from_f32(v).is_finite()) as fn(f32) -> bool,
            ),
            (DType::BF16, |v| bf16::from_f32(v).is_finite()),
            (DType::F32, f32::is_finite),
        ] {
            let limit = largest(dtype);
            assert!(!rounds(limit) && rounds(limit.next_down()), "{dtype}");
        }
    }
}
