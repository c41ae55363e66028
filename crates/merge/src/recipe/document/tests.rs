use super::*;
use proptest::prelude::*;
use serde_json::json;

fn problem(document: &Value) -> String {
    Recipe::parse(document).unwrap_err().to_string()
}

/// A recipe with everything in it.
fn full() -> Value {
    json!({
        "name": "whole",
        "merge_method": "linear",
        "base_model": "org/base@main",
        "modules": {
            "decoder": {
                "slices": [
                    {
                        "base_model": "org/other",
                        "parameters": {"weight": 0.5},
                        "sources": [
                            {"model": "org/base@main", "layer_range": [0, 4], "parameters": {"weight": [0, 1]}},
                            {"model": "org/other", "layer_range": [2, 6]},
                        ],
                    },
                ],
                "parameters": {"normalize": false},
            },
            "encoder": {"models": [{"model": "org/base@main"}, {"model": {"model": {"path": "a@b"}}}]},
        },
        "parameters": {
            "normalize": true,
            "weight": [{"filter": "attn", "value": [0.1, 0.2]}, {"filter": "*", "value": 0.3}],
        },
        "dtype": "float32",
        "out_dtype": "bfloat16",
        "tokenizer": {"source": "org/tokens", "tokens": {"<x>": {"source": {"kind": "zero"}, "force": true}}},
        "chat_template": "auto",
    })
}

#[test]
fn what_is_written_is_what_was_read() {
    let recipe = Recipe::parse(&full()).unwrap();
    let written = serde_json::to_value(&recipe).unwrap();
    assert_eq!(written, full());
    let names: Vec<String> = recipe
        .references()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(names, ["org/base@main", "org/other", "a@b", "org/tokens"]);
    assert_eq!(recipe.models().len(), 3);
}

#[test]
fn a_slip_is_named_with_its_place_and_the_nearest_key() {
    use refit_core::Hint;
    let slices = |source: Value| {
        let first = json!({"sources": [{"model": "a", "layer_range": [0, 1]}]});
        json!({"merge_method": "linear", "slices": [first, {"sources": [source]}]})
    };
    let slip = slices(json!({"model": "a", "layer_range": [0, 1], "parameters": {"wieght": 1}}));
    let problem = Recipe::parse(&slip).unwrap_err();
    let text = "unknown key `slices[1].sources[0].parameters.wieght`";
    assert_eq!(problem.to_string(), text);
    assert_eq!(problem.hint().unwrap(), "did you mean `weight`?");
    let far = slices(json!({"model": "a", "layer_range": [0, 1], "zzz": 1}));
    let hint = Recipe::parse(&far).unwrap_err().hint().unwrap();
    assert_eq!(hint, "known here: model, layer_range, parameters");
    let misplaced =
        json!({"merge_method": "linear", "models": [{"model": "a", "layer_range": [0, 1]}]});
    let hint = Recipe::parse(&misplaced).unwrap_err().hint().unwrap();
    assert_eq!(hint, "`layer_range` belongs to the `sources` of `slices`");
}

#[test]
fn damaged_recipes_are_refused() {
    let with = |key: &str, value: Value| {
        let mut recipe = json!({"merge_method": "linear", "models": [{"model": "a"}]});
        recipe[key] = value;
        recipe
    };
    for (recipe, text) in [
        (json!(7), "`recipe` is 7, expected `key: value` pairs"),
        (
            json!({"models": [{"model": "a"}]}),
            "`merge_method` is missing",
        ),
        (
            json!({"merge_method": "linear"}),
            "`recipe` has none, expected exactly one of `models`, `slices`, `modules`",
        ),
        (
            with("merge_method", json!("liner")),
            "`merge_method`: unknown merge_method `liner`",
        ),
        (
            with("slices", json!([])),
            "`recipe` has `models` and `slices`, expected exactly one of",
        ),
        (
            with("modules", json!({})),
            "`recipe` has `models` and `modules`, expected exactly one of",
        ),
        (
            with("models", json!([])),
            "`models` has 0 entries, expected 1 to 256",
        ),
        (
            with("models", json!(["a"])),
            "`models[0]` is `a`, expected `key: value` pairs",
        ),
        (
            with("models", json!([{"parameters": {}}])),
            "`models[0].model` is missing",
        ),
        (
            with("models", json!([{"model": "a+b+c"}])),
            "`models[0].model` is `a+b+c`, expected `path",
        ),
        (
            with(
                "models",
                json!([{"model": "a", "parameters": {"normalize": true}}]),
            ),
            "`models[0].parameters.normalize` is a setting of the merge and not of one model",
        ),
        (
            with("parameters", json!({"t": 0.5})),
            "unknown key `parameters.t`",
        ),
        (
            with("parameters", json!([1])),
            "`parameters` is a list of 1, expected `key: value` pairs",
        ),
        (
            with("dtype", json!("float61")),
            "`dtype`: unknown element type `float61`",
        ),
        (
            with("tokenizer", json!({"source": "base"}))
                .as_object()
                .map_or(json!(0), |map| {
                    let mut map = map.clone();
                    map.insert("tokenizer_source".into(), json!("base"));
                    Value::Object(map)
                }),
            "`recipe` has both, expected exactly one of `tokenizer_source`, `tokenizer`",
        ),
    ] {
        let found = problem(&recipe);
        assert!(found.starts_with(text), "{found}");
    }
}

