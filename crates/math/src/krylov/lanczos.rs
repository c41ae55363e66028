//! Lanczos' method with full orthogonalisation: an orthonormal basis in which a symmetric operator is tridiagonal.

use super::tridiagonal::Tridiagonal;
use crate::{
    error::MathError,
    vector::{add_scaled, dot, norm, normal, scale},
};
use refit_core::Seed;

/// A symmetric operator: writes its product with the first vector into the second.
pub type Operator<'a> = dyn FnMut(&[f64], &mut [f64]) + 'a;

/// Share of the operator's size by which products of two basis vectors may differ from symmetry. Products in single
/// precision differ by about 1e-6; a wrong one by its own size.
const ASYMMETRY: f64 = 1e-4;

/// A Krylov space: `H Q = Q T + coupling q_next e_k^T`.
///
/// Every new vector is made orthogonal to all others twice, so that `Q^T Q = I` to rounding whatever the size. What
/// that finds of earlier vectors beside the last two would be zero for a symmetric operator, so that an operator that
/// is not is noticed at no cost.
#[derive(Clone, Debug)]
pub struct Lanczos {
    dim: usize,
    /// Row `i` is basis vector `i`.
    basis: Vec<f64>,
    tridiagonal: Tridiagonal,
    /// The unit vector that comes next; empty when the space is invariant.
    next: Vec<f64>,
    coupling: f64,
}

impl Lanczos {
    /// The space that starts at `start`.
    ///
    /// # Errors
    /// [`MathError::Empty`] without entries or when all are zero, [`MathError::NotFinite`].
    pub fn new(start: &[f64]) -> Result<Self, MathError> {
        let length = norm(start);
        if !length.is_finite() {
            return Err(MathError::product(start));
        }
        if start.is_empty() || length == 0.0 {
            return Err(MathError::Empty {
                what: "the start of a Krylov space",
            });
        }
        let mut next = start.to_vec();
        scale(&mut next, 1.0 / length);
        Ok(Self {
            dim: start.len(),
            basis: Vec::new(),
            tridiagonal: Tridiagonal::default(),
            next,
            coupling: 0.0,
        })
    }

    /// The space that starts in a random direction, spread evenly over the sphere.
    ///
    /// # Errors
    /// [`MathError::Empty`] for no dimensions.
    pub fn random(dim: usize, seed: Seed) -> Result<Self, MathError> {
        Self::new(&normal(dim, seed))
    }

    /// Length of the vectors.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Number of basis vectors.
    pub fn len(&self) -> usize {
        self.tridiagonal.len()
    }

    /// Whether there are none yet.
    pub fn is_empty(&self) -> bool {
        self.tridiagonal.is_empty()
    }

    /// The operator in the basis.
    pub fn tridiagonal(&self) -> &Tridiagonal {
        &self.tridiagonal
    }

    /// How much of the last product lies outside of the space; 0 for an invariant one.
    pub fn coupling(&self) -> f64 {
        self.coupling
    }

    /// Whether the operator maps the space into itself, so that it cannot grow by products.
    pub fn is_invariant(&self) -> bool {
        self.next.is_empty()
    }

    /// Basis vector `at`.
    ///
    /// # Panics
    /// When there is no such vector.
    pub fn vector(&self, at: usize) -> &[f64] {
        &self.basis[at * self.dim..(at + 1) * self.dim]
    }

    /// Adds a basis vector; one product.
    ///
    /// # Errors
    /// [`MathError::NotFiniteProduct`], [`MathError::NotSymmetric`].
    ///
    /// # Panics
    /// When the space is invariant.
    pub fn extend(&mut self, operator: &mut Operator<'_>) -> Result<(), MathError> {
        assert!(!self.is_invariant(), "an invariant space cannot grow");
        let mut image = vec![0.0; self.dim];
        operator(&self.next, &mut image);
        if image.iter().any(|v| !v.is_finite()) {
            return Err(MathError::product(&image));
        }
        let size = norm(&image);
        let diagonal = dot(&self.next, &image);
        let k = self.len();
        if k > 0 {
            self.tridiagonal.off.push(self.coupling);
        }
        self.tridiagonal.diagonal.push(diagonal);
        self.basis.append(&mut self.next);
        let magnitude = self.tridiagonal.magnitude().max(size);
        for round in 0..2 {
            for at in (0..=k).rev() {
                let share = dot(self.vector(at), &image);
                let expected = match k - at {
                    0 => diagonal,
                    1 => self.coupling,
                    _ => 0.0,
                };
                if round == 0 && (share - expected).abs() > ASYMMETRY * magnitude {
                    return Err(MathError::NotSymmetric {
                        there: share,
                        back: expected,
                    });
                }
                add_scaled(&mut image, -share, self.vector(at));
            }
        }
        self.coupling = norm(&image);
        // What is left of a product inside the space is the rounding of its parts.
        let rounding = 64.0 * f64::EPSILON * magnitude * (self.dim as f64).sqrt();
        if self.len() == self.dim || self.coupling <= rounding {
            self.coupling = 0.0;
            return Ok(());
        }
        scale(&mut image, 1.0 / self.coupling);
        self.next = image;
        Ok(())
    }

