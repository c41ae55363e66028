//! What each tensor of the result is made of, told from headers alone.

mod build;
mod config;
mod header;
mod parts;
mod problem;
mod slot;

pub use header::ModelHeader;
pub use problem::{PlanError, PlanProblem};

use super::{MethodSpec, ModelRef, Recipe, Target, structure::Structure};
use crate::stream::StreamRule;
use build::Builder;
use header::Header;
use parts::Parts;
use problem::Problems;
use refit_core::{ConfigError, DType, ParamPath, Seed};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

/// A recipe applied to models: every tensor of the result and what it is made of.
///
/// ```
/// use refit_core::{DType, TensorMeta};
/// use refit_merge::recipe::{ModelHeader, Plan, Recipe};
/// let recipe = Recipe::parse(&serde_json::json!({
///     "merge_method": "linear",
///     "models": [
///         {"model": "a", "parameters": {"weight": [0, 1]}},
///         {"model": "b", "parameters": {"weight": 1}},
///     ],
/// }))?;
/// let tensors: Vec<TensorMeta> = (0..3)
///     .map(|layer| TensorMeta {
///         path: format!("model.layers.{layer}.mlp.weight").into(),
///         dtype: DType::BF16,
///         shape: vec![2, 2],
///     })
///     .collect();
/// let header = ModelHeader { tensors: &tensors, config: None };
/// let plan = Plan::new(&recipe, &[header, header])?;
/// assert_eq!(plan.tensors[1].layer, Some(1));
/// assert_eq!(plan.tensors[1].settings.models[0]["weight"], 0.5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The method.
    #[serde(skip)]
    pub method: &'static MethodSpec,
    /// The models, in the order of [`Recipe::models`]; [`InputRef::model`] counts in it.
    pub models: Vec<ModelRef>,
    /// The tensors of the result. Whole models keep the order of the first model (the base, where there is one);
    /// stacked slices come as embeddings, layers, norm and head.
    pub tensors: Vec<OutputTensor>,
    /// Tensors over a vocabulary whose number of rows differs among the models. The plan gives such a tensor the rows
    /// that all of them have; the vocabularies of the models tell which rows belong together.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mismatches: Vec<EmbeddingMismatch>,
    /// Tensors that a model has beside those that are merged.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<InputRef>,
    /// `config.json` of the result: that of the first model that has one, with the new number of layers and element
    /// type. The size of the vocabulary is left as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
}

/// One tensor of the result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutputTensor {
    /// Its name.
    pub path: ParamPath,
    /// Its extents.
    pub shape: Vec<usize>,
    /// Its element type.
    pub dtype: DType,
    /// How it is made.
    pub work: Work,
    /// What the method is told.
    #[serde(skip_serializing_if = "TensorSettings::is_empty")]
    pub settings: TensorSettings,
    /// The same tensor in the models beside the base, in the order of the recipe; of a copy, the original.
    pub inputs: Vec<InputRef>,
    /// The same tensor in the base, where the method uses one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<InputRef>,
    /// Whether rows are tokens.
    pub is_embedding: bool,
    /// Number of the layer that owns it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<usize>,
}

/// How a tensor of the result is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// The values of [`OutputTensor::inputs`]`[0]`, in the element type of the output.
    Copy,
    /// By the method.
    Merge,
}

/// The settings that hold for one tensor, as [`MethodSpec::rule`] takes them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TensorSettings {
    /// Of the merge.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub tensor: Map<String, Value>,
    /// Of each model of [`OutputTensor::inputs`].
    pub models: Vec<Map<String, Value>>,
}

impl TensorSettings {
    fn is_empty(&self) -> bool {
        self.tensor.is_empty() && self.models.iter().all(Map::is_empty)
    }
}

/// A tensor of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputRef {
    /// The model's place in [`Plan::models`].
    pub model: usize,
    /// The tensor's place in [`ModelHeader::tensors`].
    pub index: usize,
    /// Its name there.
    pub tensor: ParamPath,
}

