//! Recipes in the words of recipe tools, run on checkpoints of any size.
//!
//! [`MergeJob::open`] reads the recipes, opens the headers of every model and plans every tensor; whatever does not fit
//! is found here. [`MergeJob::run`] then streams: memory does not grow with the models, and work that was cut goes on.

mod adapters;
mod beside;
mod card;
mod download;
mod error;
mod extract;
mod models;
mod options;
mod rewrite;
mod summary;
mod templates;
mod vocabulary;
mod warnings;

#[cfg(test)]
pub(crate) use adapters::read_recipe as read_adapter_recipe;
pub use adapters::{AdapterJob, AdapterSummary};
pub use error::MergingError;
pub(crate) use extract::EXTRACTION;
pub use extract::{
    ExtractJob, ExtractOptions, ExtractSummary, Extracted, ExtractedPart, ExtractionList,
};
pub use options::{MergeOptions, parse_bytes};
pub use summary::{JobSummary, StepSummary, TokenizerSummary};

use crate::{companions::Companions, yaml::read_documents};
use models::{Form, Models, OnStep, Origin};
use refit_core::{ConfigError, DType, Progress, Seed, TensorMeta, Valid, nearest};
use refit_io::{
    atomic::{Overwrite, write_file},
    ckpt::TensorWriter,
    hub::HubError,
};
use refit_merge::{
    MergeError, ModelName,
    engine::{self, EngineConfig, Job, Operand},
    recipe::{
        Body, InputRef, ModelHeader, ModelRef, OutputTensor, Plan, Recipe, RecipeMethod, RecipeSet,
        Target, Work,
    },
};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};
use templates::chat_template;
use vocabulary::Vocabulary;

/// Name of the recipe inside an output.
const RECIPE: &str = "recipe.yaml";
/// Folder of an unfinished output with the results that later recipes of the file need.
const STEPS: &str = "steps";
/// What that folder is called once nothing of it is needed: a kill while it is removed leaves no half of it in its place.
const STEPS_DONE: &str = "steps.done";
/// File that says that a step is complete.
const COMPLETE: &str = "complete";

/// The recipes of a file, with every model opened and every tensor planned; no value was read.
#[derive(Debug)]
pub struct MergeJob {
    path: PathBuf,
    text: String,
    set: RecipeSet,
    models: Models,
    steps: Vec<StepPlan>,
    options: MergeOptions,
}

/// One recipe, planned.
#[derive(Debug)]
struct StepPlan {
    plan: Plan,
    /// Where each model of the plan comes from.
    origins: Vec<Origin>,
    /// For each of them, the adapter that is folded into the result of an earlier recipe.
    adapters: Vec<Option<Arc<OnStep>>>,
    metas: Vec<TensorMeta>,
    /// Where the recipe says what the vocabulary is.
    vocabulary: Option<Vocabulary>,
    /// What stands beside the weights.
    companions: Companions,
    warnings: Vec<String>,
}

impl MergeJob {
    /// Whether the file at `path` holds recipes of this kind: they name a `merge_method`, or look as if they would.
    ///
    /// # Errors
    /// When the file cannot be read or is no YAML.
    pub fn is_meant(path: &Path) -> Result<bool, MergingError> {
        let (_, documents) = read_documents(path)?;
        let has = |keys: &[&str]| {
            let mut documents = documents.iter();
            documents.any(|document| keys.iter().any(|key| document.get(key).is_some()))
        };
        let other = has(&["method", "coefficients", "experts"]);
        let alike = has(&["models", "slices", "modules", "base_model"]);
        Ok(documents.len() > 1 || has(&["merge_method"]) || (alike && !other))
    }

    /// Reads the recipes at `path`; opens no model.
    ///
    /// # Errors
    /// A recipe that cannot be understood.
    pub fn recipes(path: &Path) -> Result<RecipeSet, MergingError> {
        let (_, documents) = read_documents(path)?;
        recipes(path, &documents)
    }

