//! Stored bytes to `f32` values and back, a tensor at a time.

use super::{decode::decode, encode::encode, error::ConvertError};
use refit_core::{DType, TensorMeta};

/// The values of a stored tensor as `f32`, in row-major order.
///
/// F16 and BF16 are exact; F64 is rounded to nearest.
///
/// # Errors
/// When the tensor is no weight ([`DType::is_weight`]) or `bytes` is not as long as `meta` says.
/// # Cost
/// One pass, one allocation of `4 * meta.len()` bytes: at most twice the stored size.
/// # Example
/// ```
/// use refit_core::{DType, TensorMeta};
/// use refit_io::ckpt::{decode_f32, encode_f32};
/// let meta = TensorMeta { path: "w".into(), dtype: DType::BF16, shape: vec![2] };
/// let bytes = encode_f32(&meta, &[1.0, -0.5])?;
/// assert_eq!(bytes, [0x80, 0x3f, 0x00, 0xbf]);
/// assert_eq!(decode_f32(&meta, &bytes)?, [1.0, -0.5]);
/// # Ok::<(), refit_io::ckpt::ConvertError>(())
/// ```
pub fn decode_f32(meta: &TensorMeta, bytes: &[u8]) -> Result<Vec<f32>, ConvertError> {
    check_bytes(meta, bytes)?;
    let mut values = vec![0.0; meta.len()];
    decode_f32_into(meta, bytes, &mut values)?;
    Ok(values)
}

/// [`decode_f32`] into memory that is reused.
///
/// # Errors
/// As [`decode_f32`], and when `out` is not as long as `meta` says.
pub fn decode_f32_into(
    meta: &TensorMeta,
    bytes: &[u8],
    out: &mut [f32],
) -> Result<(), ConvertError> {
    check_bytes(meta, bytes)?;
    check_len(meta, "values", out.len(), meta.len())?;
    decode(meta.dtype, bytes, out);
    Ok(())
}

/// `f32` values as the bytes of a tensor of `meta`'s element type, rounded to nearest, ties to even.
///
/// # Errors
/// When the tensor is no weight or `values` is not as long as `meta` says.
pub fn encode_f32(meta: &TensorMeta, values: &[f32]) -> Result<Vec<u8>, ConvertError> {
    check_len(meta, "values", values.len(), meta.len())?;
    if !meta.dtype.is_weight() {
        return Err(not_a_weight(meta, meta.dtype));
    }
    let mut bytes = vec![0; meta.size_bytes()];
    encode(meta.dtype, values, &mut bytes);
    Ok(bytes)
}

pub(super) fn not_a_weight(meta: &TensorMeta, dtype: DType) -> ConvertError {
    ConvertError::NotAWeight {
        tensor: meta.path.to_string(),
        dtype,
    }
}

fn check_bytes(meta: &TensorMeta, bytes: &[u8]) -> Result<(), ConvertError> {
    if !meta.dtype.is_weight() {
        return Err(not_a_weight(meta, meta.dtype));
    }
    check_len(meta, "bytes", bytes.len(), meta.size_bytes())
}

pub(super) fn check_len(
    meta: &TensorMeta,
    unit: &'static str,
    found: usize,
    expected: usize,
) -> Result<(), ConvertError> {
    if found == expected {
        Ok(())
    } else {
        Err(ConvertError::Length {
            tensor: meta.path.to_string(),
            unit,
            found,
            expected,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};

    fn meta(dtype: DType, len: usize) -> TensorMeta {
        TensorMeta {
            path: "w".into(),
            dtype,
            shape: vec![len],
        }
    }

    #[test]
    fn every_half_pattern_becomes_its_value_and_comes_back() {
        let bits: Vec<u16> = (0..=u16::MAX).collect();
        let bytes: Vec<u8> = bits.iter().flat_map(|b| b.to_le_bytes()).collect();
        let value_of = |dtype, bits| match dtype {
            DType::F16 => f16::from_bits(bits).to_f64(),
            _ => bf16::from_bits(bits).to_f64(),
        };
        for dtype in [DType::F16, DType::BF16] {
            let meta = meta(dtype, bits.len());
            let values = decode_f32(&meta, &bytes).unwrap();
            for (&bits, &value) in bits.iter().zip(&values) {
                let expected = value_of(dtype, bits);
                let same = f64::from(value).to_bits() == expected.to_bits();
                assert!(
                    same || (value.is_nan() && expected.is_nan()),
                    "{dtype} {bits:#x}"
                );
            }
            let back = encode_f32(&meta, &values).unwrap();
            for (i, value) in values.iter().enumerate().filter(|(_, v)| !v.is_nan()) {
                assert_eq!(back[2 * i..2 * i + 2], bytes[2 * i..2 * i + 2], "{value}");
            }
        }
    }

    #[test]
    fn rounding_is_to_nearest_with_ties_to_even() {
        let tie = [
            1.0 + f32::EPSILON,
            1.0 + 2f32.powi(-11),
            1.0 + 3.0 * 2f32.powi(-11),
        ];
        let halves = encode_f32(&meta(DType::F16, 3), &tie).unwrap();
        let halves = decode_f32(&meta(DType::F16, 3), &halves).unwrap();
        assert_eq!(halves, [1.0, 1.0, 1.0 + 4.0 * 2f32.powi(-11)]);
        let wide = [1.0 + f64::from(f32::EPSILON) / 2.0, -2.5];
        let bytes: Vec<u8> = wide.iter().flat_map(|v: &f64| v.to_le_bytes()).collect();
        assert_eq!(
            decode_f32(&meta(DType::F64, 2), &bytes).unwrap(),
            [1.0, -2.5]
        );
    }

    #[test]
    fn unaligned_bytes_convert_like_aligned_ones() {
        let values: Vec<f32> = (0..5000u16).map(|i| f32::from(i) - 77.25).collect();
        for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
            let meta = meta(dtype, values.len());
            let bytes = encode_f32(&meta, &values).unwrap();
            let mut shifted = vec![0];
            shifted.extend(&bytes);
            assert_eq!(decode_f32(&meta, &bytes), decode_f32(&meta, &shifted[1..]));
        }
    }

    #[test]
    fn a_counter_is_no_weight_and_lengths_are_checked() {
        let found = decode_f32(&meta(DType::I64, 1), &[0; 8]);
        assert!(matches!(
            found,
            Err(ConvertError::NotAWeight {
                dtype: DType::I64,
                ..
            })
        ));
        let found = decode_f32(&meta(DType::F32, 2), &[0; 7]);
        assert!(matches!(
            found,
            Err(ConvertError::Length {
                found: 7,
                expected: 8,
                ..
            })
        ));
        let found = encode_f32(&meta(DType::F32, 2), &[0.0]);
        assert!(matches!(
            found,
            Err(ConvertError::Length {
                found: 1,
                expected: 2,
                ..
            })
        ));
    }
}
