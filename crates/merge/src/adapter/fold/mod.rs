//! A model with an adapter folded in, computed while it is read.
//! Sources: Hu et al. 2021, arXiv:2106.09685 (LoRA); Liu et al. 2024, arXiv:2402.09353 (DoRA).

mod attach;
mod lengths;

pub use attach::{attach, oriented};

use super::{error::FoldError, product::add_product};
use crate::{error::Shape, simd};
use lengths::{Lengths, Outputs};
use refit_core::{Change, LowRank, Placement, ReadError, TensorMeta, TensorRead};
use std::{ops::Range, sync::Arc};

/// A tensor with a change folded in: `W + s B A`, or what takes its place.
///
/// With magnitudes `m` (DoRA), every output of `V = W + s B A` is brought to its length: `m_o V_o / |V_o|`. Lengths are
/// found by one pass over the tensor before the first stretch is read, and kept; an output of length 0 stays 0.
///
/// # Cost
/// `2 r` operations per value beside reading the base, in vector registers; the factors and, for DoRA, one double per
/// output in memory. Stretches of whole rows are fastest.
#[derive(Debug)]
pub struct Folded {
    meta: TensorMeta,
    work: Work,
}

enum Work {
    Add {
        base: Arc<dyn TensorRead>,
        factors: LowRank,
        lengths: Option<Lengths>,
    },
    Shift {
        base: Arc<dyn TensorRead>,
        values: Vec<f32>,
    },
    Replace(Arc<dyn TensorRead>),
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Add { .. } => "Add",
            Self::Shift { .. } => "Shift",
            Self::Replace(_) => "Replace",
        })
    }
}

impl Folded {
    /// `base` with `change` folded in; the name stays that of `base`.
    ///
    /// # Errors
    /// When the change has another shape than the tensor, or the tensor is no weight.
    pub fn new(base: Arc<dyn TensorRead>, change: &Change) -> Result<Self, FoldError> {
        let meta = base.meta().clone();
        let target = || meta.path.clone();
        if !meta.dtype.is_weight() {
            return Err(FoldError::NotWeights { target: target() });
        }
        let shape_error = |found: &[usize]| FoldError::Shape {
            target: target(),
            found: Shape(found.to_vec()),
            expected: Shape(meta.shape.clone()),
        };
        let work = match change {
            Change::LowRank {
                factors,
                placement,
                magnitude,
            } => {
                let (factors, turned) = fit(factors, *placement, &meta.shape)
                    .ok_or_else(|| shape_error(&[factors.rows(), factors.cols()]))?;
                let rows = (*placement == Placement::Linear) != turned;
                let outputs = if rows { Outputs::Rows } else { Outputs::Cols };
                let expected = match outputs {
                    Outputs::Rows => factors.rows(),
                    Outputs::Cols => factors.cols(),
                };
                if let Some(found) = magnitude.as_ref().map(Vec::len).filter(|&n| n != expected) {
                    return Err(FoldError::Magnitudes {
                        target: target(),
                        found,
                        expected,
                    });
                }
                let lengths = magnitude
                    .as_ref()
                    .map(|magnitude| Lengths::new(magnitude, outputs));
                Work::Add {
                    base,
                    factors,
                    lengths,
                }
            }
            Change::Shift(values) if values.len() == meta.len() => Work::Shift {
                base,
                values: values.clone(),
            },
            Change::Shift(values) => return Err(shape_error(&[values.len()])),
            Change::Replace(other) => {
                let found = other.meta();
                if found.shape != meta.shape {
                    return Err(shape_error(&found.shape));
                }
                let meta = TensorMeta {
                    dtype: found.dtype,
                    ..meta
                };
                let work = Work::Replace(Arc::clone(other));
                return Ok(Self { meta, work });
            }
            _ => return Err(FoldError::Unknown { target: target() }),
        };
        Ok(Self { meta, work })
    }

    fn check(&self, range: &Range<usize>, out: &[f32]) -> Result<(), FoldError> {
        let len = self.meta.len();
        if range.start <= range.end && range.end <= len && out.len() == range.len() {
            return Ok(());
        }
        Err(FoldError::Range {
            target: self.meta.path.clone(),
            found: out.len(),
            start: range.start,
            end: range.end,
            len,
        })
    }
}

/// The factors in the orientation of a weight of `shape`, and whether they had to be turned over for it.
fn fit(factors: &LowRank, placement: Placement, shape: &[usize]) -> Option<(LowRank, bool)> {
    let (&rows, rest) = shape.split_first()?;
    if rest.is_empty() {
        return None;
    }
    let cols: usize = rest.iter().product();
    if (factors.rows(), factors.cols()) == (rows, cols) {
        return Some((factors.clone(), false));
    }
    let may_turn = placement != Placement::Embedding && rest.len() == 1;
    let fits = may_turn && (factors.cols(), factors.rows()) == (rows, cols);
    fits.then(|| (factors.transposed(), true))
}

impl TensorRead for Folded {
    fn meta(&self) -> &TensorMeta {
        &self.meta
    }

    fn read_f32(
        &self,
        range: Range<usize>,
        out: &mut [f32],
        scratch: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        self.check(&range, out)?;
        match &self.work {
            Work::Replace(other) => other.read_f32(range, out, scratch),
            Work::Shift { base, values } => {
                base.read_f32(range.clone(), out, scratch)?;
                simd::add(out, &values[range]);
                Ok(())
            }
            Work::Add {
                base,
                factors,
                lengths,
            } => {
                // Before the stretch itself: the pass needs the same scratch.
                let scale = match lengths {
                    Some(lengths) => Some((lengths.factors(&**base, factors, scratch)?, lengths)),
                    None => None,
                };
                base.read_f32(range.clone(), out, scratch)?;
                add_product(factors, range.clone(), out);
                if let Some((scale, lengths)) = scale {
                    lengths.apply(&scale, factors.cols(), range, out);
                }
                Ok(())
            }
        }
    }

    fn read_bytes(&self, range: Range<usize>, out: &mut [u8]) -> Result<(), ReadError> {
        match &self.work {
            Work::Replace(other) => other.read_bytes(range, out),
            _ => Err(Box::new(FoldError::Computed {
                target: self.meta.path.clone(),
            })),
        }
    }

    fn is_stored(&self) -> bool {
        matches!(&self.work, Work::Replace(other) if other.is_stored())
    }

    fn prefetch(&self) {
        match &self.work {
            Work::Add { base, .. } | Work::Shift { base, .. } => base.prefetch(),
            Work::Replace(other) => other.prefetch(),
        }
    }
}

#[cfg(test)]
mod tests;
