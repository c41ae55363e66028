//! Lengths of outputs, which DoRA sets apart from their directions.

use crate::{adapter::product::add_product, layout::UNIT, simd};
use refit_core::{LowRank, ReadError, TensorRead};
use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

/// Magnitudes, and the factors that they become once the lengths of outputs are known.
pub(super) struct Lengths {
    magnitude: Vec<f32>,
    outputs: Outputs,
    factors: Mutex<Option<Arc<[f64]>>>,
}

/// Where the outputs of a layer lie in its weight.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Outputs {
    Rows,
    Cols,
}

impl Lengths {
    pub(super) fn new(magnitude: &[f32], outputs: Outputs) -> Self {
        Self {
            magnitude: magnitude.to_vec(),
            outputs,
            factors: Mutex::default(),
        }
    }

    /// One factor per output; the first caller looks through the tensor, others wait for it.
    pub(super) fn factors(
        &self,
        base: &dyn TensorRead,
        factors: &LowRank,
        scratch: &mut Vec<u8>,
    ) -> Result<Arc<[f64]>, ReadError> {
        // What is inside is whole or absent, also after a panic elsewhere.
        let mut known = self.factors.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*known {
            return Ok(Arc::clone(known));
        }
        let (rows, cols) = (factors.rows(), factors.cols());
        let mut squares = vec![0.0f64; self.magnitude.len()];
        let step = (UNIT / cols.max(1)).max(1);
        let mut values = vec![0.0; step.min(rows) * cols];
        for start in (0..rows).step_by(step) {
            let end = (start + step).min(rows);
            let range = start * cols..end * cols;
            let values = &mut values[..range.len()];
            base.read_f32(range.clone(), values, scratch)?;
            add_product(factors, range, values);
            for (row, values) in (start..end).zip(values.chunks(cols.max(1))) {
                match self.outputs {
                    Outputs::Rows => {
                        let mut lanes = [0.0; simd::LANES];
                        simd::dot(&mut lanes, values, values);
                        squares[row] = simd::total(lanes);
                    }
                    Outputs::Cols => add_squares(&mut squares, values),
                }
            }
        }
        let factor = |(&magnitude, square): (&f32, f64)| match square {
            0.0 => 0.0,
            square => f64::from(magnitude) / square.sqrt(),
        };
        let found: Arc<[f64]> = self.magnitude.iter().zip(squares).map(factor).collect();
        *known = Some(Arc::clone(&found));
        Ok(found)
    }

    /// Multiplies every value of the stretch by the factor of its output.
    pub(super) fn apply(&self, factors: &[f64], cols: usize, range: Range<usize>, out: &mut [f32]) {
        let (mut at, mut out) = (range.start, out);
        while !out.is_empty() {
            let (row, col) = (at / cols, at % cols);
            let (now, rest) = out.split_at_mut((cols - col).min(out.len()));
            match self.outputs {
                Outputs::Rows => simd::scale(now, factors[row]),
                Outputs::Cols => scale_each(now, &factors[col..]),
            }
            at += now.len();
            out = rest;
        }
    }
}

simd::kernel! {
    /// `sums_i += b_i^2`.
    fn add_squares(sums: &'a mut [f64], b: &'a [f32]) {
        for (sum, &b) in sums.iter_mut().zip(b) {
            *sum += f64::from(b) * f64::from(b);
        }
    }
}

simd::kernel! {
    /// `values_i *= factors_i`, rounded once.
    fn scale_each(values: &'a mut [f32], factors: &'a [f64]) {
        for (value, &factor) in values.iter_mut().zip(factors) {
            *value = (f64::from(*value) * factor) as f32;
        }
    }
}
