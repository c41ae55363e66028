//! From flags to settings.

use super::args::{FitArgs, ObjectiveName};
use crate::{
    cli::solvers::checked,
    fitting::{FitSettings, ObjectiveConfig, RowSource, Start},
    run::SAVE_EVERY_SECS,
};
use refit_core::ConfigError;
use refit_train::objective::{Head, LinearConfig, Loss, NetworkConfig, Penalty, SoftmaxConfig};
use std::path::Path;

/// Settings of a new run.
pub(super) fn of(args: &FitArgs, out: &Path) -> Result<FitSettings, ConfigError> {
    let source = args.data.clone().unwrap_or_default();
    if args.features.is_some() && matches!(source, RowSource::Generated { .. }) {
        let problem = "does not go with generated rows, which name their number";
        return Err(ConfigError::conflict("features", problem));
    }
    if args.objective.no_bias && args.objective.objective == ObjectiveName::Network {
        let problem = "does not go with the network, whose layers have biases";
        return Err(ConfigError::conflict("no-bias", problem));
    }
    let objective = objective(args);
    let seed = args.run.seed();
    let settings = FitSettings {
        data: source.to_string(),
        test: args.test.clone(),
        features: args.features,
        zero_based: args.zero_based,
        objective,
        start: Start {
            name: args.start(),
            scale: args.objective.start_scale,
        },
        arms: args.solvers.arms(seed)?,
        looks: args.solvers.looks,
        seed,
        save_every: args.solvers.save_every.unwrap_or(SAVE_EVERY_SECS),
        out: out.to_path_buf(),
    };
    checked(settings)
}

fn objective(args: &FitArgs) -> ObjectiveConfig {
    let args = &args.objective;
    let scale = args.loss_scale;
    let penalty = Penalty {
        ridge: args.ridge,
        alpha: args.alpha,
        beta: args.beta,
    };
    let linear = |loss| {
        ObjectiveConfig::Linear(LinearConfig {
            loss,
            penalty,
            bias: !args.no_bias,
        })
    };
    match args.objective {
        ObjectiveName::SigmoidSquare => linear(Loss::SigmoidSquare),
        ObjectiveName::Logistic => linear(Loss::Logistic),
        ObjectiveName::Square => linear(Loss::Square),
        ObjectiveName::SmoothHuber => linear(Loss::SmoothHuber { scale }),
        ObjectiveName::Cauchy => linear(Loss::Cauchy { scale }),
        ObjectiveName::GemanMcclure => linear(Loss::GemanMcclure { scale }),
        ObjectiveName::Softmax => ObjectiveConfig::Softmax(SoftmaxConfig {
            head: Head::Softmax,
            penalty,
            bias: !args.no_bias,
        }),
        ObjectiveName::Network => ObjectiveConfig::Network(NetworkConfig {
            hidden: args.hidden,
            activation: args.activation.into(),
            head: Head::Softmax,
            penalty,
        }),
    }
}
