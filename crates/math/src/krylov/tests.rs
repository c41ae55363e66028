//! Sub-problems against numbers worked by hand and against a dense eigenvalue decomposition.

use super::*;
use crate::vector::normal;
use crate::{
    Eigen, Matrix, eigen,
    vector::{add_scaled, dot, norm},
};
use proptest::prelude::*;
use refit_core::Seed;

/// The whole space, or all of it that can be reached.
const EXACT: Growth = Growth {
    tolerance: 0.0,
    most: 1000,
};

fn diagonal(d: &[f64]) -> impl FnMut(&[f64], &mut [f64]) + '_ {
    |v, out| (0..d.len()).for_each(|i| out[i] = d[i] * v[i])
}

fn times(a: &Matrix) -> impl FnMut(&[f64], &mut [f64]) + '_ {
    |v, out| (0..a.rows()).for_each(|i| out[i] = dot(a.row(i), v))
}

fn solve(d: &[f64], g: &[f64], bound: Bound) -> Step {
    let mut model = Model::new(g, Seed::new(1)).unwrap();
    model.minimise(bound, EXACT, &mut diagonal(d)).unwrap()
}

fn is(found: f64, expected: f64, digits: f64) {
    assert!(
        (found - expected).abs() <= digits,
        "{found}, expected {expected}"
    );
}

/// Worked from `(H + lambda I) s = -g`; six digits are given.
#[test]
fn the_hard_case_of_a_trust_region() {
    let (d, g) = ([-2.0, 1.0, 3.0], [0.0, 1.0, -1.0]);
    let found = solve(&d, &g, Bound::Radius(1.0));
    is(found.step[0].abs(), 0.92135, 5e-6);
    is(found.step[1], -1.0 / 3.0, 1e-9);
    is(found.step[2], 0.2, 1e-9);
    is(found.multiplier, 2.0, 1e-12);
    is(found.value, -1.266_667, 5e-7);
    assert!(found.hard && found.bounded);
    is(solve(&d, &g, Bound::Radius(2.0)).value, -4.266_667, 5e-7);
    let short = solve(&d, &g, Bound::Radius(0.2));
    is(short.multiplier, 5.275_014, 5e-7);
    is(short.value, -0.245_604, 5e-7);
    assert!(!short.hard && short.bounded);
}

#[test]
fn the_hard_case_of_adaptive_cubics() {
    let (d, g) = ([-2.0, 1.0, 3.0], [0.0, 1.0, -1.0]);
    let found = solve(&d, &g, Bound::Cubic(1.0));
    is(found.step[0].abs(), 1.96186, 5e-6);
    is(found.step[1], -1.0 / 3.0, 1e-9);
    is(found.step[2], 0.2, 1e-9);
    is(found.multiplier, 2.0, 1e-12);
    is(found.value, -1.6, 1e-9);
    is(solve(&d, &g, Bound::Cubic(10.0)).value, -0.253_333, 5e-7);
}

#[test]
fn answers_that_other_solvers_got_wrong() {
    // A zero eigenvalue with a gradient along it, and -20 without one.
    let found = solve(&[0.0, -20.0, 0.0], &[1.0, 0.0, -1.0], Bound::Radius(1.0));
    is(found.multiplier, 20.0, 1e-12);
    is(found.step[0], -0.05, 1e-9);
    is(found.step[1].abs(), 0.995f64.sqrt(), 1e-9); // 0.9975
    is(found.step[2], 0.05, 1e-9);
    is(found.value, -10.05, 1e-9);
    let found = solve(&[-1.0], &[0.1], Bound::Radius(0.5));
    is(found.step[0], -0.5, 1e-15);
    is(found.value, -0.175, 1e-15);
}

#[test]
fn a_zero_gradient_moves_where_there_is_negative_curvature_only() {
    for bound in [Bound::Radius(0.5), Bound::Cubic(2.0)] {
        let found = solve(&[1.0, -1.0, 2.0], &[0.0; 3], bound);
        is(norm(&found.step), 0.5, 1e-12);
        is(found.step[1].abs(), 0.5, 1e-9);
        let found = solve(&[1.0, 3.0, 2.0], &[0.0; 3], bound);
        is(norm(&found.step), 0.0, 0.0);
        is(found.value, 0.0, 0.0);
    }
}

