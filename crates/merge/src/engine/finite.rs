//! Looking for NaN and infinities in values that are copied as they are stored.

use refit_core::DType;

/// The first NaN or infinity among the values in `bytes`, with its place.
///
/// Types that are no floating-point numbers of two, four or eight bytes hold none.
pub(super) fn first_not_finite(dtype: DType, bytes: &[u8]) -> Option<(usize, f32)> {
    match dtype {
        DType::F64 => find(
            bytes,
            |b| f64::from_le_bytes(b) as f32,
            |b| !f64::from_le_bytes(b).is_finite(),
        ),
        DType::F32 => find(bytes, f32::from_le_bytes, |b| {
            // The exponent has all its bits.
            u32::from_le_bytes(b) & 0x7f80_0000 == 0x7f80_0000
        }),
        DType::BF16 => find(
            bytes,
            |[low, high]| f32::from_le_bytes([0, 0, low, high]),
            |b| u16::from_le_bytes(b) & 0x7f80 == 0x7f80,
        ),
        DType::F16 => find(
            bytes,
            |b| half::f16::from_le_bytes(b).to_f32(),
            |b| u16::from_le_bytes(b) & 0x7c00 == 0x7c00,
        ),
        _ => None,
    }
}

fn find<const N: usize>(
    bytes: &[u8],
    value: impl Fn([u8; N]) -> f32,
    spoils: impl Fn([u8; N]) -> bool,
) -> Option<(usize, f32)> {
    const RUN: usize = 256;
    let (values, _) = bytes.as_chunks::<N>();
    // Whole runs without a branch, so that many values are looked at at a time.
    let run = values
        .chunks(RUN)
        .position(|run| run.iter().fold(false, |found, &b| found | spoils(b)))?;
    let start = run * RUN;
    let at = start + values[start..].iter().position(|&b| spoils(b))?;
    Some((at, value(values[at])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_found_in_every_type() {
        let finite = [1.0f32, -2.0, 0.0, 0.5];
        for spoilt in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 3, 255, 256, 700] {
                let mut values: Vec<f32> = finite.iter().copied().cycle().take(701).collect();
                values[at] = spoilt;
                let same = |found: Option<(usize, f32)>| {
                    let (place, value) = found.unwrap();
                    place == at && (value.is_nan() == spoilt.is_nan())
                };
                let of = |encode: fn(f32) -> Vec<u8>| -> Vec<u8> {
                    values.iter().flat_map(|&v| encode(v)).collect()
                };
                let double = of(|v| f64::from(v).to_le_bytes().into());
                let single = of(|v| v.to_le_bytes().into());
                let brain = of(|v| half::bf16::from_f32(v).to_le_bytes().into());
                let small = of(|v| half::f16::from_f32(v).to_le_bytes().into());
                assert!(same(first_not_finite(DType::F64, &double)));
                assert!(same(first_not_finite(DType::F32, &single)));
                assert!(same(first_not_finite(DType::BF16, &brain)));
                assert!(same(first_not_finite(DType::F16, &small)));
                assert_eq!(first_not_finite(DType::I32, &single), None);
                assert_eq!(first_not_finite(DType::F32, &single[..4 * at]), None);
            }
        }
    }
}
