//! Values of one tensor, read where they lie: in a mapped file, in half precision, or in memory.

use crate::simd;
use refit_core::DType;
use std::{borrow::Cow, ops::Range};

/// Weights of one tensor in the form in which they are stored.
#[derive(Clone, Debug)]
pub(crate) enum Values<'a> {
    /// Single precision, aligned: used without a copy.
    F32(Cow<'a, [f32]>),
    /// Anything else: decoded block by block.
    Stored { dtype: DType, bytes: Cow<'a, [u8]> },
}

impl<'a> Values<'a> {
    /// Takes little-endian bytes of a weight type; borrowed bytes stay where they are.
    pub(crate) fn from_bytes(dtype: DType, bytes: Cow<'a, [u8]>) -> Self {
        match bytes {
            Cow::Borrowed(raw) if dtype == DType::F32 && cfg!(target_endian = "little") => {
                match bytemuck::try_cast_slice(raw) {
                    Ok(values) => Self::F32(Cow::Borrowed(values)),
                    Err(_) => Self::Stored { dtype, bytes }, // not aligned
                }
            }
            Cow::Owned(raw) if dtype == DType::F32 => {
                let mut values = vec![0.0; raw.len() / 4];
                decode(dtype, &raw, &mut values);
                Self::F32(Cow::Owned(values))
            }
            bytes => Self::Stored { dtype, bytes },
        }
    }

    /// The values in `range`, decoded into `scratch` where they cannot be borrowed.
    ///
    /// `scratch` is at least as long as `range`; `range` lies inside the tensor.
    pub(crate) fn block<'s>(&'s self, range: Range<usize>, scratch: &'s mut [f32]) -> &'s [f32] {
        match self {
            Self::F32(values) => &values[range],
            Self::Stored { dtype, bytes } => {
                let size = dtype.size_bytes();
                let out = &mut scratch[..range.len()];
                decode(*dtype, &bytes[range.start * size..range.end * size], out);
                out
            }
        }
    }

    /// All values in single precision.
    pub(crate) fn to_f32(&self) -> Cow<'_, [f32]> {
        match self {
            Self::F32(values) => Cow::Borrowed(values),
            Self::Stored { dtype, bytes } => {
                let mut out = vec![0.0; bytes.len() / dtype.size_bytes()];
                decode(*dtype, bytes, &mut out);
                Cow::Owned(out)
            }
        }
    }
}

simd::kernel! {
    /// Reads little-endian weights into `out`. Types that are no weights never get here.
    fn decode(dtype: DType, bytes: &'a [u8], out: &'a mut [f32]) {
        match dtype {
            DType::F32 => each::<4>(bytes, out, f32::from_le_bytes),
            DType::F64 => each::<8>(bytes, out, |b| f64::from_le_bytes(b) as f32),
            DType::BF16 => {
                each::<2>(bytes, out, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16));
            }
            DType::F16 => each::<2>(bytes, out, |b| half_to_f32(u16::from_le_bytes(b))),
            other => unreachable!("invariant: only weights are decoded, found {other}"),
        }
    }
}

#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "inherits the instruction set of its caller"
)]
fn each<const N: usize>(bytes: &[u8], out: &mut [f32], read: impl Fn([u8; N]) -> f32) {
    for (value, raw) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *value = read(*raw);
    }
}

/// IEEE half precision without branches: shift the exponent into place, rescale, and mend infinities and NaN.
#[inline]
fn half_to_f32(half: u16) -> f32 {
    const TWO_POW_112: f32 = f32::from_bits(0x7780_0000); // the difference of the two exponent biases
    let bits = u32::from(half);
    let magnitude = (f32::from_bits((bits & 0x7fff) << 13) * TWO_POW_112).to_bits();
    let special = if bits & 0x7c00 == 0x7c00 {
        0x7f80_0000
    } else {
        0
    };
    f32::from_bits(magnitude | special | (bits & 0x8000) << 16)
}

