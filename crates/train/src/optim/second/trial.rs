//! Differences of values on one common sample, as exact as a trial needs them.

use super::{
    config::Sampling,
    draw::Order,
    error::SecondOrderError,
    estimate::Differences,
    oracle::{FiniteSum, Sample},
    outcome::Mode,
    run::Run,
    samples::{again, next_size},
    sizes,
};

/// A step that is to be tried.
pub(super) struct Proposal {
    pub(super) mode: Mode,
    pub(super) steps: Vec<Vec<f64>>,
    pub(super) length: f64,
    pub(super) promised: f64,
    pub(super) bounded: bool,
    pub(super) leftmost: Option<f64>,
    pub(super) products: usize,
}

/// Facts of the samples behind a proposal.
#[derive(Clone, Copy)]
pub(super) struct Basis {
    pub(super) gradient: (f64, f64),
    pub(super) gradient_terms: usize,
    pub(super) hessian_terms: usize,
    pub(super) hessian_error: Option<f64>,
}

/// What a trial found.
pub(super) struct Measured {
    /// Mean value where it began.
    pub(super) value: f64,
    /// Decrease along the best step; `None` where values are not finite.
    pub(super) decrease: Option<f64>,
    /// Estimated error of the decrease; 0 for all terms.
    pub(super) error: f64,
    /// Rounding of the decrease.
    pub(super) rounding: f64,
    /// Terms.
    pub(super) size: usize,
    /// Which step is best.
    pub(super) best: usize,
    /// Values of all terms where it leads, if all were asked.
    pub(super) values: Option<Vec<f64>>,
}

/// A step under trial: the point it leads to, differences so far, and values there.
struct Candidate {
    x: Vec<f64>,
    found: Differences,
    values: Vec<f64>,
}

/// Values of the terms of a growing sample where trials begin; kept while steps from there are tried.
pub(super) struct Here {
    order: Order,
    values: Vec<f64>,
}

