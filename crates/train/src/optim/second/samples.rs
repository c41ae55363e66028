//! How many terms the estimates at a point are made of, and the estimates.

use super::{
    config::{Curvature, Draw, Method, Sampling},
    count::Hessian,
    draw::{BLOCKS, Order, cut, weighted},
    error::SecondOrderError,
    estimate::{GradientEstimate, HessianError, hessian_error},
    oracle::{FiniteSum, Sample},
    run::Run,
    sizes,
};
use refit_core::Seed;

/// Fewest terms of a sample that is to tell its own error; sums of up to twice as many are taken whole.
pub(super) const FEWEST: usize = 64;

/// The Hessian of a sample.
pub(super) struct SampledHessian<O: FiniteSum> {
    pub(super) hessian: Hessian<O>,
    pub(super) size: usize,
    /// Weighted draws; empty for a sample without weights.
    draws: (Vec<u32>, Vec<f64>),
    /// The order in which terms without weights were drawn; `None` for all of them.
    order: Option<Order>,
}

impl<O: FiniteSum> SampledHessian<O> {
    /// A sample without weights.
    pub(super) fn plain(hessian: Hessian<O>, size: usize, order: Option<Order>) -> Self {
        Self {
            hessian,
            size,
            draws: (Vec::new(), Vec::new()),
            order,
        }
    }

    /// Independent parts of the sample, enough to tell its variance.
    fn parts(&self) -> Vec<Sample<'_>> {
        if let Some(order) = &self.order {
            let blocks = order.blocks().iter().take(BLOCKS);
            return blocks
                .map(|block| Sample::Terms(order.at(block.clone())))
                .collect();
        }
        let (terms, weights) = &self.draws;
        cut(0..terms.len())
            .take(BLOCKS)
            .map(|block| Sample::Weighted {
                terms: &terms[block.clone()],
                weights: &weights[block],
            })
            .collect()
    }
}