#[test]
fn a_direction_that_the_gradient_does_not_lead_to_is_found_in_a_thousand_dimensions() {
    let mut d: Vec<f64> = (0..1000).map(|i| 1.0 + f64::from(i % 3)).collect();
    d[17] = -1.0;
    let mut g = vec![0.1; 1000];
    g[17] = 0.0;
    let found = solve(&d, &g, Bound::Radius(50.0));
    // The three eigenvalues that the gradient sees are exhausted after three products.
    assert!(
        found.hard && found.step[17].abs() > 49.0,
        "{}",
        found.step[17]
    );
}

#[test]
fn a_step_that_is_taken_back_costs_nothing() {
    let n = 50;
    let values = normal(n * n, Seed::new(8));
    let a = Matrix::from_fn(n, n, |i, j| values[i.min(j) * n + i.max(j)]);
    let g = normal(n, Seed::new(9));
    let growth = Growth {
        tolerance: 1e-3,
        most: 50,
    };
    for bounds in [
        [1.0, 0.5, 0.25, 0.125].map(Bound::Radius),
        [1.0, 2.0, 4.0, 8.0].map(Bound::Cubic),
    ] {
        let mut model = Model::new(&g, Seed::new(0)).unwrap();
        let first = model.minimise(bounds[0], growth, &mut times(&a)).unwrap();
        let products = model.products();
        assert!(products < n && first.residual <= 1e-3);
        let mut nothing = |_: &[f64], _: &mut [f64]| panic!("a product for a smaller step");
        for bound in &bounds[1..] {
            model.minimise(*bound, growth, &mut nothing).unwrap();
        }
        assert_eq!(model.products(), products);
    }
}

