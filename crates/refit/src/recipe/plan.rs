//! From a recipe to a merged checkpoint: plan on headers, then one pass over the weights.

use super::{How, Recipe, RecipeError, adapt};
use crate::{
    classifier::{CONFIG, ModelFolder, PREPROCESSOR, check_set, remove_model},
    companions::Companions,
    outcome::CurvePoint,
};
use refit_core::{DataAccess, ParamPath, Progress, Source, StopReason};
use refit_io::{
    atomic::{Overwrite, write_file},
    ckpt::{Checkpoint, CheckpointWriter, WriteOptions, refuse_packed},
    file::read_file,
};
use refit_merge::{
    Checks, Coefficients, MergeConfig, MergeMethod, NotFinite, TaskVectors, TensorSet, Weights,
    write_merged,
};
use serde::Serialize;
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

/// Coefficients of more groups than any model has tensors.
pub(crate) const MAX_COEFFICIENTS_BYTES: u64 = 64 << 20;
/// What a sparse task vector takes for each entry: a position of two bytes and a value of four.
const SPARSE_ENTRY_BYTES: u64 = 6;

/// A recipe whose models were opened and found to go together; no weight was read.
#[derive(Debug)]
pub struct MergePlan {
    recipe: Recipe,
    base: Checkpoint,
    experts: Vec<Checkpoint>,
    /// What stands beside the weights of the result.
    companions: Companions,
}

/// What a merge would do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanSummary {
    /// The method, or `coefficients`.
    pub method: String,
    /// All settings, defaults included.
    pub settings: serde_json::Value,
    /// The base.
    pub base: String,
    /// The experts.
    pub experts: Vec<NamedPath>,
    /// Tensors that are merged.
    pub merged_tensors: usize,
    /// Values that are merged.
    pub merged_values: u64,
    /// Tensors that stay as in the base.
    pub kept_tensors: usize,
    /// Bytes of the result.
    pub output_bytes: u64,
    /// Bytes that are read.
    pub input_bytes: u64,
    /// Whether it learns from inputs of the experts' tasks.
    pub learns: bool,
    /// Bytes of memory beside mapped models; for methods that learn, beside the activations of one batch too.
    pub memory_bytes: u64,
}

/// An expert of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamedPath {
    /// Its name.
    pub name: String,
    /// Its folder or file.
    pub path: PathBuf,
}

/// What a merge gave.
#[derive(Debug)]
pub struct Merged {
    /// Why it ended.
    pub stop: StopReason,
    /// Steps of learning, over all parts of a run that was gone on with.
    pub steps: u64,
    /// How learning went, step by step.
    pub curve: Vec<CurvePoint>,
    /// Learned coefficients, for methods that learn.
    pub coefficients: Option<Coefficients>,
    /// Remarks for the user.
    pub remarks: Vec<String>,
}

impl Recipe {
    /// Opens all models and checks that they go together. Reads headers only.
    ///
    /// # Errors
    /// A model that cannot be opened, names or shapes that differ, nothing left to merge, access that was not granted.
    pub fn plan(self) -> Result<MergePlan, RecipeError> {
        if let Some(card) = self.card() {
            self.access().allows(card)?;
        }
        let base = Checkpoint::open(&self.base)?;
        let experts = self
            .experts
            .iter()
            .map(|e| Checkpoint::open(&e.path))
            .collect::<Result<Vec<_>, _>>()?;
        let paths = std::iter::once(&self.base).chain(self.experts.iter().map(|e| &e.path));
        for (path, model) in paths.zip(std::iter::once(&base).chain(&experts)) {
            refuse_packed(path, model.tensors())?;
        }
        let homes: Vec<&Path> = std::iter::once(&base).chain(&experts).map(home).collect();
        let companions = Companions::of(&homes)?;
        let plan = MergePlan {
            recipe: self,
            base,
            experts,
            companions,
        };
        // Names and shapes are compared without looking at a value.
        let headers_only = Checks {
            not_finite: NotFinite::Allow,
            max_distance: None,
        };
        let tasks = plan.task_vectors(&headers_only)?;
        if let How::Coefficients(path) = &plan.recipe.how {
            read_coefficients(path)?;
        }
        if let How::Method(MergeConfig::AdaMerging(_)) = &plan.recipe.how {
            adapt::check(&plan.recipe, &plan.experts)?;
        }
        drop(tasks);
        if plan.summary().merged_tensors == 0 {
            return Err(RecipeError::NothingMerged {
                base: plan.recipe.base,
            });
        }
        Ok(plan)
    }
}

