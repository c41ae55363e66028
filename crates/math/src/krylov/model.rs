//! The minimiser of a bounded quadratic model in a Krylov space that grows until it is good enough.
//! Source: Gould, Lucidi, Roma and Toint 1999 (trust region); Cartis, Gould and Toint 2011 (cubic term). Deviations: full
//! orthogonalisation; an invariant space is left in a random direction, because what it does not hold may be better.

use super::{
    lanczos::{Lanczos, Operator},
    small::{Bound, Small, solve},
};
use crate::{error::MathError, vector::norm};
use refit_core::Seed;

/// When a Krylov space has grown enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// Length of the gradient of the model at the step that is good enough; the cubic term included.
    pub tolerance: f64,
    /// Most basis vectors.
    pub most: usize,
}

/// A step that makes a model small.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The step `s`.
    pub step: Vec<f64>,
    /// The model there, at most 0: `g^T s + s^T H s / 2` and the cubic term.
    pub value: f64,
    /// `lambda` in `(H + lambda I) s = -g`.
    pub multiplier: f64,
    /// `|(H + lambda I) s + g|`; NaN where a [`Path`](super::Path) leaves its ball, which does not compute it.
    pub residual: f64,
    /// The step ends at the edge of its region; with a cubic term every step does.
    pub bounded: bool,
    /// The gradient alone does not lead there: a share of the leftmost eigenvector was added.
    pub hard: bool,
}

/// The model `g^T s + s^T H s / 2` and the Krylov space that was made for it.
///
/// The minimiser is global where the space is the whole one, or invariant. In a smaller one an eigenvector that the
/// gradient hardly leads to can be missed, as by every method of this kind: [`leftmost`](super::leftmost) finds it.
///
/// The space does not depend on the [`Bound`]: when a step is taken back, the next one with a smaller radius or a larger
/// `sigma` costs no product as long as it is good enough in the space there is.
///
/// ```
/// use refit_core::Seed;
/// use refit_math::krylov::{Bound, Growth, Model};
/// // H = diag(-2, 1, 3), g = (0, 1, -1): the hard case, as g says nothing of the direction of the eigenvalue -2.
/// let mut product = |v: &[f64], out: &mut [f64]| {
///     out.copy_from_slice(&[-2.0 * v[0], v[1], 3.0 * v[2]]);
/// };
/// let mut model = Model::new(&[0.0, 1.0, -1.0], Seed::new(0))?;
/// let exact = Growth { tolerance: 1e-12, most: 3 };
/// let found = model.minimise(Bound::Radius(1.0), exact, &mut product)?;
/// assert!(found.hard && (found.value + 1.266667).abs() < 1e-6);
/// let products = model.products();
/// model.minimise(Bound::Radius(0.2), exact, &mut product)?;
/// assert_eq!(model.products(), products);
/// # Ok::<(), refit_math::MathError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Model {
    space: Lanczos,
    gamma: f64,
    seed: Seed,
    /// Size of the space when the gradient had nothing more to say.
    exhausted: Option<usize>,
}

impl Model {
    /// The model with this gradient; `seed` for directions that the gradient does not lead to.
    ///
    /// # Errors
    /// [`MathError::Empty`] without dimensions, [`MathError::NotFiniteProduct`].
    pub fn new(gradient: &[f64], seed: Seed) -> Result<Self, MathError> {
        let gamma = norm(gradient);
        let (space, exhausted) = if gamma == 0.0 {
            (Lanczos::random(gradient.len(), seed)?, Some(0))
        } else {
            (Lanczos::new(gradient)?, None)
        };
        Ok(Self {
            space,
            gamma,
            seed,
            exhausted,
        })
    }

    /// Products made so far.
    pub fn products(&self) -> usize {
        self.space.len()
    }

    /// The smallest eigenvalue of the operator in the space, an upper bound on the operator's; `None` for no products.
    pub fn leftmost(&self) -> Option<f64> {
        (!self.space.is_empty()).then(|| self.space.tridiagonal().smallest())
    }

    /// An estimate of the operator's norm from below; 0 for no products.
    pub fn magnitude(&self) -> f64 {
        if self.space.is_empty() {
            return 0.0;
        }
        let t = self.space.tridiagonal();
        t.smallest().abs().max(t.largest().abs())
    }

    /// The minimiser of the model within `bound` in the space, which grows while that is not good enough.
    ///
    /// # Errors
    /// Those of [`Lanczos::extend`].
    ///
    /// # Cost
    /// A product and `O(k n)` for each new vector, `k` being the size of the space; `O(k)` for each small problem.
    pub fn minimise(
        &mut self,
        bound: Bound,
        growth: Growth,
        operator: &mut Operator<'_>,
    ) -> Result<Step, MathError> {
        let most = growth.most.clamp(1, self.space.dim());
        loop {
            if !self.space.is_empty() {
                let small = solve(self.space.tridiagonal(), self.gamma, bound);
                let residual = self.residual(&small);
                if self.space.len() >= most || (residual <= growth.tolerance && self.settled()) {
                    return Ok(self.step(&small, residual, bound));
                }
            }
            if self.space.is_invariant() {
                self.exhausted.get_or_insert(self.space.len());
                if !self.settled() && self.space.restart(self.seed) {
                    // The next product goes where the gradient does not lead.
                } else {
                    let small = solve(self.space.tridiagonal(), self.gamma, bound);
                    let residual = self.residual(&small);
                    return Ok(self.step(&small, residual, bound));
                }
            }
            self.space.extend(operator)?;
        }
    }

    fn residual(&self, small: &Small) -> f64 {
        self.space.coupling() * small.h.last().map_or(0.0, |h| h.abs())
    }

    /// Whether enough random directions were tried where the gradient had nothing more to say: enough to see a tenth
    /// of the operator's size with probability 0.99.
    fn settled(&self) -> bool {
        let Some(begun) = self.exhausted else {
            return !self.space.is_invariant() || self.space.len() == self.space.dim();
        };
        let enough = super::leftmost::products_for(self.space.dim(), 0.1, 0.01);
        self.space.len() == self.space.dim() || self.space.len() >= begun + enough
    }

    fn step(&self, small: &Small, residual: f64, bound: Bound) -> Step {
        Step {
            step: self.space.combine(&small.h),
            value: small.value,
            multiplier: small.multiplier,
            residual,
            bounded: matches!(bound, Bound::Cubic(_)) || small.multiplier > 0.0 || small.hard,
            hard: small.hard,
        }
    }
}
