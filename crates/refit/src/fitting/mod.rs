//! Minimising a loss over the rows of a file: one problem, one start, and several methods side by side.
//!
//! A [`Fit`] holds the rows, the objective and the arms, each a method with its settings. It writes what it finds into a
//! run folder: `weights.safetensors` of the first arm, `trace.csv` with a line for every trial, and what the page needs.

mod arm;
mod error;
mod found;
mod generate;
mod job;
mod objective;
mod record;
mod run;
mod settings;
mod source;
mod start;
mod watch;
mod weights;

pub(crate) use arm::sampling_label;
pub use arm::{Arm, ArmConfig, ArmName, SamplingName, SolverName};
pub use error::FitError;
pub use found::{ArmFound, FitOutcome, Score, TextRows, Verdict};
pub use job::Fit;
pub(crate) use job::{FitParts, weights_name};
pub(crate) use objective::{ModelRows, objective_name};
pub use objective::{Objective, ObjectiveConfig};
pub(crate) use record::{STATE, done};
pub use settings::{FitSettings, Looks};
pub use source::RowSource;
pub use start::{Start, StartName};
