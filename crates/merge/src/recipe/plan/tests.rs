use super::*;
use crate::{
    error::MergeError,
    recipe::{BaseUse, RecipeMethod, RecipeRule},
    stream::Block,
};
use proptest::prelude::*;
use refit_core::{Area, Card, DataAccess, Hint, ModelAccess, TensorMeta};
use serde::Deserialize;
use serde_json::json;

/// A method of every shape: `t` for the tensor, `weight` for a model.
struct Probe<const BASE: u8, const MOST: usize>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProbeTensor {
    #[serde(default)]
    t: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProbeModel {
    #[serde(default)]
    weight: f64,
}

#[derive(Debug)]
struct Nothing;

impl StreamRule for Nothing {
    fn merge(&self, _: &Block<'_>, _: &mut [f32]) -> Result<(), MergeError> {
        Ok(())
    }
}

impl<const BASE: u8, const MOST: usize> RecipeRule for Probe<BASE, MOST> {
    const CARD: Card = Card {
        name: "probe",
        summary: "a method for tests",
        area: Area::Reuse,
        model: ModelAccess::ReadWeights,
        data: DataAccess::None,
        source: "ours",
    };
    const BASE: BaseUse = match BASE {
        0 => BaseUse::None,
        1 => BaseUse::Optional,
        _ => BaseUse::Required,
    };
    const MODELS: (usize, usize) = (1, MOST);
    const TENSOR_KEYS: &'static [&'static str] = &["t"];
    const MODEL_KEYS: &'static [&'static str] = &["weight"];
    type Tensor = ProbeTensor;
    type Model = ProbeModel;

    fn rule(
        target: &Target<'_>,
        tensor: ProbeTensor,
        models: Vec<ProbeModel>,
    ) -> Result<Box<dyn StreamRule>, ConfigError> {
        assert_eq!(target.models.len(), models.len());
        if tensor.t < 0.0 || models.iter().any(|model| model.weight < 0.0) {
            return Err(ConfigError::range("t", tensor.t, "0 or more"));
        }
        Ok(Box::new(Nothing))
    }
}

const STACK: MethodSpec = MethodSpec::of::<Probe<0, 1>>();
const OPTIONAL: MethodSpec = MethodSpec::of::<Probe<1, { usize::MAX }>>();
const BASED: MethodSpec = MethodSpec::of::<Probe<2, 2>>();

fn parse(document: &Value) -> Recipe {
    let found = Recipe::parse_with(document, |name| match name {
        "stack" => Ok(&STACK),
        "optional" => Ok(&OPTIONAL),
        "based" => Ok(&BASED),
        other => RecipeMethod::named(other).map(RecipeMethod::spec),
    });
    found.unwrap()
}

fn meta(path: impl AsRef<str>, dtype: DType, shape: &[usize]) -> TensorMeta {
    TensorMeta {
        path: ParamPath::new(path),
        dtype,
        shape: shape.to_vec(),
    }
}

/// A model of the Llama family in the order in which its tensors are usually stored.
fn llama(layers: usize, vocabulary: usize, head: bool) -> Vec<TensorMeta> {
    let weight = |path: String, shape: &[usize]| meta(path, DType::F32, shape);
    let mut tensors = vec![];
    if head {
        tensors.push(weight("lm_head.weight".into(), &[vocabulary, 4]));
    }
    tensors.push(weight("model.embed_tokens.weight".into(), &[vocabulary, 4]));
    for layer in 0..layers {
        let at = |part: &str| format!("model.layers.{layer}.{part}.weight");
        tensors.push(weight(at("input_layernorm"), &[4]));
        tensors.push(weight(at("mlp.gate_proj"), &[4, 4]));
        tensors.push(weight(at("self_attn.o_proj"), &[4, 4]));
        tensors.push(weight(at("self_attn.q_proj"), &[4, 4]));
    }
    tensors.push(weight("model.norm.weight".into(), &[4]));
    tensors
}

fn config(layers: usize) -> Value {
    json!({"model_type": "llama", "num_hidden_layers": layers, "vocab_size": 16, "dtype": "float32",
           "tie_word_embeddings": false})
}