    /// Reads the recipes at `path` and plans every tensor of every result from headers alone.
    ///
    /// # Errors
    /// A recipe that cannot be understood, a model that cannot be opened, and up to ten reasons why the models do not
    /// go together.
    pub fn open(path: &Path, options: MergeOptions) -> Result<Self, MergingError> {
        let (text, documents) = read_documents(path)?;
        let set = recipes(path, &documents)?;
        let mut models = Models::new(options.cache.clone());
        let mut steps: Vec<StepPlan> = Vec::new();
        for (at, step) in set.steps().iter().enumerate() {
            chat_template(step.recipe.chat_template.as_deref())?;
            let last = at + 1 == set.steps().len();
            let form = if last && copies_whole_model(&step.recipe) {
                Form::Stored
            } else {
                Form::Weights
            };
            // Models that are merged, then those that only lend their tokenizer.
            let named = step.recipe.references().into_iter();
            let origins = named.map(|model| match set.result(model) {
                Some(result) => Ok((
                    Origin::Step(result),
                    on_result(model, &steps[result], &models)?,
                )),
                None => {
                    let opened = models.open(model, form);
                    let opened = opened.map_err(|error| perhaps_a_step(error, model, &set))?;
                    Ok((Origin::Opened(opened), None))
                }
            });
            let origins = origins.collect::<Result<Vec<_>, MergingError>>()?;
            let (mut origins, mut adapters): (Vec<_>, Vec<_>) = origins.into_iter().unzip();
            let merged = step.recipe.models().len();
            let headers: Vec<ModelHeader<'_>> = origins[..merged]
                .iter()
                .map(|origin| match origin {
                    Origin::Opened(at) => models.get(*at).header(),
                    Origin::Step(at) => ModelHeader {
                        tensors: &steps[*at].metas,
                        config: steps[*at].plan.config.as_ref(),
                    },
                })
                .collect();
            let failed = |problem| MergingError::Plan {
                path: path.into(),
                name: step.recipe.name.clone(),
                problem: Box::new(problem),
            };
            let mut plan = Plan::new(&step.recipe, &headers).map_err(failed)?;
            drop(headers);
            let vocabulary = Vocabulary::plan(&step.recipe, &mut plan, &origins, &models, &steps)?;
            if let Some(mismatch) = plan.mismatches.first() {
                return Err(MergingError::vocabulary(&plan, mismatch));
            }
            origins.truncate(merged);
            adapters.truncate(merged);
            let vocab = vocabulary.as_ref();
            let companions =
                beside::of_step(&step.recipe, &plan, vocab, &origins, &models, &steps)?;
            let mut warnings =
                warnings::of_step(&step.recipe, &plan, &origins, &models, &steps, last);
            warnings.extend(
                vocab
                    .into_iter()
                    .flat_map(|v| warnings::rowless(&plan, v.rowless())),
            );
            let metas = plan.tensors.iter().map(meta).collect();
            steps.push(StepPlan {
                plan,
                origins,
                adapters,
                metas,
                vocabulary,
                companions,
                warnings,
            });
        }
        Ok(Self {
            path: path.into(),
            text,
            set,
            models,
            steps,
            options,
        })
    }

