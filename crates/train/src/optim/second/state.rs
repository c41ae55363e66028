//! Everything a minimisation needs to continue bit for bit.

use super::{
    config::{Method, SecondOrderConfig},
    count::Counts,
};
use refit_math::krylov::Bound;
use serde::{Deserialize, Serialize};

/// The state in which the search from a point begins.
///
/// It is saved between points, not between trials: what an interrupted search had tried is tried again, to the same bits.
/// Numbers in double precision are saved as their bits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SecondOrderState {
    pub(super) config: SecondOrderConfig,
    pub(super) terms: usize,
    #[serde(with = "bits")]
    pub(super) x: Vec<f64>,
    /// Trials so far.
    pub(super) trials: u64,
    /// Radius or weight of the cubic term, as bits.
    pub(super) bound: u64,
    /// Terms of the last gradient, Hessian and difference of values.
    pub(super) sizes: [usize; 3],
    /// Whether the gradient needs all terms, because a certificate said so.
    pub(super) exact: bool,
    /// Whether the last trial left the value of every term behind.
    pub(super) known: bool,
    /// Lengths of the first step that was taken and of the last one, as bits.
    pub(super) lengths: Option<[u64; 2]>,
    /// Growth of samples after steps that were taken back, as bits.
    pub(super) growth: u64,
    /// Certificates tried.
    pub(super) attempts: u32,
    /// Trials in a row below what can be measured.
    pub(super) below: u32,
    pub(super) counts: Counts,
    /// Products that were asked of the last Hessian but one, and of the last one.
    #[serde(default)]
    pub(super) asked: [u32; 2],
}

impl SecondOrderState {
    pub(super) fn new(config: &SecondOrderConfig, terms: usize, x: Vec<f64>) -> Self {
        let bound = match config.method {
            Method::TrustRegion { radius, .. } => radius,
            Method::Cubics { sigma, .. } => sigma,
        };
        Self {
            config: config.clone(),
            terms,
            x,
            trials: 0,
            bound: bound.to_bits(),
            sizes: [0; 3],
            exact: false,
            known: false,
            lengths: None,
            growth: 1f64.to_bits(),
            attempts: 0,
            below: 0,
            counts: Counts::default(),
            asked: [0; 2],
        }
    }

    /// The point.
    pub fn x(&self) -> &[f64] {
        &self.x
    }

    /// Trials so far.
    pub fn trials(&self) -> u64 {
        self.trials
    }

    /// All work so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The settings of the run.
    pub fn config(&self) -> &SecondOrderConfig {
        &self.config
    }

    pub(super) fn size(&self) -> f64 {
        f64::from_bits(self.bound)
    }

    pub(super) fn bound(&self) -> Bound {
        match self.config.method {
            Method::TrustRegion { .. } => Bound::Radius(self.size()),
            Method::Cubics { .. } => Bound::Cubic(self.size()),
        }
    }
}

/// Numbers as their bits: text with decimals is not read back to the last digit by every reader.
mod bits {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(x: &[f64], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(x.iter().map(|v| v.to_bits()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f64>, D::Error> {
        let bits = Vec::<u64>::deserialize(from)?;
        Ok(bits.into_iter().map(f64::from_bits).collect())
    }
}