fn plan_of(recipe: &Recipe, models: &[(&[TensorMeta], &Value)]) -> Result<Plan, PlanError> {
    let header = |&(tensors, config)| ModelHeader {
        tensors,
        config: Some(config).filter(|config: &&Value| !config.is_null()),
    };
    let headers: Vec<ModelHeader<'_>> = models.iter().map(header).collect();
    Plan::new(recipe, &headers)
}

/// The plan of a recipe for models of four layers with heads.
fn plan(document: &Value) -> Result<Plan, PlanError> {
    let recipe = parse(document);
    let (tensors, config) = (llama(4, 16, true), config(4));
    let models = vec![(tensors.as_slice(), &config); recipe.models().len()];
    plan_of(&recipe, &models)
}

fn problems(found: Result<Plan, PlanError>) -> Vec<String> {
    let error = found.unwrap_err();
    error.problems().iter().map(ToString::to_string).collect()
}

fn output<'p>(plan: &'p Plan, path: &str) -> &'p OutputTensor {
    let found = plan
        .tensors
        .iter()
        .find(|tensor| tensor.path.as_str() == path);
    found.unwrap_or_else(|| panic!("no {path}"))
}

/// The weighted sum that a plan describes, where `value` is what every entry of a tensor of a model is.
fn sum(plan: &Plan, path: &str, value: impl Fn(usize, &str) -> f64) -> f64 {
    let output = output(plan, path);
    let weights = output.settings.models.iter().map(|map| map.get("weight"));
    output
        .inputs
        .iter()
        .zip(weights)
        .map(|(input, weight)| {
            let weight = weight.map_or(1.0, |weight| weight.as_f64().unwrap());
            weight * value(input.model, input.tensor.as_str())
        })
        .sum()
}

/// A model whose entries are `start` outside the layers, and `start + 1 + number of the layer` inside.
fn layered(start: f64, name: &str) -> f64 {
    let layer = name.strip_prefix("model.layers.");
    let layer = layer.and_then(|rest| rest.split('.').next()?.parse::<f64>().ok());
    start + layer.map_or(0.0, |layer| layer + 1.0)
}

// What recipe tools do was observed with mergekit 0.1.5 (transformers 5.24, torch 2.15) on Llama models whose entries
// are all equal, so that every merged value tells the settings that were used. Its sums are of single precision.
#[test]
fn gradients_filters_and_wider_settings_land_where_recipe_tools_put_them() {
    let plan = plan(&json!({
        "merge_method": "linear",
        "models": [
            {"model": "a", "parameters": {"weight": [0, 3]}},
            {"model": "b", "parameters": {"weight": [
                {"filter": "self_attn", "value": [1, 4]},
                {"filter": "layers.1.mlp", "value": 7},
            ]}},
            {"model": "c"},
        ],
        "parameters": {
            "normalize": false,
            "weight": [{"filter": "lm_head", "value": 9}, {"filter": "*", "value": [0.5, 0.25]}],
        },
        "dtype": "float32",
    }))
    .unwrap();
    for (path, observed) in [
        ("lm_head.weight", 9_009_000.0),
        ("model.embed_tokens.weight", 500_500.0),
        ("model.layers.0.input_layernorm.weight", 500_500.0),
        ("model.layers.0.self_attn.q_proj.weight", 501_000.0),
        ("model.layers.1.input_layernorm.weight", 417_084.312_5),
        ("model.layers.1.mlp.gate_proj.weight", 423_667.656_25),
        ("model.layers.1.self_attn.o_proj.weight", 418_667.656_25),
        ("model.layers.2.mlp.gate_proj.weight", 333_668.687_5),
        ("model.layers.2.self_attn.q_proj.weight", 336_335.343_75),
        ("model.layers.3.mlp.gate_proj.weight", 250_253.0),
        ("model.layers.3.self_attn.q_proj.weight", 254_003.0),
        ("model.norm.weight", 500_500.0),
    ] {
        let found = sum(&plan, path, |model, _| [1.0, 1e3, 1e6][model]);
        assert!(
            (found / observed - 1.0).abs() < 1e-6,
            "{path}: {found}, observed {observed}"
        );
        assert_eq!(output(&plan, path).settings.tensor["normalize"], false);
    }
}