    /// The recipe file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The method of the last recipe.
    pub fn method(&self) -> &'static str {
        let steps = self.set.steps();
        steps[steps.len() - 1].recipe.method.card.name
    }

    /// Tensors of models that have no place in the result.
    pub fn left_out(&self) -> Vec<String> {
        self.steps.iter().flat_map(StepPlan::left_out).collect()
    }

    /// What is probably not meant, and what was done without being asked for.
    pub fn warnings(&self) -> Vec<String> {
        let warnings = self.steps.iter().flat_map(|step| step.warnings.clone());
        warnings.collect()
    }

    /// Every file that is read: the recipe, and of every model what it is made of and what describes it.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = vec![self.path.clone()];
        files.extend(self.models.files());
        let adapters = self
            .steps
            .iter()
            .flat_map(|step| step.adapters.iter().flatten());
        files.extend(adapters.flat_map(|adapter| adapter.stored.files.clone()));
        let last = &self.steps[self.steps.len() - 1];
        files.extend(last.companions.files());
        let mut seen = HashSet::new();
        files.retain(|file| seen.insert(file.clone()));
        files
    }

    /// Folders that the recipes name as models and adapters: a result inside one would be read with it.
    pub fn folders(&self) -> Vec<PathBuf> {
        self.models.folders()
    }

    /// Merges into `folder`, which is the caller's alone, and goes on with what is there.
    ///
    /// # Errors
    /// [`MergeError::Cancelled`] when `progress` asks for a stop: another call goes on. Values that are not finite, a
    /// disk that is full, a model that changed meanwhile.
    pub fn run(&self, folder: &Path, progress: &dyn Progress) -> Result<(), MergingError> {
        let (last, done) = (self.steps.len() - 1, folder.join(STEPS_DONE));
        if done.is_dir() {
            return fs::remove_dir_all(&done).map_err(MergingError::io(&done));
        }
        for at in 0..last {
            let home = self.step_folder(folder, at);
            if home.join(COMPLETE).is_file() {
                continue;
            }
            fs::create_dir_all(&home).map_err(MergingError::io(&home))?;
            self.run_step(at, folder, &home, progress)?;
            write_file(home.join(COMPLETE), b"", Overwrite::Replace)?;
        }
        self.run_step(last, folder, folder, progress)?;
        self.models.check_unchanged()?;
        self.describe(folder)?;
        let steps = folder.join(STEPS);
        if steps.is_dir() {
            fs::rename(&steps, &done).map_err(MergingError::io(&steps))?;
            fs::remove_dir_all(&done).map_err(MergingError::io(&done))?;
        }
        Ok(())
    }

    fn step_folder(&self, folder: &Path, at: usize) -> PathBuf {
        let name = self.set.steps()[at].recipe.name.as_deref();
        folder.join(STEPS).join(name.unwrap_or("last"))
    }

    /// Writes the weights of step `at` into `home`.
    fn run_step(
        &self,
        at: usize,
        folder: &Path,
        home: &Path,
        progress: &dyn Progress,
    ) -> Result<(), MergingError> {
        let StepPlan {
            plan,
            origins,
            adapters,
            metas,
            vocabulary,
            ..
        } = &self.steps[at];
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        let shards = self.options.shard_bytes;
        let sink = TensorWriter::resume(home, metas.clone(), &metadata, shards)?;
        let readers = origins
            .iter()
            .zip(adapters)
            .map(|(origin, adapter)| match origin {
                Origin::Opened(at) => Ok(self.models.get(*at).clone()),
                Origin::Step(at) => {
                    let adapter = adapter.as_ref().map(|adapter| &adapter.stored);
                    models::reopen(&self.step_folder(folder, *at), adapter)
                }
            });
        let readers = readers.collect::<Result<Vec<_>, _>>()?;
        let seed = self.options.seed;
        let job = |index| job(plan, vocabulary.as_ref(), &readers, index, seed);
        let budget = self.options.memory_bytes;
        let config = EngineConfig {
            memory_bytes: budget.saturating_sub(self.adapter_bytes()),
            not_finite: self.options.not_finite,
        };
        engine::run(config, &sink, &job, progress)?;
        Ok(sink.finish()?)
    }

    /// Writes what stands beside the weights.
    fn describe(&self, folder: &Path) -> Result<(), MergingError> {
        let last = &self.steps[self.steps.len() - 1];
        last.companions.write(folder)?;
        write_file(
            folder.join(RECIPE),
            self.text.as_bytes(),
            Overwrite::Replace,
        )?;
        let for_transformers = last
            .plan
            .config
            .as_ref()
            .is_some_and(|config| config.get("architectures").is_some());
        let card = card::text(&self.set, &self.text, for_transformers);
        write_file(
            folder.join("README.md"),
            card.as_bytes(),
            Overwrite::Replace,
        )?;
        Ok(())
    }
}

/// The adapter of `model`, checked against the result that it is on.
fn on_result(
    model: &ModelRef,
    result: &StepPlan,
    models: &Models,
) -> Result<Option<Arc<OnStep>>, MergingError> {
    let Some(place) = &model.adapter else {
        return Ok(None);
    };
    let stored = models.adapter(place)?;
    let config = result.plan.config.as_ref();
    Ok(Some(Arc::new(OnStep::new(stored, &result.metas, config)?)))
}

/// Why `model` cannot be opened: where it is nowhere, the name of a recipe of this file may have been meant.
fn perhaps_a_step(error: MergingError, model: &ModelRef, set: &RecipeSet) -> MergingError {
    let MergingError::Hub(hub) = &error else {
        return error;
    };
    let names = set
        .steps()
        .iter()
        .filter_map(|step| step.recipe.name.as_deref());
    let found = model.model.to_string();
    match nearest(&found, names) {
        Some(name) if matches!(**hub, HubError::NotCached { .. }) => ConfigError::Unknown {
            kind: "model or recipe",
            found,
            valid: Valid::Nearest(name.into()),
        }
        .into(),
        _ => error,
    }
}