/// The smallest value by the basis of eigenvectors, its multiplier by bisection: plain, and independent of Krylov
/// spaces. `hard`: what is left of the gradient along the leftmost eigenvector is rounding.
fn reference(found: &Eigen, g: &[f64], bound: Bound, hard: bool) -> f64 {
    let (d, n) = (&found.values, g.len());
    let mut c: Vec<f64> = (0..n).map(|i| dot(found.vectors.row(i), g)).collect();
    if hard {
        c[0] = 0.0;
    }
    let length = |l: f64| -> f64 {
        let terms = (0..n).filter(|&i| c[i] != 0.0);
        terms
            .map(|i| (c[i] / (d[i] + l)).powi(2))
            .sum::<f64>()
            .sqrt()
    };
    let wanted = |l: f64| match bound {
        Bound::Radius(radius) => radius,
        Bound::Cubic(sigma) => l / sigma,
    };
    let model = |l: f64, extra: f64| {
        let size = (length(l).powi(2) + extra).sqrt();
        let terms = (0..n).filter(|&i| c[i] != 0.0);
        terms
            .map(|i| -c[i] * c[i] / (d[i] + l) * (1.0 - 0.5 * d[i] / (d[i] + l)))
            .sum::<f64>()
            + 0.5 * d[0] * extra
            + match bound {
                Bound::Radius(_) => 0.0,
                Bound::Cubic(sigma) => sigma * size.powi(3) / 3.0,
            }
    };
    let low = (-d[0]).max(0.0);
    if d[0] > 0.0 && length(0.0) <= wanted(f64::INFINITY) && matches!(bound, Bound::Radius(_)) {
        return model(0.0, 0.0);
    }
    if length(low) < wanted(low) {
        return model(low, wanted(low).powi(2) - length(low).powi(2)); // the hard case
    }
    let (mut low, mut high) = (low, low + 1.0);
    while length(high) > wanted(high) {
        high *= 2.0;
    }
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if length(middle) > wanted(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    model(high, 0.0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn values_are_those_of_a_dense_solve(
        seed in any::<u64>(), n in 1usize..25, size in -3.0f64..2.0, hard in any::<bool>(), shift in -3.0f64..3.0,
    ) {
        let values = normal(n * n, Seed::new(seed));
        let a = Matrix::from_fn(n, n, |i, j| {
            values[i.min(j) * n + i.max(j)] + if i == j { shift } else { 0.0 }
        });
        let mut g = normal(n, Seed::new(seed ^ 5));
        let found = eigen(&a).unwrap();
        if hard {
            let share = dot(&g, found.vectors.row(0));
            add_scaled(&mut g, -share, found.vectors.row(0));
        }
        for bound in [Bound::Radius(10f64.powf(size)), Bound::Cubic(10f64.powf(-size))] {
            let mut model = Model::new(&g, Seed::new(seed ^ 7)).unwrap();
            let step = model.minimise(bound, EXACT, &mut times(&a)).unwrap();
            let mut image = vec![0.0; n];
            times(&a)(&step.step, &mut image);
            let length = norm(&step.step);
            let mut direct = dot(&g, &step.step) + 0.5 * dot(&step.step, &image);
            match bound {
                Bound::Radius(radius) => prop_assert!(length <= radius * (1.0 + 1e-12)),
                Bound::Cubic(sigma) => direct += sigma * length.powi(3) / 3.0,
            }
            // Sums of at most 25 terms of the size of the largest.
            let rounding = 1e-12 * (1.0 + length) * (norm(&g) + norm(&image) + length * length);
            prop_assert!((direct - step.value).abs() <= rounding);
            let best = reference(&found, &g, bound, hard);
            prop_assert!((step.value - best).abs() <= rounding + 1e-10 * best.abs(), "{} {best}", step.value);
        }
    }

    #[test]
    fn a_loose_step_is_at_least_as_good_as_the_best_along_the_gradient(
        seed in any::<u64>(), n in 1usize..25, size in -3.0f64..2.0,
    ) {
        let values = normal(n * n, Seed::new(seed));
        let a = Matrix::from_fn(n, n, |i, j| values[i.min(j) * n + i.max(j)]);
        let (g, radius) = (normal(n, Seed::new(seed ^ 5)), 10f64.powf(size));
        let length = norm(&g);
        let loose = Growth { tolerance: 0.1 * length, most: 250 };
        let cauchy = 0.5 * length * radius.min(length / (1.0 + a.norm()));
        let mut model = Model::new(&g, Seed::new(1)).unwrap();
        let full = model.minimise(Bound::Radius(radius), loose, &mut times(&a)).unwrap();
        prop_assert!(full.value <= -cauchy * (1.0 - 1e-12));
        let mut path = Path::new(&g).unwrap();
        let cheap = path.minimise(radius, loose, &mut times(&a)).unwrap();
        prop_assert!(cheap.value <= -cauchy * (1.0 - 1e-12));
        prop_assert!(norm(&cheap.step) <= radius * (1.0 + 1e-12));
        let mut image = vec![0.0; n];
        times(&a)(&cheap.step, &mut image);
        let direct = dot(&g, &cheap.step) + 0.5 * dot(&cheap.step, &image);
        prop_assert!((direct - cheap.value).abs() <= 1e-11 * (1.0 + direct.abs()));
        // A smaller ball needs nothing new, and gives what a fresh path would.
        let products = path.products();
        let again = path.minimise(0.5 * radius, loose, &mut |_, _| panic!("a product")).unwrap();
        let fresh = Path::new(&g).unwrap().minimise(0.5 * radius, loose, &mut times(&a)).unwrap();
        prop_assert_eq!(path.products(), products);
        prop_assert_eq!(again.step, fresh.step);
    }

    #[test]
    fn descent_comes_close_to_the_cubic_minimum(seed in any::<u64>(), n in 1usize..12) {
        let values = normal(n * n, Seed::new(seed));
        let a = Matrix::from_fn(n, n, |i, j| values[i.min(j) * n + i.max(j)]);
        let g = normal(n, Seed::new(seed ^ 5));
        let growth = Growth { tolerance: 1e-5, most: 50_000 };
        let found = cubic_descent(&g, 1.0, growth, Seed::new(2), &mut times(&a)).unwrap();
        let best = solve_dense(&a, &g);
        // The gradient that was followed is off by a thousandth of its length.
        let slack = 3e-3 * norm(&g) * norm(&found.step);
        prop_assert!(found.value >= best - 1e-9 && found.value <= best + slack, "{} {best}", found.value);
    }
}

fn solve_dense(a: &Matrix, g: &[f64]) -> f64 {
    reference(&eigen(a).unwrap(), g, Bound::Cubic(1.0), false)
}
