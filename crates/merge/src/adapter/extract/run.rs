//! Extraction, tensor by tensor.

use super::{
    Extract,
    factors::{cut, rounded, sum_of_squares},
    part::Part,
    plan::{ExtractPlan, PlannedTensor},
    result::Extraction,
};
use crate::{
    error::{MergeError, ModelName},
    layout::UNIT,
    simd,
};
use rayon::prelude::*;
use refit_core::{LowRank, Progress, TensorRead};
use std::sync::Arc;

/// What one tensor became.
pub(super) enum Found {
    /// It did not change.
    Same,
    LowRank {
        factors: LowRank,
        square: f64,
        lost: f64,
    },
    Shift {
        values: Vec<f32>,
        square: f64,
        lost: f64,
    },
    Whole {
        square: f64,
    },
}

impl Extract {
    /// Extracts what `model` learned beyond `base`; tensors side by side, as long as they fit into `memory_bytes`. The
    /// factors of the result stay in memory; whole tensors are read from `model` when the adapter is written.
    ///
    /// # Errors
    /// [`MergeError::NotFinite`]; [`MergeError::NotLinear`] for what is to be refused; [`MergeError::Unchanged`] when
    /// there is nothing to extract; [`MergeError::Cancelled`] when `progress` asks for a stop; what reading and
    /// decomposing fail with.
    ///
    /// # Cost
    /// One pass over both models, and that of [`cut`](super::cut) for every matrix that changed. The result has the same
    /// bits for any number of threads.
    pub fn run(
        &self,
        plan: &ExtractPlan,
        base: &[Arc<dyn TensorRead>],
        model: &[Arc<dyn TensorRead>],
        memory_bytes: u64,
        progress: &dyn Progress,
    ) -> Result<Extraction, MergeError> {
        let values = plan.tensors.iter().map(|planned| planned.len() as u64);
        progress.begin("extracting", Some(values.sum()));
        let mut found = Vec::with_capacity(plan.tensors.len());
        let mut start = 0;
        while start < plan.tensors.len() {
            let group =
                &plan.tensors[start..start + group_len(&plan.tensors[start..], memory_bytes)];
            start += group.len();
            for planned in group {
                model[planned.model].prefetch();
                base[planned.base].prefetch();
            }
            let parts: Vec<Result<Found, MergeError>> = group
                .par_iter()
                .with_max_len(1)
                .map(|planned| {
                    let operands = Operands {
                        plan,
                        planned,
                        base: &*base[planned.base],
                        model: &*model[planned.model],
                    };
                    let found = self.extract(&operands, progress)?;
                    progress.advance(planned.len() as u64);
                    Ok(found)
                })
                .collect();
            for part in parts {
                found.push(part?);
            }
        }
        self.gather(plan, found, model)
    }

    fn extract(&self, at: &Operands<'_>, progress: &dyn Progress) -> Result<Found, MergeError> {
        let planned = at.planned;
        let Part::LowRank(_) = planned.part else {
            let keep = planned.part == Part::Shift;
            let mut values = Vec::new();
            let mut square = 0.0;
            at.each_stretch(progress, |stretch| {
                square += sum_of_squares(stretch);
                if keep {
                    values.extend_from_slice(stretch);
                }
            })?;
            return match planned.part {
                _ if square == 0.0 => Ok(Found::Same),
                Part::Shift => {
                    let stored = rounded(&values, self.config().dtype);
                    let stored = stored.ok_or_else(|| self.too_large(planned))?;
                    let pairs = values.iter().zip(&stored);
                    let lost = pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum();
                    let values = stored;
                    Ok(Found::Shift {
                        values,
                        square,
                        lost,
                    })
                }
                _ if self.refuses(planned) => Err(MergeError::NotLinear {
                    path: planned.path.clone(),
                }),
                _ => Ok(Found::Whole { square }),
            };
        };
        let mut change = Vec::with_capacity(planned.len());
        let mut same = true;
        at.each_stretch(progress, |stretch| {
            same &= stretch.iter().all(|v| *v == 0.0);
            change.extend_from_slice(stretch);
        })?;
        if same {
            return Ok(Found::Same);
        }
        let config = self.config();
        let seed = config.seed.fork("extract").fork(&planned.path);
        let shape = [planned.shape[0], planned.shape[1]];
        let cut = cut(&change, shape, planned.rank, config.energy, seed);
        let cut = cut.map_err(|source| MergeError::Matrix {
            path: planned.path.clone(),
            source,
        })?;
        let stored = cut.stored_as(config.dtype, &change);
        let cut = stored.ok_or_else(|| self.too_large(planned))?;
        Ok(Found::LowRank {
            factors: cut.factors,
            square: cut.square,
            lost: cut.lost,
        })
    }

    fn too_large(&self, planned: &PlannedTensor) -> MergeError {
        MergeError::TooLarge {
            path: planned.path.clone(),
            dtype: self.config().dtype,
        }
    }
}

/// How many of these tensors are worked on side by side: at least one.
fn group_len(tensors: &[PlannedTensor], memory_bytes: u64) -> usize {
    let mut bytes = 0u64;
    let fits = tensors.iter().take_while(|planned| {
        bytes = bytes.saturating_add(planned.held_bytes());
        bytes <= memory_bytes
    });
    fits.count().max(1)
}

/// The same tensor of both models.
struct Operands<'a> {
    plan: &'a ExtractPlan,
    planned: &'a PlannedTensor,
    base: &'a dyn TensorRead,
    model: &'a dyn TensorRead,
}

impl Operands<'_> {
    /// Hands the difference to `take`, stretch by stretch.
    fn each_stretch(
        &self,
        progress: &dyn Progress,
        mut take: impl FnMut(&[f32]),
    ) -> Result<(), MergeError> {
        let names = &self.plan.names;
        let (mut of_model, mut of_base) = (vec![0.0; UNIT], vec![0.0; UNIT]);
        let (mut change, mut scratch) = (vec![0.0; UNIT], Vec::new());
        for start in (0..self.planned.len()).step_by(UNIT) {
            if progress.cancelled() {
                return Err(MergeError::Cancelled);
            }
            let end = (start + UNIT).min(self.planned.len());
            let mut read = |tensor: &dyn TensorRead, name: &String, out: &mut [f32]| {
                let read = tensor.read_f32(start..end, out, &mut scratch);
                read.map_err(|source| MergeError::Read {
                    path: self.planned.path.clone(),
                    model: ModelName::Plain(name.clone()),
                    source,
                })?;
                match simd::first_not_finite(out) {
                    None => Ok(()),
                    Some(at) => Err(MergeError::NotFinite {
                        path: self.planned.path.clone(),
                        model: ModelName::Plain(name.clone()),
                        position: start + at,
                        value: out[at],
                    }),
                }
            };
            let len = end - start;
            read(self.model, &names.model, &mut of_model[..len])?;
            read(self.base, &names.base, &mut of_base[..len])?;
            let change = &mut change[..len];
            simd::subtract(change, &of_model[..len], &of_base[..len]);
            take(change);
        }
        Ok(())
    }
}
