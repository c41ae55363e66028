//! Second-order minimisation of finite sums with inexact Hessian, gradient and function values.
//!
//! [`SecondOrder`] minimises any [`FiniteSum`] by a trust region or adaptive cubics and stops where no gradient and no
//! negative curvature is left, with a [`Certificate`]. Samples grow with what they are asked to tell: steps are measured
//! on terms that had no part in choosing them, a decrease as exactly as was promised, and a step that is taken back costs
//! no derivative.
//!
//! Sources: Xu, Roosta and Mahoney, arXiv:1708.07164 (inexact Hessian); Yao, Xu, Roosta and Mahoney, arXiv:1802.06925
//! (and gradient); Cartis, Gould and Toint 2011 (adaptive cubics). Constants are derived anew: a step is never taken back
//! because of the noise of its derivatives, which are enlarged instead.

mod certify;
mod closure;
mod config;
pub(in crate::optim) mod count;
#[cfg(test)]
mod coverage;
mod derivatives;
pub(in crate::optim) mod draw;
mod error;
mod estimate;
mod lbfgs;
mod oracle;
mod outcome;
mod run;
mod samples;
pub mod sizes;
mod solver;
mod state;
mod step;
mod trial;

pub use closure::{Closure, ClosureState};
pub use config::{CubicSolver, Curvature, Draw, Method, RegionSolver, Sampling, SecondOrderConfig};
pub use count::Counts;
pub use derivatives::{Derivatives, derivatives};
pub use error::SecondOrderError;
pub use lbfgs::{Descended, LbfgsConfig, Progressed, lbfgs, lbfgs_seen};
pub(crate) use oracle::OwnedSample;
pub use oracle::{Bounds, FiniteSum, Sample};
pub use outcome::{Certificate, Minimum, Mode, Status, Trial};
pub use solver::SecondOrder;
pub use state::SecondOrderState;
