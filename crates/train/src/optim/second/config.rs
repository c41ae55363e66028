//! Settings of the second-order methods.

use refit_core::{Budget, ConfigError, Seed};
use serde::{Deserialize, Serialize};

/// Settings of a [`SecondOrder`](super::SecondOrder) minimisation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SecondOrderConfig {
    /// What keeps steps short, and how they are found.
    pub method: Method,
    /// Which matrix the model has (default: the Hessian; certificates always ask the Hessian).
    pub curvature: Curvature,
    /// How many terms gradients, Hessians and differences of values are made of.
    pub sampling: Sampling,
    /// How terms of the Hessian are drawn.
    pub draw: Draw,
    /// Longest gradient of an answer; above 0 (default: 1e-4).
    pub eps_g: f64,
    /// Most negative curvature of an answer; above 0 (default: the root of `eps-g`, as theory balances them).
    pub eps_h: Option<f64>,
    /// Share of the promised decrease from which a step is taken; in (0, 1) (usual: 0.1).
    pub accept: f64,
    /// Share from which the region grows; in `[accept, 1)` (usual: 0.8 to 0.9).
    pub good: f64,
    /// Factor by which the region grows and shrinks; above 1 (usual: 2).
    pub factor: f64,
    /// Share of the promised decrease by which its measurement may be wrong; in (0, `accept`) (ours: 0.05).
    pub noise: f64,
    /// Probability with which one estimate on the way may be more wrong than it says; in (0, 1) (ours: 0.1, as a step that
    /// was misjudged costs a step).
    pub slip: f64,
    /// Probability with which a certificate may be wrong, all attempts of a run together; in (0, 1) (ours: 0.01).
    pub failure: f64,
    /// Whether an answer needs a certificate of its curvature (default), or a short gradient is enough.
    pub certify: bool,
    /// Most products for one model (usual: 250).
    pub products: usize,
    /// A value below which the objective counts as unbounded (ours: -1e20).
    pub lowest: f64,
    /// Limits: steps are trials, queries are propagations.
    pub budget: Budget,
    /// Where chance comes from.
    pub seed: Seed,
}

impl Default for SecondOrderConfig {
    fn default() -> Self {
        Self {
            method: Method::default(),
            curvature: Curvature::Hessian,
            sampling: Sampling::default(),
            draw: Draw::Uniform,
            eps_g: 1e-4,
            eps_h: None,
            accept: 0.1,
            good: 0.8,
            factor: 2.0,
            noise: 0.05,
            slip: 0.1,
            failure: 0.01,
            certify: true,
            products: 250,
            lowest: -1e20,
            budget: Budget::default(),
            seed: Seed::new(0),
        }
    }
}

/// What keeps steps short, and how they are found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", deny_unknown_fields, rename_all = "kebab-case")]
pub enum Method {
    /// A trust region.
    TrustRegion {
        /// Radius of the first step (usual: 1).
        #[serde(default = "one")]
        radius: f64,
        /// How the model is minimised.
        #[serde(default)]
        solver: RegionSolver,
    },
    /// Adaptive regularisation by a cubic term.
    Cubics {
        /// Weight of the term at the first step (usual: 1).
        #[serde(default = "one")]
        sigma: f64,
        /// Smallest weight (ours: 1e-40, so that steps down an unbounded line reach `lowest`).
        #[serde(default = "least")]
        least: f64,
        /// How the model is minimised.
        #[serde(default)]
        solver: CubicSolver,
    },
}

const fn one() -> f64 {
    1.0
}

const fn least() -> f64 {
    1e-40
}

impl Default for Method {
    fn default() -> Self {
        Self::TrustRegion {
            radius: 1.0,
            solver: RegionSolver::Gltr,
        }
    }
}

impl Method {
    /// Adaptive cubics from a first weight.
    pub const fn cubics_from(sigma: f64, solver: CubicSolver) -> Self {
        Self::Cubics {
            sigma,
            least: least(),
            solver,
        }
    }

