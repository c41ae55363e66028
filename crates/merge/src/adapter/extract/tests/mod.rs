mod left_out;

use super::*;
use crate::{adapter::attach, error::MergeError, held::Held, recipe::ModelHeader};
use refit_core::{
    Cancel, Change, Hint, LowRank, ParamPath, Placement, Silent, TensorMeta, TensorRead,
};
use refit_testkit::{normal_vec, with_threads};
use serde_json::{Value, json};
use std::sync::Arc;

type Model = Vec<Arc<dyn TensorRead>>;
type Shapes = [(&'static str, &'static [usize])];

const SHAPES: &Shapes = &[
    ("embed_tokens.weight", &[11, 6]),
    ("layers.0.q.weight", &[9, 6]),
    ("layers.0.q.bias", &[9]),
    ("layers.0.k.weight", &[5, 6]),
    ("layers.0.k.bias", &[5]),
    ("norm.weight", &[6]),
    ("lm_head.weight", &[11, 6]),
];

fn held(name: &str, shape: &[usize], values: Vec<f32>) -> Arc<dyn TensorRead> {
    Arc::new(Held::new(name, shape, values))
}

fn normal(seed: u64, len: usize) -> Vec<f32> {
    normal_vec(seed, len)
        .into_iter()
        .map(|v| v as f32)
        .collect()
}

fn base(shapes: &Shapes) -> Model {
    let tensor = |(at, (name, shape)): (usize, &(&str, &[usize]))| {
        held(name, shape, normal(at as u64, shape.iter().product()))
    };
    shapes.iter().enumerate().map(tensor).collect()
}

fn values(tensor: &Arc<dyn TensorRead>) -> Vec<f32> {
    let mut values = vec![0.0; tensor.meta().len()];
    tensor
        .read_f32(0..values.len(), &mut values, &mut Vec::new())
        .unwrap();
    values
}

/// `model` with a change of this rank in some tensors; of any kind where they are no matrices.
fn tuned(model: &Model, names: &[&str], rank: usize) -> Model {
    let tune = |(at, tensor): (usize, &Arc<dyn TensorRead>)| {
        let meta = tensor.meta();
        if !names.contains(&meta.path.as_str()) {
            return Arc::clone(tensor);
        }
        let seed = 1000 + at as u64;
        let change = match meta.shape[..] {
            [rows, cols] => {
                let (left, right) = (normal(seed, rows * rank), normal(!seed, rank * cols));
                LowRank::new([rows, cols], rank, left, right, 0.1)
                    .unwrap()
                    .to_dense()
            }
            _ => normal(seed, meta.len()),
        };
        let sums = values(tensor)
            .iter()
            .zip(change)
            .map(|(a, b)| a + b)
            .collect();
        held(meta.path.as_str(), &meta.shape, sums)
    };
    model.iter().enumerate().map(tune).collect()
}

fn metas(model: &Model) -> Vec<TensorMeta> {
    model.iter().map(|tensor| tensor.meta().clone()).collect()
}

fn planned(
    config: ExtractConfig,
    base: &Model,
    model: &Model,
    json: &Value,
) -> Result<(Extract, ExtractPlan), MergeError> {
    let (of_base, of_model) = (metas(base), metas(model));
    let header = |tensors| ModelHeader {
        tensors,
        config: Some(json),
    };
    let extract = Extract::try_from(config).unwrap();
    let plan = extract.plan(["base", "tuned"], header(&of_base), header(&of_model))?;
    Ok((extract, plan))
}

fn extracted(
    config: ExtractConfig,
    base: &Model,
    model: &Model,
    json: &Value,
) -> Result<Extraction, MergeError> {
    let (extract, plan) = planned(config, base, model, json)?;
    extract.run(&plan, base, model, 1 << 30, &Silent)
}

fn rank(rank: usize) -> ExtractConfig {
    ExtractConfig {
        rank,
        ..Default::default()
    }
}

fn parts(found: &Extraction) -> Vec<(&str, Part)> {
    let tensors = found.tensors.iter();
    tensors
        .map(|tensor| (tensor.path.as_str(), tensor.part))
        .collect()
}

