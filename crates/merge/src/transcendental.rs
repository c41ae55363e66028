//! Exponentials and logarithms of many values: loops without branches or calls, several values at a time.

use crate::simd::kernel;

/// Adding it to a number below 2^51 rounds that to a whole number, which then stands in the lowest bits.
const ROUND: f64 = 6_755_399_441_055_744.0; // 1.5 * 2^52
/// `1 / ln 2`, and `ln 2` in two parts: the first has few bits, so that its products with whole numbers are exact.
const LOG2_E: f64 = std::f64::consts::LOG2_E;
const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
/// Lowest power whose result is a normal number.
const LOWEST: f64 = -708.0;
/// The bits of `sqrt(1/2)`: mantissas are taken between it and `sqrt(2)`.
const SQRT_HALF: u64 = 0x3fe6_a09e_667f_3bcd;
const EXPONENT: u64 = 0x7ff0_0000_0000_0000;
/// Bits of 1.0, and of 2^52.
const ONE: u64 = 1023 << 52;
const TWO_52: u64 = 0x4330_0000_0000_0000;

kernel! {
    /// `v_i = exp(v_i)` for `v_i <= 0`, to a few units in the last place; below -708 the result is that of -708.
    fn exp_not_positive(values: &'a mut [f64]) {
        for value in values {
            let x = value.max(LOWEST);
            let shifted = x * LOG2_E + ROUND;
            let whole = shifted - ROUND;
            let r = (x - whole * LN_2_HIGH) - whole * LN_2_LOW;
            // Taylor's series on |r| <= ln(2) / 2, where the first term left out is below 1e-17.
            let mut sum = 1.0 / 6_227_020_800.0;
            sum = sum * r + 1.0 / 479_001_600.0;
            sum = sum * r + 1.0 / 39_916_800.0;
            sum = sum * r + 1.0 / 3_628_800.0;
            sum = sum * r + 1.0 / 362_880.0;
            sum = sum * r + 1.0 / 40_320.0;
            sum = sum * r + 1.0 / 5_040.0;
            sum = sum * r + 1.0 / 720.0;
            sum = sum * r + 1.0 / 120.0;
            sum = sum * r + 1.0 / 24.0;
            sum = sum * r + 1.0 / 6.0;
            sum = sum * r + 0.5;
            sum = sum * r + 1.0;
            sum = sum * r + 1.0;
            // 2^whole: the lowest bits, moved to the exponent.
            let scale = f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52);
            *value = sum * scale;
        }
    }
}

kernel! {
    /// `v_i = ln(v_i)` for normal positive `v_i`, to a few units in the last place.
    fn ln_positive(values: &'a mut [f64]) {
        for value in values {
            let bits = value.to_bits();
            let above = bits.wrapping_sub(SQRT_HALF).wrapping_add(ONE);
            let whole = f64::from_bits((above >> 52) | TWO_52) - (f64::from_bits(TWO_52) + 1023.0);
            let mantissa = f64::from_bits(bits.wrapping_sub(above & EXPONENT).wrapping_add(ONE));
            let f = mantissa - 1.0;
            let s = f / (2.0 + f);
            let z = s * s;
            // ln(m) = 2 artanh(s) with z <= 0.0295, where the first term left out is below 1e-17.
            let mut sum = 1.0 / 21.0;
            sum = sum * z + 1.0 / 19.0;
            sum = sum * z + 1.0 / 17.0;
            sum = sum * z + 1.0 / 15.0;
            sum = sum * z + 1.0 / 13.0;
            sum = sum * z + 1.0 / 11.0;
            sum = sum * z + 1.0 / 9.0;
            sum = sum * z + 1.0 / 7.0;
            sum = sum * z + 1.0 / 5.0;
            sum = sum * z + 1.0 / 3.0;
            *value = whole * LN_2_HIGH + (2.0 * s + (2.0 * s * z * sum + whole * LN_2_LOW));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_values_are_exact() {
        let mut values = [
            0.0,
            -std::f64::consts::LN_2,
            -1.0,
            -800.0,
            f64::NEG_INFINITY,
        ];
        exp_not_positive(&mut values);
        assert_eq!(values[..2], [1.0, 0.5]);
        assert!((values[2] - (-1.0f64).exp()).abs() < 1e-16);
        assert_eq!(values[3].to_bits(), values[4].to_bits());
        assert!(values[3] > 0.0 && values[3] < 1e-307);
        let mut values = [1.0, 2.0, 0.5, 1e-8];
        ln_positive(&mut values);
        assert_eq!(values[0].to_bits(), 0);
        assert_eq!(
            values[1..3],
            [std::f64::consts::LN_2, -std::f64::consts::LN_2]
        );
        assert!((values[3] - 1e-8f64.ln()).abs() < 1e-14);
    }

    proptest! {
        #[test]
        fn exponentials_are_those_of_the_library(x in -708.0..=0.0f64) {
            let mut found = [x; 9];
            exp_not_positive(&mut found);
            let expected = x.exp();
            prop_assert!((found[8] / expected - 1.0).abs() < 1e-15, "{} {}", found[8], expected);
        }

        #[test]
        fn logarithms_are_those_of_the_library(power in -300.0..300.0f64, near in 0.999..1.001f64) {
            for x in [10f64.powf(power), near] {
                let mut found = [x; 9];
                ln_positive(&mut found);
                let expected = x.ln();
                prop_assert!((found[8] - expected).abs() <= 1e-15 * expected.abs(), "{x}: {}", found[8]);
            }
        }
    }
}