#[test]
fn slices_are_stacked_as_recipe_tools_stack_them() {
    let recipe = parse(&json!({
        "merge_method": "linear",
        "slices": [
            {"sources": [{"model": "a", "layer_range": [0, 3], "parameters": {"weight": [1, 2]}}]},
            {"sources": [{"model": "b", "layer_range": [2, 4]}], "parameters": {"weight": 5}},
            {"sources": [{"model": "a", "layer_range": [3, 4], "parameters": {"weight": [10, 20]}}]},
        ],
        "parameters": {"normalize": false},
    }));
    let (a, b) = (llama(4, 16, true), llama(6, 16, true));
    let plan = plan_of(&recipe, &[(&a, &config(4)), (&b, &config(6))]).unwrap();
    for (path, observed) in [
        ("model.embed_tokens.weight", 100.0),
        ("model.layers.0.mlp.gate_proj.weight", 101.0),
        ("model.layers.1.mlp.gate_proj.weight", 153.0),
        ("model.layers.2.mlp.gate_proj.weight", 206.0),
        ("model.layers.3.mlp.gate_proj.weight", 1015.0),
        ("model.layers.4.mlp.gate_proj.weight", 1020.0),
        ("model.layers.5.mlp.gate_proj.weight", 2080.0),
        ("model.norm.weight", 1000.0),
        ("lm_head.weight", 1000.0),
    ] {
        let found = sum(&plan, path, |model, name| {
            layered([100.0, 200.0][model], name)
        });
        assert!(
            (found - observed).abs() < 1e-3,
            "{path}: {found}, observed {observed}"
        );
    }
    assert_eq!(plan.tensors.len(), 3 + 6 * 4);
    assert_eq!(plan.config.unwrap()["num_hidden_layers"], 6);
    let order: Vec<&str> = plan
        .tensors
        .iter()
        .map(|tensor| tensor.path.as_str())
        .collect();
    assert_eq!(order[0], "model.embed_tokens.weight");
    assert_eq!(order[1], "model.layers.0.input_layernorm.weight");
    assert_eq!(
        order[order.len() - 2..],
        ["lm_head.weight", "model.norm.weight"]
    );
}

#[test]
fn norm_and_head_are_merged_of_every_source_of_the_last_slice() {
    let plan = plan(&json!({
        "merge_method": "linear",
        "slices": [
            {"sources": [{"model": "a", "layer_range": [1, 4]}]},
            {"sources": [
                {"model": "b", "layer_range": [4, 4]},
                {"model": "a", "layer_range": [1, 1], "parameters": {"weight": 3}},
            ]},
        ],
        "parameters": {"normalize": false, "weight": 1},
    }));
    // mergekit 0.1.5 takes as many sources as the first slice has, here `b` alone, and gives 1000
    let found = sum(&plan.unwrap(), "model.norm.weight", |model, _| {
        [1.0, 1000.0][model]
    });
    assert!((found - 1003.0).abs() < 1e-9);
}

#[test]
fn filters_of_a_model_meet_the_names_that_it_has() {
    let plan = plan(&json!({
        "merge_method": "linear",
        "slices": [{"sources": [{"model": "a", "layer_range": [2, 4], "parameters": {"weight": [
            {"filter": "layers.2.", "value": 2},
            {"filter": "layers.0.", "value": 3},
            {"value": 7},
        ]}}]}],
        "parameters": {"normalize": false},
    }))
    .unwrap();
    let found = |path| sum(&plan, path, |_, name| layered(100.0, name));
    let observed = [
        ("model.layers.0.mlp.gate_proj.weight", 206.0),
        ("model.layers.1.mlp.gate_proj.weight", 728.0),
    ];
    for (path, observed) in observed {
        assert!((found(path) - observed).abs() < 1e-9);
    }
    // while those of the merge meet the names of the result
    let plan = self::plan(&json!({
        "merge_method": "stack",
        "slices": [{"sources": [{"model": "a", "layer_range": [2, 4]}]}],
        "parameters": {"t": [{"filter": "layers.0.", "value": 3}]},
    }))
    .unwrap();
    assert_eq!(
        output(&plan, "model.layers.0.mlp.gate_proj.weight")
            .settings
            .tensor["t"],
        3
    );
    assert_eq!(
        output(&plan, "model.layers.1.mlp.gate_proj.weight").work,
        Work::Copy
    );
}