    /// Lets an invariant space grow in a random direction orthogonal to it; false when it is the whole space.
    pub fn restart(&mut self, seed: Seed) -> bool {
        if self.len() >= self.dim {
            return false;
        }
        let mut fresh = normal(self.dim, seed.fork(self.len()));
        for _ in 0..3 {
            let length = norm(&fresh);
            scale(&mut fresh, 1.0 / length);
            for at in 0..self.len() {
                let share = dot(self.vector(at), &fresh);
                add_scaled(&mut fresh, -share, self.vector(at));
            }
        }
        let length = norm(&fresh);
        scale(&mut fresh, 1.0 / length);
        self.next = fresh;
        self.coupling = 0.0;
        true
    }

    /// `Q h`, for the first vectors of the basis.
    ///
    /// # Panics
    /// When there are more values than vectors.
    pub fn combine(&self, h: &[f64]) -> Vec<f64> {
        let mut sum = vec![0.0; self.dim];
        for (at, &share) in h.iter().enumerate() {
            add_scaled(&mut sum, share, self.vector(at));
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Matrix, eigen};
    use proptest::prelude::*;

    fn symmetric(seed: u64, n: usize) -> Matrix {
        let values = normal(n * n, Seed::new(seed));
        Matrix::from_fn(n, n, |i, j| values[i.min(j) * n + i.max(j)])
    }

    fn times(a: &Matrix) -> impl FnMut(&[f64], &mut [f64]) + '_ {
        |v, out| (0..a.rows()).for_each(|i| out[i] = dot(a.row(i), v))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn the_whole_space_has_the_eigenvalues_of_the_matrix(seed in any::<u64>(), n in 1usize..50) {
            let a = symmetric(seed, n);
            let mut space = Lanczos::random(n, Seed::new(seed ^ 1)).unwrap();
            while space.len() < n {
                if space.is_invariant() {
                    prop_assert!(space.restart(Seed::new(3)));
                }
                space.extend(&mut times(&a)).unwrap();
            }
            prop_assert!(space.is_invariant() && !space.restart(Seed::new(3)));
            for i in 0..n {
                for j in 0..=i {
                    let expected = f64::from(u8::from(i == j));
                    prop_assert!((dot(space.vector(i), space.vector(j)) - expected).abs() < 1e-13);
                }
            }
            let values = eigen(&a).unwrap().values;
            // Eigenvalues reach 2 sqrt(50), so that 1e-12 is some hundred rounding errors.
            prop_assert!((space.tridiagonal().smallest() - values[0]).abs() < 1e-12);
            prop_assert!((space.tridiagonal().largest() - values[n - 1]).abs() < 1e-12);
        }
    }

    #[test]
    fn an_invariant_space_is_noticed_and_left() {
        let mut diagonal = |v: &[f64], out: &mut [f64]| {
            let d = [2.0, 2.0, 5.0, 7.0];
            (0..4).for_each(|i| out[i] = d[i] * v[i]);
        };
        let mut space = Lanczos::new(&[1.0, 1.0, 1.0, 0.0]).unwrap();
        space.extend(&mut diagonal).unwrap();
        assert!(!space.is_invariant());
        space.extend(&mut diagonal).unwrap();
        assert!(space.is_invariant() && space.len() == 2);
        assert!(space.restart(Seed::new(0)));
        while !space.is_invariant() {
            space.extend(&mut diagonal).unwrap();
        }
        assert!((space.tridiagonal().largest() - 7.0).abs() < 1e-13);
    }

    #[test]
    fn an_operator_that_is_not_symmetric_is_named() {
        let mut shift = |v: &[f64], out: &mut [f64]| {
            (0..5).for_each(|i| out[i] = v[(i + 1) % 5] * (1.0 + i as f64));
        };
        let mut space = Lanczos::random(5, Seed::new(1)).unwrap();
        let error = (0..5).find_map(|_| space.extend(&mut shift).err()).unwrap();
        assert!(matches!(error, MathError::NotSymmetric { .. }), "{error}");
        let mut slightly = |v: &[f64], out: &mut [f64]| {
            out.copy_from_slice(v);
            out[0] += 1e-2 * v[1];
        };
        let mut space = Lanczos::random(5, Seed::new(1)).unwrap();
        let error = (0..5).find_map(|_| space.extend(&mut slightly).err());
        assert!(matches!(error, Some(MathError::NotSymmetric { .. })));
    }

    #[test]
    fn what_is_not_finite_is_named() {
        let mut broken = |_: &[f64], out: &mut [f64]| out.copy_from_slice(&[0.0, f64::NAN]);
        let error = Lanczos::new(&[1.0, 0.0])
            .unwrap()
            .extend(&mut broken)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "a product is NaN in entry 1, expected finite values"
        );
        assert!(Lanczos::new(&[f64::INFINITY]).is_err());
        assert!(Lanczos::new(&[0.0]).is_err() && Lanczos::new(&[]).is_err());
    }
}
