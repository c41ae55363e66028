//! Steps for the model at a point, by whichever method.

use super::config::{CubicSolver, Method, RegionSolver};
use refit_core::Seed;
use refit_math::{
    MathError,
    krylov::{Bound, Growth, Model, Operator, Path, Step, cubic_descent},
    vector::norm,
};

/// Share of `min(1, |s|)` times the gradient's length below which the gradient of a cubic model has to come; in (0, 1).
const ZETA: f64 = 0.5;

/// The model at a point, with what is kept of it when a step is taken back.
pub(super) enum Search {
    Krylov(Model),
    Path(Path),
    Descent {
        gradient: Vec<f64>,
        seed: Seed,
        products: usize,
    },
}

impl Search {
    pub(super) fn new(method: Method, gradient: &[f64], seed: Seed) -> Result<Self, MathError> {
        Ok(match method {
            Method::TrustRegion {
                solver: RegionSolver::Steihaug,
                ..
            } => Self::Path(Path::new(gradient)?),
            Method::Cubics {
                solver: CubicSolver::Gradient,
                ..
            } => Self::Descent {
                gradient: gradient.to_vec(),
                seed,
                products: 0,
            },
            _ => Self::Krylov(Model::new(gradient, seed)?),
        })
    }

    /// A step within `bound` whose model has a gradient that is short beside the one at the point, of length `gradient`.
    pub(super) fn step(
        &mut self,
        bound: Bound,
        gradient: f64,
        most: usize,
        operator: &mut Operator<'_>,
    ) -> Result<Step, MathError> {
        let growth = Growth {
            tolerance: gradient.sqrt().min(0.1) * gradient,
            most,
        };
        let step = self.once(bound, growth, operator)?;
        let Bound::Cubic(_) = bound else {
            return Ok(step);
        };
        // The condition for the best rate: tighter where the step is short, checked where it has an answer.
        let tolerance = ZETA * norm(&step.step).min(1.0) * gradient;
        if step.residual <= tolerance || matches!(self, Self::Descent { .. }) {
            return Ok(step);
        }
        self.once(bound, Growth { tolerance, most }, operator)
    }

    fn once(
        &mut self,
        bound: Bound,
        growth: Growth,
        operator: &mut Operator<'_>,
    ) -> Result<Step, MathError> {
        match (self, bound) {
            (Self::Krylov(model), bound) => model.minimise(bound, growth, operator),
            (Self::Path(path), Bound::Radius(radius)) => path.minimise(radius, growth, operator),
            (
                Self::Descent {
                    gradient,
                    seed,
                    products,
                },
                Bound::Cubic(sigma),
            ) => {
                let mut counting = |v: &[f64], out: &mut [f64]| {
                    *products += 1;
                    operator(v, out);
                };
                cubic_descent(gradient, sigma, growth, *seed, &mut counting)
            }
            (Self::Path(_), Bound::Cubic(_)) | (Self::Descent { .. }, Bound::Radius(_)) => {
                unreachable!("solvers are made for the bound of their method")
            }
        }
    }

    pub(super) fn products(&self) -> usize {
        match self {
            Self::Krylov(model) => model.products(),
            Self::Path(path) => path.products(),
            Self::Descent { products, .. } => *products,
        }
    }

    /// The smallest eigenvalue that the model has shown.
    pub(super) fn leftmost(&self) -> Option<f64> {
        match self {
            Self::Krylov(model) => model.leftmost(),
            _ => None,
        }
    }
}
