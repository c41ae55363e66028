//! From flags to settings.

use super::args::{
    BaselineArgs, FitArgs, ObjectiveName, SampleArgs, SecondArgs, StopArgs, SubProblem,
};
use crate::{
    fitting::{
        Arm, ArmConfig, ArmName, FitSettings, ObjectiveConfig, RowSource, SamplingName, SolverName,
        Start, StartName, sampling_label,
    },
    run::SAVE_EVERY_SECS,
};
use refit_core::{Budget, ConfigError, Seed};
use refit_train::{
    objective::{Head, LinearConfig, Loss, NetworkConfig, Penalty, SoftmaxConfig},
    optim::{
        AdamWConfig, FirstOrderConfig, OptimConfig, Schedule, SgdConfig,
        second::{Curvature, LbfgsConfig, Method, Sampling, SecondOrderConfig},
    },
};
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
    let usual = match objective {
        ObjectiveConfig::Network(_) => StartName::Random,
        _ => StartName::Zeros,
    };
    let flags = ArmFlags {
        several: args.solver.len() > 1,
        seed: args.run.seed(),
        stop: &args.stop,
        samples: &args.samples,
        second: &args.second,
        baselines: &args.baselines,
    };
    let arms = args.solver.iter().map(|name| flags.arm(*name));
    let settings = FitSettings {
        data: source.to_string(),
        test: args.test.clone(),
        features: args.features,
        zero_based: args.zero_based,
        objective,
        start: Start {
            name: args.objective.start.unwrap_or(usual),
            scale: args.objective.start_scale,
        },
        arms: arms.collect::<Result<_, _>>()?,
        looks: args.looks,
        seed: args.run.seed(),
        save_every: args.save_every.unwrap_or(SAVE_EVERY_SECS),
        out: out.to_path_buf(),
    };
    checked(settings)
}

/// Checks settings, and names a wrong one as the command line does.
pub(in crate::cli) fn checked(settings: FitSettings) -> Result<FitSettings, ConfigError> {
    settings.check().map_err(by_flag)?;
    Ok(settings)
}

/// Names a setting as the command line does.
fn by_flag(error: ConfigError) -> ConfigError {
    const FLAGS: [(&str, &str); 9] = [
        ("scale", "loss-scale"),
        ("accept", "eta"),
        ("good", "eta-good"),
        ("factor", "gamma"),
        ("gradient", "gradient-share"),
        ("hessian", "hessian-share"),
        ("share", "hessian-share"),
        ("value", "value-share"),
        ("error", "gradient-error"),
    ];
    match error {
        ConfigError::Range {
            key,
            found,
            expected,
        } => {
            let flag = FLAGS.iter().find(|(known, _)| *known == key);
            ConfigError::Range {
                key: flag.map_or(key, |(_, flag)| (*flag).into()),
                found,
                expected: expected.replace("accept", "eta").into(),
            }
        }
        error => error,
    }
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

/// What says how arms are made.
pub(in crate::cli) struct ArmFlags<'a> {
    /// Whether there are several.
    pub(in crate::cli) several: bool,
    pub(in crate::cli) seed: Seed,
    pub(in crate::cli) stop: &'a StopArgs,
    pub(in crate::cli) samples: &'a SampleArgs,
    pub(in crate::cli) second: &'a SecondArgs,
    pub(in crate::cli) baselines: &'a BaselineArgs,
}

