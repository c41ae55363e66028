//! What `refit fit` takes.

use crate::{
    cli::{
        args::RunArgs,
        solvers::{SETTLED, SolverArgs},
    },
    fitting::{RowSource, StartName},
};
use refit_train::objective::Activation;
use std::path::PathBuf;

/// Minimise a loss over the rows of a file with second derivatives, and certify what was found
#[derive(Debug, clap::Args)]
#[command(
    allow_negative_numbers = true,
    after_help = "\
Data: a LIBSVM file (`label index:value ..` per line, plain or gzip), or generated:ROWS,COLUMNS, rows with labels of a \
planted model. Trust region (tr) and adaptive cubics (arc) estimate gradient, Hessian and decreases from samples of the \
rows, and end with a certificate: no gradient longer than --eps-g, no curvature below minus --eps-h. Several solvers \
start from the same point and are drawn into one page. tr, arc and gauss-newton take samples of their own: tr:full is \
the exact method, tr:hessian samples the Hessian alone. Work is counted in propagations: one row, one pass through the \
model, forward or backward. A run that was stopped, by Ctrl-C or otherwise, is in RUN.part; --resume goes on, to the \
same bits as without a break.

Examples:
  refit fit --start random --start-scale 6 --out runs/fit
  refit fit --data generated:5000,20 --solver tr,tr:full,arc,lbfgs --start ones --eps-g 1e-3 \\
      --out runs/compare"
)]
pub(in crate::cli) struct FitArgs {
    /// Rows to fit [default: generated:20000,30]
    #[arg(long, value_name = "FILE", value_parser = source)]
    pub(super) data: Option<RowSource>,
    /// LIBSVM file to test on [default: for generated rows a quarter as many others]
    #[arg(long, value_name = "FILE")]
    pub(super) test: Option<PathBuf>,
    /// Features of every row, where the largest index of --data is not the last [default: the largest index]
    #[arg(long, value_name = "N")]
    pub(super) features: Option<usize>,
    /// The first index of --data and --test is 0 and not 1
    #[arg(long)]
    pub(super) zero_based: bool,
    /// Go on with an interrupted run, its data and its settings
    #[arg(long, value_name = "RUN", conflicts_with_all = DECIDED.iter().chain(&SETTLED).copied())]
    pub(super) resume: Option<PathBuf>,
    /// New folder for everything that is written; appears complete or not at all
    #[arg(short, long, value_name = "DIR", required_unless_present = "resume")]
    pub(super) out: Option<PathBuf>,
    /// Replace the output of an earlier run
    #[arg(long)]
    pub(super) force: bool,
    #[command(flatten)]
    pub(in crate::cli) run: RunArgs,
    #[command(flatten)]
    pub(super) objective: ObjectiveArgs,
    #[command(flatten)]
    pub(super) solvers: SolverArgs,
}

impl FitArgs {
    /// Where every solver begins.
    pub(super) fn start(&self) -> StartName {
        let usual = match self.objective.objective {
            ObjectiveName::Network => StartName::Random,
            _ => StartName::Zeros,
        };
        self.objective.start.unwrap_or(usual)
    }
}

/// What decides what is fitted, of which an interrupted run has its own.
const DECIDED: [&str; 16] = [
    "out",
    "data",
    "test",
    "features",
    "zero_based",
    "seed",
    "objective",
    "no_bias",
    "ridge",
    "alpha",
    "beta",
    "loss_scale",
    "hidden",
    "activation",
    "start",
    "start_scale",
];
/// Objectives by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum ObjectiveName {
    /// (b - sigmoid(a'w))^2, two classes: bounded and not convex (paper)
    SigmoidSquare,
    /// ln(1 + e^z) - b z, two classes: convex
    Logistic,
    /// (a'w - y)^2 / 2, numbers as labels
    Square,
    /// Huber's loss with a smooth bend at --loss-scale: convex, grows like |r|
    SmoothHuber,
    /// Grows like ln |r| beyond --loss-scale: not convex
    Cauchy,
    /// Bounded beyond --loss-scale: not convex
    GemanMcclure,
    /// Cross-entropy of a linear model, two classes or more: convex
    Softmax,
    /// Cross-entropy of a network with one layer of --hidden units: not convex
    Network,
}

/// What is minimised.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Objective")]
pub(super) struct ObjectiveArgs {
    /// Mean loss of the rows
    #[arg(long, value_enum, default_value_t = ObjectiveName::SigmoidSquare)]
    pub(super) objective: ObjectiveName,
    /// Fit no bias; otherwise it is the last parameter
    #[arg(long)]
    pub(super) no_bias: bool,
    /// Factor of |w|^2 / 2
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub(super) ridge: f64,
    /// Factor of the sum of beta w^2 / (1 + beta w^2), a penalty that is not convex (SCR: 1e-3 to 1e-1)
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub(super) alpha: f64,
    /// How soon that penalty levels off (SCR)
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub(super) beta: f64,
    /// Residual where a robust loss bends (ours)
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub(super) loss_scale: f64,
    /// Hidden units of the network (ours)
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub(super) hidden: usize,
    /// What a hidden unit makes of its input
    #[arg(long, value_enum, default_value_t = ActivationName::Tanh)]
    pub(super) activation: ActivationName,
    /// Where every solver begins [default: zeros; random for the network]
    #[arg(long, value_enum)]
    pub(super) start: Option<StartName>,
    /// Factor on the start; large random ones are saturated and see negative curvature (paper: 1)
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub(super) start_scale: f64,
}

/// Activations by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum ActivationName {
    /// tanh(z)
    Tanh,
    /// 1 / (1 + e^-z)
    Sigmoid,
}

impl From<ActivationName> for Activation {
    fn from(name: ActivationName) -> Self {
        match name {
            ActivationName::Tanh => Self::Tanh,
            ActivationName::Sigmoid => Self::Sigmoid,
        }
    }
}

/// Parses `--data`.
fn source(text: &str) -> Result<RowSource, String> {
    RowSource::parse(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::solvers::unsettled;

    #[test]
    fn an_interrupted_run_has_its_own_of_every_flag_that_decides() {
        assert_eq!(unsettled::<FitArgs>(&DECIDED), ["resume", "save_every"]);
    }
}