    /// Adaptive cubics with default settings.
    pub const fn cubics() -> Self {
        Self::Cubics {
            sigma: 1.0,
            least: least(),
            solver: CubicSolver::Lanczos,
        }
    }
}

/// How a model in a ball is minimised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegionSolver {
    /// In a Krylov space, the hard case included.
    #[default]
    Gltr,
    /// By conjugate gradients to the edge of the ball: cheaper per product, no better than that.
    Steihaug,
}

/// How a model with a cubic term is minimised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CubicSolver {
    /// In a Krylov space, the hard case included.
    #[default]
    Lanczos,
    /// By gradient descent from a perturbed start, for dimensions at which a basis does not fit into memory.
    Gradient,
}

/// Which matrix a model has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Curvature {
    /// Second derivatives.
    #[default]
    Hessian,
    /// Without second derivatives of the model inside the loss: never negative, and blind for saddles.
    GaussNewton,
}

/// How terms of the Hessian are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Draw {
    /// Every term as likely, without replacement.
    #[default]
    Uniform,
    /// In proportion to the norms of their Hessians, with replacement; costs a forward pass over all terms per point.
    Curvature,
}

/// How many terms estimates are made of.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", deny_unknown_fields, rename_all = "kebab-case")]
pub enum Sampling {
    /// All terms for everything: the deterministic method.
    Full,
    /// The same shares at every step; nothing is enlarged, errors are told and not controlled. `1, 0.05, 1` is the method
    /// with an inexact Hessian alone.
    Fixed {
        /// Share of the gradient, in (0, 1].
        gradient: f64,
        /// Share of the Hessian, in (0, 1].
        hessian: f64,
        /// Share of differences of values, in (0, 1].
        value: f64,
    },
    /// As many as errors ask for that are estimated from the spread of the terms.
    Adaptive {
        /// Error of the gradient as a share of its length; above 0 (ours: 0.1).
        error: f64,
        /// Share of the Hessian, in (0, 1], until its error asks for more (usual: 0.05).
        hessian: f64,
    },
    /// `c / |s|^2` for the Hessian and `c' / |s|^4` for the gradient, `s` being the step before (Kohler and Lucchi 2017,
    /// arXiv:1705.05933); differences of values as in `adaptive`. A heuristic: it guarantees nothing.
    StepNorm {
        /// Share of the first step, in (0, 1] (paper: 0.05).
        share: f64,
        /// Growth after a step that was taken back; above 1 (paper: 1.25).
        growth: f64,
    },
    /// As many as theory asks for from [`Bounds`](super::Bounds) alone. Often all there are.
    Theory,
}

impl Default for Sampling {
    fn default() -> Self {
        Self::Adaptive {
            error: 0.1,
            hessian: 0.05,
        }
    }
}

