//! From flags to settings.

use super::args::{MethodName, TuneArgs};
use crate::{
    cli::solvers::{checked, differ},
    fitting::{FitSettings, ObjectiveConfig, Start, StartName},
    run::SAVE_EVERY_SECS,
    tuning::{LoraConfig, TuneMethod, TuneSettings},
};
use refit_core::ConfigError;
use refit_train::objective::{Head, Penalty, SoftmaxConfig};
use std::path::Path;

/// Settings of a new run.
pub(super) fn of(
    args: &TuneArgs,
    model: &Path,
    data: &Path,
    out: &Path,
) -> Result<TuneSettings, ConfigError> {
    let method = match args.method {
        MethodName::Head => TuneMethod::Head,
        MethodName::Lora => TuneMethod::Lora(LoraConfig {
            rank: args.lora.rank,
            alpha: args.lora.alpha,
            targets: args.lora.targets.clone(),
            layers: args.lora.layers,
        }),
    };
    let start_is_given = args.head.start.is_some() || differ(args.head.start_scale, 1.0);
    if args.method == MethodName::Lora && start_is_given {
        let problem = "does not go with `--start` and `--start-scale`, which are for heads alone";
        return Err(ConfigError::conflict("method lora", problem));
    }
    let ridge = args.head.ridge;
    if !(ridge.is_finite() && ridge >= 0.0) {
        let expected = "a finite number of at least 0";
        return Err(ConfigError::range("ridge", ridge, expected));
    }
    let seed = args.run.seed();
    let start = match args.method {
        MethodName::Head => args.head.start.unwrap_or(StartName::Zeros),
        MethodName::Lora => StartName::Random,
    };
    let fit = FitSettings {
        data: data.display().to_string(),
        test: args.test.clone(),
        features: None,
        zero_based: false,
        objective: ObjectiveConfig::Softmax(SoftmaxConfig {
            head: Head::Softmax,
            penalty: Penalty {
                ridge,
                ..Penalty::default()
            },
            bias: true,
        }),
        start: Start {
            name: start,
            scale: args.head.start_scale,
        },
        arms: args.solvers.arms(seed)?,
        looks: args.solvers.looks,
        seed,
        save_every: args.solvers.save_every.unwrap_or(SAVE_EVERY_SECS),
        out: out.to_path_buf(),
    };
    Ok(TuneSettings {
        model: model.to_path_buf(),
        method,
        max_length: args.max_length,
        fit: checked(fit)?,
    })
}
