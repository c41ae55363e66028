//! Flags that were given and change nothing.

use super::args::{FitArgs, ObjectiveArgs, ObjectiveName};
use crate::{
    cli::solvers::{differ, told},
    fitting::StartName,
};
use clap::Parser;

/// What flags are where nobody gave them.
#[derive(Parser)]
struct Usual {
    #[command(flatten)]
    objective: ObjectiveArgs,
}

/// Flags of `refit fit` that change nothing.
pub(super) fn of_fit(args: &FitArgs) -> Vec<String> {
    let (given, usual) = (&args.objective, Usual::parse_from([""]).objective);
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
            "another start than zeros",
            args.start() != StartName::Zeros,
            &[("start-scale", differ(given.start_scale, 1.0))],
        ),
        (
            "--alpha",
            differ(given.alpha, 0.0),
            &[("beta", differ(given.beta, usual.beta))],
        ),
    ]);
    found.extend(args.solvers.idle());
    found
}
