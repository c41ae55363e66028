//! Which tensor of a model each change of an adapter is for.

use super::{
    super::{is_same, is_transposed_type},
    FoldError, Folded,
};
use crate::recipe::{Vocabulary, vocabulary};
use refit_core::{Adapter, AdapterTensor, Change, ParamPath, Placement, TensorRead, nearest};
use serde_json::Value;
use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// Names that an unknown name is compared with, at most.
const NEAREST_OF: usize = 10_000;

/// Folds `adapter` into `model`: the same tensors in the same order, where those that the adapter changes are computed
/// while they are read.
///
/// Names are matched exactly; where that fails for some, all of them are tried without their first part, or behind the
/// first part of a name of the model, since checkpoints of a bare model leave out what a head in front of it adds. A
/// matrix that fits the weight only when it is turned over is turned over, as a layer's kind wins over
/// `fan_in_fan_out` in PEFT. Where the head of a model is its embedding, adapters replace both, and the second time is
/// passed over if it says the same.
///
/// # Errors
/// [`FoldError`] names the first change that does not fit.
///
/// # Example
/// ```
/// use refit_core::{Adapter, AdapterTensor, Change, LowRank, Placement};
/// use refit_merge::adapter::attach;
/// let factors = LowRank::new([2, 2], 1, vec![1.0, 2.0], vec![1.0, -1.0], 1.0).unwrap();
/// let change = Change::LowRank { factors, placement: Placement::Linear, magnitude: None };
/// let tensors = vec![AdapterTensor { target: "q.weight".into(), change }];
/// let adapter = Adapter { name: "tuned".into(), tensors };
/// let Err(error) = attach(Vec::new(), &adapter) else { panic!() };
/// let text = "the adapter `tuned` changes `q.weight`, which the model has not";
/// assert_eq!(error.to_string(), text);
/// ```
pub fn attach(
    mut model: Vec<Arc<dyn TensorRead>>,
    adapter: &Adapter,
) -> Result<Vec<Arc<dyn TensorRead>>, FoldError> {
    let all: Vec<&AdapterTensor> = adapter.tensors.iter().collect();
    let (tensors, places) = match places(&model, &all, &adapter.name) {
        Ok(places) => (all, places),
        Err(error) => {
            let needed = without_twins(&model, &all);
            if needed.len() == all.len() {
                return Err(error);
            }
            let places = places(&model, &needed, &adapter.name)?;
            (needed, places)
        }
    };
    for (place, target) in places.into_iter().zip(tensors) {
        let base = Arc::clone(&model[place]);
        model[place] = Arc::new(Folded::new(base, &target.change)?);
    }
    Ok(model)
}

/// `adapter` as PEFT understands it on a model of this `config.json`: `fan_in_fan_out` is for models that store layers
/// `[in, out]`, and means nothing for others.
///
/// Where the model does not say what it is, the adapter is taken at its word.
#[must_use]
pub fn oriented<'a>(adapter: &'a Adapter, config: Option<&Value>) -> Cow<'a, Adapter> {
    let kind = config.and_then(|config| config.get("model_type")?.as_str());
    let is_turned = |tensor: &AdapterTensor| {
        let change = &tensor.change;
        matches!(change, Change::LowRank { placement, .. } if *placement == Placement::Transposed)
    };
    if kind.is_none_or(is_transposed_type) || !adapter.tensors.iter().any(is_turned) {
        return Cow::Borrowed(adapter);
    }
    let mut adapter = adapter.clone();
    for tensor in &mut adapter.tensors {
        if let Change::LowRank {
            factors, placement, ..
        } = &mut tensor.change
            && *placement == Placement::Transposed
        {
            *factors = factors.transposed();
            *placement = Placement::Linear;
        }
    }
    Cow::Owned(adapter)
}

/// The tensor of the model for each change.
fn places(
    model: &[Arc<dyn TensorRead>],
    tensors: &[&AdapterTensor],
    adapter: &str,
) -> Result<Vec<usize>, FoldError> {
    let names = || model.iter().map(|tensor| tensor.meta().path.as_str());
    let index: HashMap<&str, usize> = names().enumerate().map(|(i, name)| (name, i)).collect();
    let find = |rename: &dyn Fn(&str) -> Option<String>| -> Option<Vec<usize>> {
        let place = |target: &ParamPath| index.get(rename(target.as_str())?.as_str()).copied();
        tensors.iter().map(|tensor| place(&tensor.target)).collect()
    };
    let exact = |name: &str| Some(name.to_owned());
    let shorter = |name: &str| name.split_once('.').map(|(_, rest)| rest.to_owned());
    if let Some(places) = find(&exact).or_else(|| find(&shorter)) {
        return Ok(places);
    }
    let mut heads: Vec<&str> = names().filter_map(|n| Some(n.split_once('.')?.0)).collect();
    heads.sort_unstable();
    heads.dedup();
    // Names of blocks are few; a model with many first parts has no common head.
    let longer = |head: &str| find(&|name: &str| Some(format!("{head}.{name}")));
    if let Some(places) = heads.iter().take(16).find_map(|head| longer(head)) {
        return Ok(places);
    }
    let targets = tensors.iter().map(|tensor| &tensor.target);
    let mut unknown = targets.filter(|target| !index.contains_key(target.as_str()));
    match unknown.next() {
        Some(target) => Err(FoldError::NoTarget {
            adapter: adapter.to_owned(),
            target: target.clone(),
            nearest: nearest(target.as_str(), names().take(NEAREST_OF)).map(str::to_owned),
            more: unknown.count(),
        }),
        None => Ok(Vec::new()),
    }
}

/// The changes without those of heads and tables that the model has not and that replace them by what the embedding
/// becomes: in this model they are the embedding.
fn without_twins<'a>(
    model: &[Arc<dyn TensorRead>],
    tensors: &[&'a AdapterTensor],
) -> Vec<&'a AdapterTensor> {
    let last = |name: &str| {
        name.rsplit('.')
            .take(2)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let names = model.iter().map(|tensor| tensor.meta().path.as_str());
    let held: HashSet<Vec<String>> = names
        .filter(|name| vocabulary(name).is_some())
        .map(last)
        .collect();
    let replaced = |tensor: &'a AdapterTensor| match &tensor.change {
        Change::Replace(values) if vocabulary(tensor.target.as_str()).is_some() => Some(values),
        _ => None,
    };
    let is_held = |tensor: &AdapterTensor| held.contains(&last(tensor.target.as_str()));
    let is_twin = |tensor: &&'a AdapterTensor| {
        let Some(values) = replaced(tensor).filter(|_| !is_held(tensor)) else {
            return false;
        };
        let mut embeddings = tensors.iter().filter(|other| {
            vocabulary(other.target.as_str()) == Some(Vocabulary::Embedding) && is_held(other)
        });
        embeddings.any(|other| replaced(other).is_some_and(|other| is_same(&**values, &**other)))
    };
    let needed = tensors.iter().filter(|tensor| !is_twin(tensor));
    needed.copied().collect()
}