impl<O: FiniteSum> Run<'_, O> {
    /// Measures the decrease along every step of a proposal, all on the same terms.
    pub(super) fn measure(&mut self, proposal: &Proposal) -> Result<Measured, SecondOrderError> {
        let mut candidates: Vec<Candidate> = proposal
            .steps
            .iter()
            .map(|step| Candidate {
                x: self.state.x.iter().zip(step).map(|(x, s)| x + s).collect(),
                found: Differences::default(),
                values: Vec::new(),
            })
            .collect();
        let n = self.terms();
        let mut size = self.difference_size(proposal);
        if size >= n && self.differences.is_none() {
            self.all(&mut candidates)?;
            return Ok(self.measured(candidates, 0.0, None));
        }
        let mut here = self.here();
        let mut error = f64::INFINITY;
        for look in 1.. {
            self.grow(&mut here, &mut candidates, size)?;
            let failure = sizes::look(self.config.slip, look);
            error = candidates
                .iter()
                .map(|candidate| self.difference_error(&candidate.found, proposal.length, failure))
                .fold(0.0, f64::max);
            let wanted = self.config.noise * proposal.promised;
            let fixed = matches!(self.config.sampling, Sampling::Fixed { .. });
            let broken = candidates.iter().all(|c| !c.found.mean().is_finite());
            size = candidates[0].found.count();
            if error <= wanted || size >= n || fixed || broken {
                break;
            }
            size = next_size(size, error / wanted, n);
        }
        let measured = self.measured(candidates, error, Some(&here));
        self.differences = Some(here);
        Ok(measured)
    }

    /// The best of the candidates, with its values if they are those of all terms.
    fn measured(
        &self,
        mut candidates: Vec<Candidate>,
        error: f64,
        here: Option<&Here>,
    ) -> Measured {
        let decrease = |c: &Candidate| {
            let mean = c.found.mean();
            if mean.is_finite() {
                mean
            } else {
                f64::NEG_INFINITY
            }
        };
        let best = (0..candidates.len())
            .reduce(|a, b| {
                if decrease(&candidates[b]) > decrease(&candidates[a]) {
                    b
                } else {
                    a
                }
            })
            .unwrap_or(0);
        let Candidate { found, values, .. } = candidates.swap_remove(best);
        let mean = found.mean();
        let whole = found.count() == self.terms();
        let values = whole.then(|| match here {
            None => values,
            Some(here) => {
                let mut all = vec![0.0; self.terms()];
                let terms = here.order.at(0..all.len());
                terms
                    .iter()
                    .zip(&values)
                    .for_each(|(&i, v)| all[i as usize] = *v);
                all
            }
        });
        Measured {
            value: found.value(),
            decrease: mean.is_finite().then_some(mean),
            error,
            rounding: 2.0 * self.sum.oracle().precision() * found.magnitude(),
            size: found.count(),
            best,
            values,
        }
    }

    /// Differences of all terms.
    fn all(&mut self, candidates: &mut [Candidate]) -> Result<(), SecondOrderError> {
        let n = self.terms();
        if !self.state.known {
            self.values.resize(n, 0.0);
            self.sum
                .values(&self.state.x, Sample::All, &mut self.values);
            self.state.known = true;
        }
        for candidate in candidates {
            candidate.values.resize(n, 0.0);
            self.sum
                .values(&candidate.x, Sample::All, &mut candidate.values);
            candidate.found.add(&self.values, &candidate.values);
            finite(&candidate.found)?;
        }
        Ok(())
    }

    /// The sample of the point, begun if there is none.
    fn here(&mut self) -> Here {
        let (seed, terms) = (self.seed("value"), self.terms() as u32);
        match self.differences.take() {
            Some(here) => here,
            None => Here {
                order: Order::new(terms, seed),
                values: Vec::new(),
            },
        }
    }

    /// Lets the differences of all candidates grow to `size` terms.
    fn grow(
        &mut self,
        here: &mut Here,
        candidates: &mut [Candidate],
        size: usize,
    ) -> Result<(), SecondOrderError> {
        let before = here.values.len();
        if size > before {
            here.order.grow(size);
            let terms = here.order.at(before..here.order.drawn());
            if self.state.known {
                here.values
                    .extend(terms.iter().map(|&i| self.values[i as usize]));
            } else {
                here.values.resize(here.order.drawn(), 0.0);
                let out = &mut here.values[before..];
                self.sum.values(&self.state.x, Sample::Terms(terms), out);
            }
        }
        for candidate in candidates {
            let (from, to) = (candidate.values.len(), size.min(here.values.len()));
            candidate.values.resize(to, 0.0);
            let terms = Sample::Terms(here.order.at(from..to));
            let out = &mut candidate.values[from..];
            self.sum.values(&candidate.x, terms, out);
            candidate.found.add(&here.values[from..to], out);
            finite(&candidate.found)?;
        }
        Ok(())
    }

    /// Terms that differences begin with.
    fn difference_size(&self, proposal: &Proposal) -> usize {
        let (n, last) = (self.terms(), self.state.sizes[2]);
        let first = self.sensible(if last == 0 {
            n.div_ceil(100)
        } else {
            again(last)
        });
        match (self.config.sampling, self.sum.oracle().bounds()) {
            (Sampling::Full, _) => n,
            (Sampling::Fixed { value, .. }, _) => ((value * n as f64).ceil() as usize).clamp(1, n),
            (Sampling::Theory, Some(bounds)) => {
                let ratio =
                    bounds.gradient * proposal.length / (self.config.noise * proposal.promised);
                let wanted = 2.0 * ratio * ratio * (2.0 / sizes::look(self.config.slip, 1)).ln();
                self.sensible(wanted.ceil() as usize)
            }
            _ => first,
        }
    }

    fn difference_error(&self, found: &Differences, length: f64, failure: f64) -> f64 {
        let (m, n) = (found.count(), self.terms());
        match (self.config.sampling, self.sum.oracle().bounds()) {
            (Sampling::Theory, Some(bounds)) => {
                sizes::difference_error(bounds.gradient, length, m, n, failure)
            }
            _ => sizes::usual_error(found.variance(), m.saturating_sub(1), m, n, failure),
        }
    }
}

/// Refuses a point whose own values are not finite: no step could be measured from it.
fn finite(found: &Differences) -> Result<(), SecondOrderError> {
    let value = found.value();
    if value.is_finite() {
        return Ok(());
    }
    Err(SecondOrderError::NotFinite {
        what: "value",
        value,
    })
}
