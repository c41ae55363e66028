//! The small problem that a Krylov space leaves: `min gamma h_1 + h^T T h / 2`, kept in a ball or by a cubic term.
//! Source: Moré and Sorensen 1983 (secular equation, hard case); Gould, Lucidi, Roma and Toint 1999 (in a Krylov space);
//! Cartis, Gould and Toint 2011 (cubic term).

use super::tridiagonal::{Factor, Tridiagonal};
use crate::vector::{add_scaled, dot, norm, scale};
use serde::{Deserialize, Serialize};

/// What keeps a quadratic model from running away.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// A trust region: `|s| <= radius`.
    Radius(f64),
    /// A cubic term: `+ sigma |s|^3 / 3`.
    Cubic(f64),
}

impl Bound {
    /// The length that a step with multiplier `lambda` has: on the edge of the ball, or in balance with the cubic term.
    fn length(self, lambda: f64) -> f64 {
        match self {
            Self::Radius(radius) => radius,
            Self::Cubic(sigma) => lambda / sigma,
        }
    }

    /// The derivative of `-1 / length`.
    fn slope(self, lambda: f64) -> f64 {
        match self {
            Self::Radius(_) => 0.0,
            Self::Cubic(sigma) => sigma / (lambda * lambda),
        }
    }

    /// A multiplier that is not above the solution's, for eigenvalues up to `largest`.
    fn below(self, gamma: f64, largest: f64) -> f64 {
        match self {
            Self::Radius(radius) => gamma / radius - largest,
            Self::Cubic(sigma) => {
                let root = (largest * largest + 4.0 * gamma * sigma).sqrt();
                if largest > 0.0 {
                    2.0 * gamma * sigma / (largest + root)
                } else {
                    0.5 * (root - largest)
                }
            }
        }
    }

    /// What the term adds to the model at a step of length `length`.
    pub(super) fn term(self, length: f64) -> f64 {
        match self {
            Self::Radius(_) => 0.0,
            Self::Cubic(sigma) => sigma * length * length * length / 3.0,
        }
    }
}

/// The minimiser of a small problem.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Small {
    pub(super) h: Vec<f64>,
    /// `lambda` in `(T + lambda I) h = -gamma e_1`.
    pub(super) multiplier: f64,
    /// The model there, at most 0.
    pub(super) value: f64,
    /// A share of the leftmost eigenvector was added.
    pub(super) hard: bool,
}

/// Share by which a step may miss its length before its eigenvector is asked.
const LENGTH: f64 = 1e-12;
/// Most Newton steps; from the left of the root each at least doubles the digits near it.
const MOST_STEPS: usize = 200;

/// The global minimiser of `gamma h_1 + h^T T h / 2` within `bound`, `gamma >= 0`.
pub(super) fn solve(t: &Tridiagonal, gamma: f64, bound: Bound) -> Small {
    let mut factor = Factor::default();
    let (convex, mut lambda) = (t.factor(0.0, &mut factor), 0.0);
    if convex {
        let h = step(&factor, gamma, t.len());
        let inside = matches!(bound, Bound::Radius(radius) if norm(&h) <= radius);
        if inside || gamma <= 0.0 {
            return Small {
                value: 0.5 * gamma * h[0],
                h,
                multiplier: 0.0,
                hard: false,
            };
        }
    } else {
        let smallest = t.smallest();
        (lambda, factor) = t.factor_above((-smallest).max(0.0));
        let h = step(&factor, gamma, t.len());
        if norm(&h) <= bound.length(lambda) {
            return complete(t, gamma, bound, (-smallest).max(0.0), h);
        }
    }
    // From here on the root lies at or above `lambda`, and `T + lambda I` is positive definite from there on.
    let start = lambda.max(bound.below(gamma, t.range().1));
    lambda = if t.factor(start, &mut factor) {
        start
    } else {
        lambda
    };
    newton(t, gamma, bound, lambda)
}