/// The distance of base and adapter from the model, over that of base and model.
fn residual(base: &Model, model: &Model, found: &Extraction) -> f64 {
    let again = attach(base.clone(), &found.adapter).unwrap();
    let square = |a: &Model, b: &Model| -> f64 {
        let pairs = a.iter().zip(b);
        let squares = pairs.flat_map(|(a, b)| {
            let (a, b) = (values(a), values(b));
            a.into_iter()
                .zip(b)
                .map(|(a, b)| f64::from(a - b).powi(2))
                .collect::<Vec<_>>()
        });
        squares.sum()
    };
    (square(&again, model) / square(base, model)).sqrt()
}

const LINEAR: Part = Part::LowRank(Placement::Linear);

#[test]
fn base_and_adapter_are_the_model_again() {
    let base = base(SHAPES);
    let names: Vec<&str> = SHAPES.iter().map(|(name, _)| *name).collect();
    let model = tuned(&base, &names, 2);
    let found = extracted(rank(2), &base, &model, &json!({})).unwrap();
    let expected = [
        ("embed_tokens.weight", Part::Whole),
        ("layers.0.q.weight", LINEAR),
        ("layers.0.q.bias", Part::Shift),
        ("layers.0.k.weight", LINEAR),
        ("layers.0.k.bias", Part::Shift),
        ("norm.weight", Part::Whole),
        ("lm_head.weight", Part::Whole),
    ];
    assert_eq!(parts(&found), expected);
    assert_eq!(found.tensors[1].rank, Some(2));
    // Rounding of the weights themselves: 2^-24 of values that are up to ten times the change.
    assert!(found.residual() < 1e-6 && residual(&base, &model, &found) < 2e-6);
    assert!(found.entangled.is_empty());
}

#[test]
fn the_residual_is_that_of_the_model_made_again() {
    let base = base(SHAPES);
    let model = tuned(&base, &["layers.0.q.weight", "layers.0.k.weight"], 5);
    let found = extracted(rank(2), &base, &model, &json!({})).unwrap();
    let (stated, measured) = (found.residual(), residual(&base, &model, &found));
    assert!(
        stated > 0.1 && (stated - measured).abs() < 1e-5,
        "{stated} {measured}"
    );
    let worst = found.worst().unwrap();
    assert!(worst.residual >= stated);
    assert_eq!(found.unchanged, SHAPES.len() - 2);
}

#[test]
fn biases_go_as_differences_only_beside_factors() {
    let base = base(SHAPES);
    let model = tuned(
        &base,
        &["layers.0.q.weight", "layers.0.q.bias", "layers.0.k.bias"],
        1,
    );
    let found = extracted(rank(1), &base, &model, &json!({})).unwrap();
    let expected = [
        ("layers.0.q.weight", LINEAR),
        ("layers.0.q.bias", Part::Shift),
        ("layers.0.k.bias", Part::Whole),
    ];
    assert_eq!(parts(&found), expected);
    assert!(residual(&base, &model, &found) < 2e-6);
}

#[test]
fn biases_go_whole_where_a_layer_with_factors_has_none() {
    let shapes: &Shapes = &[
        ("layers.0.q.weight", &[9, 6]),
        ("layers.0.q.bias", &[9]),
        ("layers.0.o.weight", &[5, 6]),
    ];
    let base = base(shapes);
    let names = ["layers.0.q.weight", "layers.0.q.bias", "layers.0.o.weight"];
    let config = ExtractConfig {
        others: Others::Refuse,
        ..rank(1)
    };
    for (names, part) in [(&names[..], Part::Whole), (&names[..2], Part::Shift)] {
        let model = tuned(&base, names, 1);
        let found = extracted(config.clone(), &base, &model, &json!({})).unwrap();
        assert_eq!(parts(&found)[1], ("layers.0.q.bias", part));
        assert!(found.entangled.is_empty() && residual(&base, &model, &found) < 2e-6);
    }
}

#[test]
fn modules_go_whole_with_all_of_their_tensors() {
    let shapes: &Shapes = &[
        ("ln.weight", &[6]),
        ("ln.bias", &[6]),
        ("embed.token", &[6]),
        ("embed.conv.weight", &[4, 3, 2]),
        ("other.weight", &[6]),
        ("layers.0.q.weight", &[9, 6]),
    ];
    let base = base(shapes);
    let model = tuned(&base, &["ln.bias", "embed.token", "layers.0.q.weight"], 1);
    let found = extracted(rank(1), &base, &model, &json!({})).unwrap();
    let names: Vec<&str> = parts(&found).iter().map(|(name, _)| *name).collect();
    let expected = [
        "ln.weight",
        "ln.bias",
        "embed.token",
        "embed.conv.weight",
        "layers.0.q.weight",
    ];
    assert_eq!(names, expected);
    let norms: Vec<bool> = found.tensors.iter().map(|t| t.norm > 0.0).collect();
    assert_eq!(norms, [false, true, true, false, true]);
    assert!(found.entangled.is_empty() && found.unchanged == 1);
}

