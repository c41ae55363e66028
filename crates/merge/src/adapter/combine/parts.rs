//! The changes of one tensor in all adapters, checked to go together.

use super::{super::is_same, error::CombineError};
use crate::error::Shape;
use refit_core::{Adapter, Change, LowRank, ParamPath, Placement, TensorRead};
use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

/// The factors of one adapter in the orientation in which adapters store them: `left [out, r]`, `right [r, in]`.
pub(super) struct Outward<'a> {
    /// Which adapter.
    pub(super) adapter: usize,
    pub(super) factors: Cow<'a, LowRank>,
    /// What the change is multiplied with.
    pub(super) weight: f64,
}

impl Outward<'_> {
    /// Weight and scale in one.
    pub(super) fn factor(&self) -> f64 {
        self.weight * self.factors.scale()
    }
}

/// What adapters do to one tensor.
pub(super) enum Parts<'a> {
    Factors(Placement, Vec<Outward<'a>>),
    /// Biases with their weights.
    Shifts(Vec<(&'a [f32], f64)>),
}

/// What adapters do to every tensor, by name.
type Changes<'a> = BTreeMap<&'a ParamPath, Parts<'a>>;
/// Tables of the base, by name.
type Tables<'a> = BTreeMap<&'a ParamPath, &'a Arc<dyn TensorRead>>;

/// The changes of every tensor that an adapter changes, and the tables of the base that adapters store beside their
/// factors, as PEFT does for embeddings: the same in all of them.
pub(super) fn parts<'a>(
    adapters: &[(&'a Adapter, f64)],
) -> Result<(Changes<'a>, Tables<'a>), CombineError> {
    let (mut all, mut tables) = (Changes::new(), Tables::new());
    for (number, &(adapter, weight)) in adapters.iter().enumerate() {
        for tensor in &adapter.tensors {
            let target = &tensor.target;
            let (name, path) = (|| adapter.name.clone(), || target.clone());
            let needs_base = |what| CombineError::NeedsBase {
                adapter: name(),
                what,
                target: path(),
            };
            let finite = |values: &[f32]| {
                let finite = crate::simd::first_not_finite(values).is_none();
                finite.then_some(()).ok_or_else(|| CombineError::NotFinite {
                    adapter: name(),
                    target: path(),
                })
            };
            let other_kind = || CombineError::Kind {
                adapter: name(),
                target: path(),
            };
            match &tensor.change {
                Change::LowRank {
                    magnitude: Some(_), ..
                } => return Err(needs_base("has magnitudes (DoRA) for")),
                Change::LowRank {
                    factors, placement, ..
                } => {
                    finite(factors.left())?;
                    finite(factors.right())?;
                    let empty = || Parts::Factors(*placement, Vec::new());
                    let Parts::Factors(place, parts) = all.entry(target).or_insert_with(empty)
                    else {
                        return Err(other_kind());
                    };
                    if place != placement {
                        return Err(other_kind());
                    }
                    let part = outward(number, factors, *placement, weight);
                    if let Some(first) = parts.first() {
                        same_shape(&first.factors, &part.factors).map_err(
                            |[found, expected]| CombineError::Shape {
                                adapter: name(),
                                target: path(),
                                found,
                                expected,
                            },
                        )?;
                    }
                    parts.push(part);
                }
                Change::Shift(values) => {
                    finite(values)?;
                    let empty = || Parts::Shifts(Vec::new());
                    let Parts::Shifts(parts) = all.entry(target).or_insert_with(empty) else {
                        return Err(other_kind());
                    };
                    if let Some((first, _)) = parts.first().filter(|(v, _)| v.len() != values.len())
                    {
                        return Err(CombineError::Shape {
                            adapter: name(),
                            target: path(),
                            found: Shape(vec![values.len()]),
                            expected: Shape(vec![first.len()]),
                        });
                    }
                    parts.push((values, weight));
                }
                Change::Replace(table) => match tables.get(target) {
                    _ if !adds_to(adapter, target) => return Err(needs_base("replaces")),
                    Some(first) if !is_same(&***first, &**table) => {
                        return Err(needs_base("was trained on another"));
                    }
                    Some(_) => {}
                    None => {
                        tables.insert(target, table);
                    }
                },
                _ => return Err(needs_base("changes in a way of its own")),
            }
        }
    }
    Ok((all, tables))
}

/// Whether the adapter also changes by factors what it replaces: then it stores the table of its base.
fn adds_to(adapter: &Adapter, target: &ParamPath) -> bool {
    let mut tensors = adapter.tensors.iter();
    tensors
        .any(|tensor| tensor.target == *target && matches!(tensor.change, Change::LowRank { .. }))
}

fn outward(adapter: usize, factors: &LowRank, placement: Placement, weight: f64) -> Outward<'_> {
    let factors = match placement {
        Placement::Linear => Cow::Borrowed(factors),
        _ => Cow::Owned(factors.transposed()),
    };
    Outward {
        adapter,
        factors,
        weight,
    }
}

fn same_shape(first: &LowRank, other: &LowRank) -> Result<(), [Shape; 2]> {
    let shape = |factors: &LowRank| Shape(vec![factors.rows(), factors.cols()]);
    if shape(first) == shape(other) {
        return Ok(());
    }
    Err([shape(other), shape(first)])
}
