//! What a streamed merge was made of: recipes, models with their settings, and the result.

use super::{
    format::{bytes, count},
    html::Html,
};
use crate::{merging::TokenizerSummary, run::RunRecord};
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

/// Whether the run merged adapters.
pub(crate) fn is_of_adapters(record: &RunRecord) -> bool {
    record.verb == "merge" && record.settings["adapters"].is_array()
}

/// Appends the method of a merge of adapters, the adapters with their weights, and what came of it.
pub(crate) fn adapters(h: &mut Html, record: &RunRecord) {
    let plan = &record.settings;
    let number = |key: &str| plan[key].as_u64().unwrap_or_default();
    let bases = plan["bases"].as_array().into_iter().flatten();
    let bases: Vec<&str> = bases.filter_map(Value::as_str).collect();
    let mut settings = plan["method"].clone();
    if let Some(settings) = settings.as_object_mut() {
        settings.retain(|key, value| key != "adapter_method" && !value.is_null());
    }
    let settings = pairs(&settings);
    h.el("dl", &[], |h| {
        for (name, value) in [
            ("Method", plain(&plan["method"]["adapter_method"])),
            ("Settings", settings),
            ("Base", bases.join(", ")),
            ("Tensors", count(number("tensors"))),
            ("Result", bytes(number("written-bytes"))),
        ] {
            if !value.is_empty() {
                h.leaf("dt", &[], name).leaf("dd", &[], value);
            }
        }
    });
    h.scroll("Adapters", |h| {
        h.el("table", &[], |h| {
            super::cost::head(h, &["Adapter", "Weight"]);
            h.el("tbody", &[], |h| {
                for entry in plan["adapters"].as_array().into_iter().flatten() {
                    h.el("tr", &[], |h| {
                        h.leaf("th", &[("scope", &"row")], plain(&entry[0]));
                        h.leaf("td", &[], plain(&entry[1]));
                    });
                }
            });
        });
    });
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
    let tokenizer = step.get("tokenizer").cloned().unwrap_or_default();
    if let Ok(tokenizer) = serde_json::from_value::<TokenizerSummary>(tokenizer) {
        facts.push(("Tokenizer", tokenizer.to_string()));
    }
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
    let sliced = lines.iter().any(|[_, layers, _]| !layers.is_empty());
    h.scroll("Models", |h| {
        h.el("table", &[], |h| {
            let columns = ["Model", "Settings", "Layers"];
            super::cost::head(h, &columns[..if sliced { 3 } else { 2 }]);
            h.el("tbody", &[], |h| {
                for [model, layers, settings] in lines {
                    h.el("tr", &[], |h| {
                        h.leaf("th", &[("scope", &"row")], model);
                        h.leaf("td", &[], settings);
                        if sliced {
                            h.leaf("td", &[], layers);
                        }
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