#[test]
fn modules_stand_between_slices_and_the_recipe() {
    let plan = plan(&json!({
        "merge_method": "linear",
        "modules": {"default": {
            "models": [{"model": "a"}, {"model": "b", "parameters": {"weight": 2}}],
            "parameters": {"weight": 3},
        }},
        "parameters": {"weight": 4, "normalize": false},
    }));
    let found = sum(&plan.unwrap(), "model.norm.weight", |model, _| {
        [1.0, 1e3][model]
    });
    assert!((found - 2003.0).abs() < 1e-9); // observed
}

#[test]
fn each_slice_has_the_base_it_names() {
    let recipe = parse(&json!({
        "merge_method": "based",
        "base_model": "a",
        "slices": [
            {"base_model": "b", "sources": [{"model": "a", "layer_range": [0, 2]}, {"model": "b", "layer_range": [1, 3]}]},
            {"sources": [{"model": "a", "layer_range": [0, 1]}, {"model": "b", "layer_range": [3, 4]}]},
        ],
        "parameters": {"t": [0, 0, 0, 0.5]},
    }));
    let (a, b) = (llama(4, 16, true), llama(6, 16, true));
    let plan = plan_of(&recipe, &[(&a, &config(4)), (&b, &config(6))]).unwrap();
    // slerp of mergekit 0.1.5: t = 0 is the base, and the outer tensors have that of the first and the last slice
    let base = |path| output(&plan, path).base.as_ref().unwrap();
    assert_eq!(base("model.embed_tokens.weight").model, 1);
    assert_eq!(base("lm_head.weight").model, 0);
    let first = "model.layers.0.mlp.gate_proj.weight";
    assert_eq!(
        base(first).tensor.as_str(),
        "model.layers.1.mlp.gate_proj.weight"
    );
    assert_eq!(output(&plan, first).inputs[0].tensor.as_str(), first);
    let t = |layer| {
        &output(&plan, &format!("model.layers.{layer}.mlp.gate_proj.weight"))
            .settings
            .tensor["t"]
    };
    assert_eq!([t(0), t(1), t(2)], [&json!(0), &json!(0.5), &json!(0.5)]);
    assert_eq!(plan.config.as_ref().unwrap()["num_hidden_layers"], 3);
}

#[test]
fn a_head_that_is_not_stored_is_the_embedding() {
    let models = json!([{"model": "a", "parameters": {"weight": 1}}, {"model": "b", "parameters": {"weight": 2}}]);
    let recipe = parse(
        &json!({"merge_method": "linear", "models": models, "parameters": {"normalize": false}}),
    );
    let (whole, tied) = (llama(4, 16, true), llama(4, 16, false));
    let told = json!({"num_hidden_layers": 4, "tie_word_embeddings": true});
    let plan = plan_of(&recipe, &[(&tied, &told), (&whole, &config(4))]).unwrap();
    let head = output(&plan, "lm_head.weight");
    assert_eq!(head.inputs[0].tensor.as_str(), "model.embed_tokens.weight");
    assert_eq!(head.inputs[1].tensor.as_str(), "lm_head.weight");
    assert!(head.is_embedding);
    // mergekit 0.1.5 writes the same head and leaves the models tied, so that readers pass it over
    assert_eq!(plan.config.as_ref().unwrap()["tie_word_embeddings"], false);
    // without a stored head there is none
    let plan = plan_of(&recipe, &[(&tied, &told), (&tied, &told)]).unwrap();
    assert!(
        plan.tensors
            .iter()
            .all(|tensor| tensor.path.as_str() != "lm_head.weight")
    );
    assert_eq!(plan.config.unwrap()["tie_word_embeddings"], true);
}

#[test]
fn a_base_that_is_not_listed_is_the_last_model_of_methods_without_a_base() {
    let document = json!({"merge_method": "linear", "base_model": "b", "models": [{"model": "a"}],
                          "parameters": {"weight": 1, "normalize": false}});
    let plan = plan(&document).unwrap();
    let norm = output(&plan, "model.norm.weight");
    assert_eq!(norm.base, None);
    let inputs: Vec<usize> = norm.inputs.iter().map(|input| input.model).collect();
    assert_eq!(inputs, [1, 0]); // the base is the first model of the plan
    let mut without = document;
    without["parameters"] = json!({});
    without["models"][0]["parameters"] = json!({"weight": 1});
    let problems = problems(self::plan(&without));
    let text = "`model.embed_tokens.weight` and 18 more tensors: `weight` is missing for `b`";
    assert_eq!(problems, [text]);
}

