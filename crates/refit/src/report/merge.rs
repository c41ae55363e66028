//! What a streamed merge was made of: recipes, models with their settings, and the result.

use super::{
    format::{bytes, count},
    html::Html,
};
use crate::run::RunRecord;
use serde_json::{Map, Value};

/// The recipes of the run, as its record has them; none for runs that are no such merge.
pub(crate) fn steps(record: &RunRecord) -> &[Value] {
    let steps = record.settings.pointer("/plan/steps");
    steps.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Appends every recipe: method, models with their settings, and what came of it.
pub(crate) fn recipes(h: &mut Html, record: &RunRecord) {
    for step in steps(record) {
        recipe(h, step);
    }
}

fn recipe(h: &mut Html, step: &Value) {
    let text = |pointer: &str| step.pointer(pointer).and_then(Value::as_str);
    let number = |key: &str| step.get(key).and_then(Value::as_u64).unwrap_or_default();
    let list = |key: &str| -> String {
        let items = step
            .get(key)
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        items
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    };
    if let Some(name) = text("/recipe/name") {
        h.leaf("h3", &[], name);
    }
    let mut facts: Vec<(&str, String)> = Vec::new();
    for (name, pointer) in [
        ("Method", "/recipe/merge_method"),
        ("Base", "/recipe/base_model"),
    ] {
        facts.extend(text(pointer).map(|value| (name, value.to_owned())));
    }
    let settings = step.pointer("/recipe/parameters").map(pairs);
    facts.extend(
        settings
            .filter(|text| !text.is_empty())
            .map(|text| ("Settings", text)),
    );
    facts.push((
        "Tensors",
        format!(
            "{} merged, {} copied",
            count(number("merged-tensors")),
            count(number("copied-tensors"))
        ),
    ));
    let result = format!("{} of {}", bytes(number("output-bytes")), list("dtypes"));
    facts.push(("Result", result));
    let left_out = list("left-out");
    if !left_out.is_empty() {
        facts.push(("Left out", left_out));
    }
    h.el("dl", &[], |h| {
        for (name, value) in facts {
            h.leaf("dt", &[], name).leaf("dd", &[], value);
        }
    });
    sources(h, step);
}

/// One line for each model, in the order of the recipe.
fn sources(h: &mut Html, step: &Value) {
    let mut lines = Vec::new();
    collect(step.get("recipe").unwrap_or(&Value::Null), &mut lines);
    if lines.is_empty() {
        return;
    }
    h.scroll("Models", |h| {
        h.el("table", &[], |h| {
            super::cost::head(h, &["Model", "Layers", "Settings"]);
            h.el("tbody", &[], |h| {
                for [model, layers, settings] in lines {
                    h.el("tr", &[], |h| {
                        h.leaf("th", &[("scope", &"row")], model);
                        h.leaf("td", &[], layers).leaf("td", &[], settings);
                    });
                }
            });
        });
    });
}

/// Every object with a `model`, wherever the recipe has it.
fn collect(value: &Value, lines: &mut Vec<[String; 3]>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, lines)),
        Value::Object(fields) => match fields.get("model").and_then(Value::as_str) {
            Some(model) => lines.push([
                model.to_owned(),
                fields.get("layer_range").map(plain).unwrap_or_default(),
                fields.get("parameters").map(pairs).unwrap_or_default(),
            ]),
            None => {
                let inner = fields.iter().filter(|(key, _)| *key != "tokenizer");
                inner.for_each(|(_, item)| collect(item, lines));
            }
        },
        _ => {}
    }
}

/// `weight 0.5, density [0, 1]`.
fn pairs(settings: &Value) -> String {
    let settings = settings.as_object().into_iter().flat_map(Map::iter);
    let pairs = settings.map(|(key, value)| format!("{key} {}", plain(value)));
    pairs.collect::<Vec<_>>().join(", ")
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
