//! An adapter from what single tensors became: what belongs together goes together.

use super::{
    Extract, Others,
    part::Part,
    plan::{ExtractPlan, PlannedTensor},
    result::{ExtractedTensor, Extraction},
    run::Found,
};
use crate::error::MergeError;
use refit_core::{Adapter, AdapterTensor, Change, ParamPath, Placement, TensorRead};
use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

impl Extract {
    /// Makes an adapter of what was found.
    pub(super) fn gather(
        &self,
        plan: &ExtractPlan,
        mut found: Vec<Found>,
        model: &[Arc<dyn TensorRead>],
    ) -> Result<Extraction, MergeError> {
        if found.iter().all(|found| matches!(found, Found::Same)) {
            return Err(MergeError::Unchanged {
                model: plan.names.model.clone(),
            });
        }
        self.bring_to_layers(plan, &mut found)?;
        complete_modules(plan, &mut found);
        let entangled = entangled(plan, &found);
        let (mut changes, mut tensors) = (Vec::new(), Vec::new());
        let mut ties_embedding = false;
        for (planned, found) in plan.tensors.iter().zip(found) {
            let (change, part, square, lost) = match (found, planned.part) {
                (Found::Same, _) => continue,
                (
                    Found::LowRank {
                        factors,
                        square,
                        lost,
                    },
                    Part::LowRank(placement),
                ) => {
                    ties_embedding |= plan.tied && planned.is_embedding();
                    let change = Change::LowRank {
                        factors,
                        placement,
                        magnitude: None,
                    };
                    (change, planned.part, square, lost)
                }
                (
                    Found::Shift {
                        values,
                        square,
                        lost,
                    },
                    _,
                ) => (Change::Shift(values), Part::Shift, square, lost),
                (Found::LowRank { square, .. } | Found::Whole { square }, _) => {
                    let tensor = Arc::clone(&model[planned.model]);
                    (Change::Replace(tensor), Part::Whole, square, 0.0)
                }
            };
            let rank = match &change {
                Change::LowRank { factors, .. } => Some(factors.rank()),
                _ => None,
            };
            if let Change::Replace(tensor) = &change
                && plan.tied
                && planned.is_embedding()
            {
                changes.extend(plan.twins.iter().map(|twin| AdapterTensor {
                    target: twin.clone(),
                    change: Change::Replace(Arc::clone(tensor)),
                }));
            }
            changes.push(AdapterTensor {
                target: planned.path.clone(),
                change,
            });
            let residual = if square > 0.0 {
                (lost / square).sqrt()
            } else {
                0.0
            };
            tensors.push(ExtractedTensor {
                path: planned.path.clone(),
                part,
                rank,
                norm: square.sqrt(),
                residual,
            });
        }
        Ok(Extraction {
            unchanged: plan.tensors.len() - tensors.len(),
            adapter: Adapter {
                name: plan.names.model.clone(),
                tensors: changes,
            },
            tensors,
            ties_embedding,
            entangled,
        })
    }

    /// The bias of a layer whose weight did not change has no factors to go with, and goes as it is. So do all biases
    /// where some layer with factors has none: the format has differences of biases for all layers or for none. Beside
    /// differences of biases it knows no factors of embeddings, so these go as they are, too.
    fn bring_to_layers(&self, plan: &ExtractPlan, found: &mut [Found]) -> Result<(), MergeError> {
        let pairs = || plan.tensors.iter().zip(&*found);
        let layer = |(planned, found): (&PlannedTensor, &Found)| match (found, planned.part) {
            (Found::LowRank { .. }, Part::LowRank(placement)) => {
                Some((planned.path.module().to_owned(), placement))
            }
            _ => None,
        };
        let layers: Vec<(String, Placement)> = pairs().filter_map(layer).collect();
        let changed: HashSet<&str> = layers.iter().map(|(module, _)| &**module).collect();
        let biased: HashSet<&str> = plan.tensors.iter().filter_map(bias_of).collect();
        let uneven = layers.iter().any(|(module, placement)| {
            *placement != Placement::Embedding && !biased.contains(&**module)
        });
        let mut shifts = false;
        for (planned, found) in plan.tensors.iter().zip(&mut *found) {
            let Found::Shift { square, .. } = found else {
                continue;
            };
            let has_factors = changed.contains(planned.path.module());
            if !has_factors && self.config().others == Others::Refuse {
                let path = planned.path.clone();
                return Err(MergeError::NotLinear { path });
            }
            if has_factors && !uneven {
                shifts = true;
            } else {
                *found = Found::Whole { square: *square };
            }
        }
        for (planned, found) in plan.tensors.iter().zip(found) {
            let (Found::LowRank { square, .. }, Part::LowRank(Placement::Embedding), true) =
                (&*found, planned.part, shifts)
            else {
                continue;
            };
            *found = Found::Whole { square: *square };
        }
        Ok(())
    }
}

