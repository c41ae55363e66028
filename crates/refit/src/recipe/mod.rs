//! Recipes: a merge as a YAML file.
//!
//! ```yaml
//! method: ties            # average, task-arithmetic, ties, dare, adamerging
//! keep: 0.2               # settings of the method
//! base: runs/base         # a folder or a .safetensors file
//! experts:
//!   - runs/digits
//!   - path: runs/letters
//!     name: letters       # default: the last part of the path
//! skip: [classifier.]     # tensors whose names start so stay as in the base
//! ```
//!
//! Paths are relative to the current folder, as on the command line.

mod adapt;
mod error;
mod plan;

pub(crate) use adapt::STATE as ADAPTATION;
pub use error::RecipeError;
pub(crate) use plan::MAX_COEFFICIENTS_BYTES;
pub use plan::{MergePlan, Merged, NamedPath, PlanSummary};

use crate::{settings::lay_over, source::TaskSource, yaml::read_mapping};
use refit_core::{Access, Card, ConfigError, DataAccess, ModelAccess, Seed, wrong_value};
use refit_merge::{Checks, MergeConfig};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// A merge, as its file describes it; every key is known and every value is of the right type.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// The file.
    pub path: PathBuf,
    /// The common start of all experts.
    pub base: PathBuf,
    /// The models to merge.
    pub experts: Vec<Expert>,
    /// How.
    pub how: How,
    /// Beginnings of the names of tensors that stay as in the base.
    pub skip: Vec<String>,
    /// What is checked before models are put together.
    pub checks: Checks,
    /// Where chance comes from: what is dropped, and which inputs are drawn.
    pub seed: Seed,
}

/// One of the models to merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expert {
    /// What tables and coefficients call it.
    pub name: String,
    /// Its folder or file.
    pub path: PathBuf,
    /// Inputs of its task, for methods that learn without labels.
    pub data: Option<TaskSource>,
}

/// How models are merged.
#[derive(Clone, Debug, PartialEq)]
pub enum How {
    /// By a method with its settings.
    Method(MergeConfig),
    /// With coefficients that were learned before.
    Coefficients(PathBuf),
}

/// Keys that every recipe may have, beside the settings of its method.
const KEYS: [&str; 6] = [
    "base",
    "experts",
    "method",
    "coefficients",
    "skip",
    "checks",
];
const EXPERT_KEYS: [&str; 3] = ["path", "name", "data"];

impl Recipe {
    /// Reads a recipe strictly: an unknown key or name is an error that names the nearest valid one.
    ///
    /// # Errors
    /// When the file cannot be read, or does not describe a merge.
    pub fn load(path: &Path) -> Result<Self, RecipeError> {
        let mapping = read_mapping(path)?;
        Self::parse(path, mapping).map_err(|problem| RecipeError::Invalid {
            path: path.into(),
            problem,
        })
    }

    fn parse(path: &Path, mut mapping: Map<String, Value>) -> Result<Self, ConfigError> {
        let base = take(&mut mapping, "base")?;
        let experts: Option<Vec<Value>> = take(&mut mapping, "experts")?;
        let (Some(base), Some(experts)) = (&base, experts) else {
            // A misspelt method is told before what it would need.
            if mapping.contains_key("method") {
                method(mapping)?;
            }
            return Err(missing(if base.is_none() { "base" } else { "experts" }));
        };
        let experts = experts.iter().map(expert).collect::<Result<Vec<_>, _>>()?;
        if experts.is_empty() {
            return Err(ConfigError::range("experts", "empty", "at least one model"));
        }
        let skip = take(&mut mapping, "skip")?.unwrap_or_default();
        let checks = match mapping.remove("checks") {
            Some(value) => settings("checks", value, &Checks::default())?,
            None => Checks::default(),
        };
        let coefficients: Option<PathBuf> = take(&mut mapping, "coefficients")?;
        let how = match coefficients {
            Some(file) => How::Coefficients(only_coefficients(file, &mapping)?),
            None => How::Method(method(mapping)?),
        };
        let seed = match &how {
            How::Method(MergeConfig::Dare(config)) => config.seed,
            _ => Seed::new(0),
        };
        let recipe = Self {
            path: path.into(),
            base: PathBuf::clone(base),
            experts,
            how,
            skip,
            checks,
            seed,
        };
        recipe.check_data()?;
        Ok(recipe)
    }

    /// The recipe with another seed than its own.
    #[must_use]
    pub fn with_seed(mut self, seed: Seed) -> Self {
        self.seed = seed;
        if let How::Method(MergeConfig::Dare(config)) = &mut self.how {
            config.seed = seed;
        }
        self
    }

