//! Flags that were given and change nothing.

use super::args::{BaselineArgs, SampleArgs, SecondArgs, SolverArgs, StopArgs};
use crate::fitting::{ArmName, SamplingName, SolverName};
use clap::Parser;

/// What flags are where nobody gave them.
#[derive(Parser)]
struct Usual {
    #[command(flatten)]
    solvers: SolverArgs,
}

/// What makes a flag work, whether that was chosen, and the flags: whether each was given.
pub(in crate::cli) type Group<'a> = (&'a str, bool, &'a [(&'a str, bool)]);

pub(in crate::cli) fn differ(a: f64, b: f64) -> bool {
    a.to_bits() != b.to_bits()
}

/// `--sigma changes nothing without arc`, for every flag given in vain.
pub(in crate::cli) fn told(groups: &[Group<'_>]) -> Vec<String> {
    let idle = groups.iter().filter(|(_, works, _)| !works);
    let flags = idle.flat_map(|(needed, _, flags)| {
        let given = flags.iter().filter(|(_, given)| *given);
        given.map(move |(flag, _)| format!("--{flag} changes nothing without {needed}"))
    });
    flags.collect()
}

impl SolverArgs {
    /// What was given of flags that none of the chosen solvers has.
    pub(in crate::cli) fn idle(&self) -> Vec<String> {
        let usual = Usual::parse_from([""]).solvers;
        let names = &self.solver;
        let mut found = of_answers(names, &self.stop, &usual.stop);
        found.extend(of_regions(names, &self.second, &usual.second));
        found.extend(of_samples(names, &self.samples, &usual.samples));
        found.extend(of_baselines(names, &self.baselines, &usual.baselines));
        found
    }
}

const SECOND: [SolverName; 3] = [SolverName::Tr, SolverName::Arc, SolverName::GaussNewton];

fn any(names: &[ArmName], solvers: &[SolverName]) -> bool {
    names.iter().any(|name| solvers.contains(&name.solver))
}

fn of_answers(names: &[ArmName], given: &StopArgs, usual: &StopArgs) -> Vec<String> {
    let second = any(names, &SECOND);
    let certificate = [
        ("eps-h", given.eps_h.is_some()),
        ("failure", differ(given.failure, usual.failure)),
    ];
    told(&[
        ("tr, arc or gauss-newton", second, &certificate),
        (
            "tr, arc or gauss-newton",
            second,
            &[("no-certificate", given.no_certificate)],
        ),
        (
            "a certificate",
            !second || !given.no_certificate,
            &certificate,
        ),
    ])
}

fn of_regions(names: &[ArmName], given: &SecondArgs, usual: &SecondArgs) -> Vec<String> {
    told(&[
        (
            "tr, arc or gauss-newton",
            any(names, &SECOND),
            &[
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
