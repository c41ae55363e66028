//! From flags to solvers.

use super::args::{SolverArgs, SubProblem};
use crate::fitting::{
    Arm, ArmConfig, ArmName, FitSettings, SamplingName, SolverName, sampling_label,
};
use refit_core::{Budget, ConfigError, Seed};
use refit_train::optim::{
    AdamWConfig, FirstOrderConfig, OptimConfig, Schedule, SgdConfig,
    second::{Curvature, LbfgsConfig, Method, Sampling, SecondOrderConfig},
};

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

impl SolverArgs {
    /// The chosen solvers.
    ///
    /// # Errors
    /// A choice that does not go with a solver.
    pub(in crate::cli) fn arms(&self, seed: Seed) -> Result<Vec<Arm>, ConfigError> {
        self.solver
            .iter()
            .map(|name| self.arm(*name, seed))
            .collect()
    }

    fn arm(&self, name: ArmName, seed: Seed) -> Result<Arm, ConfigError> {
        let solver = name.solver.label();
        let (label, config) = match name.solver {
            SolverName::Tr | SolverName::Arc | SolverName::GaussNewton => {
                let config = self.second_order(name, seed)?;
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
                let config = self.first_order(name.solver, seed);
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

    fn second_order(&self, name: ArmName, seed: Seed) -> Result<SecondOrderConfig, ConfigError> {
        let flags = &self.second;
        let several = self.solver.len() > 1;
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
            sampling: self.sizes(name.sampling.unwrap_or(self.samples.sampling)),
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
            seed,
            ..SecondOrderConfig::default()
        })
    }

    const fn sizes(&self, name: SamplingName) -> Sampling {
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

    fn first_order(&self, solver: SolverName, seed: Seed) -> FirstOrderConfig {
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
            seed,
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