#[test]
fn whole_models_keep_the_order_of_the_base() {
    let plan =
        plan(&json!({"merge_method": "based", "base_model": "z", "models": [{"model": "a"}]}))
            .unwrap();
    let order: Vec<ParamPath> = plan
        .tensors
        .iter()
        .map(|tensor| tensor.path.clone())
        .collect();
    let stored: Vec<ParamPath> = llama(4, 16, true)
        .into_iter()
        .map(|tensor| tensor.path)
        .collect();
    assert_eq!(order, stored);
    assert_eq!(plan.tensors[3].layer, Some(0));
    assert!(
        plan.tensors
            .iter()
            .all(|tensor| tensor.base.as_ref().unwrap().model == 0)
    );
}

#[test]
fn element_types_are_those_asked_for_or_hold_every_input() {
    let mut b = llama(4, 16, true);
    for tensor in &mut b {
        tensor.dtype = DType::BF16;
    }
    let mut document = json!({"merge_method": "linear", "models": [{"model": "a"}, {"model": "b"}],
                              "parameters": {"weight": 1}});
    let of = |document: &Value| {
        let a = llama(4, 16, true);
        let plan = plan_of(&parse(document), &[(&a, &config(4)), (&b, &config(4))]).unwrap();
        (plan.tensors[0].dtype, plan.config.unwrap()["dtype"].clone())
    };
    assert_eq!(of(&document), (DType::F32, json!("float32")));
    document["dtype"] = json!("float16");
    assert_eq!(of(&document), (DType::F16, json!("float16")));
    document["out_dtype"] = json!("bfloat16");
    assert_eq!(of(&document), (DType::BF16, json!("bfloat16")));
}

#[test]
fn rows_of_a_vocabulary_may_differ_and_are_noted() {
    let recipe =
        parse(&json!({"merge_method": "optional", "models": [{"model": "a"}, {"model": "b"}]}));
    let (a, b) = (llama(4, 16, true), llama(4, 20, true));
    let plan = plan_of(&recipe, &[(&b, &Value::Null), (&a, &Value::Null)]).unwrap();
    assert_eq!(output(&plan, "lm_head.weight").shape, [16, 4]);
    let noted: Vec<&str> = plan
        .mismatches
        .iter()
        .map(|m| plan.tensors[m.tensor].path.as_str())
        .collect();
    assert_eq!(noted, ["lm_head.weight", "model.embed_tokens.weight"]);
    assert_eq!(plan.mismatches[0].rows, [(0, 20), (1, 16)]);
}

#[test]
fn what_does_not_fit_is_listed_with_names() {
    let (a, mut b) = (llama(4, 16, true), llama(4, 16, true));
    b.retain(|tensor| !tensor.path.as_str().contains("gate_proj"));
    b[2].shape = vec![5];
    b[3].dtype = DType::F8E4M3;
    let recipe =
        parse(&json!({"merge_method": "optional", "models": [{"model": "a"}, {"model": "b"}]}));
    let error = plan_of(&recipe, &[(&a, &config(4)), (&b, &config(4))]);
    assert_eq!(
        problems(error),
        [
            "`model.layers.0.input_layernorm.weight` has shape [5] in `b` and [4] in the first model",
            "`model.layers.0.self_attn.o_proj.weight` of `b` is stored as F8_E4M3, expected weights (F16, BF16, F32 or F64)",
            "`b` has no `model.layers.0.mlp.gate_proj.weight` and 3 more tensors",
        ]
    );
}

