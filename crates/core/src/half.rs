//! Numbers of half precision, widened without branches: both functions turn into vector code where they are inlined.

/// The value of a `bfloat16`; exact for every pattern, payloads of NaN included.
///
/// ```
/// assert_eq!(refit_core::bf16_to_f32(0xbf00), -0.5);
/// ```
#[inline(always)]
pub fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The value of an IEEE 754 `binary16`; exact, but NaN may lose its payload.
///
/// ```
/// assert_eq!(refit_core::f16_to_f32(0x3800), 0.5);
/// assert_eq!(refit_core::f16_to_f32(0x0001), 2f32.powi(-24));
/// ```
#[inline(always)]
pub fn f16_to_f32(bits: u16) -> f32 {
    // Shift the exponent into place, rescale by the difference of the biases, and mend infinities and NaN.
    const TWO_POW_112: f32 = f32::from_bits(0x7780_0000);
    let bits = u32::from(bits);
    let magnitude = (f32::from_bits((bits & 0x7fff) << 13) * TWO_POW_112).to_bits();
    let special = if bits & 0x7c00 == 0x7c00 {
        0x7f80_0000
    } else {
        0
    };
    f32::from_bits(magnitude | special | (bits & 0x8000) << 16)
}
