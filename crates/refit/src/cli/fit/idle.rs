//! Flags that were given and change nothing.

use super::args::{
    BaselineArgs, FitArgs, ObjectiveArgs, ObjectiveName, SampleArgs, SecondArgs, StopArgs,
};
use crate::fitting::{ArmName, SamplingName, SolverName};
use clap::Parser;

/// What flags are where nobody gave them.
#[derive(Parser)]
struct Usual {
    #[command(flatten)]
    objective: ObjectiveArgs,
    #[command(flatten)]
    samples: SampleArgs,
    #[command(flatten)]
    second: SecondArgs,
    #[command(flatten)]
    baselines: BaselineArgs,
}

impl Usual {
    fn new() -> Self {
        Self::parse_from([""])
    }
}

/// What makes a flag work, whether that was chosen, and the flags: whether each was given.
type Group<'a> = (&'a str, bool, &'a [(&'a str, bool)]);

fn differ(a: f64, b: f64) -> bool {
    a.to_bits() != b.to_bits()
}

/// `--sigma changes nothing without arc`, for every flag given in vain.
fn told(groups: &[Group<'_>]) -> Vec<String> {
    let idle = groups.iter().filter(|(_, works, _)| !works);
    let flags = idle.flat_map(|(needed, _, flags)| {
        let given = flags.iter().filter(|(_, given)| *given);
        given.map(move |(flag, _)| format!("--{flag} changes nothing without {needed}"))
    });
    flags.collect()
}

/// Flags of solvers that none of the chosen ones has.
pub(in crate::cli) fn of_solvers(
    names: &[ArmName],
    stop: &StopArgs,
    samples: &SampleArgs,
    second: &SecondArgs,
    baselines: &BaselineArgs,
) -> Vec<String> {
    let usual = Usual::new();
    let mut found = of_regions(names, stop, second, &usual.second);
    found.extend(of_samples(names, samples, &usual.samples));
    found.extend(of_baselines(names, baselines, &usual.baselines));
    found
}

const SECOND: [SolverName; 3] = [SolverName::Tr, SolverName::Arc, SolverName::GaussNewton];

fn any(names: &[ArmName], solvers: &[SolverName]) -> bool {
    names.iter().any(|name| solvers.contains(&name.solver))
}

fn of_regions(
    names: &[ArmName],
    stop: &StopArgs,
    given: &SecondArgs,
    usual: &SecondArgs,
) -> Vec<String> {
    told(&[
        (
            "tr, arc or gauss-newton",
            any(names, &SECOND),
            &[
                ("eps-h", stop.eps_h.is_some()),
                ("no-certificate", stop.no_certificate),
                ("eta", differ(given.eta, usual.eta)),
                ("eta-good", differ(given.eta_good, usual.eta_good)),
                ("gamma", differ(given.gamma, usual.gamma)),
                ("sub-problem", given.sub_problem.is_some()),
                ("products", given.products != usual.products),
            ],
        ),
        (
            "tr or gauss-newton",
            any(names, &[SolverName::Tr, SolverName::GaussNewton]),
            &[("radius", differ(given.radius, usual.radius))],
        ),
        (
            "arc",
            any(names, &[SolverName::Arc]),
            &[("sigma", differ(given.sigma, usual.sigma))],
        ),
    ])
}

fn of_samples(names: &[ArmName], given: &SampleArgs, usual: &SampleArgs) -> Vec<String> {
    let takes = names.iter().filter(|name| SECOND.contains(&name.solver));
    let chosen: Vec<SamplingName> = takes
        .clone()
        .map(|name| name.sampling.unwrap_or(given.sampling))
        .collect();
    let sampled = |wanted: &[SamplingName]| chosen.iter().any(|one| wanted.contains(one));
    let shares = [
        SamplingName::Hessian,
        SamplingName::Fixed,
        SamplingName::Adaptive,
        SamplingName::StepNorm,
    ];
    told(&[
        (
            "tr, arc or gauss-newton",
            !chosen.is_empty(),
            &[("draw", given.draw != usual.draw)],
        ),
        (
            "a solver that names no sampling of its own",
            takes.clone().any(|name| name.sampling.is_none()),
            &[("sampling", given.sampling != usual.sampling)],
        ),
        (
            "adaptive samples",
            sampled(&[SamplingName::Adaptive]),
            &[(
                "gradient-error",
                differ(given.gradient_error, usual.gradient_error),
            )],
        ),
        (
            "samples of the Hessian",
            sampled(&shares),
            &[(
                "hessian-share",
                differ(given.hessian_share, usual.hessian_share),
            )],
        ),
        (
            "fixed samples",
            sampled(&[SamplingName::Fixed]),
            &[
                (
                    "gradient-share",
                    differ(given.gradient_share, usual.gradient_share),
                ),
                ("value-share", differ(given.value_share, usual.value_share)),
            ],
        ),
        (
            "samples by step",
            sampled(&[SamplingName::StepNorm]),
            &[("growth", differ(given.growth, usual.growth))],
        ),
    ])
}

fn of_baselines(names: &[ArmName], given: &BaselineArgs, usual: &BaselineArgs) -> Vec<String> {
    told(&[
        (
            "lbfgs",
            any(names, &[SolverName::Lbfgs]),
            &[("memory", given.memory != usual.memory)],
        ),
        (
            "sgd or adamw",
            any(names, &[SolverName::Sgd, SolverName::Adamw]),
            &[
                ("rate", given.rate.is_some()),
                ("batch", given.batch != usual.batch),
                ("epochs", given.epochs != usual.epochs),
            ],
        ),
        (
            "sgd",
            any(names, &[SolverName::Sgd]),
            &[("momentum", differ(given.momentum, usual.momentum))],
        ),
    ])
}

/// Flags of `refit fit` that change nothing.
pub(super) fn of_fit(args: &FitArgs) -> Vec<String> {
    let (given, usual) = (&args.objective, Usual::new().objective);
    let robust = [
        ObjectiveName::SmoothHuber,
        ObjectiveName::Cauchy,
        ObjectiveName::GemanMcclure,
    ];
    let mut found = told(&[
        (
            "a robust loss",
            robust.contains(&given.objective),
            &[("loss-scale", differ(given.loss_scale, usual.loss_scale))],
        ),
        (
            "the network",
            given.objective == ObjectiveName::Network,
            &[
                ("hidden", given.hidden != usual.hidden),
                ("activation", given.activation != usual.activation),
            ],
        ),
        (
            "--alpha",
            differ(given.alpha, 0.0),
            &[("beta", differ(given.beta, usual.beta))],
        ),
    ]);
    let solvers = (&args.stop, &args.samples, &args.second, &args.baselines);
    found.extend(of_solvers(
        &args.solver,
        solvers.0,
        solvers.1,
        solvers.2,
        solvers.3,
    ));
    found
}
