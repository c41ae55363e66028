//! The minimiser as its users meet it.

use super::{
    config::{Sampling, SecondOrderConfig},
    error::SecondOrderError,
    oracle::FiniteSum,
    outcome::{Minimum, Trial},
    run::Run,
    state::SecondOrderState,
};
use refit_core::{Budget, ConfigError, Progress};

/// Minimises a [`FiniteSum`] with second derivatives, of which values, gradients and Hessians may be those of samples.
///
/// Stops where the gradient is at most `eps-g` long and no eigenvalue of the Hessian is below `-eps-h`, and hands a
/// [`Certificate`](super::Certificate) of it.
///
/// ```
/// use refit_core::Silent;
/// use refit_train::optim::second::{Closure, SecondOrder, SecondOrderConfig, Status};
/// // F = x^2 / 2 + y^4 / 4 - y^2 / 2 from (1, 0): every method that follows gradients ends in the saddle at 0.
/// let objective = Closure::new(
///     2,
///     1,
///     |_, p| 0.5 * p[0].powi(2) + 0.25 * p[1].powi(4) - 0.5 * p[1].powi(2),
///     |_, p, out| out.copy_from_slice(&[p[0], p[1].powi(3) - p[1]]),
///     |_, p, v, out| out.copy_from_slice(&[v[0], (3.0 * p[1].powi(2) - 1.0) * v[1]]),
/// );
/// let solver = SecondOrder::new(SecondOrderConfig::default())?;
/// let found = solver.minimise(&objective, &[1.0, 0.0], &Silent)?;
/// assert!(matches!(found.status, Status::SecondOrder { .. }));
/// assert!((found.x[1].abs() - 1.0).abs() < 1e-3);
/// # Ok::<(), refit_train::optim::second::SecondOrderError>(())
/// ```
pub struct SecondOrder<'a> {
    config: SecondOrderConfig,
    resume: Option<SecondOrderState>,
    on_trial: Box<dyn FnMut(&Trial) + 'a>,
    on_state: Box<dyn FnMut(&SecondOrderState) + 'a>,
}

impl<'a> SecondOrder<'a> {
    /// Takes a configuration.
    ///
    /// # Errors
    /// The first setting that is out of range.
    pub fn new(config: SecondOrderConfig) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            config,
            resume: None,
            on_trial: Box::new(|_| ()),
            on_state: Box::new(|_| ()),
        })
    }

    /// Calls `listener` after every trial.
    #[must_use]
    pub fn on_trial(mut self, listener: impl FnMut(&Trial) + 'a) -> Self {
        self.on_trial = Box::new(listener);
        self
    }

    /// Hands the state to `listener` wherever the search from a point begins: a run that resumes there gives the bits of
    /// one that was not interrupted.
    #[must_use]
    pub fn on_state(mut self, listener: impl FnMut(&SecondOrderState) + 'a) -> Self {
        self.on_state = Box::new(listener);
        self
    }

    /// Continues from `state` instead of from the start. Budgets may differ, other settings may not.
    #[must_use]
    pub fn resume(mut self, state: SecondOrderState) -> Self {
        self.resume = Some(state);
        self
    }

    /// Searches from `start`.
    ///
    /// # Errors
    /// An objective without parameters or terms, or that does not know what the settings ask of it; a start of the wrong
    /// length or without finite values; products with the Hessian that are not finite or not symmetric; a resumed state of
    /// another run. A limit, an interruption and an unbounded objective are no errors but a
    /// [`Status`](super::Status).
    ///
    /// # Cost
    /// Told in [`Minimum::counts`]. Memory: one vector of the parameters' length for each product of a model, at most
    /// `products` of them, and two numbers for every term.
    pub fn minimise<O: FiniteSum>(
        mut self,
        objective: &O,
        start: &[f64],
        progress: &dyn Progress,
    ) -> Result<Minimum, SecondOrderError> {
        let state = self.state(objective, start)?;
        let mut run = Run::new(&self.config, objective, state, progress)?;
        run.go(&mut self.on_trial, &mut self.on_state)
    }

    /// The state to begin with, checked against the objective.
    fn state<O: FiniteSum>(
        &mut self,
        objective: &O,
        start: &[f64],
    ) -> Result<SecondOrderState, SecondOrderError> {
        let (dim, terms) = (objective.dim(), objective.terms());
        for (what, count) in [("parameters", dim), ("terms", terms)] {
            if count == 0 {
                return Err(SecondOrderError::Empty { what });
            }
        }
        if u32::try_from(terms).is_err() {
            return Err(SecondOrderError::TooMany { found: terms });
        }
        if self.config.sampling == Sampling::Theory && objective.bounds().is_none() {
            return Err(SecondOrderError::Unknown {
                what: "bounds on its terms",
                key: "sampling",
            });
        }
        let Some(state) = self.resume.take() else {
            if start.len() != dim {
                return Err(SecondOrderError::Start {
                    found: start.len(),
                    expected: dim,
                });
            }
            return Ok(SecondOrderState::new(&self.config, terms, start.to_vec()));
        };
        let fail = |problem| Err(SecondOrderError::State { problem });
        let free = |config: &SecondOrderConfig| SecondOrderConfig {
            budget: Budget::default(),
            ..config.clone()
        };
        if state.x.len() != dim || state.terms != terms {
            return fail("belongs to another objective");
        }
        if free(&state.config) != free(&self.config) {
            return fail("was made with other settings");
        }
        Ok(SecondOrderState {
            config: self.config.clone(),
            ..state
        })
    }
}
