//! Heads and tables that are the embedding: one tensor in a checkpoint, several modules in a model.

use crate::recipe::{ModelHeader, Vocabulary, vocabulary};
use refit_core::ParamPath;
use serde_json::Value;

/// What models with a head are called.
const WITH_HEAD: [&str; 3] = ["ForCausalLM", "LMHeadModel", "ForConditionalGeneration"];

/// Tensors of other modules that are the embedding, by the names under which loaders look for them: a loader that
/// replaces modules breaks the tie, so it has to find the same values for each.
///
/// The head has the name that one of the models stores it under, or else the usual one; a table that encoder and decoder
/// share (`shared`, T5) stands in both.
pub(super) fn twins(base: ModelHeader<'_>, model: ModelHeader<'_>) -> Vec<ParamPath> {
    let names = || {
        let tensors = model.tensors.iter().chain(base.tensors);
        tensors.map(|meta| meta.path.as_str())
    };
    let stored = names().find(|name| vocabulary(name) == Some(Vocabulary::Head));
    let head =
        stored.or_else(|| has_head(model.config.or(base.config)?).then_some("lm_head.weight"));
    let mut twins: Vec<ParamPath> = head.map(ParamPath::from).into_iter().collect();
    if names().any(|name| name == "shared.weight") {
        let tables = ["encoder", "decoder"].map(|side| format!("{side}.embed_tokens.weight"));
        twins.extend(tables.map(ParamPath::from));
    }
    twins
}

fn has_head(config: &Value) -> bool {
    let name = config["architectures"][0].as_str();
    name.is_some_and(|name| WITH_HEAD.iter().any(|end| name.ends_with(end)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use refit_core::{DType, TensorMeta};
    use serde_json::json;

    #[test]
    fn heads_and_shared_tables_are_known_by_name() {
        let found = |names: &[&str], config: Value| {
            let meta = |name: &&str| TensorMeta {
                path: (*name).into(),
                dtype: DType::F32,
                shape: vec![2, 2],
            };
            let tensors: Vec<TensorMeta> = names.iter().map(meta).collect();
            let header = |tensors| ModelHeader {
                tensors,
                config: Some(&config),
            };
            let twins = twins(header(&tensors[..1]), header(&tensors));
            twins.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let named = |name: &str| json!({ "architectures": [name] });
        assert_eq!(
            found(&["wte.weight"], named("GPT2LMHeadModel")),
            ["lm_head.weight"]
        );
        assert!(found(&["wte.weight"], named("GPT2ForSequenceClassification")).is_empty());
        assert!(found(&["wte.weight"], json!({})).is_empty());
        assert_eq!(
            found(&["embed_in.weight", "embed_out.weight"], json!({})),
            ["embed_out.weight"]
        );
        assert_eq!(
            found(&["shared.weight"], named("T5ForConditionalGeneration")),
            [
                "lm_head.weight",
                "encoder.embed_tokens.weight",
                "decoder.embed_tokens.weight"
            ]
        );
    }
}