/// Newton's method on `1/|h(lambda)| - 1/length(lambda)`, which is concave and grows: from the left of the root it
/// never passes it, from the right one step leads to its left, and bisection guards against rounding.
fn newton(t: &Tridiagonal, gamma: f64, bound: Bound, start: f64) -> Small {
    let mut factor = Factor::default();
    let (mut low, mut high) = (start, f64::INFINITY);
    let (mut lambda, mut h) = (start, Vec::new());
    for _ in 0..MOST_STEPS {
        if !t.factor(lambda, &mut factor) {
            lambda = t.factor_above(lambda).0;
            t.factor(lambda, &mut factor);
        }
        h = step(&factor, gamma, t.len());
        let (length, wanted) = (norm(&h), bound.length(lambda));
        if (length - wanted).abs() <= 4.0 * f64::EPSILON * wanted {
            break;
        }
        if length > wanted {
            low = lambda;
        } else {
            high = lambda;
        }
        let square = factor.inverse_square(&mut h.clone());
        let value = 1.0 / length - 1.0 / wanted;
        let slope = square / (length * length * length) + bound.slope(lambda);
        let mut next = lambda - value / slope;
        if !(next > low && next < high) {
            next = if high.is_finite() {
                f64::midpoint(low, high)
            } else {
                2.0 * lambda + f64::MIN_POSITIVE
            };
        }
        if (next - lambda).abs() <= f64::EPSILON * lambda {
            break;
        }
        lambda = next;
    }
    let (length, wanted) = (norm(&h), bound.length(lambda));
    if (length - wanted).abs() > LENGTH * wanted {
        // Nearly the hard case: the last digit of lambda decides the length, and the eigenvector has the rest.
        return complete(t, gamma, bound, lambda, h);
    }
    if let Bound::Radius(radius) = bound
        && length > 0.0
    {
        scale(&mut h, radius / length); // the last digits, so that no step leaves its region
    }
    let length = norm(&h);
    Small {
        // The two quadratic terms by stationarity: no digits are lost between them.
        value: 0.5 * (gamma * h[0] - lambda * length * length) + bound.term(length),
        h,
        multiplier: lambda,
        hard: false,
    }
}

/// A step whose length the multiplier does not decide: a share of the leftmost eigenvector makes it right.
fn complete(t: &Tridiagonal, gamma: f64, bound: Bound, multiplier: f64, h: Vec<f64>) -> Small {
    let u = t.leftmost_vector(t.smallest());
    let wanted = bound.length(multiplier);
    let (square, along) = (dot(&h, &h), dot(&h, &u));
    let model = |h: &[f64]| gamma * h[0] + 0.5 * t.quadratic(h) + bound.term(norm(h));
    let best = roots(1.0, 2.0 * along, square - wanted * wanted) // u has length 1
        .into_iter()
        .map(|share| {
            let mut moved = h.clone();
            add_scaled(&mut moved, share, &u);
            (model(&moved), moved)
        })
        .min_by(|a, b| a.0.total_cmp(&b.0));
    let (mut value, mut h) = best.unwrap_or_else(|| (model(&h), h));
    if let Bound::Radius(radius) = bound
        && norm(&h) > radius
    {
        let onto = radius / norm(&h);
        scale(&mut h, onto);
        value = model(&h);
    }
    Small {
        value: value.min(0.0),
        h,
        multiplier,
        hard: true,
    }
}

/// The real roots of `a x^2 + b x + c` for `a > 0`, without loss of digits: the larger one by its formula, the other
/// from their product.
pub(super) fn roots(a: f64, b: f64, c: f64) -> Vec<f64> {
    let inside = b * b - 4.0 * a * c;
    if inside.is_nan() || inside < 0.0 {
        return Vec::new();
    }
    let sum = -0.5 * (b + inside.sqrt().copysign(b));
    if sum == 0.0 {
        return vec![0.0];
    }
    vec![sum / a, c / sum]
}

