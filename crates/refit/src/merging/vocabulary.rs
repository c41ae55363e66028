//! Models with different tokenizers, brought to one vocabulary.

use super::{
    Origin, StepPlan,
    beside::{self, TOKENIZER, TOKENIZER_CONFIG},
    error::MergingError,
    models::Models,
    rewrite::rewrite,
};
use crate::companions::Companions;
use refit_core::TensorRead;
use refit_merge::{
    MergeError,
    recipe::{InputRef, ModelRef, OutputTensor, Plan, Recipe},
    tokenizer::{RowMap, RowlessTokens, Rows, VocabularyInput, VocabularyPlan, plan_vocabulary},
};
use serde_json::Value;
use std::{path::Path, sync::Arc};

/// The models that a tensor is made of, and the map of each.
type Maps = Vec<(Vec<usize>, Vec<RowMap>)>;

/// What the tokenizer block of a recipe comes to.
#[derive(Debug)]
pub(super) struct Vocabulary {
    plan: VocabularyPlan,
    maps: Maps,
    /// The model that what stands beside `tokenizer.json` is taken from.
    origin: Origin,
    /// Its name.
    model: ModelRef,
}

impl Vocabulary {
    /// Plans the vocabulary of a step, and gives the tensors over it their rows; `origins` are those of all references
    /// of the recipe.
    pub(super) fn plan(
        recipe: &Recipe,
        plan: &mut Plan,
        origins: &[Origin],
        models: &Models,
        steps: &[StepPlan],
    ) -> Result<Option<Self>, MergingError> {
        let Some(spec) = &recipe.tokenizer else {
            return Ok(None);
        };
        let rows = rows(plan, origins, models, steps);
        let merged = plan.models.len();
        let read = |(model, &origin): (&ModelRef, &Origin)| {
            let Some(tokenizer) = beside::tokenizer(origin, models, steps)? else {
                let model = model.to_string();
                return Err(MergingError::NoTokenizer { model });
            };
            Ok((model.clone(), parse(model, TOKENIZER, &tokenizer)?))
        };
        let named = recipe.references().into_iter().zip(origins);
        let tokenizers = named.map(read).collect::<Result<Vec<_>, _>>()?;
        let inputs: Vec<(ModelRef, VocabularyInput<'_>)> = tokenizers
            .iter()
            .enumerate()
            .map(|(at, (model, tokenizer))| {
                // A model between the ends brings tokens, and no row is looked for in it.
                let rows = rows[at].or(Some(usize::MAX)).filter(|_| at < merged);
                (model.clone(), VocabularyInput { tokenizer, rows })
            })
            .collect();
        let base = recipe.base_model.as_ref().map(|_| 0); // it comes first
        let found = plan_vocabulary(spec, &inputs, base)?;
        let mut maps: Maps = Vec::new();
        for output in plan.tensors.iter().filter(|output| output.is_embedding) {
            let among: Vec<usize> = numbered(output).iter().map(|input| input.model).collect();
            if maps.iter().all(|(known, _)| *known != among) {
                let inputs = inputs.iter().enumerate().map(|(at, (model, input))| {
                    let rows = input.rows.filter(|_| among.contains(&at));
                    (model.clone(), VocabularyInput { rows, ..*input })
                });
                let inputs: Vec<_> = inputs.collect();
                maps.push((among, found.maps_among(spec, &inputs, base)?));
            }
        }
        for output in plan.tensors.iter_mut().filter(|output| output.is_embedding) {
            if let Some(first) = output.shape.first_mut() {
                *first = found.rows;
            }
        }
        plan.mismatches.clear();
        if let Some(config) = &mut plan.config {
            set_size(config, found.rows);
        }
        let origin = origins[found.model];
        let model = tokenizers[found.model].0.clone();
        Ok(Some(Self {
            plan: found,
            maps,
            origin,
            model,
        }))
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
        let among = inputs.iter().map(|input| input.model);
        let maps = self
            .maps
            .iter()
            .find(|(known, _)| among.clone().eq(known.iter().copied()));
        let Some(map) = maps.and_then(|(_, maps)| maps.get(number)) else {
            return Ok(tensor(input)); // never: every tensor over tokens was planned
        };
        let rows = Rows::new(tensors, number, map).map_err(failed)?;
        Ok(Arc::new(rows))
    }

    /// Models with tokens that their embedding has no row for.
    pub(super) fn rowless(&self) -> &[RowlessTokens] {
        &self.plan.rowless
    }

    /// The model whose tokenizer the result has.
    pub(super) fn origin(&self) -> Origin {
        self.origin
    }

    /// Its name.
    pub(super) fn model(&self) -> &ModelRef {
        &self.model
    }

    /// Tokens that were added to it.
    pub(super) fn added(&self) -> usize {
        self.plan.added
    }

    /// Rows of the embedding of the result.
    pub(super) fn rows(&self) -> usize {
        self.plan.rows
    }

    /// Sets `tokenizer.json` of the result, and what is new in `tokenizer_config.json` where that model has one.
    pub(super) fn describe(&self, beside: &mut Companions) -> Result<(), MergingError> {
        let original = beside.read(TOKENIZER)?.unwrap_or_default();
        beside.set(TOKENIZER, rewrite(&original, &self.plan.tokenizer_json));
        if let Some(original) = beside.read(TOKENIZER_CONFIG)? {
            let mut config = parse(&self.model, TOKENIZER_CONFIG, &original)?;
            self.plan.extend_config(&mut config);
            beside.set(TOKENIZER_CONFIG, rewrite(&original, &config));
        }
        Ok(())
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

/// The JSON document `name` of a model.
fn parse(model: &ModelRef, name: &str, bytes: &[u8]) -> Result<Value, MergingError> {
    let place = Path::new(&model.to_string()).join(name);
    serde_json::from_slice(bytes).map_err(|problem| MergingError::config(&place, problem))
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