#[test]
fn layer_ranges_are_two_whole_numbers_in_order() {
    let with = |range: Value| {
        let source = json!({"model": "a", "layer_range": range});
        problem(&json!({"merge_method": "linear", "slices": [{"sources": [source]}]}))
    };
    let place = "slices[0].sources[0].layer_range";
    assert_eq!(
        with(json!([3, 1])),
        format!("`{place}` is [3, 1], expected a start that is not behind its end")
    );
    assert!(with(json!([0])).starts_with(&format!(
        "`{place}` is a list of 1, expected `[first, end]`"
    )));
    assert!(with(json!([0, -1])).starts_with(&format!("`{place}[1]` is -1")));
    assert!(with(json!(null)).starts_with(&format!("`{place}` is missing")));
}

#[test]
fn lists_longer_than_any_recipe_are_refused() {
    let models: Vec<Value> = (0..257).map(|i| json!({"model": i.to_string()})).collect();
    let long = json!({"merge_method": "linear", "models": models});
    assert_eq!(
        problem(&long),
        "`models` has 257 entries, expected 1 to 256"
    );
    let gradient = json!({"merge_method": "linear", "models": [{"model": "a"}], "parameters": {"weight": vec![1; 4097]}});
    assert_eq!(
        problem(&gradient),
        "`parameters.weight` has 4097 entries, expected 1 to 4096"
    );
}

/// Any small document out of the words of recipes.
fn document() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "linear",
        "union",
        "base",
        "a",
        "a@b",
        "a+b",
        "*",
        "float16",
        "model_token",
        "zero",
        "",
        "@",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-2i64..9).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.prop_map(Value::from),
    ];
    let key = prop::sample::select(
        [
            KEYS,
            &[
                "sources",
                "model",
                "layer_range",
                "filter",
                "value",
                "weight",
                "normalize",
                "path",
                "lora",
                "kind",
            ],
        ]
        .concat(),
    );
    leaf.prop_recursive(6, 48, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..5)
                .prop_map(|map| map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn random_documents_never_panic(mut document in document()) {
        let _ = Recipe::parse(&document);
        if let Some(map) = document.as_object_mut() {
            map.insert("merge_method".into(), json!("linear"));
            if let Ok(recipe) = Recipe::parse(&document) {
                let written = serde_json::to_value(&recipe).unwrap();
                let again = Recipe::parse(&written).unwrap();
                prop_assert_eq!(serde_json::to_value(&again).unwrap(), written);
            }
        }
    }

    #[test]
    fn a_key_that_is_not_known_is_an_error_wherever_it_stands(depth in 0usize..40, word in "[a-z]{3,12}_[0-9]") {
        // Every mapping of the whole recipe but those whose keys are names of modules and tokens.
        let mut recipe = full();
        let places = mappings(&recipe, String::new());
        let place = &places[depth % places.len()];
        let map = recipe.pointer_mut(place).unwrap().as_object_mut().unwrap();
        map.insert(word, json!(1));
        prop_assert!(Recipe::parse(&recipe).is_err(), "{}", place);
    }
}

fn mappings(value: &Value, at: String) -> Vec<String> {
    let mut found = vec![];
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                found.extend(mappings(value, format!("{at}/{key}")));
            }
            if !at.ends_with("/modules") && !at.ends_with("/tokens") {
                found.push(at);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                found.extend(mappings(value, format!("{at}/{index}")));
            }
        }
        _ => {}
    }
    found
}
