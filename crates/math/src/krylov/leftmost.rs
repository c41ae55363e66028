//! The smallest eigenvalue of an operator, with a bound on what may have been missed.
//! Source: Kuczyński and Woźniakowski 1992, theorem 4.2, for Lanczos' method from a random start.

use super::lanczos::{Lanczos, Operator};
use crate::error::MathError;
use refit_core::Seed;

/// Products after which the smallest eigenvalue is known to a share `share` of the range of eigenvalues, but for
/// probability `failure`.
///
/// # Example
/// ```
/// use refit_math::krylov::products_for;
/// // 0.5 ln(2.75 * 1000 / 0.01^2) / sqrt(0.1) = 27.08
/// assert_eq!(products_for(1000, 0.1, 0.01), 29);
/// assert_eq!(products_for(3, 1e-9, 0.01), 3);
/// ```
pub fn products_for(dim: usize, share: f64, failure: f64) -> usize {
    let logarithm = 0.5 * (2.75 * dim as f64 / (failure * failure)).ln();
    // A count beyond the dimension is cut by `min`; the cast saturates.
    let wanted = 1 + (logarithm / share.sqrt()).ceil() as usize;
    wanted.min(dim)
}

/// What is known of the smallest eigenvalue.
#[derive(Clone, Debug, PartialEq)]
pub struct Leftmost {
    /// The smallest eigenvalue in the space: at least the operator's.
    pub value: f64,
    /// A unit vector `u` with `u^T H u = value`.
    pub vector: Vec<f64>,
    /// `|H u - value u|`: an eigenvalue is that close.
    pub residual: f64,
    /// How far below `value` the smallest eigenvalue may lie, but for the probability that was asked for; 0 when the
    /// space is all that a random start can reach, infinite while nothing can be said.
    pub missed: f64,
    /// The largest absolute eigenvalue in the space.
    pub magnitude: f64,
    /// Products made.
    pub products: usize,
}

impl Leftmost {
    /// What the smallest eigenvalue is not below, but for the probability that was asked for.
    pub fn bound(&self) -> f64 {
        self.value - self.residual - self.missed
    }
}

/// Grows a Krylov space from a random start until `done` says so, `most` products are made, or nothing is left to find.
///
/// `failure` is the probability with which [`Leftmost::bound`] may be wrong.
///
/// # Errors
/// Those of [`Lanczos::extend`]; [`MathError::Empty`] for no dimensions.
///
/// # Cost
/// A product and `O(k n)` for each of `k` vectors of length `n`.
///
/// # Example
/// ```
/// use refit_core::Seed;
/// use refit_math::krylov::leftmost;
/// let mut product = |v: &[f64], out: &mut [f64]| {
///     (0..100).for_each(|i| out[i] = (i as f64 - 1.0) * v[i]);
/// };
/// let found = leftmost(100, Seed::new(0), 0.01, 100, &mut product, |found| found.missed < 1.0)?;
/// assert!((found.value + 1.0).abs() < 1.0 && found.bound() <= -1.0 && found.products < 100);
/// # Ok::<(), refit_math::MathError>(())
/// ```
pub fn leftmost(
    dim: usize,
    seed: Seed,
    failure: f64,
    most: usize,
    operator: &mut Operator<'_>,
    mut done: impl FnMut(&Leftmost) -> bool,
) -> Result<Leftmost, MathError> {
    let mut space = Lanczos::random(dim, seed)?;
    let most = most.clamp(1, dim);
    loop {
        space.extend(operator)?;
        let (found, h) = look(&space, failure);
        if space.is_invariant() || space.len() >= most || done(&found) {
            let vector = space.combine(&h);
            return Ok(Leftmost { vector, ..found });
        }
    }
}

/// What the space says, and the smallest eigenvector in its basis.
fn look(space: &Lanczos, failure: f64) -> (Leftmost, Vec<f64>) {
    let t = space.tridiagonal();
    let (value, largest) = (t.smallest(), t.largest());
    let h = t.leftmost_vector(value);
    let residual = space.coupling() * h.last().map_or(0.0, |h| h.abs());
    let found = Leftmost {
        value,
        vector: Vec::new(),
        residual,
        missed: missed(space, largest - value, failure),
        magnitude: value.abs().max(largest.abs()),
        products: space.len(),
    };
    (found, h)
}

/// With probability `1 - failure / 2` each, both ends of the spectrum are within a share `e` of its true range, so that
/// the range is at most `seen / (1 - 2 e)`.
fn missed(space: &Lanczos, seen: f64, failure: f64) -> f64 {
    if space.is_invariant() {
        return 0.0;
    }
    let logarithm = (1.648 * (space.dim() as f64).sqrt() * 2.0 / failure).ln();
    let root = logarithm / (2 * space.len() - 1) as f64;
    let share = root * root;
    if share < 0.5 {
        seen * share / (1.0 - 2.0 * share)
    } else {
        f64::INFINITY
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vector::normal;
    use crate::{
        Matrix, eigen,
        vector::{dot, norm},
    };

    #[test]
    fn bounds_hold_more_often_than_they_promise() {
        // Eigenvalues crowd near the end: the case that Lanczos' method finds hard.
        let n = 60;
        let d: Vec<f64> = (0..n).map(|i| -(0.98f64.powi(i))).collect();
        let mut wrong = 0;
        for seed in 0..1000 {
            let mut product =
                |v: &[f64], out: &mut [f64]| (0..d.len()).for_each(|i| out[i] = d[i] * v[i]);
            let found = leftmost(d.len(), Seed::new(seed), 0.05, 60, &mut product, |f| {
                f.missed < 0.3
            })
            .unwrap();
            assert!(found.missed < 0.3 && found.products < 60);
            wrong += usize::from(found.bound() > -1.0);
        }
        assert!(wrong <= 50, "{wrong} of 1000 at probability 0.05");
    }

    #[test]
    fn the_vector_belongs_to_the_value() {
        let n = 30;
        let values = normal(n * n, Seed::new(5));
        let a = Matrix::from_fn(n, n, |i, j| values[i.min(j) * n + i.max(j)]);
        let mut product =
            |v: &[f64], out: &mut [f64]| (0..n).for_each(|i| out[i] = dot(a.row(i), v));
        for most in [1, 7, 30] {
            let found = leftmost(n, Seed::new(1), 0.01, most, &mut product, |_| false).unwrap();
            let mut image = vec![0.0; n];
            product(&found.vector, &mut image);
            let u = &found.vector;
            let rest: Vec<f64> = (0..n).map(|i| image[i] - found.value * u[i]).collect();
            // Products of 30 terms of size 10.
            assert!((norm(&rest) - found.residual).abs() < 1e-12);
            assert!((dot(u, &image) - found.value).abs() < 1e-12);
            assert!(found.bound() <= eigen(&a).unwrap().values[0] + 1e-12);
        }
    }

    #[test]
    fn one_dimension_and_the_zero_operator_are_known_at_once() {
        for dim in [1, 4] {
            let mut zero = |_: &[f64], out: &mut [f64]| out.fill(0.0);
            let found = leftmost(dim, Seed::new(1), 0.01, 4, &mut zero, |_| false).unwrap();
            assert_eq!((found.products, found.missed.to_bits()), (1, 0));
            assert!(found.value.abs() < 1e-300);
        }
    }
}
