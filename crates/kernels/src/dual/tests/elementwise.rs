use super::*;
use crate::dual;
use refit_testkit::uniform_vec;

fn check_on(range: std::ops::Range<f64>, f: impl Fn(Dual<1>) -> Dual<1>) {
    for len in [1, 17] {
        check(&[uniform_vec(1, len, range.clone())], |p| f(p[0].clone()));
    }
}

#[test]
fn functions_of_positive_numbers() {
    check_on(0.5..3.0, Dual::recip);
    check_on(0.5..3.0, Dual::sqrt);
    check_on(0.5..3.0, Dual::log);
    check_on(0.5..3.0, |x| x.powf_scalar(-1.5));
    check_on(0.5..3.0, |x| x.powf_scalar(0.3));
}

#[test]
fn functions_of_all_numbers() {
    check_on(-3.0..3.0, Dual::exp);
    check_on(-3.0..3.0, Dual::tanh);
    check_on(-3.0..3.0, Dual::sigmoid);
    for power in [0.0, 1.0, 2.0, 3.0] {
        check_on(-3.0..3.0, |x| x.powf_scalar(power));
    }
}

#[test]
fn smooth_activations() {
    check_on(-4.0..4.0, dual::gelu);
    check_on(-4.0..4.0, dual::gelu_tanh);
    check_on(-4.0..4.0, dual::silu);
}

#[test]
fn functions_with_kinks_away_from_them() {
    // Multiples of 0.3 plus 0.1 stay 0.1 away from zero and from the ends of the clamp.
    let x: Vec<f64> = (-6..6).map(|i| 0.1 + 0.3 * f64::from(i)).collect();
    check(std::slice::from_ref(&x), |p| p[0].clone().relu());
    check(std::slice::from_ref(&x), |p| p[0].clone().abs());
    check(std::slice::from_ref(&x), |p| p[0].clone().clamp(-1.2, 0.9));
    check(&[x], |p| dual::relu(p[0].clone()));
}

#[test]
fn slopes_at_the_kinks_are_as_documented() {
    let at = |x: Vec<f64>| {
        let len = x.len();
        Dual::with_tangent(tensor_f64(x, [len]), tensor_f64(vec![1.0; len], [len]))
    };
    let tangent = |y: Dual<1>| host(y.tangent().cloned());
    assert_eq!(tangent(at(vec![0.0, -0.0]).relu()), [0.0, 0.0]);
    assert_eq!(tangent(at(vec![0.0]).abs()), [0.0]);
    assert_eq!(
        tangent(at(vec![-1.0, 2.0, 2.1]).clamp(-1.0, 2.0)),
        [1.0, 1.0, 0.0]
    );
}

#[test]
fn whole_powers_have_a_second_derivative_at_zero() {
    for (power, expected) in [(0.0, 0.0), (1.0, 0.0), (2.0, 2.0), (3.0, 0.0)] {
        let zero = tensor_f64(vec![0.0], [1]);
        let one = tensor_f64(vec![1.0], [1]);
        let (_, h) = hvp(|p| p[0].clone().powf_scalar(power), &[zero], &[one]);
        close(&h[0], vec![expected], 0.0, 0.0).unwrap();
    }
}

#[test]
fn the_error_function_has_twelve_digits() {
    // Computed with 25 digits; the points lie on both sides of the usual changes of formula.
    let cases = [
        (1e-10, 1.128_379_167_095_512_6e-10),
        (0.5, 0.520_499_877_813_046_5),
        (0.84, 0.765_142_711_454_994_5),
        (0.85, 0.770_668_057_608_352_5),
        (1.5, 0.966_105_146_475_310_7),
        (3.0, 0.999_977_909_503_001_4),
    ];
    for (x, expected) in cases {
        close(
            tensor_f64(vec![x, -x], [2]).erf(),
            vec![expected, -expected],
            1e-12,
            0.0,
        )
        .unwrap();
    }
}
