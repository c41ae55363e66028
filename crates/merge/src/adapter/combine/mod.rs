//! Adapters of one base become one adapter; the base is not needed.
//!
//! Methods, names and settings are those of PEFT's `add_weighted_adapter`, and `knots`. A tensor that some adapters do
//! not change counts as a change of zero there, whatever the method. Scales and ranks may differ from tensor to tensor;
//! the result has scale 1 everywhere. A table of the base that is stored beside factors, as PEFT does for embeddings, stays
//! as it is.

mod config;
mod entries;
mod error;
mod matrices;
mod parts;

pub use config::{
    Combine, CombineConfig, DensitySettings, ElectSettings, KnotsSettings, Majority, NoSettings,
    RankSettings,
};
pub use error::CombineError;

use crate::rule::finite_weights;
use entries::{Entrywise, Thinning};
use parts::{Outward, Parts, parts};
use rayon::prelude::*;
use refit_core::{Adapter, AdapterTensor, Change, LowRank, ParamPath, Progress, Seed};

impl Combine {
    /// Merges `adapters`, each with its weight, into one called `name`.
    ///
    /// # Errors
    /// [`CombineError::NoAdapters`]; [`CombineError::Config`] for a weight that is not finite; what does not go together
    /// or needs the base, by adapter and tensor; [`CombineError::Cancelled`].
    ///
    /// # Cost
    /// With `R` the sum of ranks at a tensor `[out, in]`: `O((out + in) R)` for methods on factors and `cat`,
    /// `O((out + in) R^2 + R^3)` for `svd` and `knots`. The same bits for any number of threads.
    ///
    /// # Example
    /// ```
    /// use refit_core::{Adapter, AdapterTensor, Change, LowRank, Placement, Seed, Silent};
    /// use refit_merge::adapter::{CombineConfig, NoSettings};
    /// let adapter = |name: &str, left: [f32; 2], right: [f32; 2]| {
    ///     let factors = LowRank::new([2, 2], 1, left.to_vec(), right.to_vec(), 2.0).unwrap();
    ///     let change = Change::LowRank { factors, placement: Placement::Linear, magnitude: None };
    ///     Adapter { name: name.into(), tensors: vec![AdapterTensor { target: "q.weight".into(), change }] }
    /// };
    /// let (a, b) = (adapter("a", [1.0, 0.0], [1.0, 1.0]), adapter("b", [0.0, 1.0], [4.0, 2.0]));
    /// let cat = CombineConfig::Cat(NoSettings {}).check()?;
    /// let merged = cat.merge("both", &[(&a, 1.0), (&b, -0.5)], Seed::new(0), &Silent)?;
    /// let Change::LowRank { factors, .. } = &merged.tensors[0].change else { panic!() };
    /// assert_eq!((factors.rank(), factors.to_dense()), (2, vec![2.0, 2.0, -4.0, -2.0]));
    /// # Ok::<(), refit_merge::adapter::CombineError>(())
    /// ```
    pub fn merge(
        &self,
        name: &str,
        adapters: &[(&Adapter, f64)],
        seed: Seed,
        progress: &dyn Progress,
    ) -> Result<Adapter, CombineError> {
        if adapters.is_empty() {
            return Err(CombineError::NoAdapters);
        }
        let weights: Vec<f64> = adapters.iter().map(|(_, weight)| *weight).collect();
        finite_weights(&weights)?;
        let names: Vec<&str> = adapters.iter().map(|(adapter, _)| &*adapter.name).collect();
        let (parts, tables) = parts(adapters)?;
        let parts: Vec<_> = parts.into_iter().collect();
        progress.begin("merging", Some(parts.len() as u64));
        let tensors = parts.par_iter().map(|(target, parts)| {
            if progress.cancelled() {
                return Err(CombineError::Cancelled);
            }
            let change = match parts {
                Parts::Factors(placement, parts) => {
                    let at = Place {
                        target,
                        names: &names,
                        seed,
                    };
                    let outward = self.factors(&at, parts)?;
                    Change::LowRank {
                        factors: match placement {
                            refit_core::Placement::Linear => outward,
                            _ => outward.transposed(),
                        },
                        placement: *placement,
                        magnitude: None,
                    }
                }
                Parts::Shifts(parts) => Change::Shift(sum_of_shifts(parts)),
            };
            progress.advance(1);
            let target = (*target).clone();
            if !is_finite(&change) {
                return Err(CombineError::Overflow { target });
            }
            Ok(AdapterTensor { target, change })
        });
        // The first error in the order of tensors, whichever thread met it first.
        let tensors: Vec<_> = tensors.collect();
        let tensors = tensors.into_iter().collect::<Result<Vec<_>, _>>()?;
        let tables = tables.into_iter().map(|(target, table)| AdapterTensor {
            target: target.clone(),
            change: Change::Replace(table.clone()),
        });
        Ok(Adapter {
            name: name.to_owned(),
            // A table goes before what is added to it.
            tensors: tables.chain(tensors).collect(),
        })
    }

