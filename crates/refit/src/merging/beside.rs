//! What stands beside the weights of a result.

use super::{
    MergingError, Origin, StepPlan, models::Models, rewrite::rewrite, templates::chat_template,
    vocabulary::Vocabulary,
};
use crate::companions::{Companions, PREPROCESSING, read};
use refit_merge::recipe::{Plan, Recipe};
use serde_json::Value;

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
        Origin::Opened(at) => Companions::of_model(models.get(at).home())?,
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
        let original = config_text(origins, models, steps)?;
        beside.set(CONFIG, rewrite(&original, config));
    }
    if let Some(vocabulary) = vocabulary {
        beside.remove(&OTHER_TOKENIZERS);
        vocabulary.describe(&mut beside)?;
    }
    let usual = match recipe.chat_template.as_deref() {
        Some("auto") => usual_template(origins, models, steps)?,
        _ => None,
    };
    let given = chat_template(recipe.chat_template.as_deref())?;
    if let Some(template) = given.map(str::to_owned).or(usual) {
        set_template(&mut beside, template)?;
    }
    Ok(beside)
}

/// `config.json` of the first model that has one; empty where it is no file.
fn config_text(
    origins: &[Origin],
    models: &Models,
    steps: &[StepPlan],
) -> Result<Vec<u8>, MergingError> {
    let first = origins.iter().find_map(|&origin| match origin {
        Origin::Opened(at) => {
            let model = models.get(at);
            model.header().config.map(|_| read(model.home(), CONFIG))
        }
        Origin::Step(at) => {
            let config = steps[at].plan.config.as_ref();
            config.map(|_| steps[at].companions.read(CONFIG))
        }
    });
    Ok(first.transpose()?.flatten().unwrap_or_default())
}

/// The template that most models have; of several, that which comes first.
fn usual_template(
    origins: &[Origin],
    models: &Models,
    steps: &[StepPlan],
) -> Result<Option<String>, MergingError> {
    const NAMES: [&str; 2] = [CHAT_TEMPLATE, TOKENIZER_CONFIG];
    let mut templates: Vec<(String, usize)> = Vec::new();
    for &origin in origins {
        let beside = match origin {
            Origin::Opened(at) => Companions::find(models.get(at).home(), &NAMES)?,
            Origin::Step(at) => steps[at].companions.only(&NAMES),
        };
        let Some(template) = template(&beside)? else {
            continue;
        };
        match templates.iter_mut().find(|(known, _)| *known == template) {
            Some((_, count)) => *count += 1,
            None => templates.push((template, 1)),
        }
    }
    let most = templates.iter().map(|(_, count)| *count).max();
    let mut usual = templates.into_iter();
    Ok(usual
        .find(|(_, count)| Some(*count) == most)
        .map(|(template, _)| template))
}

/// Whether chats have a template.
pub(super) fn has_template(beside: &Companions) -> bool {
    matches!(template(beside), Ok(Some(_)))
}

/// The template of a model: a file of its own, or an entry of the settings of its tokenizer (of several, the default).
fn template(beside: &Companions) -> Result<Option<String>, MergingError> {
    if let Some(bytes) = beside.read(CHAT_TEMPLATE)? {
        return Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned()));
    }
    let settings = beside.read(TOKENIZER_CONFIG)?.unwrap_or_default();
    let settings: Value = serde_json::from_slice(&settings).unwrap_or_default();
    let named = |list: &Vec<Value>| {
        let default = list.iter().find(|entry| entry["name"] == "default");
        default.and_then(|entry| entry["template"].as_str().map(str::to_owned))
    };
    let found = match &settings["chat_template"] {
        Value::String(template) => Some(template.clone()),
        Value::Array(list) => named(list),
        _ => None,
    };
    let found = found.map(|template| template.trim().to_owned());
    Ok(found.filter(|template| !template.is_empty()))
}

/// Gives a result its template, in the place of any other.
fn set_template(beside: &mut Companions, template: String) -> Result<(), MergingError> {
    beside.remove(&["chat_template.json"]);
    // Readers that do not know the file of its own should not find another one here.
    let text = beside.read(TOKENIZER_CONFIG)?.unwrap_or_default();
    if let Ok(Value::Object(mut settings)) = serde_json::from_slice(&text)
        && let Some(known) = settings.get_mut("chat_template")
    {
        *known = template.clone().into();
        beside.set(TOKENIZER_CONFIG, rewrite(&text, &settings.into()));
    }
    beside.set(CHAT_TEMPLATE, template);
    Ok(())
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
