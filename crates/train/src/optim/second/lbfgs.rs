//! The baseline of every comparison: L-BFGS on the whole sum, counted like the others.
//! Source: Liu and Nocedal 1989; step lengths by bisection as in Lewis and Overton 2013.

use super::{
    count::{Counted, Counts},
    error::SecondOrderError,
    oracle::{FiniteSum, Sample},
    outcome::Status,
};
use refit_core::{Budget, ConfigError, Progress};
use refit_math::vector::{add_scaled, dot, norm, scale};
use serde::{Deserialize, Serialize};
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Settings of [`lbfgs`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LbfgsConfig {
    /// Pairs of steps and changes of the gradient that are kept; at least 1 (usual: 10 to 100).
    pub memory: usize,
    /// Longest gradient of an answer; above 0.
    pub eps_g: f64,
    /// Share of the slope that a step has to fall by, in (0, `curvature`) (usual: 1e-4).
    pub decrease: f64,
    /// Share of the slope that may be left after a step, in (`decrease`, 1) (usual: 0.9).
    pub curvature: f64,
    /// A value below which the objective counts as unbounded (ours: -1e20).
    pub lowest: f64,
    /// Limits: queries are propagations.
    pub budget: Budget,
}

impl Default for LbfgsConfig {
    fn default() -> Self {
        Self {
            memory: 10,
            eps_g: 1e-4,
            decrease: 1e-4,
            curvature: 0.9,
            lowest: -1e20,
            budget: Budget::default(),
        }
    }
}

impl LbfgsConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// The first one that is out of range.
    pub fn check(&self) -> Result<(), ConfigError> {
        let within = |key: &'static str, value: f64, inside: bool, text: &'static str| {
            if inside {
                Ok(())
            } else {
                Err(ConfigError::range(key, value, text))
            }
        };
        let (down, left) = (self.decrease, self.curvature);
        within("memory", self.memory as f64, self.memory > 0, "at least 1")?;
        let positive = self.eps_g > 0.0 && self.eps_g.is_finite();
        within("eps-g", self.eps_g, positive, "a finite number above 0")?;
        within(
            "curvature",
            left,
            left > 0.0 && left < 1.0,
            "a number in (0, 1)",
        )?;
        within(
            "decrease",
            down,
            down > 0.0 && down < left,
            "a number in (0, curvature)",
        )?;
        within("lowest", self.lowest, self.lowest < 0.0, "a number below 0")
    }
}

/// A point on the way of a first-order method.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Progressed {
    /// Steps taken.
    pub step: u64,
    /// Mean value.
    pub value: f64,
    /// Length of the gradient.
    pub gradient: f64,
    /// All work so far.
    pub counts: Counts,
    /// Seconds since the beginning.
    pub seconds: f64,
}

/// What a first-order method gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Descended {
    /// The last point.
    pub x: Vec<f64>,
    /// How it ended; a first-order method never knows more than that a gradient is short.
    pub status: Status,
    /// Points on the way, the start first.
    pub way: Vec<Progressed>,
    /// All work.
    pub counts: Counts,
}

/// Most step lengths tried along one direction.
const MOST_TRIALS: usize = 100;

/// Value and gradient at a point.
struct Point {
    x: Vec<f64>,
    value: f64,
    gradient: Vec<f64>,
}

/// Minimises a sum by L-BFGS on all terms.
///
/// # Errors
/// A setting out of range; an objective without parameters or terms; a start of the wrong length or without finite values.
///
/// # Cost
/// Two propagations of every term for each step length that is tried, one in most steps; `2 memory` vectors.
///
/// # Example
/// ```
/// use refit_core::Silent;
/// use refit_train::optim::second::{Closure, LbfgsConfig, Status, lbfgs};
/// let bowl = Closure::new(
///     2,
///     1,
///     |_, x| x[0].powi(2) + 10.0 * x[1].powi(2),
///     |_, x, out| out.copy_from_slice(&[2.0 * x[0], 20.0 * x[1]]),
///     |_, _, v, out| out.copy_from_slice(&[2.0 * v[0], 20.0 * v[1]]),
/// );
/// let found = lbfgs(&bowl, &[3.0, -1.0], &LbfgsConfig::default(), &Silent)?;
/// assert_eq!(found.status, Status::FirstOrderOnly);
/// assert!(found.x.iter().all(|x| x.abs() < 1e-4));
/// # Ok::<(), refit_train::optim::second::SecondOrderError>(())
/// ```
pub fn lbfgs<O: FiniteSum>(
    objective: &O,
    start: &[f64],
    config: &LbfgsConfig,
    progress: &dyn Progress,
) -> Result<Descended, SecondOrderError> {
    lbfgs_seen(objective, start, config, progress, &mut |_| ())
}

