//! Second-order minimisation as its users meet it.

mod adversarial;
mod bad_input;
mod certificates;
mod resume;
mod sums;
mod traps;

use refit_core::{Budget, Silent};
use refit_testkit::normal_vec;
use refit_train::optim::second::{
    Bounds, Closure, FiniteSum, Method, Minimum, Sample, Sampling, SecondOrder, SecondOrderConfig,
};
use std::sync::atomic::{AtomicU64, Ordering};

/// Deterministic settings, with a limit that none of the tests should meet.
fn exact(method: Method, eps_g: f64) -> SecondOrderConfig {
    SecondOrderConfig {
        method,
        sampling: Sampling::Full,
        eps_g,
        budget: Budget {
            steps: Some(20_000),
            ..Budget::default()
        },
        ..SecondOrderConfig::default()
    }
}

/// A trust region and adaptive cubics.
fn both() -> [Method; 2] {
    [Method::default(), Method::cubics()]
}

fn minimise<O: FiniteSum>(config: SecondOrderConfig, objective: &O, start: &[f64]) -> Minimum {
    let solver = SecondOrder::new(config).unwrap();
    solver.minimise(objective, start, &Silent).unwrap()
}

/// One function of one parameter.
fn one(
    value: impl Fn(f64) -> f64 + Sync,
    slope: impl Fn(f64) -> f64 + Sync,
    bend: impl Fn(f64) -> f64 + Sync,
) -> impl FiniteSum {
    Closure::new(
        1,
        1,
        move |_, x| value(x[0]),
        move |_, x, out: &mut [f64]| out[0] = slope(x[0]),
        move |_, x, v: &[f64], out: &mut [f64]| out[0] = bend(x[0]) * v[0],
    )
}

/// A minimum without what differs between runs: times.
fn timeless(mut found: Minimum) -> Minimum {
    found.trials.iter_mut().for_each(|t| t.seconds = 0.0);
    found
}

/// `f_i = (b_i - sigmoid(a_i^T x))^2`: not convex, with terms and derivatives that are bounded for bounded data. Counts
/// what it is asked.
struct Sigmoid {
    a: Vec<f64>,
    b: Vec<f64>,
    dim: usize,
    bounded: bool,
    asked: [AtomicU64; 5],
}

/// Terms with their weights, times the second derivative of their losses.
type Bends = Vec<(usize, f64)>;

impl Sigmoid {
    /// `n` points of mean length about 1 with labels from planted weights; columns shrink.
    fn planted(number: u64, n: usize, dim: usize) -> Self {
        let mut a = normal_vec(number, n * dim);
        let mean: f64 = (1..=dim).map(|j| 1.0 / j as f64).sum::<f64>().sqrt();
        for row in a.chunks_exact_mut(dim) {
            for (j, v) in row.iter_mut().enumerate() {
                *v /= (j as f64 + 1.0).sqrt() * mean;
            }
        }
        let plant: Vec<f64> = normal_vec(number ^ 1, dim)
            .iter()
            .map(|w| 4.0 * w)
            .collect();
        let chance = normal_vec(number ^ 2, n);
        let b = a.chunks_exact(dim).zip(chance).map(|(row, noise)| {
            let score: f64 = row.iter().zip(&plant).map(|(a, w)| a * w).sum();
            f64::from(u8::from(score + noise > 0.0))
        });
        Self {
            b: b.collect(),
            a,
            dim,
            bounded: true,
            asked: Default::default(),
        }
    }

    fn row(&self, i: usize) -> &[f64] {
        &self.a[i * self.dim..(i + 1) * self.dim]
    }

    /// Label, sigmoid and its slope at `x`.
    fn at(&self, i: usize, x: &[f64]) -> (f64, f64, f64) {
        let t: f64 = self.row(i).iter().zip(x).map(|(a, x)| a * x).sum();
        let s = 1.0 / (1.0 + (-t).exp());
        (self.b[i], s, s * (1.0 - s))
    }

