//! What is in a recipe.

use super::super::{
    error::CliError,
    ui::{Show, Ui},
};
use crate::{
    merging::{AdapterJob, MergeJob},
    recipe::Recipe,
    yaml::read_mapping,
};
use refit_merge::adapter::CombineConfig;
use serde::Serialize;
use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

/// A recipe of this project's own kind.
#[derive(Serialize)]
pub(super) struct RecipeInfo {
    kind: &'static str,
    method: String,
    summary: Option<&'static str>,
    source: Option<&'static str>,
    needs_data: Option<String>,
    base: PathBuf,
    experts: Vec<(String, PathBuf)>,
    given: Vec<String>,
}

pub(super) fn recipe_info(path: &Path) -> Result<RecipeInfo, CliError> {
    let recipe = Recipe::load(path)?;
    let card = recipe.card();
    Ok(RecipeInfo {
        kind: "recipe",
        method: card.map_or("coefficients", |c| c.name).to_owned(),
        summary: card.map(|c| c.summary),
        source: card.map(|c| c.source),
        needs_data: card.map(|c| c.data.to_string()),
        base: recipe.base,
        experts: recipe
            .experts
            .into_iter()
            .map(|e| (e.name, e.path))
            .collect(),
        given: read_mapping(path)?.keys().cloned().collect(),
    })
}

impl Show for RecipeInfo {
    fn text(&self, _: &Ui) -> String {
        let mut text = format!("recipe      {}", self.method);
        if let (Some(summary), Some(source)) = (self.summary, self.source) {
            let _ = write!(text, ": {summary} ({source})");
        }
        if let Some(data) = &self.needs_data {
            let _ = write!(text, "\nneeds data  {data}");
        }
        let _ = write!(text, "\nbase        {}", self.base.display());
        for (name, path) in &self.experts {
            let _ = write!(text, "\nexpert      {name} ({})", path.display());
        }
        text
    }
}

/// The recipes of a file in the words of recipe tools.
#[derive(Serialize)]
pub(super) struct RecipesInfo {
    kind: &'static str,
    recipes: Vec<StepInfo>,
}

#[derive(Serialize)]
struct StepInfo {
    name: Option<String>,
    method: &'static str,
    summary: &'static str,
    source: &'static str,
    base: Option<String>,
    models: Vec<String>,
}

impl RecipesInfo {
    pub(super) fn read(path: &Path) -> Result<Self, CliError> {
        let set = MergeJob::recipes(path)?;
        let steps = set.steps().iter().map(|step| {
            let recipe = &step.recipe;
            let card = recipe.method.card;
            let base = recipe.base_model.as_ref();
            let models = recipe.models().into_iter();
            StepInfo {
                name: recipe.name.clone(),
                method: card.name,
                summary: card.summary,
                source: card.source,
                base: base.map(ToString::to_string),
                models: models
                    .filter(|model| Some(*model) != base)
                    .map(ToString::to_string)
                    .collect(),
            }
        });
        Ok(Self {
            kind: "recipes",
            recipes: steps.collect(),
        })
    }
}

impl Show for RecipesInfo {
    fn text(&self, _: &Ui) -> String {
        let step = |step: &StepInfo| {
            let StepInfo {
                method,
                summary,
                source,
                ..
            } = step;
            let mut text = format!("recipe      {method}: {summary} ({source})");
            if let Some(name) = &step.name {
                let _ = write!(text, "\nname        {name}");
            }
            if let Some(base) = &step.base {
                let _ = write!(text, "\nbase        {base}");
            }
            for model in &step.models {
                let _ = write!(text, "\nmodel       {model}");
            }
            text
        };
        let texts: Vec<String> = self.recipes.iter().map(step).collect();
        texts.join("\n\n")
    }
}

/// A recipe that makes one adapter of several.
#[derive(Serialize)]
pub(super) struct AdaptersInfo {
    kind: &'static str,
    method: CombineConfig,
    adapters: Vec<(String, f64)>,
}

impl AdaptersInfo {
    pub(super) fn read(path: &Path) -> Result<Self, CliError> {
        let (method, adapters) = AdapterJob::recipe(path)?;
        Ok(Self {
            kind: "adapters",
            method,
            adapters,
        })
    }
}

impl Show for AdaptersInfo {
    fn text(&self, _: &Ui) -> String {
        let mut text = format!("recipe      {} of adapters", self.method.name());
        for (name, weight) in &self.adapters {
            let _ = write!(text, "\nadapter     {name}, weight {weight}");
        }
        text
    }
}
