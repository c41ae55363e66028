//! `config.json` of the result.

use super::{
    Plan, Work,
    header::{Header, value_at},
    parts::{Cut, Part},
};
use crate::recipe::{
    document::dtype_name,
    structure::{Structure, Vocabulary, is_buffer, vocabulary},
};
use refit_core::DType;
use serde_json::{Value, json};

/// Lists with an entry for each layer, beside the number of layers.
const PER_LAYER: &[&str] = &[
    "layer_types",
    "mlp_layer_types",
    "layers_block_type",
    "no_rope_layers",
];

/// The configuration of the first model that has one, with what the merge has changed.
pub(super) fn patched(
    plan: &Plan,
    parts: &[Part<'_>],
    headers: &[Header<'_>],
    structure: &Structure,
) -> Option<Value> {
    let mut config = headers.iter().find_map(Header::config)?.clone();
    for part in parts.iter().filter(|part| !part.whole) {
        let counts = structure.modules()[part.module].counts;
        stack(&mut config, part, headers, counts);
    }
    if let Some(dtype) = common_dtype(plan) {
        set_dtype(&mut config, dtype);
    }
    if unties(plan) {
        set_untied(&mut config);
    }
    Some(config)
}

/// Sets the number of layers, and the lists with an entry for each.
fn stack(config: &mut Value, part: &Part<'_>, headers: &[Header<'_>], counts: &[&str]) {
    let Some(key) = counts.iter().find(|key| value_at(config, key).is_some()) else {
        return;
    };
    let (nest, name) = key.rsplit_once('.').unwrap_or(("", key));
    let source = |cut: &Cut<'_>| {
        let feed = &cut.feeds[cut.reference()];
        (feed.model, feed.start, cut.layers)
    };
    let layers: Vec<(usize, usize)> = part
        .cuts
        .iter()
        .map(source)
        .flat_map(|(model, start, layers)| (start..start + layers).map(move |at| (model, at)))
        .collect();
    let lists: Vec<(&str, Option<Value>)> = PER_LAYER
        .iter()
        .map(|list| {
            let key = if nest.is_empty() {
                (*list).to_owned()
            } else {
                format!("{nest}.{list}")
            };
            let entry = |&(model, at): &(usize, usize)| {
                let config = headers[model].config()?;
                value_at(config, &key)?.get(at).cloned()
            };
            (
                *list,
                layers
                    .iter()
                    .map(entry)
                    .collect::<Option<Vec<_>>>()
                    .map(Value::from),
            )
        })
        .collect();
    let object = if nest.is_empty() {
        Some(config)
    } else {
        config.get_mut(nest)
    };
    let Some(object) = object.and_then(Value::as_object_mut) else {
        return;
    };
    object.insert(name.to_owned(), json!(layers.len()));
    for (key, list) in lists {
        match list {
            _ if !object.contains_key(key) => {}
            Some(list) => drop(object.insert(key.to_owned(), list)),
            // A list of another length would keep the model from loading; without it the default holds.
            None => drop(object.remove(key)),
        }
    }
}

/// The element type of all merged tensors, if they have one in common.
fn common_dtype(plan: &Plan) -> Option<DType> {
    let mut dtypes = plan
        .tensors
        .iter()
        .filter(|tensor| tensor.dtype.is_weight())
        .filter(|tensor| !is_buffer(tensor.path.as_str()))
        .map(|tensor| tensor.dtype);
    let first = dtypes.next()?;
    dtypes.all(|dtype| dtype == first).then_some(first)
}

/// Sets the element type under the key that the configuration has; older ones call it `torch_dtype`.
fn set_dtype(config: &mut Value, dtype: DType) {
    let Some(object) = config.as_object_mut() else {
        return;
    };
    let keys = ["dtype", "torch_dtype"];
    let has = keys.map(|key| object.contains_key(key));
    for (key, has) in keys.into_iter().zip([has[0], has[1] || !has[0]]) {
        if has {
            object.insert(key.into(), json!(dtype_name(dtype)));
        }
    }
}

/// Whether the result stores a head that one of its models has in its embedding.
fn unties(plan: &Plan) -> bool {
    plan.tensors.iter().any(|tensor| {
        let is_head = vocabulary(tensor.path.as_str()) == Some(Vocabulary::Head);
        let inputs = tensor.inputs.iter().chain(&tensor.base);
        is_head
            && tensor.work == Work::Merge
            && inputs
                .into_iter()
                .any(|input| vocabulary(input.tensor.as_str()) == Some(Vocabulary::Embedding))
    })
}

/// Says that head and embedding differ, so that the stored head is not passed over.
fn set_untied(config: &mut Value) {
    const KEY: &str = "tie_word_embeddings";
    if let Some(nested) = config.get_mut("text_config").and_then(Value::as_object_mut) {
        nested.insert(KEY.into(), json!(false));
    }
    if let Some(object) = config.as_object_mut() {
        object.insert(KEY.into(), json!(false));
    }
}