impl MergePlan {
    /// The recipe.
    pub const fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Reads the inputs of every expert and checks that they fit its model, as [`run`](Self::run) does before it learns.
    ///
    /// # Errors
    /// Inputs that cannot be read, or that are none for the expert.
    pub fn check_data(&self) -> Result<(), RecipeError> {
        for (expert, checkpoint) in self.recipe.experts.iter().zip(&self.experts) {
            let Some(source) = &expert.data else { continue };
            let wrap = |problem| RecipeError::Model {
                name: expert.name.clone(),
                problem,
            };
            let folder = ModelFolder::open(checkpoint.path()).map_err(wrap)?;
            let task =
                source
                    .read(&folder.picture_options())
                    .map_err(|problem| RecipeError::Data {
                        name: expert.name.clone(),
                        problem,
                    })?;
            let normalise = folder.normalise().map_err(wrap)?;
            check_set(&folder.config, &normalise, task.train()).map_err(wrap)?;
        }
        Ok(())
    }

    /// Every file that is read but for data: recipe, models with what describes them, coefficients.
    pub fn files(&self) -> Vec<PathBuf> {
        let models = std::iter::once(&self.base).chain(&self.experts);
        let mut files = vec![self.recipe.path.clone()];
        files.extend(models.flat_map(|m| m.files().map(Path::to_path_buf).collect::<Vec<_>>()));
        if let How::Coefficients(path) = &self.recipe.how {
            files.push(path.clone());
        }
        let described = std::iter::once(&self.base).chain(&self.experts);
        let documents = described.flat_map(|m| [CONFIG, PREPROCESSOR].map(|n| home(m).join(n)));
        files.extend(documents.filter(|path| path.is_file()));
        let mut seen = HashSet::new();
        files.retain(|path| seen.insert(path.clone()));
        files
    }

    /// Data on disk with the files that are read of it; what cannot be listed is left to the reader, who says why.
    pub fn data(&self) -> impl Iterator<Item = (&Path, Vec<PathBuf>)> {
        let sources = self.recipe.experts.iter().filter_map(|e| e.data.as_ref());
        sources.filter_map(|source| Some((source.path()?, source.files().ok()?)))
    }

    /// What is probably not meant: beginnings in `skip` that no tensor of the base has.
    pub fn warnings(&self) -> Vec<String> {
        let tensors = self.base.tensors();
        let fits = |start: &str| tensors.iter().any(|m| m.path.as_str().starts_with(start));
        let unused = self.recipe.skip.iter().filter(|start| !fits(start));
        unused
            .map(|start| format!("warning: no tensor of the base begins with `{start}` (`skip`)"))
            .collect()
    }

    /// What would be done.
    pub fn summary(&self) -> PlanSummary {
        let (method, settings) = match &self.recipe.how {
            How::Method(config) => (
                config.card().name.to_owned(),
                serde_json::to_value(config).unwrap_or_default(),
            ),
            How::Coefficients(path) => (
                "coefficients".to_owned(),
                serde_json::json!({ "file": path }),
            ),
        };
        let metas = self.base.tensors();
        let merged: Vec<_> = metas
            .iter()
            .filter(|m| m.dtype.is_weight() && self.merges(&m.path))
            .collect();
        let bytes = |c: &Checkpoint| {
            c.tensors()
                .iter()
                .map(|m| m.size_bytes() as u64)
                .sum::<u64>()
        };
        let experts = self.recipe.experts.iter();
        let merged_values = merged.iter().map(|m| m.len() as u64).sum();
        PlanSummary {
            method,
            settings,
            base: self.recipe.base.display().to_string(),
            experts: experts
                .map(|e| NamedPath {
                    name: e.name.clone(),
                    path: e.path.clone(),
                })
                .collect(),
            merged_tensors: merged.len(),
            merged_values,
            kept_tensors: metas.len() - merged.len(),
            output_bytes: bytes(&self.base),
            input_bytes: bytes(&self.base) + self.experts.iter().map(bytes).sum::<u64>(),
            learns: self
                .recipe
                .card()
                .is_some_and(|card| card.data > DataAccess::None),
            memory_bytes: self.memory_bytes(merged_values),
        }
    }