    /// The method's card; `None` for coefficients that were learned before.
    pub fn card(&self) -> Option<&'static Card> {
        match &self.how {
            How::Method(config) => Some(config.card()),
            How::Coefficients(_) => None,
        }
    }

    /// Everything it reads, as it names it: base, experts, their data, coefficients.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let experts = self.experts.iter();
        let read = experts.flat_map(|e| {
            let data = e.data.as_ref().and_then(TaskSource::path);
            [Some(e.path.as_path()), data]
        });
        let coefficients = match &self.how {
            How::Coefficients(path) => Some(path.as_path()),
            How::Method(_) => None,
        };
        std::iter::once(self.base.as_path())
            .chain(read.flatten())
            .chain(coefficients)
    }

    /// What the recipe grants: weights, and inputs without labels where every expert has some.
    pub fn access(&self) -> Access {
        let all = self.experts.iter().all(|expert| expert.data.is_some());
        Access {
            model: ModelAccess::WriteWeights,
            data: if all {
                DataAccess::Unlabelled
            } else {
                DataAccess::None
            },
        }
    }

    /// A method that looks at no data is given none: an unused key is a misunderstanding.
    fn check_data(&self) -> Result<(), ConfigError> {
        let needs = self.card().is_some_and(|card| card.data > DataAccess::None);
        if !needs && self.experts.iter().any(|expert| expert.data.is_some()) {
            return Err(ConfigError::conflict(
                "data",
                "is given, but the method looks at no data; leave it out, or choose a method that learns",
            ));
        }
        Ok(())
    }
}

/// Takes a key out of the mapping and reads its value.
pub(crate) fn take<T: DeserializeOwned>(
    mapping: &mut Map<String, Value>,
    key: &'static str,
) -> Result<Option<T>, ConfigError> {
    let Some(value) = mapping.remove(key) else {
        return Ok(None);
    };
    T::deserialize(&value)
        .map(Some)
        .map_err(|error| wrong_value(key, &value, &error))
}

pub(crate) fn missing(key: &'static str) -> ConfigError {
    ConfigError::conflict(key, "is missing")
}

/// A path, or a mapping with a path.
fn expert(value: &Value) -> Result<Expert, ConfigError> {
    let (path, mapping) = match value {
        Value::String(path) => (PathBuf::from(path), Map::new()),
        Value::Object(mapping) => {
            let mut mapping = mapping.clone();
            let path = take(&mut mapping, "path")?;
            (
                path.ok_or_else(|| {
                    ConfigError::conflict("experts", "has an entry without `path`")
                })?,
                mapping,
            )
        }
        other => {
            let expected = "a path, or `path`, `name` and `data`";
            return Err(ConfigError::range("experts", other, expected));
        }
    };
    let mut mapping = mapping;
    let name: Option<String> = take(&mut mapping, "name")?;
    let data: Option<String> = take(&mut mapping, "data")?;
    if let Some(key) = mapping.keys().next() {
        return Err(ConfigError::unknown("key of an expert", key, EXPERT_KEYS));
    }
    let last = || {
        path.file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    Ok(Expert {
        name: name.unwrap_or_else(last),
        data: data.as_deref().map(TaskSource::parse).transpose()?,
        path,
    })
}

fn only_coefficients(file: PathBuf, rest: &Map<String, Value>) -> Result<PathBuf, ConfigError> {
    match rest.keys().next().map(String::as_str) {
        None => Ok(file),
        Some("method") => Err(ConfigError::conflict(
            "coefficients",
            "stands for the method; leave `method` out",
        )),
        Some(key) => Err(ConfigError::unknown("key", key, KEYS)),
    }
}

/// What is left of the recipe is the method and its settings.
fn method(mut rest: Map<String, Value>) -> Result<MergeConfig, ConfigError> {
    let name: String = take(&mut rest, "method")?.ok_or_else(|| missing("method"))?;
    let known = MergeConfig::all();
    let default = known
        .iter()
        .find(|config| config.card().name == name)
        .ok_or_else(|| {
            ConfigError::unknown("method", &name, known.iter().map(|c| c.card().name))
        })?;
    let config: MergeConfig = settings(&name, Value::Object(rest), default)?;
    config.clone().check()?;
    Ok(config)
}

/// Reads settings over their defaults.
fn settings<T: DeserializeOwned + serde::Serialize>(
    owner: &str,
    given: Value,
    default: &T,
) -> Result<T, ConfigError> {
    match given {
        Value::Object(given) => lay_over(default, given, &KEYS),
        other => Err(ConfigError::range(
            owner.to_owned(),
            other,
            "`key: value` pairs",
        )),
    }
}

#[cfg(test)]
mod tests;