#[test]
fn models_and_layers_must_fit_the_method() {
    let slice = |sources: Value| json!({"sources": sources});
    let of = |method: &str, slices: Value, base: Value| {
        problems(plan(
            &json!({"merge_method": method, "base_model": base, "slices": slices}),
        ))
    };
    let two = json!([{"model": "a", "layer_range": [0, 2]}, {"model": "b", "layer_range": [1, 5]}]);
    assert_eq!(
        of("stack", json!([slice(two)]), Value::Null),
        [
            "`slices[0].sources[1].layer_range` is [1, 5], `b` has 4 layers",
            "`slices[0]` takes 4 layers of `b` and 2 of the first model",
            "`slices[0]` has 2 models, `probe` takes 1",
        ]
    );
    let one = json!([{"model": "a", "layer_range": [0, 1]}]);
    assert_eq!(
        of("based", json!([slice(one.clone())]), Value::Null),
        ["`probe` merges differences from a base, `slices[0]` has none"]
    );
    assert_eq!(
        of("based", json!([slice(one)]), json!("b")),
        ["`slices[0]` does not name the base `b` among its sources"]
    );
    let twice = json!({"merge_method": "optional", "models": [{"model": "a"}, {"model": "a"}]});
    assert_eq!(problems(plan(&twice)), ["`models` names `a` twice"]);
    let only = json!({"merge_method": "based", "base_model": "a", "models": [{"model": "a"}]});
    let text = "`models` has 0 models beside the base, `probe` takes 1 to 2";
    assert_eq!(problems(plan(&only)), [text]);
    let module =
        json!({"merge_method": "stack", "modules": {"defualt": {"models": [{"model": "a"}]}}});
    let error = plan(&module).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the models have no module `defualt`, they have `default`"
    );
    assert_eq!(error.hint().unwrap(), "did you mean `default`?");
}

#[test]
fn models_of_unequal_depth_are_not_merged_whole() {
    let recipe =
        parse(&json!({"merge_method": "optional", "models": [{"model": "a"}, {"model": "b"}]}));
    let (a, b) = (llama(4, 16, true), llama(6, 16, true));
    let found = plan_of(&recipe, &[(&a, &config(4)), (&b, &config(6))]);
    assert_eq!(
        problems(found),
        ["`models` takes 6 layers of `b` and 4 of the first model"]
    );
    // six layers of which the configuration counts four: the others are there for other purposes
    let plan = plan_of(&recipe, &[(&b, &config(4)), (&b, &config(4))]).unwrap();
    assert_eq!(
        output(&plan, "model.layers.5.mlp.gate_proj.weight").layer,
        None
    );
    let found = plan_of(&recipe, &[(&a, &config(6)), (&b, &config(6))]);
    let text = "`config.json` of `a` tells of 6 layers, its tensors are of 4";
    assert_eq!(problems(found)[0], text);
}

#[test]
fn a_number_of_layers_that_is_none_is_no_number_of_layers() {
    let recipe =
        parse(&json!({"merge_method": "optional", "models": [{"model": "a"}, {"model": "b"}]}));
    let a = llama(4, 16, true);
    for (count, shown) in [
        (json!("four"), "\"four\""),
        (json!(-1), "-1"),
        (json!(4.0), "4.0"),
        (json!(1e20), "1e+20"),
    ] {
        let mut wrong = config(4);
        wrong["num_hidden_layers"] = count;
        let found = plan_of(&recipe, &[(&a, &config(4)), (&a, &wrong)]);
        let text = format!(
            "`num_hidden_layers` in `config.json` of `b` is {shown}, expected a number of layers"
        );
        assert_eq!(problems(found), [text]);
    }
    let mut silent = config(4);
    silent["num_hidden_layers"] = Value::Null;
    assert!(plan_of(&recipe, &[(&a, &silent), (&a, &config(4))]).is_ok());
}

#[test]
fn the_configuration_is_that_of_the_first_model_that_has_one() {
    let recipe =
        parse(&json!({"merge_method": "optional", "models": [{"model": "a"}, {"model": "b"}]}));
    let a = llama(4, 16, true);
    let plan = plan_of(&recipe, &[(&a, &Value::Null), (&a, &config(4))]).unwrap();
    assert_eq!(plan.config, Some(config(4)));
    let plan = plan_of(&recipe, &[(&a, &Value::Null), (&a, &Value::Null)]).unwrap();
    assert_eq!(plan.config, None);
}