    /// Second derivative of the loss of term `i`.
    fn bend(&self, i: usize, x: &[f64]) -> f64 {
        let (b, s, d) = self.at(i, x);
        2.0 * ((s - b) * d * (1.0 - 2.0 * s) + d * d)
    }

    fn square(&self, i: usize) -> f64 {
        self.row(i).iter().map(|a| a * a).sum()
    }

    fn count(&self, what: usize, terms: usize) {
        self.asked[what].fetch_add(terms as u64, Ordering::Relaxed);
    }

    /// What it was asked: values, gradients, states, products, curvatures.
    fn asked(&self) -> [u64; 5] {
        [0, 1, 2, 3, 4].map(|i| self.asked[i].load(Ordering::Relaxed))
    }

    fn bends(&self, sample: Sample<'_>, bend: impl Fn(usize) -> f64) -> Bends {
        let places = 0..sample.len(self.b.len());
        places
            .map(|at| (sample.term(at), sample.weight(at) * bend(sample.term(at))))
            .collect()
    }
}

impl FiniteSum for Sigmoid {
    type State = Bends;

    fn dim(&self) -> usize {
        self.dim
    }

    fn terms(&self) -> usize {
        self.b.len()
    }

    fn values(&self, x: &[f64], sample: Sample<'_>, out: &mut [f64]) {
        self.count(0, out.len());
        for (at, out) in out.iter_mut().enumerate() {
            let (b, s, _) = self.at(sample.term(at), x);
            *out = (b - s).powi(2);
        }
    }

    fn gradient(
        &self,
        x: &[f64],
        sample: Sample<'_>,
        values: &mut [f64],
        out: &mut [f64],
    ) -> Option<f64> {
        self.count(1, values.len());
        out.fill(0.0);
        let mut squares = 0.0;
        for (at, value) in values.iter_mut().enumerate() {
            let i = sample.term(at);
            let (b, s, d) = self.at(i, x);
            *value = (b - s).powi(2);
            let slope = 2.0 * (s - b) * d;
            squares += slope * slope * self.square(i);
            out.iter_mut()
                .zip(self.row(i))
                .for_each(|(o, a)| *o += slope * a);
        }
        for o in out {
            *o /= values.len() as f64;
        }
        Some(squares)
    }

    fn hessian(&self, x: &[f64], sample: Sample<'_>) -> Bends {
        self.count(2, sample.len(self.b.len()));
        self.bends(sample, |i| self.bend(i, x))
    }

    fn product(&self, state: &Bends, v: &[f64], out: &mut [f64]) {
        self.count(3, state.len());
        out.fill(0.0);
        for &(i, bend) in state {
            let row = self.row(i);
            let t: f64 = row.iter().zip(v).map(|(a, v)| a * v).sum();
            out.iter_mut()
                .zip(row)
                .for_each(|(o, a)| *o += bend * t * a);
        }
        for o in out {
            *o /= state.len() as f64;
        }
    }

    fn gauss_newton(&self, x: &[f64], sample: Sample<'_>) -> Option<Bends> {
        self.count(2, sample.len(self.b.len()));
        Some(self.bends(sample, |i| 2.0 * self.at(i, x).2.powi(2)))
    }

    fn curvatures(&self, x: &[f64], out: &mut [f64]) -> bool {
        self.count(4, out.len());
        for (i, out) in out.iter_mut().enumerate() {
            *out = self.bend(i, x).abs() * self.square(i);
        }
        true
    }

    /// The constants of the loss, found on a grid, times powers of the longest point.
    fn bounds(&self) -> Option<Bounds> {
        let squares = (0..self.b.len()).map(|i| self.square(i));
        let r = squares.fold(0.0, f64::max).sqrt();
        self.bounded.then_some(Bounds {
            gradient: 0.2963 * r,
            hessian: 0.1541 * r * r,
            lipschitz: 0.2020 * r.powi(3),
        })
    }
}
