//! What is probably not meant, and what was done without being asked for.

use super::{Origin, StepPlan, beside, models::Models};
use refit_merge::{
    recipe::{ModelRef, Plan, Recipe},
    tokenizer::{RowlessTokens, Vocabulary},
};
use serde_json::Value;

/// What is to be said of a step once it is planned; `last` makes the output.
pub(super) fn of_step(
    recipe: &Recipe,
    plan: &Plan,
    origins: &[Origin],
    models: &Models,
    steps: &[StepPlan],
    last: bool,
) -> Vec<String> {
    let mut warnings = Vec::new();
    if recipe.tokenizer.is_none() {
        warnings.extend(other_tokenizers(plan, origins, models, steps));
    }
    warnings.extend(unread_tokenizers(plan, origins, models));
    let has_config = |&origin: &Origin| match origin {
        Origin::Opened(at) => models.get(at).header().config.is_some(),
        Origin::Step(at) => steps[at].plan.config.is_some(),
    };
    if let Some(at) = origins.iter().position(has_config).filter(|at| *at > 0) {
        let (first, other) = (&plan.models[0], &plan.models[at]);
        warnings.push(format!(
            "`{first}` has no `config.json`; the result has that of `{other}`"
        ));
    }
    warnings.extend(number_of_words(plan).filter(|_| last));
    warnings
}

/// Models in files of their own format whose tokenizer is inside and not read: their rows are compared with nothing, and
/// a result that is most like them has no tokenizer.
fn unread_tokenizers(plan: &Plan, origins: &[Origin], models: &Models) -> Vec<String> {
    let unread = origins.iter().zip(&plan.models).filter(|(origin, _)| {
        let Origin::Opened(at) = **origin else {
            return false;
        };
        let model = models.get(at);
        model.tells_config() && !model.home().join(beside::TOKENIZER).is_file()
    });
    let words = |(_, model): (_, &ModelRef)| {
        format!(
            "the tokenizer inside `{model}` is not read: its tokens are compared with no other's and not written; \
             `tokenizer.json` beside the file is"
        )
    };
    unread.map(words).collect()
}

/// A configuration that tells of another number of words than the embedding has rows: readers would refuse the model.
fn number_of_words(plan: &Plan) -> Option<String> {
    const KEY: &str = "vocab_size";
    let config = plan.config.as_ref()?;
    let nested = || config.get("text_config")?.get(KEY);
    let told = config.get(KEY).or_else(nested)?;
    let embeddings = plan.tensors.iter().filter(|output| output.is_embedding);
    let mut rows = embeddings.filter_map(|output| output.shape.first());
    let first = rows.clone().next()?;
    let fits = rows.any(|&rows| told.as_u64() == Some(rows as u64));
    (!fits).then(|| {
        format!("`config.json` of the result tells of {told} words (`{KEY}`), its embedding has {first} rows")
    })
}

/// Tokens that a model knows and has no row for.
pub(super) fn rowless(plan: &Plan, models: &[RowlessTokens]) -> Vec<String> {
    let words = |tokens: &RowlessTokens| {
        let first: Vec<String> = tokens
            .first
            .iter()
            .map(|token| format!("`{token}`"))
            .collect();
        let more = match tokens.count - first.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let model = &plan.models[tokens.model];
        let first = first.join(", ");
        format!("the embedding of `{model}` has no row for {first}{more} of its tokenizer")
    };
    models.iter().map(words).collect()
}

/// Models whose embedding or head meets the tokenizer of another model, and whose own has other tokens in those rows.
/// What cannot be read says nothing.
fn other_tokenizers(
    plan: &Plan,
    origins: &[Origin],
    models: &Models,
    steps: &[StepPlan],
) -> Vec<String> {
    let embeddings = plan.tensors.iter().filter(|output| output.is_embedding);
    let inputs = embeddings.flat_map(|output| output.inputs.iter().chain(&output.base));
    let mut taken: Vec<usize> = inputs.map(|input| input.model).chain([0]).collect();
    taken.sort_unstable();
    taken.dedup();
    let read = |&model: &usize| {
        let bytes = beside::tokenizer(origins[model], models, steps);
        Some((model, bytes.ok().flatten()?))
    };
    let mut texts = taken.iter().filter_map(read);
    let Some((first, expected)) = texts.next() else {
        return vec![];
    };
    // Most models of a merge have the very same file, which need not be looked into.
    let others: Vec<(usize, Vec<u8>)> = texts.filter(|(_, text)| *text != expected).collect();
    let parse = |text: &[u8]| serde_json::from_slice::<Value>(text).ok();
    let Some(json) = parse(&expected).filter(|_| !others.is_empty()) else {
        return vec![];
    };
    let Ok(expected) = Vocabulary::read(&json) else {
        return vec![];
    };
    let differs = |(model, text): &(usize, Vec<u8>)| {
        let json = parse(text)?;
        let found = Vocabulary::read(&json).ok()?;
        let (id, token) = found.moved(&expected).next()?;
        let (model, first) = (&plan.models[*model], &plan.models[first]);
        let token = token.escape_debug();
        Some(format!(
            "row {id} is `{token}` in `{model}` and not in `{first}`; rows are merged by number, and \
             `tokenizer_source: union` or `base` matches them by token"
        ))
    };
    others.iter().filter_map(differs).collect()
}
