//! What every verb takes that minimises by solvers.

use crate::fitting::{ArmName, Looks, SamplingName};
use refit_train::optim::second::{CubicSolver, Draw, RegionSolver};

/// Solvers, and how they go.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct SolverArgs {
    /// Solvers, one or several: tr, arc, gauss-newton (each also with :SAMPLING), lbfgs, sgd, adamw
    #[arg(long, value_name = "NAME", value_parser = ArmName::argument, value_delimiter = ',', default_value = "tr")]
    pub(in crate::cli) solver: Vec<ArmName>,
    /// Where the page's curves come from
    #[arg(long, value_enum, default_value_t = Looks::Exact)]
    pub(in crate::cli) looks: Looks,
    /// Seconds of work that a kill may cost: the state is saved that often; 0 is after every step (ours) [default: 60]
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u64).range(..=86_400))]
    pub(in crate::cli) save_every: Option<u64>,
    #[command(flatten)]
    pub(super) stop: StopArgs,
    #[command(flatten)]
    pub(super) samples: SampleArgs,
    #[command(flatten)]
    pub(super) second: SecondArgs,
    #[command(flatten)]
    pub(super) baselines: BaselineArgs,
}

/// What decides how a fit goes, of which an interrupted run has its own.
pub(in crate::cli) const SETTLED: [&str; 28] = [
    "solver",
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
    "epochs",
];

/// When an answer is good enough, and when to give up.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Stopping")]
pub(super) struct StopArgs {
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
    /// Most seconds of each solver, without looks
    #[arg(long, value_name = "SECS")]
    pub(super) budget_seconds: Option<f64>,
    /// Most trials of each second-order solver, or steps of a baseline
    #[arg(long, value_name = "N")]
    pub(super) budget_steps: Option<u64>,
}

/// How many rows estimates are made of.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Samples")]
pub(super) struct SampleArgs {
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
pub(super) struct SecondArgs {
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
pub(super) struct BaselineArgs {
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

/// Flags that a verb takes beside `--resume`, without those that are the same for every verb.
#[cfg(test)]
pub(in crate::cli) fn unsettled<A: clap::Args>(decided: &[&str]) -> Vec<String> {
    use clap::Args;
    let known = |id: &str| decided.contains(&id) || SETTLED.contains(&id);
    let ids = |command: &clap::Command| -> Vec<String> {
        let flags = command.get_arguments();
        flags.map(|flag| flag.get_id().to_string()).collect()
    };
    let usual = ids(&crate::cli::args::RunArgs::augment_args(
        clap::Command::new("usual"),
    ));
    let mut found = ids(&A::augment_args(clap::Command::new("verb")));
    found.retain(|id| !known(id) && !usual.contains(id) && id != "force");
    found
}
