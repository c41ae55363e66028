//! The loop: a point, a model, trials, the next point.

use super::{
    certify::{Descent, Look},
    config::{Method, Sampling, SecondOrderConfig},
    count::{Counted, Counts},
    draw::Order,
    error::SecondOrderError,
    estimate::GradientEstimate,
    oracle::{FiniteSum, Sample},
    outcome::{Minimum, Mode, Status, Trial},
    samples::next_size,
    state::SecondOrderState,
    step::Search,
    trial::{Basis, Here, Measured, Proposal},
};
use refit_core::Progress;
use refit_math::{MathError, krylov::Bound, vector::norm};
use std::time::{Duration, Instant};

/// Trials in a row that measure nothing after which a search has ended.
const PATIENCE: u32 = 10;

/// A minimisation under way.
pub(super) struct Run<'a, O: FiniteSum> {
    pub(super) config: &'a SecondOrderConfig,
    pub(super) sum: Counted<'a, O>,
    pub(super) state: SecondOrderState,
    progress: &'a dyn Progress,
    began: Instant,
    /// Time that listeners took.
    paused: Duration,
    pub(super) gradients: Option<Order>,
    pub(super) differences: Option<Here>,
    /// Values of all terms at the point, if `state.known`.
    pub(super) values: Vec<f64>,
    trials: Vec<Trial>,
    last: (f64, f64),
}

/// What happened at a point.
pub(super) enum Visit {
    /// There is a new point, or the old one needs new samples.
    Again,
    End(Status),
}

impl<'a, O: FiniteSum> Run<'a, O> {
    pub(super) fn new(
        config: &'a SecondOrderConfig,
        objective: &'a O,
        state: SecondOrderState,
        progress: &'a dyn Progress,
    ) -> Result<Self, SecondOrderError> {
        let mut sum = Counted::new(objective, state.counts);
        sum.asked = state.asked;
        let mut run = Self {
            config,
            sum,
            progress,
            began: Instant::now(),
            paused: Duration::ZERO,
            gradients: None,
            differences: None,
            values: Vec::new(),
            trials: Vec::new(),
            last: (f64::INFINITY, f64::INFINITY),
            state,
        };
        if run.state.known {
            // Counted by the run that left them behind.
            run.values.resize(run.terms(), 0.0);
            objective.values(&run.state.x, Sample::All, &mut run.values);
        }
        if run.state.trials == 0 && run.state.counts == Counts::default() {
            run.probe()?;
        }
        Ok(run)
    }

    pub(super) fn terms(&self) -> usize {
        self.sum.terms()
    }

    /// An error of the model, with the trial it happened at.
    pub(super) fn model(&self) -> impl Fn(MathError) -> SecondOrderError + use<O> {
        let trial = self.state.trials + 1;
        move |source| SecondOrderError::Model { trial, source }
    }

    pub(super) fn go(
        &mut self,
        on_trial: &mut dyn FnMut(&Trial),
        on_state: &mut dyn FnMut(&SecondOrderState),
    ) -> Result<Minimum, SecondOrderError> {
        self.progress.begin("minimise", None);
        loop {
            self.state.counts = self.sum.counts;
            self.state.asked = self.sum.asked;
            let saved = self.state.clone();
            self.listened(|| on_state(&saved));
            if let Visit::End(status) = self.visit(on_trial)? {
                // After the last step there was no new search: the state is that of its end.
                let moved = self.state.x != saved.x;
                self.state.counts = self.sum.counts;
                self.state.asked = self.sum.asked;
                return Ok(Minimum {
                    x: self.state.x.clone(),
                    status,
                    gradient: self.last,
                    trials: std::mem::take(&mut self.trials),
                    counts: self.sum.counts,
                    state: if moved { self.state.clone() } else { saved },
                });
            }
        }
    }

    /// Seconds so far, without those of listeners.
    fn seconds(&self) -> f64 {
        let here = self.began.elapsed().saturating_sub(self.paused);
        here.as_secs_f64()
    }

    /// Lets a listener have its time.
    fn listened(&mut self, listen: impl FnOnce()) {
        let at = Instant::now();
        listen();
        self.paused += at.elapsed();
    }

    /// Whether a limit or the user ends the search here.
    pub(super) fn stopped(&self) -> Option<Status> {
        if self.progress.cancelled() {
            return Some(Status::Interrupted);
        }
        let budget = &self.config.budget;
        let over = budget.steps.is_some_and(|most| self.state.trials >= most)
            || budget
                .queries
                .is_some_and(|most| self.sum.counts.propagations() >= most)
            || budget.seconds.is_some_and(|most| self.seconds() >= most);
        over.then_some(Status::BudgetExhausted)
    }