/// `-gamma (T + lambda I)^-1 e_1`.
fn step(factor: &Factor, gamma: f64, len: usize) -> Vec<f64> {
    let mut h = vec![0.0; len];
    h[0] = -gamma;
    factor.solve(&mut h);
    h
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::Rng;
    use refit_core::Seed;

    fn problem(seed: u64, k: usize) -> (Tridiagonal, f64) {
        let mut rng = Seed::new(seed).rng();
        let diagonal = (0..k).map(|_| rng.random_range(-1.0..1.0)).collect();
        let off = (1..k).map(|_| rng.random_range(-1.0..1.0)).collect();
        let gamma = 10f64.powf(rng.random_range(-6.0..2.0));
        (Tridiagonal { diagonal, off }, gamma)
    }

    /// The conditions that make a global minimiser: stationary, `T + lambda I` not indefinite, length in balance.
    fn check(t: &Tridiagonal, gamma: f64, bound: Bound) -> Result<(), TestCaseError> {
        let found = solve(t, gamma, bound);
        let (h, lambda) = (&found.h, found.multiplier);
        let size = t.magnitude() + lambda + 1.0;
        for i in 0..t.len() {
            let mut row = (t.diagonal[i] + lambda) * h[i] + if i == 0 { gamma } else { 0.0 };
            if i > 0 {
                row += t.off[i - 1] * h[i - 1];
            }
            if i + 1 < t.len() {
                row += t.off[i] * h[i + 1];
            }
            // Rounding of the sums, and of lambda in its last digits.
            prop_assert!(
                row.abs() <= 1e-12 * size * (norm(h) + gamma),
                "{row} of row {i}"
            );
        }
        prop_assert!(lambda >= 0.0 && lambda + t.smallest() >= -1e-13 * size);
        let length = norm(h);
        match bound {
            Bound::Radius(radius) => {
                prop_assert!(length <= radius * (1.0 + 1e-14));
                prop_assert!(lambda <= 0.0 || (length / radius - 1.0).abs() < 1e-10);
            }
            Bound::Cubic(sigma) => prop_assert!((sigma * length - lambda).abs() <= 1e-10 * size),
        }
        let direct = gamma * h[0] + 0.5 * t.quadratic(h) + bound.term(length);
        prop_assert!(
            (found.value - direct).abs() <= 1e-11 * size * (length * length + gamma * length)
        );
        prop_assert!(found.value <= 0.0);
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn solutions_are_global(seed in any::<u64>(), k in 1usize..30, size in -6.0f64..6.0) {
            let (t, gamma) = problem(seed, k);
            check(&t, gamma, Bound::Radius(10f64.powf(size)))?;
            check(&t, gamma, Bound::Cubic(10f64.powf(size)))?;
        }

        #[test]
        fn split_problems_and_zero_gradients_are_hard_cases(seed in any::<u64>(), k in 4usize..30) {
            let (mut t, gamma) = problem(seed, k);
            t.off[k / 2] = 0.0;
            for gamma in [0.0, gamma] {
                check(&t, gamma, Bound::Radius(3.0))?;
                check(&t, gamma, Bound::Cubic(0.3))?;
            }
        }
    }

    #[test]
    fn one_dimension_by_hand() {
        // H = -1, g = 0.1: the far end of the region, not the stationary point at +0.1.
        let t = Tridiagonal {
            diagonal: vec![-1.0],
            off: vec![],
        };
        let found = solve(&t, 0.1, Bound::Radius(0.5));
        assert!((found.h[0] + 0.5).abs() < 1e-15 && (found.value + 0.175).abs() < 1e-15);
        // |s| = l/sigma and (l - 1)|s| = 0.1 with sigma = 1: l^2 - l = 0.1.
        let found = solve(&t, 0.1, Bound::Cubic(1.0));
        let length = 0.5 + 0.35f64.sqrt();
        assert!((found.h[0] + length).abs() < 1e-14);
    }

    #[test]
    fn roots_keep_their_digits() {
        let found = roots(1.0, -1e8, 1.0);
        assert!((found[1] * 1e8 - 1.0).abs() < 1e-15, "{found:?}");
        assert!(roots(1.0, 0.0, 1.0).is_empty());
        assert_eq!(roots(1.0, 0.0, 0.0), [0.0]);
    }
}