/// The module whose bias this is.
fn bias_of(planned: &PlannedTensor) -> Option<&str> {
    let name = planned.path.as_str();
    name.strip_suffix(".bias")
        .filter(|_| planned.shape.len() == 1)
}

/// Whether `inner` is `outer` or lies in it; the name of the model itself is empty.
fn is_inside(inner: &str, outer: &str) -> bool {
    let rest = inner.strip_prefix(outer);
    outer.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Modules that loaders replace because a tensor of theirs goes whole, each with a tensor that makes it so. The bias of
/// a layer with factors is looked for inside the layer.
fn replaced<'a>(plan: &'a ExtractPlan, found: &[Found]) -> Vec<&'a ParamPath> {
    let pairs = || plan.tensors.iter().zip(found);
    let layers: HashSet<&str> = pairs()
        .filter(|(_, found)| matches!(found, Found::LowRank { .. }))
        .map(|(planned, _)| planned.path.module())
        .collect();
    let in_layer = |planned: &PlannedTensor| bias_of(planned).is_some_and(|m| layers.contains(m));
    pairs()
        .filter(|(planned, found)| matches!(found, Found::Whole { .. }) && !in_layer(planned))
        .map(|(planned, _)| &planned.path)
        .collect()
}

/// Loaders that replace a module look for all of its tensors, so those that did not change go with the others.
fn complete_modules(plan: &ExtractPlan, found: &mut [Found]) {
    let is_layer = |planned: &&PlannedTensor| matches!(planned.part, Part::LowRank(_));
    let layers: Vec<&str> = plan
        .tensors
        .iter()
        .filter(is_layer)
        .map(|planned| planned.path.module())
        .collect();
    let modules: BTreeSet<&str> = replaced(plan, found)
        .into_iter()
        .map(ParamPath::module)
        .collect();
    let modules: Vec<&str> = modules
        .into_iter()
        .filter(|outer| !outer.is_empty() && !layers.iter().any(|inner| is_inside(inner, outer)))
        .collect();
    for (planned, found) in plan.tensors.iter().zip(found) {
        let module = planned.path.module();
        if matches!(found, Found::Same) && modules.iter().any(|outer| is_inside(module, outer)) {
            *found = Found::Whole { square: 0.0 };
        }
    }
}

/// Whole tensors of modules with something inside that is not whole, or whose name another such module ends in.
fn entangled(plan: &ExtractPlan, found: &[Found]) -> Vec<ParamPath> {
    let pairs = || plan.tensors.iter().zip(found);
    let others: HashSet<&str> = pairs()
        .filter(|(_, found)| !matches!(found, Found::Whole { .. }))
        .map(|(planned, _)| planned.path.module())
        .collect();
    let meets = |path: &&ParamPath| {
        let outer = path.module();
        let meets = |inner: &&str| is_inside(inner, outer) || inner.ends_with(outer);
        others.iter().any(meets)
    };
    replaced(plan, found)
        .into_iter()
        .filter(meets)
        .cloned()
        .collect()
}
