//! Recipes for adapters: several of one base become one, without the base.
//!
//! ```yaml
//! adapter_method: svd     # linear, cat, svd, ties, dare_linear, dare_ties, magnitude_prune, knots
//! rank: 16                # settings of the method
//! adapters:
//!   - runs/lora-a         # a folder; its weight is 1
//!   - path: runs/lora-b
//!     weight: 0.5
//! ```

use super::{MergingError, RECIPE};
use crate::{
    recipe::{missing, take},
    settings::lay_over,
    yaml::read_documents,
};
use refit_core::{Adapter, ConfigError, Progress, Seed};
use refit_io::{
    adapter::{AdapterOptions, StoredAdapter, read_adapter, write_adapter_files},
    atomic::{Overwrite, write_file},
    hub::resolve_model,
};
use refit_merge::adapter::{Combine, CombineConfig};
use serde::Serialize;
use serde_json::{Map, Value};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// Keys that every recipe may have, beside the settings of its method.
const KEYS: [&str; 2] = ["adapter_method", "adapters"];
const ADAPTER_KEYS: [&str; 2] = ["path", "weight"];

/// A recipe for adapters, with every adapter read.
#[derive(Debug)]
pub struct AdapterJob {
    path: PathBuf,
    text: String,
    combine: Combine,
    adapters: Vec<(StoredAdapter, f64)>,
}

/// What a merge of adapters would do.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct AdapterSummary {
    /// The method and its settings.
    pub method: CombineConfig,
    /// Name and weight of every adapter.
    pub adapters: Vec<(String, f64)>,
    /// Models that the adapters name as their base.
    pub bases: Vec<String>,
    /// Tensors that an adapter changes.
    pub tensors: usize,
    /// Bytes of the factors, in single precision.
    pub input_bytes: u64,
    /// Bytes of the result.
    pub written_bytes: u64,
    /// Bytes of memory beside the program and what the method works with on one matrix.
    pub memory_bytes: u64,
}

impl AdapterJob {
    /// Whether the file at `path` is a recipe of this kind: it names an `adapter_method`.
    ///
    /// # Errors
    /// When the file cannot be read or is no YAML.
    pub fn is_meant(path: &Path) -> Result<bool, MergingError> {
        let (_, documents) = read_documents(path)?;
        let [document] = documents.as_slice() else {
            return Ok(false);
        };
        Ok(document.get("adapter_method").is_some())
    }

    /// The settings of the recipe at `path`, and its adapters with their weights; opens none.
    ///
    /// # Errors
    /// A recipe that cannot be understood.
    pub fn recipe(path: &Path) -> Result<(CombineConfig, Vec<(String, f64)>), MergingError> {
        let (combine, adapters) = read_recipe(path)?;
        Ok((combine.config().clone(), adapters))
    }

    /// Reads the recipe at `path` strictly, and every adapter; those that are no path are looked for in `cache`, that of
    /// the hub.
    ///
    /// # Errors
    /// A recipe that cannot be understood, an adapter that cannot be read.
    pub fn open(path: &Path, cache: Option<&Path>) -> Result<Self, MergingError> {
        let (text, documents) = read_documents(path)?;
        let (combine, entries) = recipe_in(documents)?;
        let adapters = entries.into_iter().map(|(name, weight)| {
            let folder = resolve_model(&name, None, cache)?;
            Ok((read_adapter(folder)?, weight))
        });
        Ok(Self {
            path: path.into(),
            text,
            combine,
            adapters: adapters.collect::<Result<_, MergingError>>()?,
        })
    }