impl ArmFlags<'_> {
    /// The arm of a name.
    ///
    /// # Errors
    /// A choice that does not go with the solver.
    pub(in crate::cli) fn arm(&self, name: ArmName) -> Result<Arm, ConfigError> {
        let solver = name.solver.label();
        let (label, config) = match name.solver {
            SolverName::Tr | SolverName::Arc | SolverName::GaussNewton => {
                let config = self.second(name)?;
                let label = format!("{solver}, {}", sampling_label(&config.sampling));
                (label, ArmConfig::SecondOrder(config))
            }
            SolverName::Lbfgs => {
                let config = LbfgsConfig {
                    memory: self.baselines.memory,
                    eps_g: self.stop.eps_g,
                    budget: self.budget(),
                    ..LbfgsConfig::default()
                };
                (solver.to_owned(), ArmConfig::Lbfgs(config))
            }
            SolverName::Sgd | SolverName::Adamw => {
                let config = self.first(name.solver);
                (solver.to_owned(), ArmConfig::FirstOrder(config))
            }
        };
        let name = name.to_string();
        Ok(Arm {
            name,
            label,
            config,
        })
    }

    fn second(&self, name: ArmName) -> Result<SecondOrderConfig, ConfigError> {
        let flags = &self.second;
        let several = self.several;
        let chosen = flags.sub_problem;
        // Among several arms a choice for the other kind is no slip.
        let unfit = |valid: &str| {
            let problem = format!("is not one of `{name}`, which takes {valid}");
            Err(ConfigError::conflict("sub-problem", problem))
        };
        let method = if name.solver == SolverName::Arc {
            let solver = match chosen.map(SubProblem::cubic) {
                Some(None) if !several => return unfit("`lanczos` or `gradient`"),
                solver => solver.flatten().unwrap_or_default(),
            };
            Method::cubics_from(flags.sigma, solver)
        } else {
            let solver = match chosen.map(SubProblem::region) {
                Some(None) if !several => return unfit("`gltr` or `steihaug`"),
                solver => solver.flatten().unwrap_or_default(),
            };
            Method::TrustRegion {
                radius: flags.radius,
                solver,
            }
        };
        Ok(SecondOrderConfig {
            method,
            curvature: match name.solver {
                SolverName::GaussNewton => Curvature::GaussNewton,
                _ => Curvature::Hessian,
            },
            sampling: self.sampling(name.sampling.unwrap_or(self.samples.sampling)),
            draw: self.samples.draw.into(),
            eps_g: self.stop.eps_g,
            eps_h: self.stop.eps_h,
            accept: flags.eta,
            good: flags.eta_good,
            factor: flags.gamma,
            noise: 0.5 * flags.eta,
            failure: self.stop.failure,
            certify: !self.stop.no_certificate,
            products: flags.products,
            budget: self.budget(),
            seed: self.seed,
            ..SecondOrderConfig::default()
        })
    }

    const fn sampling(&self, name: SamplingName) -> Sampling {
        let flags = &self.samples;
        match name {
            SamplingName::Full => Sampling::Full,
            SamplingName::Hessian => Sampling::Fixed {
                gradient: 1.0,
                hessian: flags.hessian_share,
                value: 1.0,
            },
            SamplingName::Fixed => Sampling::Fixed {
                gradient: flags.gradient_share,
                hessian: flags.hessian_share,
                value: flags.value_share,
            },
            SamplingName::Adaptive => Sampling::Adaptive {
                error: flags.gradient_error,
                hessian: flags.hessian_share,
            },
            SamplingName::StepNorm => Sampling::StepNorm {
                share: flags.hessian_share,
                growth: flags.growth,
            },
            SamplingName::Theory => Sampling::Theory,
        }
    }

    fn first(&self, solver: SolverName) -> FirstOrderConfig {
        let flags = &self.baselines;
        let optimizer = if solver == SolverName::Sgd {
            let usual = SgdConfig::default();
            OptimConfig::Sgd(SgdConfig {
                rate: flags.rate.unwrap_or(usual.rate),
                momentum: flags.momentum,
                ..usual
            })
        } else {
            let usual = AdamWConfig::default();
            OptimConfig::Adamw(AdamWConfig {
                rate: flags.rate.unwrap_or(usual.rate),
                ..usual
            })
        };
        FirstOrderConfig {
            optimizer,
            schedule: Schedule::default(),
            batch: flags.batch,
            epochs: flags.epochs,
            eps_g: self.stop.eps_g,
            budget: self.budget(),
            seed: self.seed,
            ..FirstOrderConfig::default()
        }
    }

    const fn budget(&self) -> Budget {
        Budget {
            steps: self.stop.budget_steps,
            queries: self.stop.budget_propagations,
            seconds: self.stop.budget_seconds,
        }
    }
}
