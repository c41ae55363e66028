//! First-order methods on finite sums: baselines for second-order ones, by the same count.

use super::{
    OptimConfig, Schedule,
    second::{
        Descended, FiniteSum, Progressed, Sample, SecondOrderError, Status,
        count::{Counted, Counts},
        draw::Order,
    },
};
use burn::tensor::Device;
use refit_core::{Budget, ConfigError, Progress, Seed};
use refit_math::vector::norm;
use refit_nn::{Init, Weights};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// Settings of [`descend`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct FirstOrderConfig {
    /// The optimiser. A sum has one vector of parameters, which does not decay.
    pub optimizer: OptimConfig,
    /// The learning rate over time.
    pub schedule: Schedule,
    /// Terms of a step; at least 1 (usual: 32 to 1024).
    pub batch: usize,
    /// Passes over the terms (ours: 100).
    pub epochs: u64,
    /// Longest gradient of an answer; above 0.
    pub eps_g: f64,
    /// A value below which the objective counts as unbounded (ours: -1e20).
    pub lowest: f64,
    /// Limits: queries are propagations.
    pub budget: Budget,
    /// Where the order of terms comes from.
    pub seed: Seed,
}

impl Default for FirstOrderConfig {
    fn default() -> Self {
        Self {
            optimizer: OptimConfig::default(),
            schedule: Schedule::default(),
            batch: 256,
            epochs: 100,
            eps_g: 1e-4,
            lowest: -1e20,
            budget: Budget::default(),
            seed: Seed::new(0),
        }
    }
}

impl FirstOrderConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// The first setting that is out of range.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.batch == 0 {
            return Err(ConfigError::range("batch", 0, "at least 1"));
        }
        if !(self.eps_g > 0.0 && self.eps_g.is_finite()) {
            return Err(ConfigError::range(
                "eps-g",
                self.eps_g,
                "a finite number above 0",
            ));
        }
        self.optimizer.check()?;
        self.schedule.check()
    }
}

/// Minimises a sum by steps on batches of terms, each once per epoch in random order. Parameters are in single precision.
///
/// After each epoch, and where a limit is reached within one, the whole gradient is looked at. Neither that look nor its time is counted: it is no part of the
/// method, and decides only when to stop.
///
/// # Errors
/// A setting out of range; an objective without parameters or terms, or with too many terms; a start of the wrong length,
/// or values that are not finite where an epoch ends.
///
/// # Cost
/// Two propagations of every term for an epoch, and as many for the look.
///
/// # Example
/// ```
/// use refit_core::Silent;
/// use refit_train::optim::{FirstOrderConfig, descend, second::{Closure, Status}};
/// let sum = Closure::new(
///     1,
///     100,
///     |i, x| 0.5 * (x[0] - (i % 3) as f64).powi(2),
///     |i, x, out| out[0] = x[0] - (i % 3) as f64,
///     |_, _, v, out| out[0] = v[0],
/// );
/// let config = FirstOrderConfig { batch: 10, eps_g: 1e-2, epochs: 500, ..FirstOrderConfig::default() };
/// let found = descend(&sum, &[0.0], &config, &Silent)?;
/// assert_eq!(found.status, Status::FirstOrderOnly);
/// assert!((found.x[0] - 0.99).abs() <= 0.011);
/// # Ok::<(), refit_train::optim::second::SecondOrderError>(())
/// ```
pub fn descend<O: FiniteSum>(
    objective: &O,
    start: &[f64],
    config: &FirstOrderConfig,
    progress: &dyn Progress,
) -> Result<Descended, SecondOrderError> {
    descend_seen(objective, start, config, progress, &mut |_| ())
}