    fn factors(&self, at: &Place<'_>, parts: &[Outward<'_>]) -> Result<LowRank, CombineError> {
        let largest = || {
            parts
                .iter()
                .map(|part| part.factors.rank())
                .max()
                .unwrap_or(1)
        };
        let merged = match &self.0 {
            CombineConfig::Cat(_) => Ok(matrices::cat(parts)),
            CombineConfig::Svd(settings) => {
                matrices::cut_sum(parts, settings.rank.unwrap_or_else(largest))
            }
            CombineConfig::Knots(settings) => matrices::knots(parts, settings),
            CombineConfig::Linear(_) => return self.entrywise(at, parts, Thinning::All, None),
            CombineConfig::Ties(s) => {
                let elect = Some(s.majority_sign_method);
                return self.entrywise(at, parts, Thinning::Largest(s.density), elect);
            }
            CombineConfig::DareTies(s) => {
                let elect = Some(s.majority_sign_method);
                return self.entrywise(at, parts, Thinning::Random(s.density), elect);
            }
            CombineConfig::DareLinear(s) => {
                return self.entrywise(at, parts, Thinning::Random(s.density), None);
            }
            CombineConfig::MagnitudePrune(s) => {
                return self.entrywise(at, parts, Thinning::Largest(s.density), None);
            }
        };
        merged.map_err(|source| CombineError::Matrix {
            target: at.target.clone(),
            source,
        })
    }

    fn entrywise(
        &self,
        at: &Place<'_>,
        parts: &[Outward<'_>],
        thinning: Thinning,
        elect: Option<Majority>,
    ) -> Result<LowRank, CombineError> {
        let expected = parts[0].factors.rank();
        if let Some(part) = parts.iter().find(|part| part.factors.rank() != expected) {
            return Err(CombineError::Rank {
                adapter: at.names[part.adapter].to_owned(),
                target: at.target.clone(),
                method: self.0.name(),
                found: part.factors.rank(),
                expected,
            });
        }
        // By place and name: an adapter that is given twice gets two masks.
        let seeds = at.names.iter().enumerate().map(|(number, name)| {
            at.seed
                .fork("dare")
                .fork(format_args!("{number}/{name}"))
                .fork(at.target)
        });
        let seeds: Vec<Seed> = seeds.collect();
        Ok(Entrywise { thinning, elect }.merge(parts, &seeds))
    }
}

/// The tensor that is merged.
struct Place<'a> {
    target: &'a ParamPath,
    names: &'a [&'a str],
    seed: Seed,
}

/// Whether every value of a merged change is finite.
fn is_finite(change: &Change) -> bool {
    let all = |values: &[f32]| crate::simd::first_not_finite(values).is_none();
    match change {
        Change::LowRank { factors, .. } => {
            factors.scale().is_finite() && all(factors.left()) && all(factors.right())
        }
        Change::Shift(values) => all(values),
        _ => true,
    }
}

/// `sum_k w_k b_k`.
fn sum_of_shifts(parts: &[(&[f32], f64)]) -> Vec<f32> {
    let len = parts.first().map_or(0, |(values, _)| values.len());
    let mut sums = vec![0.0; len];
    for (values, weight) in parts {
        crate::simd::add_scaled(&mut sums, *weight, values);
    }
    sums.into_iter().map(|sum| sum as f32).collect()
}

#[cfg(test)]
mod tests;