    /// The method's name.
    pub fn method(&self) -> &'static str {
        self.combine.config().name()
    }

    /// Every file that is read: the recipe, and what the adapters are made of.
    pub fn files(&self) -> Vec<PathBuf> {
        let adapters = self
            .adapters
            .iter()
            .flat_map(|(stored, _)| stored.files.clone());
        std::iter::once(self.path.clone()).chain(adapters).collect()
    }

    /// What is done; `merged` is the result.
    pub fn summary(&self, merged: &Adapter) -> AdapterSummary {
        let tensors = || {
            self.adapters
                .iter()
                .flat_map(|(stored, _)| &stored.adapter.tensors)
        };
        let names = tensors().map(|tensor| &tensor.target);
        AdapterSummary {
            method: self.combine.config().clone(),
            adapters: self
                .adapters
                .iter()
                .map(|(stored, weight)| (stored.adapter.name.clone(), *weight))
                .collect(),
            bases: self.bases(),
            tensors: names.collect::<BTreeSet<_>>().len(),
            input_bytes: self.held_bytes(),
            written_bytes: merged.held_bytes(),
            memory_bytes: self.held_bytes() + merged.held_bytes(),
        }
    }

    fn held_bytes(&self) -> u64 {
        let adapters = self.adapters.iter();
        adapters
            .map(|(stored, _)| stored.adapter.held_bytes())
            .sum()
    }

    /// Merges all adapters.
    ///
    /// # Errors
    /// What does not go together or needs the base, by adapter and tensor.
    pub fn merge(&self, seed: Seed, progress: &dyn Progress) -> Result<Adapter, MergingError> {
        let adapters: Vec<(&Adapter, f64)> = self
            .adapters
            .iter()
            .map(|(stored, weight)| (&stored.adapter, *weight))
            .collect();
        Ok(self.combine.merge("merged", &adapters, seed, progress)?)
    }

    /// Writes a merged adapter into `folder`, which is the caller's alone.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, folder: &Path, merged: &Adapter) -> Result<(), MergingError> {
        let options = AdapterOptions {
            base_model: self.bases().into_iter().next(),
            task_type: self.task_type(),
            ..AdapterOptions::default()
        };
        write_adapter_files(folder, merged, &options)?;
        let recipe = folder.join(RECIPE);
        Ok(write_file(recipe, self.text.as_bytes(), Overwrite::Refuse)?)
    }

    /// Models that the adapters name as their base, each once.
    pub fn bases(&self) -> Vec<String> {
        let mut bases: Vec<String> = Vec::new();
        for (stored, _) in &self.adapters {
            let base = stored.config.base_model_name_or_path.iter();
            bases.extend(
                base.filter(|base| !bases.contains(base))
                    .cloned()
                    .collect::<Vec<_>>(),
            );
        }
        bases
    }

    /// What the adapters are for, where they agree.
    fn task_type(&self) -> Option<String> {
        let mut kinds = self.adapters.iter().map(|(stored, _)| {
            let kind = stored.config.other.get("task_type")?;
            kind.as_str().map(str::to_owned)
        });
        let first = kinds.next()??;
        kinds
            .all(|kind| kind.as_ref() == Some(&first))
            .then_some(first)
    }
}

/// Reads the recipe at `path`; no adapter is looked at.
pub(crate) fn read_recipe(path: &Path) -> Result<(Combine, Vec<(String, f64)>), MergingError> {
    let (_, documents) = read_documents(path)?;
    Ok(recipe_in(documents)?)
}

/// The recipe in the first of these documents.
fn recipe_in(documents: Vec<Value>) -> Result<(Combine, Vec<(String, f64)>), ConfigError> {
    parse(match documents.into_iter().next() {
        Some(Value::Object(mapping)) => mapping,
        _ => Map::new(),
    })
}

/// The method, and name and weight of every adapter.
fn parse(mut mapping: Map<String, Value>) -> Result<(Combine, Vec<(String, f64)>), ConfigError> {
    let entries: Vec<Value> = take(&mut mapping, "adapters")?.ok_or_else(|| missing("adapters"))?;
    let entries = entries
        .into_iter()
        .map(entry)
        .collect::<Result<Vec<_>, _>>()?;
    if entries.is_empty() {
        return Err(ConfigError::range(
            "adapters",
            "empty",
            "at least one adapter",
        ));
    }
    let name: String =
        take(&mut mapping, "adapter_method")?.ok_or_else(|| missing("adapter_method"))?;
    let known = CombineConfig::all();
    let default = known.iter().find(|config| config.name() == name);
    let default = default.ok_or_else(|| {
        let names = known.iter().map(CombineConfig::name);
        ConfigError::unknown("adapter_method", &name, names)
    })?;
    let config: CombineConfig = lay_over(default, mapping, &KEYS)?;
    Ok((config.check()?, entries))
}

/// A path, or a mapping with a path.
fn entry(value: Value) -> Result<(String, f64), ConfigError> {
    let mut mapping = match value {
        Value::String(path) => return Ok((path, 1.0)),
        Value::Object(mapping) => mapping,
        other => {
            let expected = "a path, or `path` and `weight`";
            return Err(ConfigError::range("adapters", other, expected));
        }
    };
    let path: Option<String> = take(&mut mapping, "path")?;
    let weight: Option<f64> = take(&mut mapping, "weight")?;
    if let Some(key) = mapping.keys().next() {
        return Err(ConfigError::unknown("key of an adapter", key, ADAPTER_KEYS));
    }
    let path =
        path.ok_or_else(|| ConfigError::conflict("adapters", "has an entry without `path`"))?;
    let weight = weight.unwrap_or(1.0);
    if !weight.is_finite() {
        return Err(ConfigError::range("weight", weight, "a finite number"));
    }
    Ok((path, weight))
}