/// [`descend`] that shows the point after every epoch to `look`, whose time is not counted.
///
/// # Errors
/// As [`descend`].
pub fn descend_seen<O: FiniteSum>(
    objective: &O,
    start: &[f64],
    config: &FirstOrderConfig,
    progress: &dyn Progress,
    look: &mut dyn FnMut(&[f64]),
) -> Result<Descended, SecondOrderError> {
    let terms = check(objective, start, config)?;
    let (dim, n) = (objective.dim(), objective.terms());
    let no_parameters = |_| SecondOrderError::Empty { what: "parameters" };
    // One tensor, whose values are not used: optimisers ask for its shape.
    let one = Weights::create(config.seed, &Device::flex(), |scope| {
        scope.tensor("w", [dim], Init::Zeros)
    });
    let mut optimizer = config
        .optimizer
        .build(one.map_err(no_parameters)?.layout())?;
    let mut params = [start.iter().map(|&x| x as f32).collect::<Vec<f32>>()];
    let mut sum = Counted::new(objective, Counts::default());
    let mut order = Order::new(terms, config.seed);
    let per_epoch = n.div_ceil(config.batch) as u64;
    let (mut values, mut gradient) = (vec![0.0; n], vec![0.0; dim]);
    let (began, mut way) = (Instant::now(), Vec::new());
    progress.begin("minimise", Some(config.epochs));
    let (mut epoch, mut done, mut looks) = (0, 0, Duration::ZERO);
    loop {
        let x: Vec<f64> = params[0].iter().map(|&x| f64::from(x)).collect();
        let looked = Instant::now();
        objective.gradient(&x, Sample::All, &mut values, &mut gradient);
        look(&x);
        looks += looked.elapsed();
        let point = Progressed {
            step: done,
            value: values.iter().sum::<f64>() / n as f64,
            gradient: norm(&gradient),
            counts: sum.counts,
            seconds: began.elapsed().saturating_sub(looks).as_secs_f64(),
        };
        for (what, value) in [("value", point.value), ("gradient", point.gradient)] {
            if !value.is_finite() {
                return Err(SecondOrderError::NotFinite { what, value });
            }
        }
        way.push(point);
        if let Some(status) = ended(&point, epoch, config, progress) {
            return Ok(Descended {
                x,
                status,
                way,
                counts: sum.counts,
            });
        }
        order.restart(config.seed.fork("epoch").fork(epoch));
        for _ in 0..per_epoch {
            let spent = began.elapsed().saturating_sub(looks).as_secs_f64();
            if over(&config.budget, done, sum.counts, spent) {
                break;
            }
            let x: Vec<f64> = params[0].iter().map(|&x| f64::from(x)).collect();
            // Without a last look, which may take long.
            if progress.cancelled() {
                return Ok(Descended {
                    x,
                    status: Status::Interrupted,
                    way,
                    counts: sum.counts,
                });
            }
            let from = order.drawn();
            order.grow(from + config.batch);
            let batch = order.at(from..order.drawn());
            sum.gradient(
                &x,
                Sample::Terms(batch),
                &mut values[..batch.len()],
                &mut gradient,
            );
            let single = [gradient.iter().map(|&g| g as f32).collect::<Vec<f32>>()];
            let share = config.schedule.share(done, config.epochs * per_epoch);
            optimizer.step(config.optimizer.rate() * share, &mut params, &single);
            done += 1;
        }
        progress.advance(1);
        epoch += 1;
    }
}

/// Whether the point after an epoch, or where a limit cut one short, is the last.
fn ended(
    point: &Progressed,
    epoch: u64,
    config: &FirstOrderConfig,
    progress: &dyn Progress,
) -> Option<Status> {
    if point.gradient <= config.eps_g {
        return Some(Status::FirstOrderOnly);
    }
    if point.value < config.lowest {
        return Some(Status::Unbounded);
    }
    if progress.cancelled() {
        return Some(Status::Interrupted);
    }
    let over =
        epoch >= config.epochs || over(&config.budget, point.step, point.counts, point.seconds);
    over.then_some(Status::BudgetExhausted)
}

/// Whether a limit is reached.
fn over(budget: &Budget, steps: u64, counts: Counts, seconds: f64) -> bool {
    budget.steps.is_some_and(|most| steps >= most)
        || budget
            .queries
            .is_some_and(|most| counts.propagations() >= most)
        || budget.seconds.is_some_and(|most| seconds >= most)
}

/// Number of terms, when everything fits.
fn check<O: FiniteSum>(
    objective: &O,
    start: &[f64],
    config: &FirstOrderConfig,
) -> Result<u32, SecondOrderError> {
    config.check()?;
    let (dim, found) = (objective.dim(), objective.terms());
    for (what, count) in [("parameters", dim), ("terms", found)] {
        if count == 0 {
            return Err(SecondOrderError::Empty { what });
        }
    }
    if start.len() != dim {
        return Err(SecondOrderError::Start {
            found: start.len(),
            expected: dim,
        });
    }
    u32::try_from(found).map_err(|_| SecondOrderError::TooMany { found })
}
