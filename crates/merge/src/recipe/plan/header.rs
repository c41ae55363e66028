//! What is known of a model before its values are read.

use super::problem::{PlanProblem, Problems};
use crate::recipe::structure::{ModuleShape, Structure, Vocabulary, vocabulary};
use refit_core::TensorMeta;
use serde_json::Value;
use std::collections::HashMap;

/// Most characters of a foreign value in a message.
const MOST_SHOWN: usize = 40;

/// The tensors of a model and its `config.json`.
#[derive(Clone, Copy, Debug)]
pub struct ModelHeader<'a> {
    /// Every tensor, in storage order.
    pub tensors: &'a [TensorMeta],
    /// `config.json`, where there is one.
    pub config: Option<&'a Value>,
}

/// A [`ModelHeader`] that finds tensors by name.
pub(super) struct Header<'a> {
    model: ModelHeader<'a>,
    index: HashMap<&'a str, usize>,
    /// Number of layers of each module.
    layers: Vec<usize>,
    /// The tensors of each layer of each module, by what stands behind the number, in storage order.
    rests: HashMap<(usize, usize), Vec<&'a str>>,
}

impl<'a> Header<'a> {
    pub(super) fn new(
        model: ModelHeader<'a>,
        structure: &Structure,
        name: &str,
        problems: &mut Problems,
    ) -> Self {
        let names = || model.tensors.iter().map(|tensor| tensor.path.as_str());
        let mut rests: HashMap<_, Vec<&str>> = HashMap::new();
        for (at, module) in structure.modules().iter().enumerate() {
            for (layer, rest) in names().filter_map(|name| module.layer(name)) {
                rests.entry((at, layer)).or_default().push(rest);
            }
        }
        let layers = structure.modules().iter().map(|module| {
            let found = module.count(names());
            let told = model.config.and_then(|config| layers_told(config, module));
            let told = told.transpose().unwrap_or_else(|(key, found)| {
                problems.push(PlanProblem::Count {
                    model: name.to_owned(),
                    key,
                    found,
                });
                None
            });
            let Some(expected) = told.filter(|_| module.prefix.is_some()) else {
                return found;
            };
            if expected > found {
                problems.push(PlanProblem::Layers {
                    model: name.to_owned(),
                    found,
                    expected,
                });
            }
            found.min(expected)
        });
        Self {
            model,
            layers: layers.collect(),
            rests,
            index: names().enumerate().map(|(at, name)| (name, at)).collect(),
        }
    }

    /// Number of layers of a module: what `config.json` says, and what there are without it. Layers beyond that are
    /// for other purposes, such as the prediction of several tokens.
    pub(super) fn layers(&self, module: usize) -> usize {
        self.layers[module]
    }

    /// The names of the tensors of a layer behind its number, in storage order.
    pub(super) fn rests(&self, module: usize, layer: usize) -> Vec<&'a str> {
        self.rests
            .get(&(module, layer))
            .cloned()
            .unwrap_or_default()
    }

    /// The names of all tensors, in storage order.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let tensors = self.model.tensors.iter();
        tensors.map(|tensor| tensor.path.as_str())
    }

    /// `config.json`, where there is one.
    pub(super) fn config(&self) -> Option<&'a Value> {
        self.model.config
    }

    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    pub(super) fn tensor(&self, index: usize) -> &'a TensorMeta {
        &self.model.tensors[index]
    }

    /// The tensor that serves as `name` where `name` is not stored: a head, or one of several names of an embedding,
    /// that is tied to the embedding.
    pub(super) fn tied(&self, name: &str) -> Option<usize> {
        if !matches!(
            vocabulary(name),
            Some(Vocabulary::Embedding | Vocabulary::Head)
        ) {
            return None;
        }
        let embedding =
            |tensor: &TensorMeta| vocabulary(tensor.path.as_str()) == Some(Vocabulary::Embedding);
        self.model.tensors.iter().position(embedding)
    }
}

/// The number of layers of `module` in a configuration; the key and what is there where that is no number of layers.
fn layers_told(
    config: &Value,
    module: &ModuleShape,
) -> Option<Result<usize, (&'static str, String)>> {
    let present = |key: &&'static str| {
        let found = value_at(config, key).filter(|found| !found.is_null());
        Some((*key, found?))
    };
    let (key, found) = module.counts.iter().find_map(present)?;
    let count = found.as_u64().and_then(|count| usize::try_from(count).ok());
    Some(count.ok_or_else(|| (key, found.to_string().chars().take(MOST_SHOWN).collect())))
}

/// The value of a key, dots leading into nested objects.
pub(super) fn value_at<'v>(config: &'v Value, key: &str) -> Option<&'v Value> {
    key.split('.').try_fold(config, |value, key| value.get(key))
}