impl<O: FiniteSum> Run<'_, O> {
    /// Whether errors decide sizes.
    pub(super) fn controlled(&self) -> bool {
        matches!(
            self.config.sampling,
            Sampling::Adaptive { .. } | Sampling::Theory
        )
    }

    /// A size cut to what makes sense: few terms are all of them, and so are more than half.
    pub(super) fn sensible(&self, size: usize) -> usize {
        let n = self.terms();
        if n <= 2 * FEWEST || size > n / 2 {
            n
        } else {
            size.max(FEWEST)
        }
    }

    fn share(&self, share: f64) -> usize {
        let n = self.terms();
        ((share * n as f64).ceil() as usize).clamp(1, n)
    }

    /// The seed of `what` at this point.
    pub(super) fn seed(&self, what: &str) -> Seed {
        self.config.seed.fork(what).fork(self.state.trials)
    }

    /// Terms that the gradient begins with.
    fn gradient_size(&self) -> usize {
        let last = self.state.sizes[0];
        match self.config.sampling {
            _ if self.state.exact => self.terms(),
            Sampling::Full => self.terms(),
            Sampling::Fixed { gradient, .. } => self.share(gradient),
            Sampling::Adaptive { .. } | Sampling::Theory => self.sensible(if last == 0 {
                self.share(0.01)
            } else {
                again(last)
            }),
            Sampling::StepNorm { share, .. } => self.by_step(share, 4),
        }
    }

    /// Terms that the Hessian begins with.
    pub(super) fn hessian_size(&self) -> usize {
        let last = self.state.sizes[1];
        match self.config.sampling {
            Sampling::Full => self.terms(),
            Sampling::Fixed { hessian, .. } => self.share(hessian),
            Sampling::Adaptive { hessian, .. } => {
                self.sensible(self.share(hessian).max(again(last)))
            }
            Sampling::StepNorm { share, .. } => self.by_step(share, 2),
            Sampling::Theory => self.sensible(self.hessian_theory()),
        }
    }

    /// What theory asks of the Hessian so that its error never decides whether a step is taken.
    fn hessian_theory(&self) -> usize {
        let Some(bounds) = self.sum.oracle().bounds() else {
            return self.terms();
        };
        let room = match self.config.method {
            Method::TrustRegion { .. } => 6.0,
            Method::Cubics { .. } => 12.0,
        };
        let error = (1.0 - self.config.accept) * self.config.eps_h() / room;
        sizes::hessian_terms(bounds.hessian, error, self.sum.dim(), self.config.slip)
    }

    /// `share n (|s_first| / |s_last|)^power`, more after steps that were taken back.
    fn by_step(&self, share: f64, power: i32) -> usize {
        let ratio = self.state.lengths.map_or(1.0, |[first, last]| {
            f64::from_bits(first) / f64::from_bits(last)
        });
        let more = ratio.powi(power) * f64::from_bits(self.state.growth);
        self.sensible(self.share((share * more).clamp(0.0, 1.0)))
    }

    /// The gradient at the point, from as many terms as its error asks for.
    pub(super) fn gradient(&mut self) -> Result<GradientEstimate<O>, SecondOrderError> {
        let size = self.gradient_size();
        if size >= self.terms() {
            return self.whole_gradient();
        }
        let (seed, terms) = (self.seed("gradient"), self.terms() as u32);
        let order = self
            .gradients
            .get_or_insert_with(|| Order::new(terms, seed));
        order.restart(seed);
        let mut gradient = GradientEstimate::none(self.sum.dim());
        self.enlarge(&mut gradient, size)?;
        Ok(gradient)
    }

    /// The gradient of all terms.
    pub(super) fn whole_gradient(&mut self) -> Result<GradientEstimate<O>, SecondOrderError> {
        let fused = self.config.curvature == Curvature::Hessian
            && self.config.draw == Draw::Uniform
            && self.hessian_size() >= self.terms();
        let found = GradientEstimate::all(&mut self.sum, &self.state.x, &mut self.values, fused);
        self.state.known = true;
        if found.norm.is_finite() {
            return Ok(found);
        }
        Err(SecondOrderError::NotFinite {
            what: "gradient",
            value: found.norm,
        })
    }

    /// Lets a gradient grow to `size` terms, and on until its error is small beside it.
    pub(super) fn enlarge(
        &mut self,
        gradient: &mut GradientEstimate<O>,
        size: usize,
    ) -> Result<(), SecondOrderError> {
        let (n, mut size) = (self.terms(), size);
        for look in 1.. {
            if self.controlled() {
                size = self.sensible(size);
            }
            if size >= n && gradient.size == 0 {
                *gradient = self.whole_gradient()?;
                return Ok(());
            }
            let Some(order) = self.gradients.as_mut() else {
                return Ok(()); // all terms: there is nothing to enlarge
            };
            gradient.grow(&mut self.sum, &self.state.x, order, size);
            if !gradient.norm.is_finite() {
                return Err(SecondOrderError::NotFinite {
                    what: "gradient",
                    value: gradient.norm,
                });
            }
            let failure = sizes::look(self.config.slip, look);
            gradient.error = self.gradient_error(gradient, failure);
            let wanted = match self.config.sampling {
                Sampling::Adaptive { error, .. } => error * gradient.norm,
                Sampling::Theory => (1.0 - self.config.accept) * gradient.norm / 8.0,
                _ => return Ok(()),
            }
            .max(0.5 * self.config.eps_g);
            if gradient.error <= wanted || gradient.size >= n {
                return Ok(());
            }
            size = next_size(gradient.size, gradient.error / wanted, n);
        }
        Ok(())
    }

    fn gradient_error(&self, gradient: &GradientEstimate<O>, failure: f64) -> f64 {
        let (m, n) = (gradient.size, self.terms());
        match (self.config.sampling, self.sum.oracle().bounds()) {
            (Sampling::Theory, Some(bounds)) => {
                sizes::gradient_error(bounds.gradient, m, n, failure)
            }
            _ => {
                let (variance, degrees) = gradient.variance();
                sizes::usual_error(variance, degrees, m, n, failure)
            }
        }
    }

    /// The matrix of a model from `size` terms; `whole` is the Hessian of all of them if there is one already.
    pub(super) fn hessian(
        &mut self,
        size: usize,
        whole: Option<Hessian<O>>,
    ) -> Result<SampledHessian<O>, SecondOrderError> {
        let n = self.terms();
        if size >= n {
            let hessian = match whole {
                Some(hessian) => hessian,
                None => self.matrix(Sample::All)?,
            };
            return Ok(SampledHessian::plain(hessian, n, None));
        }
        let seed = self.seed("hessian");
        if self.config.draw == Draw::Curvature {
            let mut shares = vec![0.0; n];
            if !self.sum.curvatures(&self.state.x, &mut shares) {
                return Err(SecondOrderError::Unknown {
                    what: "curvatures of its terms",
                    key: "draw",
                });
            }
            if let Some((terms, weights)) = weighted(&shares, size, seed) {
                let hessian = self.matrix(Sample::Weighted {
                    terms: &terms,
                    weights: &weights,
                })?;
                return Ok(SampledHessian {
                    hessian,
                    size,
                    draws: (terms, weights),
                    order: None,
                });
            }
        }
        let mut order = Order::new(n as u32, seed);
        order.grow(size);
        let hessian = self.matrix(order.sample())?;
        Ok(SampledHessian::plain(hessian, size, Some(order)))
    }

    fn matrix(&mut self, sample: Sample<'_>) -> Result<Hessian<O>, SecondOrderError> {
        let x = &self.state.x;
        match self.config.curvature {
            Curvature::Hessian => Ok(self.sum.hessian(x, sample)),
            Curvature::GaussNewton => {
                let unknown = SecondOrderError::Unknown {
                    what: "Gauss-Newton matrix",
                    key: "curvature",
                };
                self.sum.gauss_newton(x, sample).ok_or(unknown)
            }
        }
    }

    /// Estimated error of a sampled Hessian along `s`.
    pub(super) fn hessian_error(&mut self, hessian: &SampledHessian<O>, s: &[f64]) -> HessianError {
        let same = |error| HessianError {
            product: error,
            curvature: error,
        };
        let n = self.terms();
        if hessian.size >= n {
            return same(0.0);
        }
        let (dim, failure) = (self.sum.dim(), self.config.slip);
        if let (Sampling::Theory, Draw::Uniform, Some(bounds)) = (
            self.config.sampling,
            self.config.draw,
            self.sum.oracle().bounds(),
        ) {
            let error = sizes::hessian_error(bounds.hessian, hessian.size, n, dim, failure);
            return same(error);
        }
        // With replacement nothing is ever whole.
        let whole = if hessian.order.is_some() {
            n
        } else {
            usize::MAX
        };
        let (x, newton) = (
            &self.state.x,
            self.config.curvature == Curvature::GaussNewton,
        );
        let parts = hessian.parts();
        hessian_error(
            &mut self.sum,
            s,
            (hessian.size, whole),
            failure,
            parts,
            |sum, sample| {
                let gauss = if newton {
                    sum.gauss_newton(x, sample)
                } else {
                    None
                };
                gauss.unwrap_or_else(|| sum.hessian(x, sample))
            },
        )
    }

    /// Refuses products that are not symmetric before anything is built on them.
    pub(super) fn probe(&mut self) -> Result<(), SecondOrderError> {
        let terms: Vec<u32> = (0..self.terms().min(FEWEST) as u32).collect();
        let mut hessian = self.matrix(Sample::Terms(&terms))?;
        let sum = &mut self.sum;
        let seed = self.config.seed.fork("probe");
        super::derivatives::symmetry(sum.dim(), seed, &mut |v, out| {
            sum.product(&mut hessian, v, out);
        })
        .map_err(self.model())
    }
}

/// The size that a sample begins with where the last one had `last` terms: less, so that sizes come down again, and not
/// so little that it has to grow every time.
pub(super) fn again(last: usize) -> usize {
    last - last / 4
}

/// The size at which an error that is `excess` times too large is right, if it falls with the root of the size: at least
/// a fourth more than the last, at most sixteen times as much; more than half of all terms are all.
pub(super) fn next_size(now: usize, excess: f64, n: usize) -> usize {
    let wanted = now as f64 * (1.1 * excess * excess).clamp(1.25, 16.0);
    if wanted > 0.5 * n as f64 {
        n
    } else {
        wanted as usize
    }
}
