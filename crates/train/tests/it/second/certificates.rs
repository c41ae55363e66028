//! Certificates against dense Hessians of random objectives.

use super::{both, exact, minimise};
use proptest::prelude::*;
use refit_math::{Matrix, eigen};
use refit_testkit::{norm, normal_vec};
use refit_train::optim::second::{Closure, FiniteSum, SecondOrderConfig, Status};

/// `x^T A x / 2 + sum_i x_i^4 / 4` with an indefinite matrix: bounded below, with saddles wherever there are signs to choose.
fn quartic(a: &Matrix) -> impl FiniteSum {
    let n = a.rows();
    let row = |i: usize, x: &[f64]| -> f64 { a.row(i).iter().zip(x).map(|(a, x)| a * x).sum() };
    Closure::new(
        n,
        1,
        move |_, x| {
            (0..n)
                .map(|i| 0.5 * x[i] * row(i, x) + 0.25 * x[i].powi(4))
                .sum()
        },
        move |_, x, out: &mut [f64]| (0..n).for_each(|i| out[i] = row(i, x) + x[i].powi(3)),
        move |_, x: &[f64], v: &[f64], out: &mut [f64]| {
            (0..n).for_each(|i| out[i] = row(i, v) + 3.0 * x[i] * x[i] * v[i]);
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn certificates_agree_with_a_dense_hessian(seed in any::<u64>(), n in 1usize..12, zero in any::<bool>()) {
        let values = normal_vec(seed, n * n);
        let a = Matrix::from_fn(n, n, |i, j| values[i.min(j) * n + i.max(j)]);
        let start = if zero { vec![0.0; n] } else { normal_vec(seed ^ 1, n) };
        let objective = quartic(&a);
        for method in both() {
            // Chance would need a thousand million cases to be seen.
            let config = SecondOrderConfig {
                failure: 1e-9,
                ..exact(method, 1e-6)
            };
            let found = minimise(config, &objective, &start);
            let Status::SecondOrder { certificate } = found.status else {
                panic!("{:?}", found.status);
            };
            let mut hessian = a.clone();
            let mut gradient = vec![0.0; n];
            for (i, out) in gradient.iter_mut().enumerate() {
                let along: f64 = a.row(i).iter().zip(&found.x).map(|(a, x)| a * x).sum();
                *out = along + found.x[i].powi(3);
                hessian.row_mut(i)[i] += 3.0 * found.x[i] * found.x[i];
            }
            // The gradient of the certificate is this one but for rounding.
            prop_assert!(norm(&gradient) <= 1e-6 + 1e-13);
            let smallest = eigen(&hessian).unwrap().values[0];
            prop_assert!(smallest >= -1e-3 && smallest >= certificate.curvature_bound() - 1e-12);
        }
    }
}
