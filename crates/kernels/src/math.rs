//! `exp` and the normal distribution function in `f32`, free of branches so that loops vectorize.
//!
//! Coefficients: our own minimax fits (Lawson iterations on Chebyshev nodes). NaN in gives NaN out.

/// `exp(x)`; relative error below `1.2e-7` (2 units in the last place). Below `-87.3` the result is
/// 0 (no subnormal numbers), above `88.7` infinity.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LOWEST: f32 = -87.336_54; // ln of the smallest normal number
    const HIGHEST: f32 = 88.722_84; // ln of the largest number
    const SHIFT: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer in the low bits
    const LN2_HIGH: f32 = std::f32::consts::LN_2;
    const LN2_LOW: f32 = -1.904_654_3e-9;
    // `if` instead of `clamp`: a NaN fails both tests and stays.
    let inside = if x < LOWEST { LOWEST } else { x };
    let inside = if inside > HIGHEST { HIGHEST } else { inside };
    let shifted = inside.mul_add(std::f32::consts::LOG2_E, SHIFT);
    let n = shifted - SHIFT;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, inside));
    let q = 0.001_381_446_7_f32;
    let q = q.mul_add(r, 0.008_368_781);
    let q = q.mul_add(r, 0.041_668_393);
    let q = q.mul_add(r, 0.166_665_2);
    let q = q.mul_add(r, 0.499_999_94);
    let p = q.mul_add(r * r, r) + 1.0;
    // 2^n by adding n, the low bits of `shifted`, to the exponent: right wherever the result is a
    // normal number, n = -126 and n = 128 included.
    let y = f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23));
    let y = if x < LOWEST { 0.0 } else { y };
    if x <= HIGHEST { y } else { x + f32::INFINITY } // NaN for NaN
}

/// `1 / (1 + exp(-x))`; relative error below `2.5e-7`, 0 below `-88.7`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The normal distribution function `Phi(x)` and `exp(-x^2 / 2)`.
///
/// Relative error below `6e-7`, in the far left tail too, where `(1 + erf) / 2` in `f32` is 0:
/// `Phi(-a) = exp(-a^2 / 2) R(a)` with `R` a polynomial of degree 9 in `1 / (1 + 0.3 a)`.
#[inline(always)]
pub(crate) fn normal(x: f32) -> (f32, f32) {
    const MILLS: [f32; 10] = [
        0.119_686_69,
        0.119_571_81,
        0.110_235_42,
        0.078_389_65,
        0.096_156_836,
        -0.079_423_495,
        0.191_784_55,
        -0.228_213_61,
        0.112_435_62,
        -0.020_623_47,
    ];
    let a = x.abs();
    let square = x * x;
    let lost = x.mul_add(x, -square); // what rounding took from the square
    let bell = exp(-0.5 * square);
    // The square of an infinity loses NaN; there the bell is 0 and needs no correction.
    let bell = if bell > 0.0 {
        bell * lost.mul_add(-0.5, 1.0)
    } else {
        bell
    };
    let t = 1.0 / a.mul_add(0.3, 1.0);
    let mut r = MILLS[9];
    for k in (0..9).rev() {
        r = r.mul_add(t, MILLS[k]);
    }
    let tail = bell * (r * t);
    (if x > 0.0 { 1.0 - tail } else { tail }, bell)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Phi(-a)` in `f64` for `a > 0`: the continued fraction of Mills' ratio, or the series near 0.
    fn phi_minus(a: f64) -> f64 {
        let density = (-a * a / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
        if a < 3.0 {
            let (mut term, mut sum) = (a, a);
            for k in 1..200 {
                term *= a * a / f64::from(2 * k + 1);
                sum += term;
            }
            return 0.5 - density * sum;
        }
        let fraction = (1..400).rev().fold(a, |f, k| a + f64::from(k) / f);
        density / fraction
    }

    fn grid(low: f32, high: f32) -> impl Iterator<Item = f32> {
        (0..=200_000u32).map(move |i| low + (high - low) * (i as f32 / 200_000.0))
    }

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        for x in grid(-87.3, 88.7) {
            let reference = f64::from(x).exp();
            let error = (f64::from(exp(x)) / reference - 1.0).abs();
            assert!(error < 1.2e-7, "exp({x}): relative error {error:e}");
        }
    }

    #[test]
    fn exp_at_the_ends_of_the_range() {
        assert!(exp(f32::NAN).is_nan());
        assert_eq!(exp(f32::NEG_INFINITY).to_bits(), 0.0f32.to_bits());
        assert_eq!(exp(-100.0).to_bits(), 0.0f32.to_bits());
        assert_eq!(exp(0.0).to_bits(), 1.0f32.to_bits());
        assert!(exp(100.0).is_infinite() && exp(f32::INFINITY).is_infinite());
    }

    #[test]
    fn sigmoid_is_accurate_on_both_sides() {
        for x in grid(-87.0, 40.0) {
            let reference = 1.0 / (1.0 + (-f64::from(x)).exp());
            let error = (f64::from(sigmoid(x)) / reference - 1.0).abs();
            assert!(error < 2.5e-7, "sigmoid({x}): relative error {error:e}");
        }
        assert!(sigmoid(f32::NAN).is_nan());
        assert_eq!(sigmoid(f32::NEG_INFINITY).to_bits(), 0.0f32.to_bits());
        assert_eq!(sigmoid(f32::INFINITY).to_bits(), 1.0f32.to_bits());
    }

    #[test]
    fn the_normal_distribution_is_accurate_in_its_left_tail() {
        for x in grid(-12.9, 6.0) {
            let a = f64::from(x.abs());
            let reference = if x < 0.0 {
                phi_minus(a)
            } else {
                1.0 - phi_minus(a)
            };
            let error = (f64::from(normal(x).0) / reference - 1.0).abs();
            assert!(error < 6e-7, "Phi({x}): relative error {error:e}");
        }
        assert!(normal(f32::NAN).0.is_nan());
        assert_eq!(normal(f32::NEG_INFINITY).0.to_bits(), 0.0f32.to_bits());
        assert_eq!(normal(f32::INFINITY).0.to_bits(), 1.0f32.to_bits());
    }
}
