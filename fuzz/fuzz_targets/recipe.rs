//! Recipes, as JSON documents one after the other: an error, or a plan whose tensors come from the models.
#![no_main]

use libfuzzer_sys::fuzz_target;
use refit_core::{DType, TensorMeta};
use refit_merge::recipe::{ModelHeader, Plan, RecipeSet};
use serde_json::{Deserializer, Value, json};

/// Names and shapes of a model of two layers.
fn tensors() -> Vec<TensorMeta> {
    let meta = |path: &str, shape: &[usize]| TensorMeta {
        path: path.into(),
        dtype: DType::F32,
        shape: shape.to_vec(),
    };
    vec![
        meta("model.embed_tokens.weight", &[5, 2]),
        meta("model.layers.0.mlp.up_proj.weight", &[4, 2]),
        meta("model.layers.1.mlp.up_proj.weight", &[4, 2]),
        meta("model.norm.weight", &[2]),
        meta("lm_head.weight", &[5, 2]),
    ]
}

fuzz_target!(|text: &[u8]| {
    let documents = Deserializer::from_slice(text).into_iter::<Value>();
    let Ok(documents) = documents.collect::<Result<Vec<_>, _>>() else {
        return;
    };
    let set = match RecipeSet::parse(&documents) {
        Ok(set) => set,
        // The message is part of what a stranger's bytes can reach.
        Err(problem) => {
            assert!(problem.to_string().len() < text.len() + 5000);
            return;
        }
    };
    let (tensors, config) = (tensors(), json!({"num_hidden_layers": 2, "vocab_size": 5}));
    for step in set.steps() {
        let header = ModelHeader {
            tensors: &tensors,
            config: Some(&config),
        };
        let headers = vec![header; step.recipe.models().len()];
        let Ok(plan) = Plan::new(&step.recipe, &headers) else {
            continue;
        };
        for output in &plan.tensors {
            let inputs = output.inputs.iter().chain(&output.base);
            for input in inputs {
                assert!(input.model < headers.len() && input.index < tensors.len());
            }
        }
    }
});
