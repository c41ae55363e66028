//! What stands beside the weights of a result.

use super::{
    MergingError, Origin, StepPlan, json_text, models::Models, templates::chat_template,
    vocabulary::Vocabulary,
};
use crate::companions::{Companions, NAMES, PREPROCESSING, read};
use refit_merge::recipe::{Plan, Recipe};

/// The configuration of a model.
pub(super) const CONFIG: &str = "config.json";
/// Its tokenizer, as fast tokenizers have it.
pub(super) const TOKENIZER: &str = "tokenizer.json";
/// The settings of its tokenizer.
pub(super) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// The template of its chats.
const CHAT_TEMPLATE: &str = "chat_template.jinja";

/// What would say something else beside a new `tokenizer.json`.
const OTHER_TOKENIZERS: [&str; 6] = [
    "added_tokens.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer.model",
    "vocab.json",
];

/// What stands beside the weights of a step: what the model has that the result is most like (the one whose tokenizer
/// it gets, or else the base or the first), with what the recipe changes.
pub(super) fn of_step(
    recipe: &Recipe,
    plan: &Plan,
    vocabulary: Option<&Vocabulary>,
    origins: &[Origin],
    models: &Models,
    steps: &[StepPlan],
) -> Result<Companions, MergingError> {
    let lead = vocabulary.map_or(origins[0], Vocabulary::origin);
    let mut beside = match lead {
        Origin::Opened(at) => Companions::find(models.get(at).home(), &NAMES)?,
        Origin::Step(at) => steps[at].companions.clone(),
    };
    for &origin in [lead].iter().chain(origins) {
        let preprocessing = match origin {
            Origin::Opened(at) => Companions::find(models.get(at).home(), &PREPROCESSING)?,
            Origin::Step(at) => steps[at].companions.only(&PREPROCESSING),
        };
        if !preprocessing.is_empty() {
            beside.extend(preprocessing);
            break;
        }
    }
    beside.remove(&[CONFIG]);
    if let Some(config) = &plan.config {
        beside.set(CONFIG, json_text(config));
    }
    if let Some(vocabulary) = vocabulary {
        beside.remove(&OTHER_TOKENIZERS);
        vocabulary.describe(&mut beside)?;
    }
    if let Some(template) = chat_template(recipe.chat_template.as_deref())? {
        beside.set(CHAT_TEMPLATE, template);
    }
    Ok(beside)
}

/// `tokenizer.json` of a model; `None` where it has none.
pub(super) fn tokenizer(
    origin: Origin,
    models: &Models,
    steps: &[StepPlan],
) -> Result<Option<Vec<u8>>, MergingError> {
    Ok(match origin {
        Origin::Opened(at) => read(models.get(at).home(), TOKENIZER)?,
        Origin::Step(at) => steps[at].companions.read(TOKENIZER)?,
    })
}