impl SecondOrderConfig {
    /// The most negative curvature that an answer may have.
    pub fn eps_h(&self) -> f64 {
        self.eps_h.unwrap_or(self.eps_g.sqrt())
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// The first one that is out of range.
    pub fn check(&self) -> Result<(), ConfigError> {
        let above = |key: &'static str, value: f64, low: f64, text: &'static str| {
            if value > low && value.is_finite() {
                Ok(())
            } else {
                Err(ConfigError::range(key, value, text))
            }
        };
        let positive = |key, value| above(key, value, 0.0, "a finite number above 0");
        let within = |key: &'static str, value: f64, inside: bool, text: &'static str| {
            if inside {
                Ok(())
            } else {
                Err(ConfigError::range(key, value, text))
            }
        };
        let share =
            |key, value: f64| within(key, value, value > 0.0 && value <= 1.0, "a share in (0, 1]");
        let inner =
            |key, value: f64| within(key, value, value > 0.0 && value < 1.0, "a number in (0, 1)");
        positive("eps-g", self.eps_g)?;
        positive("eps-h", self.eps_h())?;
        inner("accept", self.accept)?;
        let good = self.good >= self.accept && self.good < 1.0;
        within("good", self.good, good, "a number in [accept, 1)")?;
        above("factor", self.factor, 1.0, "a finite number above 1")?;
        let noise = self.noise > 0.0 && self.noise < self.accept;
        within("noise", self.noise, noise, "a number in (0, accept)")?;
        inner("slip", self.slip)?;
        inner("failure", self.failure)?;
        let products = self.products as f64;
        within("products", products, self.products > 0, "at least 1")?;
        within("lowest", self.lowest, self.lowest < 0.0, "a number below 0")?;
        match self.method {
            Method::TrustRegion { radius, .. } => positive("radius", radius)?,
            Method::Cubics { sigma, least, .. } => {
                positive("least", least)?;
                let fits = sigma >= least && sigma.is_finite();
                within("sigma", sigma, fits, "a finite number of at least `least`")?;
            }
        }
        match self.sampling {
            Sampling::Full | Sampling::Theory => Ok(()),
            Sampling::Fixed {
                gradient,
                hessian,
                value,
            } => {
                share("gradient", gradient)?;
                share("hessian", hessian)?;
                share("value", value)
            }
            Sampling::Adaptive { error, hessian } => {
                positive("error", error)?;
                share("hessian", hessian)
            }
            Sampling::StepNorm {
                share: first,
                growth,
            } => {
                share("share", first)?;
                above("growth", growth, 1.0, "a finite number above 1")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Settings that differ from the defaults in one place.
    fn with(change: impl FnOnce(&mut SecondOrderConfig)) -> SecondOrderConfig {
        let mut config = SecondOrderConfig::default();
        change(&mut config);
        config
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let region = |radius| Method::TrustRegion {
            radius,
            solver: RegionSolver::Gltr,
        };
        let cubic = |sigma| Method::Cubics {
            sigma,
            least: 1e-8,
            solver: CubicSolver::Lanczos,
        };
        let fixed = |hessian| Sampling::Fixed {
            gradient: 1.0,
            hessian,
            value: 1.0,
        };
        let cases = [
            ("eps-g", with(|c| c.eps_g = f64::NAN)),
            ("eps-h", with(|c| c.eps_h = Some(0.0))),
            ("accept", with(|c| c.accept = 1.0)),
            ("good", with(|c| c.good = 0.01)),
            ("factor", with(|c| c.factor = 1.0)),
            ("noise", with(|c| c.noise = 0.1)),
            ("slip", with(|c| c.slip = 1.0)),
            ("failure", with(|c| c.failure = 0.0)),
            ("products", with(|c| c.products = 0)),
            ("lowest", with(|c| c.lowest = f64::NAN)),
            ("radius", with(|c| c.method = region(-1.0))),
            ("sigma", with(|c| c.method = cubic(0.0))),
            ("hessian", with(|c| c.sampling = fixed(0.0))),
        ];
        for (key, config) in cases {
            let text = config.check().unwrap_err().to_string();
            assert!(text.starts_with(&format!("`{key}` is ")), "{text}");
        }
        SecondOrderConfig::default().check().unwrap();
    }

    #[test]
    fn settings_read_like_settings() {
        let text =
            r#"{"method": {"name": "cubics"}, "sampling": {"name": "full"}, "eps-g": 0.001}"#;
        let config: SecondOrderConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.method, Method::cubics());
        assert!((config.eps_h() - 0.001f64.sqrt()).abs() < 1e-15);
        let again = serde_json::to_string(&config).unwrap();
        assert_eq!(
            serde_json::from_str::<SecondOrderConfig>(&again).unwrap(),
            config
        );
        assert!(serde_json::from_str::<SecondOrderConfig>(r#"{"eps": 1}"#).is_err());
    }
}