impl Serialize for InputRef {
    /// Without the place, which is no business of records.
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        (self.model, &self.tensor).serialize(to)
    }
}

/// A tensor whose number of rows differs among the models.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EmbeddingMismatch {
    /// Its place in [`Plan::tensors`].
    pub tensor: usize,
    /// Rows in each model that has it: place in [`Plan::models`], rows.
    pub rows: Vec<(usize, usize)>,
}

impl Plan {
    /// Applies `recipe` to models; `headers` are those of [`Recipe::models`], in order.
    ///
    /// Settings, layers and names meet as in mergekit 0.1.5, but for four things. Norm and head are merged of every
    /// source of the last slice, also when the first slice has fewer. Words and yes and no in a gradient change exactly
    /// where their layer begins. A module that the recipe does not name is copied from the first model and not lost. A
    /// result with a head of its own is no longer marked as tied.
    ///
    /// # Errors
    /// [`PlanError`] lists up to ten problems: a base that is missing, too few or too many models, layers that a model
    /// does not have, tensors that one lacks (a head that is not stored is taken from the embedding; rotary tables and
    /// masks may be missing), shapes that differ, values that are no weights, settings that the method refuses.
    ///
    /// # Cost
    /// `O(tensors x models)`; no value is read.
    pub fn new(recipe: &Recipe, headers: &[ModelHeader<'_>]) -> Result<Self, PlanError> {
        let models = recipe.models();
        let mut problems = Problems::default();
        if headers.len() != models.len() || headers.is_empty() {
            problems.push(PlanProblem::Headers {
                found: headers.len(),
                expected: models.len(),
            });
            problems = problems.settle(&models)?;
        }
        let names = headers[0].tensors.iter().map(|tensor| tensor.path.as_str());
        let structure = Structure::of(names);
        let headers: Vec<Header<'_>> = headers
            .iter()
            .zip(&models)
            .map(|(header, model)| {
                Header::new(*header, &structure, &model.to_string(), &mut problems)
            })
            .collect();
        let parts = Parts {
            recipe,
            models: &models,
            headers: &headers,
            structure: &structure,
            problems: &mut problems,
        }
        .read();
        // Where these do not fit it is not known which tensors meet, and what would be said of tensors may be wrong.
        problems = problems.settle(&models)?;
        let mut builder = Builder::new(recipe, &models, &headers, &structure, problems);
        for part in &parts {
            builder.part(part);
        }
        let mut plan = builder.finish(&parts)?;
        plan.config = config::patched(&plan, &parts, &headers, &structure);
        Ok(plan)
    }

    /// The rule for tensor `index` of [`tensors`](Self::tensors).
    ///
    /// # Errors
    /// A setting that the method refuses; [`new`](Self::new) has tried them all with the shapes of the plan.
    ///
    /// # Panics
    /// When there is no such tensor.
    pub fn rule(&self, index: usize, seed: Seed) -> Result<Box<dyn StreamRule>, ConfigError> {
        let names: Vec<String> = self.models.iter().map(ToString::to_string).collect();
        rule(self.method, &self.tensors[index], &names, seed)
    }
}

/// The rule for an output; `names` are those of all models.
fn rule(
    method: &MethodSpec,
    output: &OutputTensor,
    names: &[String],
    seed: Seed,
) -> Result<Box<dyn StreamRule>, ConfigError> {
    let inputs = output.inputs.iter();
    let models: Vec<&str> = inputs.map(|input| names[input.model].as_str()).collect();
    let target = Target {
        path: &output.path,
        shape: &output.shape,
        models: &models,
        has_base: output.base.is_some(),
        is_embedding: output.is_embedding,
        seed,
    };
    let TensorSettings { tensor, models } = output.settings.clone();
    method.rule(&target, tensor, models)
}

#[cfg(test)]
mod tests;
