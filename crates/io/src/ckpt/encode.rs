//! `f32` to stored weights at the speed of memory, the counterpart of [`decode`](super::decode).

use half::{f16, slice::HalfFloatSliceExt};
use refit_core::DType;

/// Values converted at a time where a step between is needed.
const BLOCK: usize = 2048;

/// Writes `values` as little-endian weights of type `dtype`, rounded to nearest, ties to even.
pub(super) fn encode(dtype: DType, values: &[f32], bytes: &mut [u8]) {
    debug_assert!(dtype.is_weight() && bytes.len() == values.len() * dtype.size_bytes());
    match dtype {
        DType::F16 => f32_to_f16(values, bytes),
        dtype => pulp::Arch::new().dispatch(Encode {
            dtype,
            values,
            bytes,
        }),
    }
}

struct Encode<'a> {
    dtype: DType,
    values: &'a [f32],
    bytes: &'a mut [u8],
}

impl pulp::WithSimd for Encode<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self {
            dtype,
            values,
            bytes,
        } = self;
        match dtype {
            DType::F32 => each(values, bytes, f32::to_le_bytes),
            DType::F64 => each(values, bytes, |v| f64::from(v).to_le_bytes()),
            DType::BF16 => each(values, bytes, |v| f32_to_bf16(v).to_le_bytes()),
            other => unreachable!("invariant: only weights are encoded, found {other}"),
        }
    }
}

/// Writes every value into its group of `N` bytes.
#[inline(always)]
fn each<const N: usize>(values: &[f32], bytes: &mut [u8], write: impl Fn(f32) -> [u8; N]) {
    for (word, &value) in bytes.as_chunks_mut::<N>().0.iter_mut().zip(values) {
        *word = write(value);
    }
}

/// The nearest `bfloat16`; NaN stays NaN.
#[inline(always)]
fn f32_to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    let quiet = bits >> 16 | 0x40;
    (if value.is_nan() { quiet } else { rounded }) as u16
}

/// In blocks, through the conversion instruction of the processor where it has one.
fn f32_to_f16(values: &[f32], bytes: &mut [u8]) {
    let mut block = [f16::ZERO; BLOCK];
    for (bytes, values) in bytes.chunks_mut(2 * BLOCK).zip(values.chunks(BLOCK)) {
        let block = &mut block[..values.len()];
        block.convert_from_f32_slice(values);
        for (word, half) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(&*block) {
            *word = half.to_le_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::bf16;

    #[test]
    fn bfloat16_is_rounded_as_the_half_crate_does() {
        let around = (0..=u16::MAX).flat_map(|high| {
            [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff]
                .map(|low| f32::from_bits(u32::from(high) << 16 | low))
        });
        for value in around {
            let (ours, theirs) = (f32_to_bf16(value), bf16::from_f32(value));
            let same = ours == theirs.to_bits();
            let both_nan = bf16::from_bits(ours).is_nan() && theirs.is_nan();
            assert!(same || both_nan, "{value} {ours:#x} {theirs}");
        }
    }
}