    /// Searches from the point until there is a next one.
    fn visit(&mut self, on_trial: &mut dyn FnMut(&Trial)) -> Result<Visit, SecondOrderError> {
        if let Some(status) = self.stopped() {
            return Ok(Visit::End(status));
        }
        self.differences = None;
        let gradient = self.gradient()?;
        self.last = (gradient.norm, gradient.error);
        if gradient.bound() > self.config.eps_g {
            return self.first(gradient, on_trial);
        }
        if !self.config.certify {
            return self.short(gradient);
        }
        match self.look(gradient)? {
            Look::Certified(certificate) => Ok(Visit::End(Status::SecondOrder { certificate })),
            Look::Unclear => Ok(Visit::End(Status::FirstOrderOnly)),
            Look::Stopped(status) => Ok(Visit::End(status)),
            Look::Long => {
                self.state.exact = true;
                Ok(Visit::Again)
            }
            Look::Down(descent) => self.second(&descent, on_trial),
        }
    }

    /// Ends where a short gradient is enough, and is one by more than a rule of thumb.
    fn short(&mut self, gradient: GradientEstimate<O>) -> Result<Visit, SecondOrderError> {
        let (gradient, error) = self.certain_gradient(gradient, self.config.failure)?;
        self.last = (gradient.norm, error);
        if gradient.norm + error <= self.config.eps_g {
            return Ok(Visit::End(Status::FirstOrderOnly));
        }
        self.state.exact = true;
        Ok(Visit::Again)
    }

    /// Steps by a model with the gradient.
    fn first(
        &mut self,
        mut gradient: GradientEstimate<O>,
        on_trial: &mut dyn FnMut(&Trial),
    ) -> Result<Visit, SecondOrderError> {
        let mut hessian = self.hessian(self.hessian_size(), gradient.hessian.take())?;
        let mut search = self.search(&gradient)?;
        let (n, mut error) = (self.terms(), None);
        loop {
            if let Some(status) = self.stopped() {
                return Ok(Visit::End(status));
            }
            let (bound, wrong) = (self.state.bound(), self.model());
            let sum = &mut self.sum;
            let mut product =
                |v: &[f64], out: &mut [f64]| sum.product(&mut hessian.hessian, v, out);
            let step = search
                .step(bound, gradient.norm, self.config.products, &mut product)
                .map_err(wrong)?;
            let length = norm(&step.step);
            if error.is_none() && self.controlled() {
                let found = self.hessian_error(&hessian, &step.step);
                let [by_gradient, by_hessian] = [
                    gradient.error * length,
                    0.5 * found.curvature * length * length,
                ];
                let room = 0.25 * (1.0 - self.config.accept) * -step.value;
                if by_gradient + by_hessian > room {
                    // The larger one shrinks to what the other leaves.
                    let size = |now: usize, large: f64, small: f64| {
                        let left = (room - small).max(0.5 * room.min(large));
                        next_size(now, large / left, n)
                    };
                    if by_gradient >= by_hessian {
                        let size = size(gradient.size, by_gradient, by_hessian);
                        self.enlarge(&mut gradient, size)?;
                    } else {
                        let size = size(hessian.size, by_hessian, by_gradient);
                        hessian = self.hessian(self.sensible(size), None)?;
                    }
                    search = self.search(&gradient)?;
                    continue;
                }
                error = Some(found.curvature);
            }
            let proposal = Proposal {
                mode: Mode::First,
                length,
                promised: -step.value,
                bounded: step.bounded,
                leftmost: search.leftmost(),
                products: search.products(),
                steps: vec![step.step],
            };
            let basis = Basis {
                gradient: (gradient.norm, gradient.error),
                gradient_terms: gradient.size,
                hessian_terms: hessian.size,
                hessian_error: error,
            };
            if let Some(visit) = self.attempt(&proposal, basis, on_trial)? {
                return Ok(visit);
            }
        }
    }

    fn search(&self, gradient: &GradientEstimate<O>) -> Result<Search, SecondOrderError> {
        Search::new(self.config.method, &gradient.mean, self.seed("model")).map_err(self.model())
    }

    /// Steps along negative curvature, either way.
    fn second(
        &mut self,
        descent: &Descent,
        on_trial: &mut dyn FnMut(&Trial),
    ) -> Result<Visit, SecondOrderError> {
        let found = &descent.found;
        loop {
            if let Some(status) = self.stopped() {
                return Ok(Visit::End(status));
            }
            let depth = -found.value;
            let (length, promised) = match self.state.bound() {
                Bound::Radius(radius) => (radius, 0.5 * depth * radius * radius),
                Bound::Cubic(sigma) => {
                    let length = depth / sigma;
                    (length, depth * length * length / 6.0)
                }
            };
            let along = |sign: f64| found.vector.iter().map(|u| sign * length * u).collect();
            let proposal = Proposal {
                mode: Mode::Second,
                steps: vec![along(1.0), along(-1.0)],
                length,
                promised,
                bounded: true,
                leftmost: Some(found.value),
                products: found.products,
            };
            if let Some(visit) = self.attempt(&proposal, descent.basis, on_trial)? {
                return Ok(visit);
            }
        }
    }

