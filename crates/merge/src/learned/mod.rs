//! Coefficients that are learned without labels: AdaMerging and AdaMerging++.
//!
//! Source: Yang et al. 2024, arXiv:2310.02575.
//!
//! The merged weights `theta(lambda) = theta_0 + sum_k lambda_k tau_k` are plain leaves of the caller's model; the
//! gradient of the coefficients follows by projection, `dL/dlambda_k = <dL/dtheta, tau_k>`, once per step whatever
//! the number of experts, tasks and batches. The caller brings the model side ([`EntropyModel`]); everything else
//! is here.

mod adam;
pub(crate) mod adamerging;
mod coefficients;
mod collapse;
mod entropy;
mod exchange;
mod groups;
mod project;
mod session;
mod state;

pub use adamerging::{AdaMerging, AdaMergingConfig, Clamp, Plus};
pub use coefficients::{Coefficients, GroupCoefficients};
pub use collapse::Collapse;
pub use entropy::{EntropyMeter, EntropyReport, TaskEntropy};
pub use exchange::{EntropyModel, Gradient, Theta};
pub use groups::{Group, Grouping};
pub use session::{Outcome, Session, StepRecord};
pub use state::SessionState;