#[test]
fn a_short_type_loses_what_it_rounds_away() {
    let base = base(SHAPES);
    let model = tuned(&base, &["layers.0.q.weight", "layers.0.q.bias"], 2);
    let mut before = 0.0;
    // 2^-24, 2^-12 and 2^-9 of each factor.
    for (dtype, most) in [(DType::F32, 2e-6), (DType::F16, 1e-3), (DType::BF16, 8e-3)] {
        let config = ExtractConfig { dtype, ..rank(2) };
        let found = extracted(config, &base, &model, &json!({})).unwrap();
        let (stated, measured) = (found.residual(), residual(&base, &model, &found));
        assert!(before < measured && measured < most, "{dtype} {measured}");
        assert!((stated - measured).abs() < 2e-6, "{stated} {measured}");
        before = measured;
    }
}

#[test]
fn embeddings_become_factors_when_asked_unless_biases_changed() {
    let base = base(SHAPES);
    let config = ExtractConfig {
        embeddings: Embeddings::LowRank,
        ..rank(1)
    };
    let both = ["embed_tokens.weight", "lm_head.weight", "layers.0.q.weight"];
    let model = tuned(&base, &both, 1);
    let found = extracted(config.clone(), &base, &model, &json!({})).unwrap();
    let embedding = Part::LowRank(Placement::Embedding);
    let expected = [(both[0], embedding), (both[2], LINEAR), (both[1], LINEAR)];
    assert_eq!(parts(&found), expected);
    let model = tuned(&base, &[both[0], both[2], "layers.0.q.bias"], 1);
    let found = extracted(config, &base, &model, &json!({})).unwrap();
    assert_eq!(parts(&found)[0], (both[0], Part::Whole));
}

#[test]
fn a_head_that_is_the_embedding_is_not_stored_twice() {
    let base = base(SHAPES);
    let model = tuned(&base, &["embed_tokens.weight", "lm_head.weight"], 1);
    let told = json!({ "tie_word_embeddings": true });
    let found = extracted(rank(1), &base, &model, &told).unwrap();
    assert_eq!(parts(&found), [("embed_tokens.weight", Part::Whole)]);
    // Loaders that replace modules find the same tensor for the head.
    let stored: Vec<&str> = found
        .adapter
        .tensors
        .iter()
        .map(|t| t.target.as_str())
        .collect();
    assert_eq!(stored, ["lm_head.weight", "embed_tokens.weight"]);
    assert!(!found.ties_embedding);
    let config = ExtractConfig {
        embeddings: Embeddings::LowRank,
        ..rank(1)
    };
    let found = extracted(config, &base, &model, &told).unwrap();
    assert!(found.ties_embedding && found.adapter.tensors.len() == 1);
    // Not told: the base has no head of its own.
    let (_, plan) = planned(rank(1), &base[..6].to_vec(), &model, &json!({})).unwrap();
    assert!(plan.is_tied());
    assert_eq!(plan.left_out(), ["lm_head.weight"]);
    let untied = json!({ "tie_word_embeddings": false });
    let error = planned(rank(1), &base[..6].to_vec(), &model, &untied).unwrap_err();
    let text =
        "tensors of `tuned` differ from the base: missing nothing; unexpected `lm_head.weight`";
    assert_eq!(error.to_string(), text);
}

#[test]
fn layers_that_store_their_weights_turned_over_say_so() {
    let base = base(&[("h.0.c_attn.weight", &[4, 12]), ("h.0.c_attn.bias", &[12])]);
    let model = tuned(&base, &["h.0.c_attn.weight", "h.0.c_attn.bias"], 1);
    let found = extracted(rank(1), &base, &model, &json!({ "model_type": "gpt2" })).unwrap();
    let transposed = Part::LowRank(Placement::Transposed);
    let expected = [
        ("h.0.c_attn.weight", transposed),
        ("h.0.c_attn.bias", Part::Shift),
    ];
    assert_eq!(parts(&found), expected);
    assert!(residual(&base, &model, &found) < 2e-6);
}

