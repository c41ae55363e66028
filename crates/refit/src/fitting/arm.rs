//! What is compared: methods by name, `tr` or `arc:full`.

use refit_core::{ConfigError, Hint};
use refit_train::optim::{
    FirstOrderConfig,
    second::{LbfgsConfig, Sampling, SecondOrderConfig},
};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SolverName {
    /// A trust region.
    Tr,
    /// Adaptive cubics.
    Arc,
    /// A trust region with the Gauss-Newton matrix in place of the Hessian.
    GaussNewton,
    /// L-BFGS on all rows.
    Lbfgs,
    /// Stochastic gradient descent with momentum.
    Sgd,
    /// Adam with decoupled weight decay.
    Adamw,
}

impl SolverName {
    const ALL: [Self; 6] = [
        Self::Tr,
        Self::Arc,
        Self::GaussNewton,
        Self::Lbfgs,
        Self::Sgd,
        Self::Adamw,
    ];

    /// The name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tr => "tr",
            Self::Arc => "arc",
            Self::GaussNewton => "gauss-newton",
            Self::Lbfgs => "lbfgs",
            Self::Sgd => "sgd",
            Self::Adamw => "adamw",
        }
    }

    /// What tables call it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Tr => "TR",
            Self::Arc => "ARC",
            Self::GaussNewton => "Gauss-Newton",
            Self::Lbfgs => "L-BFGS",
            Self::Sgd => "SGD",
            Self::Adamw => "AdamW",
        }
    }

    /// Whether it has samples of its own.
    const fn samples(self) -> bool {
        matches!(self, Self::Tr | Self::Arc | Self::GaussNewton)
    }
}

/// How many rows gradients, Hessians and differences of values are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SamplingName {
    /// All rows for everything: the exact method
    Full,
    /// A fixed share of the rows for the Hessian, all for gradients and values
    Hessian,
    /// Fixed shares for all three; their errors are told, not controlled
    Fixed,
    /// As many as the spread of the rows asks for, so that no error costs a step
    Adaptive,
    /// From the length of the last step, as in SCR; a heuristic without a guarantee
    StepNorm,
    /// From bounds on the loss alone, as theory has them; often all rows
    Theory,
}

impl SamplingName {
    const ALL: [Self; 6] = [
        Self::Full,
        Self::Hessian,
        Self::Fixed,
        Self::Adaptive,
        Self::StepNorm,
        Self::Theory,
    ];

    /// The name on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Hessian => "hessian",
            Self::Fixed => "fixed",
            Self::Adaptive => "adaptive",
            Self::StepNorm => "step-norm",
            Self::Theory => "theory",
        }
    }
}

/// A method, and the samples it takes where that is said: `tr`, `arc:full`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArmName {
    /// The method.
    pub solver: SolverName,
    /// Its samples; `None`: those of all arms.
    pub sampling: Option<SamplingName>,
}

impl FromStr for ArmName {
    type Err = ConfigError;

    /// ```
    /// use refit::fitting::{ArmName, SamplingName, SolverName};
    /// use refit_core::Hint;
    /// let arm: ArmName = "arc:full".parse()?;
    /// assert_eq!((arm.solver, arm.sampling), (SolverName::Arc, Some(SamplingName::Full)));
    /// let error = "lbgfs".parse::<ArmName>().unwrap_err();
    /// assert_eq!(error.hint().unwrap(), "did you mean `lbfgs`?");
    /// # Ok::<(), refit_core::ConfigError>(())
    /// ```
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let (solver, sampling) = match text.split_once(':') {
            Some((solver, sampling)) => (solver, Some(sampling)),
            None => (text, None),
        };
        let found = SolverName::ALL.into_iter().find(|s| s.as_str() == solver);
        let known = SolverName::ALL.map(SolverName::as_str);
        let solver = found.ok_or_else(|| ConfigError::unknown("solver", solver, known))?;
        let sampling = sampling
            .map(|name| {
                let found = SamplingName::ALL.into_iter().find(|s| s.as_str() == name);
                let known = SamplingName::ALL.map(SamplingName::as_str);
                found.ok_or_else(|| ConfigError::unknown("sampling", name, known))
            })
            .transpose()?;
        if sampling.is_some() && !solver.samples() {
            let problem = format!("takes no samples, which `{text}` asks for");
            return Err(ConfigError::conflict(solver.as_str(), problem));
        }
        Ok(Self { solver, sampling })
    }
}

impl fmt::Display for ArmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.solver.as_str())?;
        match self.sampling {
            Some(sampling) => write!(f, ":{}", sampling.as_str()),
            None => Ok(()),
        }
    }
}

impl ArmName {
    /// Parses an argument; the message holds the nearest name, or all of them.
    ///
    /// # Errors
    /// An unknown name.
    pub(crate) fn argument(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: ConfigError| match error.hint() {
            Some(hint) => format!("{error}; {hint}"),
            None => {
                let solvers = SolverName::ALL.map(SolverName::as_str).join(", ");
                let samplings = SamplingName::ALL.map(SamplingName::as_str).join(", ");
                format!("{error}; there are {solvers}, the first three also with :SAMPLING ({samplings})")
            }
        })
    }
}

/// A method with its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArmConfig {
    /// With second derivatives.
    SecondOrder(SecondOrderConfig),
    /// L-BFGS.
    Lbfgs(LbfgsConfig),
    /// Steps on batches.
    FirstOrder(FirstOrderConfig),
}

/// One of the methods that are compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    /// What scripts call it, such as `tr:full`.
    pub name: String,
    /// What tables call it, such as `TR, all rows`.
    pub label: String,
    /// Its settings.
    pub config: ArmConfig,
}

/// What tables say about samples.
pub(crate) fn sampling_label(sampling: &Sampling) -> String {
    let percent = |share: f64| format!("{} %", (1e4 * share).round() / 1e2);
    match *sampling {
        Sampling::Full => "all rows".into(),
        Sampling::Fixed {
            gradient,
            hessian,
            value,
        } if gradient >= 1.0 && value >= 1.0 => {
            format!("{} of the Hessian", percent(hessian))
        }
        Sampling::Fixed { .. } => "fixed samples".into(),
        Sampling::Adaptive { .. } => "adaptive samples".into(),
        Sampling::StepNorm { .. } => "samples by step".into(),
        Sampling::Theory => "samples by theory".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_printed() {
        for text in [
            "tr",
            "arc",
            "gauss-newton:hessian",
            "lbfgs",
            "sgd",
            "adamw",
            "tr:step-norm",
        ] {
            assert_eq!(text.parse::<ArmName>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn slips_are_told_with_what_there_is() {
        for (text, words) in [
            (
                "tr:steps-norm",
                "unknown sampling `steps-norm`; did you mean `step-norm`?",
            ),
            ("arcc", "unknown solver `arcc`; did you mean `arc`?"),
            (
                "sgd:full",
                "`sgd` takes no samples, which `sgd:full` asks for; there are tr, ",
            ),
            (
                "newton-raphson",
                "unknown solver `newton-raphson`; use one of `tr`, `arc`, `gauss-newton`, ",
            ),
        ] {
            let said = ArmName::argument(text).unwrap_err();
            assert!(said.starts_with(words), "{said}");
        }
    }
}