#[test]
fn buffers_and_counters_are_copied_and_not_missed() {
    let mut a = llama(4, 16, true);
    a.push(meta(
        "model.layers.0.self_attn.rotary_emb.inv_freq",
        DType::F32,
        &[2],
    ));
    a.push(meta("steps", DType::I64, &[]));
    let mut b = llama(4, 16, true);
    b.push(meta("steps", DType::I64, &[]));
    b.push(meta("score.weight", DType::F32, &[2, 4]));
    let recipe = parse(
        &json!({"merge_method": "optional", "dtype": "bfloat16", "models": [{"model": "a"}, {"model": "b"}]}),
    );
    let plan = plan_of(&recipe, &[(&a, &config(4)), (&b, &config(4))]).unwrap();
    let table = output(&plan, "model.layers.0.self_attn.rotary_emb.inv_freq");
    assert_eq!((table.work, table.dtype), (Work::Copy, DType::F32));
    assert_eq!(output(&plan, "steps").work, Work::Copy);
    let left: Vec<_> = plan
        .left_out
        .iter()
        .map(|left| (left.model, left.tensor.as_str()))
        .collect();
    assert_eq!(left, [(1, "score.weight")]);
    assert_eq!(plan.config.unwrap()["dtype"], "bfloat16");
}

#[test]
fn modules_that_are_not_named_stay_those_of_the_first_model() {
    let tensors: Vec<TensorMeta> = (0..2)
        .flat_map(|i| {
            ["encoder", "decoder"].map(|side| format!("{side}.block.{i}.layer.0.q.weight"))
        })
        .chain([
            "shared.weight".into(),
            "decoder.final_layer_norm.weight".into(),
        ])
        .map(|path| meta(path, DType::F32, &[4, 4]))
        .collect();
    let told = json!({"num_layers": 2, "num_decoder_layers": 2});
    let slices = json!([{"sources": [{"model": "b", "layer_range": [0, 2]}]},
                        {"sources": [{"model": "b", "layer_range": [1, 2]}]}]);
    let recipe = parse(
        &json!({"merge_method": "stack", "base_model": "a", "modules": {"decoder": {"slices": slices}}}),
    );
    let plan = plan_of(&recipe, &[(&tensors, &told), (&tensors, &told)]).unwrap();
    let from = |path| output(&plan, path).inputs[0].clone();
    assert_eq!(from("encoder.block.1.layer.0.q.weight").model, 0);
    assert_eq!(from("shared.weight").model, 0);
    assert_eq!(from("decoder.final_layer_norm.weight").model, 1);
    assert_eq!(
        from("decoder.block.2.layer.0.q.weight").tensor.as_str(),
        "decoder.block.1.layer.0.q.weight"
    );
    assert_eq!(
        plan.config,
        Some(json!({"num_layers": 2, "num_decoder_layers": 3, "torch_dtype": "float32"}))
    );
    let plain = parse(&json!({"merge_method": "stack", "slices": slices}));
    let text =
        "the models have the modules `encoder`, `decoder`, `shared`, `slices` of which is not told";
    assert_eq!(problems(plan_of(&plain, &[(&tensors, &told)])), [text]);
}

#[test]
fn lists_with_an_entry_for_each_layer_follow_the_slices() {
    let tensors = llama(3, 16, true);
    let told =
        json!({"num_hidden_layers": 3, "layer_types": ["x", "y", "z"], "torch_dtype": "float16"});
    let slices = json!([{"sources": [{"model": "a", "layer_range": [1, 3]}]},
                        {"sources": [{"model": "a", "layer_range": [2, 3]}]}]);
    let plan = plan_of(
        &parse(&json!({"merge_method": "stack", "slices": slices})),
        &[(&tensors, &told)],
    );
    let expected =
        json!({"num_hidden_layers": 3, "layer_types": ["y", "z", "z"], "torch_dtype": "float32"});
    assert_eq!(plan.unwrap().config, Some(expected));
}