fn recipes(path: &Path, documents: &[Value]) -> Result<RecipeSet, MergingError> {
    RecipeSet::parse(documents).map_err(|problem| MergingError::Recipe {
        path: path.into(),
        problem,
    })
}

/// Whether the result is one model as it is, so that packed weights can stay packed. Slices cannot: what tells how to
/// read them may name layers by their numbers.
fn copies_whole_model(recipe: &Recipe) -> bool {
    let alone = match &recipe.body {
        Body::Models(entries) => entries.iter().all(|e| e.parameters.is_empty()),
        Body::Slices(_) | Body::Modules(_) => false,
    };
    alone
        && recipe.models().len() == 1
        && recipe.models().iter().all(|model| model.adapter.is_none())
        && recipe.method.card.name == RecipeMethod::Passthrough.spec().card.name
        && recipe.parameters.is_empty()
        && recipe.dtype.or(recipe.out_dtype).is_none()
        && recipe.tokenizer.is_none()
}

/// How output `index` of a step comes about.
fn job(
    plan: &Plan,
    vocabulary: Option<&Vocabulary>,
    models: &[models::OpenModel],
    index: usize,
    seed: Seed,
) -> Result<Job, MergeError> {
    let output = &plan.tensors[index];
    let tensor = |input: &InputRef| models[input.model].tensor(input.index);
    let operand = |input: &InputRef| {
        let tensor = match vocabulary.filter(|_| output.is_embedding) {
            Some(vocabulary) => vocabulary.rows_of(output, input, tensor)?,
            None => tensor(input),
        };
        Ok::<_, MergeError>(Operand {
            tensor,
            model: ModelName::Plain(plan.models[input.model].to_string()),
        })
    };
    let inputs = output.inputs.iter().map(operand);
    let mut inputs = inputs.collect::<Result<Vec<_>, _>>()?;
    if output.work == Work::Copy {
        let first = inputs.swap_remove(0);
        let stored = first.tensor.is_stored() && first.tensor.meta().dtype == output.dtype;
        if stored || !output.dtype.is_weight() {
            return Ok(Job {
                work: engine::Work::Copy(first),
            });
        }
        return Ok(Job {
            work: engine::Work::Merge {
                rule: unchanged(output, seed)?,
                base: None,
                models: vec![first],
            },
        });
    }
    Ok(Job {
        work: engine::Work::Merge {
            rule: plan.rule(index, seed)?,
            base: output.base.as_ref().map(operand).transpose()?,
            models: inputs,
        },
    })
}

impl StepPlan {
    fn left_out(&self) -> Vec<String> {
        let left_out = self.plan.left_out.iter();
        let words =
            |input: &InputRef| format!("`{}` of `{}`", input.tensor, self.plan.models[input.model]);
        left_out.map(words).collect()
    }
}

/// The rule that leaves values as they are, for copies into another element type.
fn unchanged(
    output: &OutputTensor,
    seed: Seed,
) -> Result<Box<dyn refit_merge::stream::StreamRule>, MergeError> {
    let target = Target {
        path: &output.path,
        shape: &output.shape,
        models: &["model"],
        has_base: false,
        is_embedding: output.is_embedding,
        seed,
    };
    let spec = RecipeMethod::Passthrough.spec();
    Ok(spec.rule(&target, Map::new(), vec![Map::new()])?)
}

fn meta(output: &OutputTensor) -> TensorMeta {
    TensorMeta {
        path: output.path.clone(),
        dtype: output.dtype,
        shape: output.shape.clone(),
    }
}

/// Bytes of all tensors.
fn size(metas: &[TensorMeta]) -> u64 {
    metas.iter().map(|meta| meta.size_bytes() as u64).sum()
}

/// The element types of an output, each once.
fn dtypes(metas: &[TensorMeta]) -> Vec<DType> {
    let mut found: Vec<DType> = Vec::new();
    for meta in metas {
        if !found.contains(&meta.dtype) {
            found.push(meta.dtype);
        }
    }
    found
}
