//! What `refit fit` takes.

use crate::{
    cli::args::RunArgs,
    fitting::{ArmName, Looks, RowSource, SamplingName, StartName},
};
use refit_train::{
    objective::Activation,
    optim::second::{CubicSolver, Draw, RegionSolver},
};
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
    /// Solvers, one or several: tr, arc, gauss-newton (each also with :SAMPLING), lbfgs, sgd, adamw
    #[arg(long, value_name = "NAME", value_parser = ArmName::argument, value_delimiter = ',', default_value = "tr")]
    pub(super) solver: Vec<ArmName>,
    /// Go on with an interrupted run, its data and its settings
    #[arg(long, value_name = "RUN", conflicts_with_all = DECIDED.iter().chain(&SETTLED).copied())]
    pub(super) resume: Option<PathBuf>,
    /// Where the page's curves come from
    #[arg(long, value_enum, default_value_t = Looks::Exact)]
    pub(super) looks: Looks,
    /// Seconds of work that a kill may cost: the state is saved that often; 0 is after every step (ours) [default: 60]
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u64).range(..=86_400))]
    pub(super) save_every: Option<u64>,
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
    pub(super) stop: StopArgs,
    #[command(flatten)]
    pub(super) samples: SampleArgs,
    #[command(flatten)]
    pub(super) second: SecondArgs,
    #[command(flatten)]
    pub(super) baselines: BaselineArgs,
}

/// What decides what is fitted, of which an interrupted run has its own.
const DECIDED: [&str; 17] = [
    "out",
    "data",
    "test",
    "features",
    "zero_based",
    "solver",
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
/// What decides how, for every verb that fits.
pub(in crate::cli) const SETTLED: [&str; 26] = [
    "looks",
    "eps_g",
    "eps_h",
    "failure",
    "no_certificate",
    "budget_propagations",
    "budget_seconds",
    "budget_steps",
    "sampling",
    "gradient_error",
    "hessian_share",
    "gradient_share",
    "value_share",
    "growth",
    "draw",
    "radius",
    "sigma",
    "eta",
    "eta_good",
    "gamma",
    "sub_problem",
    "products",
    "memory",
    "rate",
    "momentum",
    "batch",
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

/// When an answer is good enough, and when to give up.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Stopping")]
pub(in crate::cli) struct StopArgs {
    /// Longest gradient of an answer
    #[arg(long, value_name = "X", default_value = "1e-4")]
    pub(super) eps_g: f64,
    /// Most negative curvature of an answer [default: the root of --eps-g, as theory balances them]
    #[arg(long, value_name = "X")]
    pub(super) eps_h: Option<f64>,
    /// Probability with which a certificate may be wrong, all attempts of a run together (ours)
    #[arg(long, value_name = "P", default_value_t = 0.01)]
    pub(super) failure: f64,
    /// Stop at a short gradient and ask nothing of the curvature
    #[arg(long)]
    pub(super) no_certificate: bool,
    /// Propagations after which each solver makes no further step; a step is not cut short
    #[arg(long, value_name = "N")]
    pub(super) budget_propagations: Option<u64>,
    /// Most seconds of each solver, looks included
    #[arg(long, value_name = "SECS")]
    pub(super) budget_seconds: Option<f64>,
    /// Most trials of each second-order solver, or steps of a baseline
    #[arg(long, value_name = "N")]
    pub(super) budget_steps: Option<u64>,
}

/// How many rows estimates are made of.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Samples")]
pub(in crate::cli) struct SampleArgs {
    /// Rows of gradient, Hessian and decrease, for solvers that name no sampling of their own
    #[arg(long, value_enum, default_value_t = SamplingName::Adaptive)]
    pub(super) sampling: SamplingName,
    /// Error of the gradient as a share of its length (adaptive; ours)
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    pub(super) gradient_error: f64,
    /// Rows of the Hessian (hessian, fixed; adaptive and step-norm: to begin with; usual)
    #[arg(long, value_name = "SHARE", default_value_t = 0.05)]
    pub(super) hessian_share: f64,
    /// Rows of the gradient (fixed; ours)
    #[arg(long, value_name = "SHARE", default_value_t = 0.25)]
    pub(super) gradient_share: f64,
    /// Rows of the decrease (fixed; ours)
    #[arg(long, value_name = "SHARE", default_value_t = 0.25)]
    pub(super) value_share: f64,
    /// Growth of samples after a step that was taken back (step-norm; SCR)
    #[arg(long, value_name = "FACTOR", default_value_t = 1.25)]
    pub(super) growth: f64,
    /// How rows of the Hessian are drawn
    #[arg(long, value_enum, default_value_t = DrawName::Uniform)]
    pub(super) draw: DrawName,
}

/// Draws by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum DrawName {
    /// Every row as likely, none twice
    Uniform,
    /// In proportion to the norm of its Hessian; costs a pass over all rows for each point
    Curvature,
}

impl From<DrawName> for Draw {
    fn from(name: DrawName) -> Self {
        match name {
            DrawName::Uniform => Self::Uniform,
            DrawName::Curvature => Self::Curvature,
        }
    }
}

/// Settings of the second-order solvers.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Trust region and cubics")]
pub(in crate::cli) struct SecondArgs {
    /// Radius of the first trust region (usual)
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub(super) radius: f64,
    /// Weight of the first cubic term (usual)
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub(super) sigma: f64,
    /// Share of the promised decrease from which a step is taken (usual)
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    pub(super) eta: f64,
    /// Share from which the region grows (usual)
    #[arg(long, value_name = "SHARE", default_value_t = 0.8)]
    pub(super) eta_good: f64,
    /// Factor by which the region grows and shrinks (usual)
    #[arg(long, value_name = "FACTOR", default_value_t = 2.0)]
    pub(super) gamma: f64,
    /// How the model of a step is minimised [default: gltr for tr, lanczos for arc]
    #[arg(long, value_enum)]
    pub(super) sub_problem: Option<SubProblem>,
    /// Most Hessian products for one model (usual)
    #[arg(long, value_name = "N", default_value_t = 250)]
    pub(super) products: usize,
}

/// Solvers of sub-problems by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum SubProblem {
    /// tr: in a Krylov space, the hard case included
    Gltr,
    /// tr: conjugate gradients, to the edge of the region at most
    Steihaug,
    /// arc: in a Krylov space, the hard case included
    Lanczos,
    /// arc: gradient descent from a perturbed start, for very many parameters
    Gradient,
}

