//! Models with different tokenizers, brought to one vocabulary.

use super::{MergeJob, StepPlan, error::MergingError, models::Models, models::Origin};
use refit_core::TensorRead;
use refit_io::file::read_file;
use refit_merge::{
    MergeError,
    recipe::{InputRef, ModelRef, OutputTensor, Plan, Recipe},
    tokenizer::{Rows, VocabularyInput, VocabularyPlan, plan_vocabulary},
};
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// A tokenizer larger than this is none.
const MAX_TOKENIZER_BYTES: u64 = 256 << 20;

/// What the tokenizer block of a recipe comes to.
#[derive(Debug)]
pub(super) struct Vocabulary {
    plan: VocabularyPlan,
    /// Where settings beside `tokenizer.json` are taken from.
    home: PathBuf,
}

impl Vocabulary {
    /// Plans the vocabulary of a step, and gives the tensors over it their rows.
    pub(super) fn plan(
        recipe: &Recipe,
        plan: &mut Plan,
        origins: &[Origin],
        models: &mut Models,
        steps: &[StepPlan],
    ) -> Result<Option<Self>, MergingError> {
        let Some(spec) = &recipe.tokenizer else {
            return Ok(None);
        };
        let rows = rows(plan, origins, models, steps);
        // Maps number the models that have an embedding.
        let with_rows: Vec<usize> = (0..rows.len()).filter(|&at| rows[at].is_some()).collect();
        for output in plan.tensors.iter().filter(|output| output.is_embedding) {
            if numbered(output)
                .iter()
                .map(|input| input.model)
                .ne(with_rows.iter().copied())
            {
                let tensor = output.path.to_string();
                return Err(MergingError::PartialVocabulary { tensor });
            }
        }
        let merged = recipe.models();
        let mut homes = Vec::new();
        for (at, model) in recipe.references().into_iter().enumerate() {
            let origin = match origins.get(at) {
                Some(origin) => *origin,
                None => Origin::Opened(models.open(model)?),
            };
            homes.push((model, tokenizer_home(origin, models, steps)?));
        }
        let read = |(model, home): &(&ModelRef, PathBuf)| {
            let tokenizer = read_tokenizer(&home.join("tokenizer.json"))?;
            Ok::<_, MergingError>(((*model).clone(), tokenizer))
        };
        let tokenizers = homes.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let inputs: Vec<(ModelRef, VocabularyInput<'_>)> = tokenizers
            .iter()
            .enumerate()
            .map(|(at, (model, tokenizer))| {
                let rows = rows.get(at).copied().flatten();
                (model.clone(), VocabularyInput { tokenizer, rows })
            })
            .collect();
        let base = recipe
            .base_model
            .as_ref()
            .map(|_| 0)
            .filter(|_| !merged.is_empty());
        let found = plan_vocabulary(spec, &inputs, base)?;
        for output in plan.tensors.iter_mut().filter(|output| output.is_embedding) {
            if let Some(first) = output.shape.first_mut() {
                *first = found.rows;
            }
        }
        plan.mismatches.clear();
        if let Some(config) = &mut plan.config {
            set_size(config, found.rows);
        }
        let home = homes[found.model].1.clone();
        Ok(Some(Self { plan: found, home }))
    }

    /// The operand `input` of an embedding, with the rows of the result.
    pub(super) fn rows_of(
        &self,
        output: &OutputTensor,
        input: &InputRef,
        tensor: impl Fn(&InputRef) -> Arc<dyn TensorRead>,
    ) -> Result<Arc<dyn TensorRead>, MergeError> {
        let inputs = numbered(output);
        let number = inputs
            .iter()
            .take_while(|other| other.model < input.model)
            .count();
        let tensors = inputs.iter().map(|input| tensor(input)).collect();
        let failed = |error| MergeError::Read {
            path: output.path.clone(),
            model: refit_merge::ModelName::Plain(format!("model {number}")),
            source: Box::new(error),
        };
        let rows = Rows::new(tensors, number, &self.plan.maps[number]).map_err(failed)?;
        Ok(Arc::new(rows))
    }

    /// The folder of the model whose tokenizer the result has.
    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    /// `tokenizer.json` of the result, and `tokenizer_config.json` where that model has one.
    pub(super) fn documents(&self) -> Result<Vec<(&'static str, Value)>, MergingError> {
        let mut documents = vec![("tokenizer.json", self.plan.tokenizer_json.clone())];
        let config = self.home.join("tokenizer_config.json");
        if config.is_file() {
            let mut config = read_tokenizer(&config)?;
            self.plan.extend_config(&mut config);
            documents.push(("tokenizer_config.json", config));
        }
        Ok(documents)
    }
}

/// The operands of an output in the order of their models.
fn numbered(output: &OutputTensor) -> Vec<&InputRef> {
    let mut inputs: Vec<&InputRef> = output.inputs.iter().chain(&output.base).collect();
    inputs.sort_by_key(|input| input.model);
    inputs.dedup_by_key(|input| input.model);
    inputs
}

/// Rows of the embedding of every model of a plan.
fn rows(
    plan: &Plan,
    origins: &[Origin],
    models: &Models,
    steps: &[StepPlan],
) -> Vec<Option<usize>> {
    let mut rows = vec![None; origins.len()];
    let embeddings = plan.tensors.iter().filter(|output| output.is_embedding);
    for input in embeddings.flat_map(|output| output.inputs.iter().chain(&output.base)) {
        let shape = match origins[input.model] {
            Origin::Opened(at) => &models.get(at).header().tensors[input.index].shape,
            Origin::Step(at) => &steps[at].metas[input.index].shape,
        };
        rows[input.model] = rows[input.model].or(shape.first().copied());
    }
    rows
}

/// The folder in which the tokenizer of a model lies.
fn tokenizer_home(
    origin: Origin,
    models: &Models,
    steps: &[StepPlan],
) -> Result<PathBuf, MergingError> {
    match origin {
        Origin::Opened(at) => Ok(models.get(at).home().to_path_buf()),
        Origin::Step(at) if steps[at].vocabulary.is_some() => Err(MergingError::TwoVocabularies),
        Origin::Step(at) => match steps[at].origins.first() {
            Some(&first) => tokenizer_home(first, models, steps),
            None => Err(MergingError::TwoVocabularies),
        },
    }
}

fn read_tokenizer(path: &Path) -> Result<Value, MergingError> {
    let bytes = read_file(path, MAX_TOKENIZER_BYTES)?;
    serde_json::from_slice(&bytes).map_err(|problem| MergingError::config(path, problem))
}

/// Sets `vocab_size` wherever the configuration says it.
fn set_size(config: &mut Value, rows: usize) {
    let Some(config) = config.as_object_mut() else {
        return;
    };
    if let Some(size) = config.get_mut("vocab_size") {
        *size = rows.into();
    }
    if let Some(text) = config.get_mut("text_config") {
        set_size(text, rows);
    }
}

impl MergeJob {
    /// The tokenizer of the output, where a recipe says what it is.
    pub(super) fn vocabulary(&self) -> Option<&Vocabulary> {
        self.steps[self.steps.len() - 1].vocabulary.as_ref()
    }
}