#[test]
fn models_without_layers_are_merged_at_the_start_of_gradients() {
    let tensors = [
        meta("fc1.weight", DType::F32, &[3, 2]),
        meta("fc1.bias", DType::F32, &[3]),
    ];
    let recipe = parse(
        &json!({"merge_method": "optional", "models": [{"model": "a"}], "parameters": {"weight": [2, 3]}}),
    );
    let plan = plan_of(&recipe, &[(&tensors, &Value::Null)]).unwrap();
    assert_eq!(plan.tensors[1].settings.models[0]["weight"], 2);
    assert_eq!((plan.tensors[1].layer, plan.config.clone()), (None, None));
    let record = serde_json::to_value(&plan).unwrap();
    assert_eq!(record["tensors"][1]["inputs"], json!([[0, "fc1.bias"]]));
    assert!(plan.rule(0, Seed::new(0)).is_ok());
    let nothing = plan_of(&recipe, &[(&[], &Value::Null)]).unwrap();
    assert!(nothing.tensors.is_empty());
}

#[test]
fn a_setting_that_the_method_refuses_is_told_once() {
    let refused = json!({"merge_method": "optional", "models": [{"model": "a"}], "parameters": {"t": [-1, 1]}});
    let found = problems(plan(&refused));
    assert_eq!(
        found[0],
        "`model.embed_tokens.weight` and 6 more tensors: `t` is -1, expected 0 or more"
    );
    assert_eq!(found.len(), 2); // a third of the way it is another number
}

/// Any recipe of slices and models over `a` and `b`.
fn document() -> impl Strategy<Value = Value> {
    let source = (0..3usize, 0..6usize, 0..7usize).prop_map(|(model, start, end)| {
        let range = [start.min(end), start.max(end)];
        let name = ["a", "b", "c"][model];
        json!({"model": name, "layer_range": range, "parameters": {"weight": [0, model]}})
    });
    let slice =
        prop::collection::vec(source, 1..4).prop_map(|sources| json!({ "sources": sources }));
    let slices = prop::collection::vec(slice, 1..4);
    let method = prop::sample::select(vec!["stack", "optional", "based", "linear"]);
    let base = prop::sample::select(vec![None, Some("a"), Some("d")]);
    (slices, method, base, any::<bool>()).prop_map(|(slices, method, base, models)| {
        let models = models.then(|| slices[0]["sources"].as_array().unwrap().iter().map(|s| json!({"model": s["model"]})));
        match models {
            Some(models) => json!({"merge_method": method, "base_model": base, "models": models.collect::<Vec<_>>()}),
            None => json!({"merge_method": method, "base_model": base, "slices": slices}),
        }
    })
}

/// Whole models of six layers, and among them some with damaged tensors.
fn model() -> impl Strategy<Value = Vec<TensorMeta>> {
    let damage = prop::collection::vec((0..30usize, 0..5usize), 0..3);
    let damaged = (4..7usize, any::<bool>(), damage).prop_map(|(layers, head, damage)| {
        let mut tensors = llama(layers, 16, head);
        for (at, kind) in damage {
            let at = at % tensors.len();
            match kind {
                0 => drop(tensors.remove(at)),
                1 => tensors[at].shape = vec![],
                2 => tensors[at].dtype = DType::I32,
                3 => tensors[at].path = format!("model.layers.77777777777.x{at}").into(),
                _ => tensors[at].shape = vec![3, 4],
            }
        }
        tensors
    });
    prop_oneof![5 => any::<bool>().prop_map(|head| llama(6, 16, head)), 1 => damaged]
}

proptest! {
    #[test]
    fn random_recipes_over_damaged_models_never_panic(
        document in document(), models in prop::collection::vec(model(), 4), layers in 4usize..7,
    ) {
        let recipe = parse(&document);
        let told = config(layers);
        let models: Vec<_> = models.iter().map(|model| (model.as_slice(), &told)).collect();
        match plan_of(&recipe, &models[..recipe.models().len()]) {
            Ok(plan) => {
                let mut names: Vec<_> = plan.tensors.iter().map(|tensor| &tensor.path).collect();
                names.sort();
                names.dedup();
                prop_assert_eq!(names.len(), plan.tensors.len());
                for (index, tensor) in plan.tensors.iter().enumerate() {
                    prop_assert!(tensor.work == Work::Copy || plan.rule(index, Seed::new(1)).is_ok());
                    for input in tensor.inputs.iter().chain(&tensor.base) {
                        prop_assert_eq!(&models[input.model].0[input.index].path, &input.tensor);
                    }
                }
            }
            Err(error) => prop_assert!(!error.problems().is_empty() && error.problems().len() <= PlanError::SHOWN),
        }
    }
}
