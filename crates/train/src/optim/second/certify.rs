//! Evidence that a point is second-order stationary, or a way down from it.

use super::{
    config::{Draw, Method},
    draw::Order,
    error::SecondOrderError,
    estimate::GradientEstimate,
    oracle::{FiniteSum, Sample},
    outcome::{Certificate, Status},
    run::Run,
    samples::SampledHessian,
    sizes,
    trial::Basis,
};
use refit_math::krylov::{Leftmost, leftmost};

/// What a look at the curvature found.
pub(super) enum Look {
    Certified(Certificate),
    /// The gradient is short, and of the curvature not enough could be said with the products that are allowed.
    Unclear,
    Stopped(Status),
    /// The gradient of all terms is too long after all.
    Long,
    Down(Descent),
}

/// Negative curvature.
pub(super) struct Descent {
    pub(super) found: Leftmost,
    pub(super) basis: Basis,
}

impl<O: FiniteSum> Run<'_, O> {
    /// Looks for negative curvature where the gradient is short: first in the usual sample, then for a certificate.
    pub(super) fn look(
        &mut self,
        mut gradient: GradientEstimate<O>,
    ) -> Result<Look, SecondOrderError> {
        self.state.attempts += 1;
        let n = self.terms();
        let failure = sizes::look(self.config.failure, self.state.attempts);
        let size = self.hessian_size();
        if size < n && self.config.draw == Draw::Uniform {
            let mut hessian = self.true_hessian(size);
            let found = self.search_leftmost(&mut hessian, "search", failure, 0.0)?;
            if self.is_down(&found) {
                let error = self.hessian_error(&hessian, &found.vector).curvature;
                if error <= self.room(&found) {
                    return Ok(Look::Down(descent(found, &gradient, &hessian, error)));
                }
            }
            if let Some(status) = self.stopped() {
                return Ok(Look::Stopped(status));
            }
        }
        // Three parts of the probability: gradient, sample of the Hessian, random start.
        let (mut failure, mut part) = (failure, failure / 3.0);
        let mut size = self.certificate_size(0.25 * self.config.eps_h(), part);
        let mut hessian = match gradient.hessian.take() {
            Some(hessian) if size >= n => self.hessian(n, Some(hessian))?,
            _ => self.true_hessian(size),
        };
        let (found, error, unclear) = loop {
            let error = self.certain_hessian_error(&hessian, part);
            let found = self.search_leftmost(&mut hessian, "certificate", part, error)?;
            let unclear = found.bound() - error < -self.config.eps_h();
            if !(unclear && self.is_down(&found)) {
                break (found, error, unclear);
            }
            let room = self.room(&found);
            if error <= room || size >= n {
                return Ok(Look::Down(descent(found, &gradient, &hessian, error)));
            }
            // Down, but the sample may be too wrong for a step: a larger one, which is another attempt.
            if let Some(status) = self.stopped() {
                return Ok(Look::Stopped(status));
            }
            self.state.attempts += 1;
            failure = sizes::look(self.config.failure, self.state.attempts);
            part = failure / 3.0;
            size = self
                .sensible(2 * size)
                .max(self.certificate_size(room, part));
            hessian = self.true_hessian(size);
        };
        let (gradient, gradient_error) = self.certain_gradient(gradient, part)?;
        let certificate = Certificate {
            gradient: gradient.norm,
            gradient_error,
            curvature: found.value,
            residual: found.residual,
            missed: found.missed,
            hessian_error: error,
            gradient_terms: gradient.size,
            hessian_terms: hessian.size,
            products: found.products,
            failure,
            attempt: self.state.attempts,
        };
        Ok(if certificate.gradient_bound() > self.config.eps_g {
            Look::Long
        } else if unclear {
            Look::Unclear
        } else {
            Look::Certified(certificate)
        })
    }

    /// A gradient with an error that is certain but for probability `failure`: of all terms where the sample's is too
    /// uncertain to be called short.
    pub(super) fn certain_gradient(
        &mut self,
        gradient: GradientEstimate<O>,
        failure: f64,
    ) -> Result<(GradientEstimate<O>, f64), SecondOrderError> {
        let (m, n) = (gradient.size, self.terms());
        let error = match self.sum.oracle().bounds() {
            _ if m >= n => 0.0,
            Some(bounds) => {
                sizes::spread_error(gradient.variance().0, bounds.gradient, m, n, failure)
            }
            None => f64::INFINITY,
        };
        if gradient.norm + error <= self.config.eps_g || m >= n {
            return Ok((gradient, error));
        }
        Ok((self.whole_gradient()?, 0.0))
    }

    /// The Hessian itself, whatever matrix models have.
    fn true_hessian(&mut self, size: usize) -> SampledHessian<O> {
        let n = self.terms();
        let mut order = None;
        let sample = if size >= n {
            Sample::All
        } else {
            let fresh = order.insert(Order::new(n as u32, self.seed("certificate/terms")));
            fresh.grow(size);
            fresh.sample()
        };
        let hessian = self.sum.hessian(&self.state.x, sample);
        SampledHessian::plain(hessian, size.min(n), order)
    }

    /// How wrong a negative curvature may be so that noise takes no step along it back: so that what it adds is a quarter of
    /// what the promised decrease may miss. That decrease is half of the curvature, and a sixth beside a cubic term.
    fn room(&self, found: &Leftmost) -> f64 {
        let share = match self.config.method {
            Method::TrustRegion { .. } => 0.25,
            Method::Cubics { .. } => 1.0 / 12.0,
        };
        share * (1.0 - self.config.accept) * -found.value
    }

    fn is_down(&self, found: &Leftmost) -> bool {
        found.value < -0.5 * self.config.eps_h()
    }

    /// The smallest eigenvalue, until there is a way down or nothing below `-eps-h` can have been missed.
    fn search_leftmost(
        &mut self,
        hessian: &mut SampledHessian<O>,
        what: &str,
        failure: f64,
        error: f64,
    ) -> Result<Leftmost, SecondOrderError> {
        let seed = self.config.seed.fork(what).fork(self.state.attempts);
        let (eps_h, wrong) = (self.config.eps_h(), self.model());
        let (dim, most) = (self.sum.dim(), self.config.products);
        let sum = &mut self.sum;
        let mut product = |v: &[f64], out: &mut [f64]| sum.product(&mut hessian.hessian, v, out);
        let done = |found: &Leftmost| {
            let down = found.value < -0.5 * eps_h && found.residual <= 0.5 * -found.value;
            down || found.bound() - error >= -eps_h
        };
        leftmost(dim, seed, failure, most, &mut product, done).map_err(wrong)
    }

    /// Terms of a Hessian that is no more wrong than `error`, but for probability `failure`.
    fn certificate_size(&self, error: f64, failure: f64) -> usize {
        let Some(bounds) = self.sum.oracle().bounds() else {
            return self.terms();
        };
        self.sensible(sizes::hessian_terms(
            bounds.hessian,
            error,
            self.sum.dim(),
            failure,
        ))
    }

    fn certain_hessian_error(&self, hessian: &SampledHessian<O>, failure: f64) -> f64 {
        let (m, n) = (hessian.size, self.terms());
        match self.sum.oracle().bounds() {
            Some(bounds) => sizes::hessian_error(bounds.hessian, m, n, self.sum.dim(), failure),
            None if m >= n => 0.0,
            None => f64::INFINITY,
        }
    }
}

fn descent<O: FiniteSum>(
    found: Leftmost,
    gradient: &GradientEstimate<O>,
    hessian: &SampledHessian<O>,
    error: f64,
) -> Descent {
    Descent {
        found,
        basis: Basis {
            gradient: (gradient.norm, gradient.error),
            gradient_terms: gradient.size,
            hessian_terms: hessian.size,
            hessian_error: Some(error),
        },
    }
}