/// [`lbfgs`] that shows every point on its way to `look`, whose time is not counted.
///
/// # Errors
/// As [`lbfgs`].
pub fn lbfgs_seen<O: FiniteSum>(
    objective: &O,
    start: &[f64],
    config: &LbfgsConfig,
    progress: &dyn Progress,
    look: &mut dyn FnMut(&[f64]),
) -> Result<Descended, SecondOrderError> {
    config.check()?;
    if start.len() != objective.dim() {
        return Err(SecondOrderError::Start {
            found: start.len(),
            expected: objective.dim(),
        });
    }
    for (what, count) in [
        ("parameters", objective.dim()),
        ("terms", objective.terms()),
    ] {
        if count == 0 {
            return Err(SecondOrderError::Empty { what });
        }
    }
    let mut sum = Counted::new(objective, Counts::default());
    let mut values = vec![0.0; objective.terms()];
    let mut at = |x: Vec<f64>| {
        let mut gradient = vec![0.0; x.len()];
        sum.gradient(&x, Sample::All, &mut values, &mut gradient);
        let point = Point {
            value: values.iter().sum::<f64>() / values.len() as f64,
            x,
            gradient,
        };
        (point, sum.counts)
    };
    let began = Instant::now();
    let (mut here, mut counts) = at(start.to_vec());
    for (what, value) in [("value", here.value), ("gradient", norm(&here.gradient))] {
        if !value.is_finite() {
            return Err(SecondOrderError::NotFinite { what, value });
        }
    }
    progress.begin("minimise", None);
    let (mut pairs, mut way) = (VecDeque::new(), Vec::new());
    let mut looks = Duration::ZERO;
    let status = loop {
        let length = norm(&here.gradient);
        way.push(Progressed {
            step: way.len() as u64,
            value: here.value,
            gradient: length,
            counts,
            seconds: began.elapsed().saturating_sub(looks).as_secs_f64(),
        });
        let looked = Instant::now();
        look(&here.x);
        looks += looked.elapsed();
        progress.advance(1);
        if length <= config.eps_g {
            break Status::FirstOrderOnly;
        }
        if here.value < config.lowest {
            break Status::Unbounded;
        }
        if progress.cancelled() {
            break Status::Interrupted;
        }
        let seconds = began.elapsed().saturating_sub(looks).as_secs_f64();
        let budget = &config.budget;
        if budget.steps.is_some_and(|most| way.len() as u64 > most)
            || budget
                .queries
                .is_some_and(|most| counts.propagations() >= most)
            || budget.seconds.is_some_and(|most| seconds >= most)
        {
            break Status::BudgetExhausted;
        }
        let direction = direction(&here.gradient, &pairs);
        let first = if pairs.is_empty() {
            (1.0 / length).min(1.0)
        } else {
            1.0
        };
        let Some((there, spent)) = search(&here, &direction, first, config, &mut at) else {
            break Status::NoiseFloor;
        };
        counts = spent;
        remember(&mut pairs, &here, &there, config.memory);
        here = there;
    };
    Ok(Descended {
        x: here.x,
        status,
        way,
        counts,
    })
}

/// A step, the change of the gradient along it, and one over their product.
type Pair = (Vec<f64>, Vec<f64>, f64);

/// `-H g` for the matrix that the pairs define (two loops).
fn direction(gradient: &[f64], pairs: &VecDeque<Pair>) -> Vec<f64> {
    let mut q: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut shares = Vec::with_capacity(pairs.len());
    for (s, y, rho) in pairs.iter().rev() {
        let share = rho * dot(s, &q);
        add_scaled(&mut q, -share, y);
        shares.push(share);
    }
    if let Some((s, y, _)) = pairs.back() {
        scale(&mut q, dot(s, y) / dot(y, y));
    }
    for ((s, y, rho), share) in pairs.iter().zip(shares.into_iter().rev()) {
        let back = rho * dot(y, &q);
        add_scaled(&mut q, share - back, s);
    }
    q
}

/// A point along `direction` that falls enough and is not too steep (weak Wolfe conditions), by bisection.
fn search(
    here: &Point,
    direction: &[f64],
    first: f64,
    config: &LbfgsConfig,
    at: &mut impl FnMut(Vec<f64>) -> (Point, Counts),
) -> Option<(Point, Counts)> {
    let slope = dot(&here.gradient, direction);
    let (mut low, mut high, mut length) = (0.0, f64::INFINITY, first);
    for _ in 0..MOST_TRIALS {
        let mut x = here.x.clone();
        add_scaled(&mut x, length, direction);
        let (there, counts) = at(x);
        let enough = there.value <= here.value + config.decrease * length * slope;
        if !enough || !norm(&there.gradient).is_finite() {
            high = length;
        } else if dot(&there.gradient, direction) < config.curvature * slope
            && there.value >= config.lowest
        {
            low = length;
        } else {
            return Some((there, counts));
        }
        length = if high.is_finite() {
            f64::midpoint(low, high)
        } else {
            2.0 * length
        };
    }
    None
}

/// Keeps a pair whose product is positive, as the matrix has to be.
fn remember(pairs: &mut VecDeque<Pair>, here: &Point, there: &Point, memory: usize) {
    let difference = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect();
    let s: Vec<f64> = difference(&there.x, &here.x);
    let y: Vec<f64> = difference(&there.gradient, &here.gradient);
    let product = dot(&s, &y);
    if product > f64::EPSILON * norm(&s) * norm(&y) {
        if pairs.len() >= memory {
            pairs.pop_front();
        }
        pairs.push_back((s, y, 1.0 / product));
    }
}