    /// Tries a step: takes it, or leaves the point for a smaller one (`None`).
    fn attempt(
        &mut self,
        proposal: &Proposal,
        basis: Basis,
        on_trial: &mut dyn FnMut(&Trial),
    ) -> Result<Option<Visit>, SecondOrderError> {
        let still = |step: &Vec<f64>| {
            self.state
                .x
                .iter()
                .zip(step)
                .all(|(x, s)| (x + s).to_bits() == x.to_bits())
        };
        if proposal.promised <= 0.0
            || proposal.promised.is_nan()
            || proposal.steps.iter().all(still)
        {
            return Ok(Some(Visit::End(Status::NoiseFloor)));
        }
        let measured = self.measure(proposal)?;
        let bound = self.state.size();
        let taken = self.judge(proposal, &measured);
        let trial = Trial {
            trial: self.state.trials + 1,
            mode: proposal.mode,
            value: measured.value,
            gradient: basis.gradient.0,
            gradient_error: basis.gradient.1,
            hessian_error: basis.hessian_error,
            value_error: measured.error,
            gradient_terms: basis.gradient_terms,
            hessian_terms: basis.hessian_terms,
            value_terms: measured.size,
            promised: proposal.promised,
            measured: measured.decrease,
            bound,
            length: proposal.length,
            taken,
            leftmost: proposal.leftmost,
            products: proposal.products,
            counts: self.sum.counts,
            seconds: self.seconds(),
        };
        self.state.trials += 1;
        self.state.sizes = [basis.gradient_terms, basis.hessian_terms, measured.size];
        self.listened(|| on_trial(&trial));
        self.progress.advance(1);
        self.progress.note(&format!(
            "value {}, gradient {:.1e}",
            shown(trial.value),
            trial.gradient
        ));
        self.trials.push(trial);
        if self.state.below >= PATIENCE {
            return Ok(Some(Visit::End(Status::NoiseFloor)));
        }
        if !taken {
            self.state.growth = match self.config.sampling {
                Sampling::StepNorm { growth, .. } => f64::from_bits(self.state.growth) * growth,
                _ => 1.0,
            }
            .to_bits();
            // Where the error of the gradient is not controlled, a new sample is worth more than a smaller step.
            let redraw = basis.gradient_terms < self.terms() && !self.controlled();
            return Ok(redraw.then_some(Visit::Again));
        }
        let value = measured.value - measured.decrease.unwrap_or(0.0);
        self.advance(proposal, measured);
        if value < self.config.lowest {
            return Ok(Some(Visit::End(Status::Unbounded)));
        }
        Ok(Some(Visit::Again))
    }

    /// Whether the measured decrease is enough of the promised one; the region grows or shrinks by it.
    fn judge(&mut self, proposal: &Proposal, measured: &Measured) -> bool {
        let config = self.config;
        // Rounding is added to both (Conn, Gould and Toint 2000, 17.4.2): below it every step is as good as promised.
        let ratio = measured.decrease.map_or(f64::NEG_INFINITY, |found| {
            (found + measured.rounding) / (proposal.promised + measured.rounding)
        });
        let taken = ratio >= config.accept;
        let unclear = measured.error > config.noise * proposal.promised && !taken;
        if proposal.promised <= measured.rounding || unclear {
            self.state.below += 1;
        } else {
            self.state.below = 0;
        }
        let size = self.state.size();
        let good = ratio >= config.good;
        let next = match config.method {
            Method::TrustRegion { .. } if !taken => size.min(proposal.length) / config.factor,
            Method::TrustRegion { .. } if good && proposal.bounded => {
                (size * config.factor).min(f64::MAX.sqrt())
            }
            Method::Cubics { .. } if !taken => size * config.factor,
            Method::Cubics { least, .. } if good => (size / config.factor).max(least),
            _ => size,
        };
        self.state.bound = next.to_bits();
        taken
    }

    /// Moves to where the best step leads.
    fn advance(&mut self, proposal: &Proposal, measured: Measured) {
        let step = &proposal.steps[measured.best];
        self.state.x.iter_mut().zip(step).for_each(|(x, s)| *x += s);
        self.state.known = measured.values.is_some();
        if let Some(values) = measured.values {
            self.values = values;
        }
        let length = proposal.length.to_bits();
        let first = self.state.lengths.map_or(length, |[first, _]| first);
        self.state.lengths = Some([first, length]);
        self.state.growth = 1f64.to_bits();
    }
}

/// A value as people read it.
fn shown(value: f64) -> String {
    if (1e-3..1e6).contains(&value.abs()) {
        format!("{value:.6}")
    } else {
        format!("{value:.6e}")
    }
}