    /// The result in single precision; for AdaMerging the gradient so far and that of the next batch too, and for
    /// AdaMerging++ its sparse task vectors.
    fn memory_bytes(&self, merged_values: u64) -> u64 {
        let weights = 4 * merged_values;
        let How::Method(MergeConfig::AdaMerging(config)) = &self.recipe.how else {
            return weights;
        };
        let kept = config.plus.map_or(0.0, |plus| plus.keep) * merged_values as f64;
        let sparse = self.experts.len() as u64 * SPARSE_ENTRY_BYTES * kept.ceil() as u64;
        let batches = self.experts.len() * config.batches;
        let gradients = if batches > 1 { 2 } else { 1 };
        (1 + gradients) * weights + sparse
    }

    /// Merges, and writes the result into `folder`.
    ///
    /// A method that learns writes its measurements there too (`metrics.jsonl`), and its state now and then
    /// (`adaptation.json`): it goes on from the state that it finds, to the same bits as without a break. When it is
    /// interrupted there is no result yet. A result of an earlier try is replaced.
    ///
    /// # Errors
    /// Weights that are not finite, a loss that stopped being finite, a full disk, an interruption of a method that cannot stop half-way.
    pub fn run(&self, folder: &Path, progress: &dyn Progress) -> Result<Merged, RecipeError> {
        let tasks = self.task_vectors(&self.recipe.checks)?;
        let mut merged = Merged {
            stop: StopReason::Done,
            steps: 0,
            curve: Vec::new(),
            coefficients: None,
            remarks: Vec::new(),
        };
        let weights = match &self.recipe.how {
            How::Coefficients(path) => tasks.merge_with(&read_coefficients(path)?)?,
            How::Method(config) => match config
                .clone()
                .check()
                .map_err(refit_merge::MergeError::from)?
            {
                MergeMethod::AdaMerging(method) => {
                    match adapt::adapt(self, &method, tasks, folder, &mut merged, progress)? {
                        Some(weights) => weights,
                        None => return Ok(merged),
                    }
                }
                method => method.merge(&tasks, progress)?,
            },
        };
        remove_model(folder)?;
        self.write(&weights, folder)?;
        if let Some(coefficients) = &merged.coefficients {
            let mut text = Vec::new();
            coefficients.save(&mut text)?;
            write_file(folder.join("coefficients.json"), &text, Overwrite::Replace)?;
        }
        Ok(merged)
    }

    pub(super) fn experts(&self) -> &[Checkpoint] {
        &self.experts
    }

    /// Whether the tensor called `path` is merged.
    pub(super) fn merges(&self, path: &ParamPath) -> bool {
        !self
            .recipe
            .skip
            .iter()
            .any(|start| path.as_str().starts_with(start.as_str()))
    }

    fn task_vectors(&self, checks: &Checks) -> Result<TaskVectors<'_>, RecipeError> {
        let wanted = |path: &ParamPath| self.merges(path);
        let base = Weights::open_where("base", &self.base, wanted)?;
        let experts = self
            .recipe
            .experts
            .iter()
            .zip(&self.experts)
            .map(|(expert, checkpoint)| Weights::open_where(&expert.name, checkpoint, wanted))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(TaskVectors::between(base, experts, checks)?)
    }

    fn write(&self, merged: &TensorSet, folder: &Path) -> Result<(), RecipeError> {
        let options = WriteOptions {
            metadata: self.base.metadata().clone(),
            ..WriteOptions::default()
        };
        let target = folder.join("model.safetensors");
        let mut writer = CheckpointWriter::create(target, self.base.tensors().to_vec(), options)?;
        write_merged(
            &self.base,
            merged,
            self.recipe.checks.not_finite,
            &mut writer,
        )?;
        writer.finish()?;
        // A file that changed under our hands would have given us a mixture.
        for checkpoint in std::iter::once(&self.base).chain(&self.experts) {
            checkpoint.check_unchanged()?;
        }
        Ok(self.companions.write(folder)?)
    }
}

/// The folder in which a model lies.
fn home(model: &Checkpoint) -> &Path {
    let path = model.path();
    if path.is_dir() {
        path
    } else {
        path.parent().unwrap_or(Path::new(""))
    }
}

fn read_coefficients(path: &Path) -> Result<Coefficients, RecipeError> {
    let bytes = read_file(path, MAX_COEFFICIENTS_BYTES)?;
    Ok(Coefficients::load(&bytes[..])?)
}