impl SubProblem {
    /// As a solver in a region; `None` for one of cubics.
    pub(super) const fn region(self) -> Option<RegionSolver> {
        match self {
            Self::Gltr => Some(RegionSolver::Gltr),
            Self::Steihaug => Some(RegionSolver::Steihaug),
            Self::Lanczos | Self::Gradient => None,
        }
    }

    /// As a solver of cubics; `None` for one in a region.
    pub(super) const fn cubic(self) -> Option<CubicSolver> {
        match self {
            Self::Lanczos => Some(CubicSolver::Lanczos),
            Self::Gradient => Some(CubicSolver::Gradient),
            Self::Gltr | Self::Steihaug => None,
        }
    }
}

/// Settings of the first-order baselines.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Baselines")]
pub(in crate::cli) struct BaselineArgs {
    /// Pairs that L-BFGS keeps (usual in this comparison)
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(super) memory: usize,
    /// Peak learning rate of SGD or AdamW; a cosine follows [default: 0.1 for sgd, 1e-3 for adamw]
    #[arg(long, value_name = "X")]
    pub(super) rate: Option<f64>,
    /// Momentum of SGD (usual)
    #[arg(long, value_name = "X", default_value_t = 0.9)]
    pub(super) momentum: f64,
    /// Rows of a step of SGD or AdamW (ours)
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(super) batch: usize,
    /// Passes of SGD or AdamW over the rows (ours)
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(super) epochs: u64,
}

/// Parses `--data`.
fn source(text: &str) -> Result<RowSource, String> {
    RowSource::parse(text).map_err(|error| error.to_string())
}
