//! Stored weights to `f32` at the speed of memory: the loop is compiled for several instruction sets, and the widest
//! of this processor runs.

use super::error::ConvertError;
use refit_core::{DType, bf16_to_f32, f16_to_f32};

/// Reads little-endian weights of type `dtype` into `out`.
///
/// F16 and BF16 are exact (NaN may lose its payload); F64 is rounded to nearest.
///
/// # Errors
/// When `dtype` is no weight ([`DType::is_weight`]) or `bytes` is not as long as `out` needs.
/// # Cost
/// One pass in vector registers, without branches.
/// # Example
/// ```
/// use refit_core::DType;
/// use refit_io::ckpt::decode_weights;
/// let mut out = [0.0; 2];
/// decode_weights(DType::BF16, &[0x80, 0x3f, 0x00, 0xbf], &mut out)?;
/// assert_eq!(out, [1.0, -0.5]);
/// # Ok::<(), refit_io::ckpt::ConvertError>(())
/// ```
pub fn decode_weights(dtype: DType, bytes: &[u8], out: &mut [f32]) -> Result<(), ConvertError> {
    let tensor = || "values".to_owned();
    if !dtype.is_weight() {
        return Err(ConvertError::NotAWeight {
            tensor: tensor(),
            dtype,
        });
    }
    let expected = out.len().saturating_mul(dtype.size_bytes());
    if bytes.len() != expected {
        return Err(ConvertError::Length {
            tensor: tensor(),
            unit: "bytes",
            found: bytes.len(),
            expected,
        });
    }
    decode(dtype, bytes, out);
    Ok(())
}

/// [`decode_weights`] of a weight type and of bytes that are as long as `out` needs.
pub(super) fn decode(dtype: DType, bytes: &[u8], out: &mut [f32]) {
    debug_assert!(dtype.is_weight() && bytes.len() == out.len() * dtype.size_bytes());
    pulp::Arch::new().dispatch(Decode { dtype, bytes, out });
}

struct Decode<'a> {
    dtype: DType,
    bytes: &'a [u8],
    out: &'a mut [f32],
}

impl pulp::WithSimd for Decode<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self { dtype, bytes, out } = self;
        match dtype {
            DType::F32 => each(bytes, out, f32::from_le_bytes),
            DType::F64 => each(bytes, out, |b| f64::from_le_bytes(b) as f32),
            DType::BF16 => each(bytes, out, |b| bf16_to_f32(u16::from_le_bytes(b))),
            DType::F16 => each(bytes, out, |b| f16_to_f32(u16::from_le_bytes(b))),
            other => unreachable!("invariant: only weights are decoded, found {other}"),
        }
    }
}

/// Applies `read` to every group of `N` bytes.
#[inline(always)]
pub(super) fn each<const N: usize, T>(bytes: &[u8], out: &mut [T], read: impl Fn([u8; N]) -> T) {
    for (value, word) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *value = read(*word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_is_no_weight_and_a_wrong_length_are_refused() {
        let found = decode_weights(DType::I64, &[0; 8], &mut [0.0]);
        assert!(matches!(found, Err(ConvertError::NotAWeight { .. })));
        let found = decode_weights(DType::F16, &[0; 3], &mut [0.0]);
        assert!(matches!(
            found,
            Err(ConvertError::Length {
                found: 3,
                expected: 2,
                ..
            })
        ));
    }
}
