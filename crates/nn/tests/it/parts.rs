//! Some of the layers of a model.

use burn::tensor::Device;
use refit_core::Seed;
use refit_nn::{
    Weights, to_host,
    zoo::{Side, TextConfig, TokenBatch},
};
use serde_json::json;

#[test]
fn layers_in_two_parts_are_the_layers_bit_for_bit() {
    let keys = json!({
        "model_type": "bert", "vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 3, "num_attention_heads": 2,
        "intermediate_size": 12, "max_position_embeddings": 8
    });
    let config = TextConfig::read(keys.as_object().unwrap()).unwrap();
    let weights =
        Weights::create(Seed::new(3), &Device::flex(), |scope| config.bind(scope)).unwrap();
    let model = weights.bind(|scope| config.bind(scope)).unwrap();
    // With padding, and a text that is as long as the batch.
    let batch = TokenBatch::new(&[vec![3, 7, 1, 9], vec![5, 2]], 0, Side::Right);
    let whole = to_host(model.states(&batch).unwrap().into_value());
    for layer in 0..3 {
        let below = model.states_before(layer, &batch).unwrap().unwrap();
        let states = model.states_from(layer, below, &batch).unwrap();
        assert_eq!(to_host(states.into_value()), whole, "from layer {layer}");
    }
    assert!(model.states_before(3, &batch).unwrap().is_none());
    assert!(
        model
            .states_before(1, &TokenBatch::new(&[vec![20]], 0, Side::Right))
            .is_err()
    );
}

#[test]
fn decoders_have_no_parts() {
    let keys = json!({ "model_type": "gpt2", "vocab_size": 20, "n_positions": 8, "n_embd": 8, "n_layer": 1, "n_head": 2 });
    let config = TextConfig::read(keys.as_object().unwrap()).unwrap();
    let weights =
        Weights::create(Seed::new(3), &Device::flex(), |scope| config.bind(scope)).unwrap();
    let model = weights.bind(|scope| config.bind(scope)).unwrap();
    let batch = TokenBatch::new(&[vec![3, 7]], 0, Side::Right);
    assert!(model.states_before(0, &batch).unwrap().is_none());
    let states = model.states(&batch).unwrap();
    assert!(model.states_from(0, states, &batch).is_none());
}