#[test]
fn what_is_skipped_may_differ_in_shape_and_be_missing() {
    let base = base(SHAPES);
    let mut model = tuned(&base, &["layers.0.q.weight", "norm.weight"], 1);
    model[6] = held("lm_head.weight", &[3, 6], vec![0.0; 18]);
    let config = ExtractConfig {
        skip: vec!["lm_head.".into(), "norm".into()],
        ..rank(1)
    };
    let found = extracted(config.clone(), &base, &model, &json!({})).unwrap();
    assert_eq!(parts(&found), [("layers.0.q.weight", LINEAR)]);
    assert!(planned(config, &base[..6].to_vec(), &model, &json!({})).is_ok());
}

#[test]
fn models_that_do_not_go_together_are_refused() {
    let base = base(SHAPES);
    let same = extracted(rank(1), &base, &base, &json!({})).unwrap_err();
    assert_eq!(
        same.to_string(),
        "`tuned` does not differ from its base in any weight"
    );
    let mut other = base.clone();
    other[5] = held("norm.weight", &[7], vec![0.0; 7]);
    let error = planned(rank(1), &base, &other, &json!({})).unwrap_err();
    let text = "`norm.weight` of `tuned` has shape [7], the base has [6]";
    assert_eq!(error.to_string(), text);
    other[5] = held("norm.weight", &[6], vec![0.0, 0.0, f32::NAN, 0.0, 0.0, 0.0]);
    let error = extracted(rank(1), &base, &other, &json!({})).unwrap_err();
    let text = "`norm.weight` of `tuned` holds NaN at position 2, expected finite values";
    assert_eq!(error.to_string(), text);
}

#[test]
fn settings_outside_their_range_are_refused() {
    for config in [
        rank(0),
        rank(1 << 20),
        ExtractConfig {
            energy: Some(0.0),
            ..Default::default()
        },
        ExtractConfig {
            energy: Some(f64::NAN),
            ..Default::default()
        },
    ] {
        assert!(Extract::try_from(config).is_err());
    }
}

#[test]
fn a_listener_can_stop_it() {
    let base = base(SHAPES);
    let model = tuned(&base, &["norm.weight"], 1);
    let (extract, plan) = planned(rank(1), &base, &model, &json!({})).unwrap();
    let cancel = Cancel::default();
    cancel.raise();
    let stopped = extract.run(&plan, &base, &model, 1 << 30, &cancel);
    assert!(matches!(stopped, Err(MergeError::Cancelled)));
}

#[test]
fn neither_threads_nor_memory_change_a_bit() {
    // Large enough for a random subspace.
    let shapes: &Shapes = &[
        ("a.weight", &[150, 140]),
        ("b.weight", &[160, 150]),
        ("c.weight", &[8, 9]),
    ];
    let base = base(shapes);
    let model = tuned(&base, &["a.weight", "b.weight", "c.weight"], 7);
    let (extract, plan) = planned(rank(3), &base, &model, &json!({})).unwrap();
    assert!(!factors::is_exact([150, 140], 3));
    let bits = |threads, memory| {
        let run = || extract.run(&plan, &base, &model, memory, &Silent).unwrap();
        let found = with_threads(threads, run);
        let factors = found
            .adapter
            .tensors
            .iter()
            .flat_map(|tensor| match &tensor.change {
                Change::LowRank { factors, .. } => [factors.left(), factors.right()].concat(),
                other => panic!("{other:?}"),
            });
        factors.map(f32::to_bits).collect::<Vec<_>>()
    };
    let expected = bits(1, 1);
    assert!(expected == bits(4, 1 << 30) && expected == bits(3, 4 << 20));
}

#[test]
fn whole_tensors_around_layers_with_factors_are_told_of() {
    let base = base(&[
        ("m.token", &[3]),
        ("m.q.weight", &[4, 3]),
        ("n.token", &[3]),
    ]);
    let model = tuned(&base, &["m.token", "m.q.weight", "n.token"], 1);
    let found = extracted(rank(1), &base, &model, &json!({})).unwrap();
    let names: Vec<&str> = found.entangled.iter().map(ParamPath::as_str).collect();
    assert_eq!(names, ["m.token"]);
}