/// The little-endian bytes of `values` stored as `dtype`, rounded to the nearest.
pub(crate) fn encode(values: &[f32], dtype: DType) -> Vec<u8> {
    fn each<const N: usize>(values: &[f32], write: impl Fn(f32) -> [u8; N]) -> Vec<u8> {
        values.iter().flat_map(|&v| write(v)).collect()
    }
    match dtype {
        DType::F32 => each(values, f32::to_le_bytes),
        DType::F64 => each(values, |v| f64::from(v).to_le_bytes()),
        DType::F16 => each(values, |v| half::f16::from_f32(v).to_le_bytes()),
        DType::BF16 => each(values, |v| half::bf16::from_f32(v).to_le_bytes()),
        other => unreachable!("invariant: only weights are encoded, found {other}"),
    }
}

simd::kernel! {
    /// Whether no little-endian weight is NaN or infinite: whether no exponent has all its bits set.
    fn all_stored_finite(bytes: &'a [u8], dtype: DType) -> bool {
        match dtype {
            DType::F32 => none::<4>(bytes, |b| u32::from_le_bytes(b) & 0x7f80_0000 == 0x7f80_0000),
            DType::F64 => none::<8>(bytes, |b| u64::from_le_bytes(b) >> 52 & 0x7ff == 0x7ff),
            DType::BF16 => none::<2>(bytes, |b| u16::from_le_bytes(b) & 0x7f80 == 0x7f80),
            DType::F16 => none::<2>(bytes, |b| u16::from_le_bytes(b) & 0x7c00 == 0x7c00),
            other => unreachable!("invariant: only weights are encoded, found {other}"),
        }
    }
}

#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "inherits the instruction set of its caller"
)]
fn none<const N: usize>(bytes: &[u8], test: impl Fn([u8; N]) -> bool) -> bool {
    let words = bytes.as_chunks::<N>().0.iter();
    !words.fold(false, |any, word| any | test(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_decodes_to_its_value() {
        for bits in 0..=u16::MAX {
            let (ours, theirs) = (half_to_f32(bits), half::f16::from_bits(bits).to_f32());
            assert!(
                ours.to_bits() == theirs.to_bits() || ours.is_nan() && theirs.is_nan(),
                "{bits:x}"
            );
        }
    }

    #[test]
    fn weights_survive_every_weight_type_and_any_alignment() {
        let values = [0.0, -0.5, 1.5, -240.0, 0.001_953_125];
        for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
            let mut bytes = vec![0xff];
            bytes.extend(encode(&values, dtype));
            let stored = Values::from_bytes(dtype, Cow::Borrowed(&bytes[1..]));
            let mut scratch = [0.0; 4];
            assert_eq!(stored.block(1..4, &mut scratch), &values[1..4], "{dtype}");
            assert_eq!(*stored.to_f32(), values);
            let owned = Values::from_bytes(dtype, Cow::Owned(bytes[1..].to_vec()));
            assert_eq!(*owned.to_f32(), values);
        }
    }

    #[test]
    fn stored_values_that_are_not_finite_are_found_in_every_weight_type() {
        for bits in 0..=u16::MAX {
            let (f16, bf16) = (half::f16::from_bits(bits), half::bf16::from_bits(bits));
            let bytes = [0, 0, bits.to_le_bytes()[0], bits.to_le_bytes()[1]];
            assert_eq!(all_stored_finite(&bytes, DType::F16), f16.is_finite());
            assert_eq!(all_stored_finite(&bytes, DType::BF16), bf16.is_finite());
        }
        for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
            for at in [0, 17, 99] {
                for (value, finite) in [
                    (-3.5, true),
                    (f32::NAN, false),
                    (f32::INFINITY, false),
                    (f32::NEG_INFINITY, false),
                ] {
                    let mut values = [1.0; 100];
                    values[at] = value;
                    let bytes = encode(&values, dtype);
                    assert_eq!(all_stored_finite(&bytes, dtype), finite, "{dtype} {value}");
                }
            }
        }
    }

    #[test]
    fn aligned_single_precision_is_not_copied() {
        let values = [1.0f32, 2.0];
        let stored = Values::from_bytes(DType::F32, Cow::Borrowed(bytemuck::cast_slice(&values)));
        assert!(
            matches!(stored, Values::F32(Cow::Borrowed(v)) if std::ptr::eq(v, &raw const values[..]))
        );
    }
}
