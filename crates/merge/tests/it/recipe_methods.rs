//! What holds for every method of recipes, and what a recipe tool makes of the same operands.

use rayon::prelude::*;
use refit_core::{ParamPath, Seed, Silent};
use refit_merge::{
    MergeError,
    recipe::{BaseUse, RecipeMethod, Target},
    stream::{Block, Look, StreamRule, Tally, merge_values},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::ops::Range;

/// Settings that do something to their operands: method, tensor, every model.
fn settings() -> Vec<(RecipeMethod, Value, Value)> {
    let weight = json!({"weight": 0.5});
    let half = json!({"weight": 0.5, "density": 0.5});
    let of = |name: &str| RecipeMethod::named(name).unwrap();
    let rescaled = |by: &str| json!({"rescale": true, "rescale_by": by});
    vec![
        (of("linear"), json!({}), weight.clone()),
        (of("slerp"), json!({"t": 0.3}), json!({})),
        (of("nuslerp"), json!({}), weight.clone()),
        (
            of("nuslerp"),
            json!({"nuslerp_flatten": false}),
            weight.clone(),
        ),
        (
            of("nuslerp"),
            json!({"nuslerp_flatten": false, "nuslerp_row_wise": true}),
            weight.clone(),
        ),
        (of("multislerp"), json!({}), weight.clone()),
        (of("karcher"), json!({}), json!({})),
        (of("model_stock"), json!({}), json!({})),
        (of("model_stock"), json!({"filter_wise": true}), json!({})),
        (of("nearswap"), json!({"t": 0.01}), json!({})),
        (of("arcee_fusion"), json!({}), json!({})),
        (of("passthrough"), json!({}), json!({"scale": 0.5})),
        (of("task_arithmetic"), json!({"lambda": 0.5}), weight),
        (of("ties"), json!({}), half.clone()),
        (of("ties"), rescaled("linf"), half.clone()),
        (of("ties"), json!({"consensus": "count"}), half.clone()),
        (of("dare_linear"), json!({}), half.clone()),
        (of("dare_linear"), rescaled("probability"), half.clone()),
        (of("dare_ties"), rescaled("l2"), half.clone()),
        (of("della"), json!({}), half.clone()),
        (of("della_linear"), rescaled("probability"), half.clone()),
        (of("breadcrumbs"), json!({"rescale": true}), half.clone()),
        (of("breadcrumbs_ties"), json!({}), half),
        (of("sce"), json!({"select_topk": 0.5}), json!({})),
        (of("ram"), json!({}), json!({})),
        (of("ramplus_tl"), json!({}), json!({})),
        (of("tsv_m"), json!({}), json!({})),
        (of("tsv_m"), json!({"lossless": true}), json!({})),
        (of("iso_c"), json!({}), json!({})),
        (of("iso_cts"), json!({}), json!({})),
        (of("wudi"), json!({"iterations": 3}), json!({})),
        (of("consensus"), json!({}), json!({})),
        (of("emr"), json!({}), json!({})),
    ]
}

/// Between 2 and 3 models, or as many as the method takes.
fn count(method: RecipeMethod) -> usize {
    3.clamp(method.spec().models.0, method.spec().models.1)
}

fn map(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn rule(
    method: RecipeMethod,
    shape: &[usize],
    tensor: &Value,
    models: &[Value],
    seed: u64,
) -> Result<Box<dyn StreamRule>, String> {
    let path = ParamPath::new("w");
    let spec = method.spec();
    let target = Target {
        path: &path,
        shape,
        models: &["a", "b", "c"][..models.len()],
        has_base: spec.base != BaseUse::None,
        is_embedding: false,
        seed: Seed::new(seed),
    };
    let models = models.iter().map(map).collect();
    spec.rule(&target, map(tensor), models)
        .map_err(|e| e.to_string())
}

/// Pseudo-random values.
fn values(seed: usize, len: usize) -> Vec<f32> {
    let value = |i: usize| ((i * i * 13 * (seed + 1) + i * 391 + seed * 577) % 997) as f32 / 1024.0;
    (0..len).map(|i| value(i) - 0.5).collect()
}

fn operands(len: usize, models: usize) -> (Vec<f32>, Vec<Vec<f32>>) {
    let base = values(0, len);
    let near = |k: usize| {
        let changes = values(k + 1, len);
        base.iter()
            .zip(changes)
            .map(|(base, change)| base + change * change * change)
            .collect()
    };
    let models = (0..models).map(near).collect();
    (base, models)
}

fn merge(
    rule: Box<dyn StreamRule>,
    spec_base: BaseUse,
    shape: &[usize],
    (base, models): &(Vec<f32>, Vec<Vec<f32>>),
) -> Result<Vec<f32>, MergeError> {
    let views: Vec<&[f32]> = models.iter().map(Vec::as_slice).collect();
    let base = (spec_base != BaseUse::None).then_some(base.as_slice());
    merge_values(rule, shape, base, &views)
}

/// Merges blocks on several threads, in another order.
fn merge_on_threads(
    mut rule: Box<dyn StreamRule>,
    spec_base: BaseUse,
    shape: &[usize],
    (base, models): &(Vec<f32>, Vec<Vec<f32>>),
) -> Vec<f32> {
    let span = rule.span();
    let with_block = |number: usize, range: &Range<usize>, work: &mut dyn FnMut(&Block<'_>)| {
        let models: Vec<&[f32]> = models.iter().map(|model| &model[range.clone()]).collect();
        work(&Block {
            number,
            start: range.start,
            shape,
            base: (spec_base != BaseUse::None).then_some(&base[range.clone()]),
            models: &models,
            progress: &Silent,
        });
    };
    let mut round = 0;
    while round < rule.surveys() {
        let survey = |mut tally: Tally, (number, range): (usize, Range<usize>)| {
            with_block(number, &range, &mut |block| {
                rule.survey(round, block, &mut tally);
            });
            tally
        };
        let ranges = rule.look(round).ranges(span, shape);
        let tally = ranges
            .into_par_iter()
            .enumerate()
            .rev()
            .fold(Tally::default, survey)
            .reduce(Tally::default, Tally::merged);
        rule.learn(round, tally).unwrap();
        round += 1;
    }
    let merged: Vec<Vec<f32>> = Look::Everything
        .ranges(span, shape)
        .into_par_iter()
        .enumerate()
        .map(|(number, range)| {
            let mut out = vec![f32::NAN; range.len()];
            with_block(number, &range, &mut |block| {
                rule.merge(block, &mut out).unwrap();
            });
            out
        })
        .collect();
    merged.concat()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn every_method_is_tried() {
    for method in RecipeMethod::ALL {
        assert!(
            settings().iter().any(|(tried, ..)| tried == method),
            "{method:?}"
        );
    }
}

#[test]
fn results_are_the_same_for_any_order_of_blocks_and_number_of_threads() {
    let shape = [300, 701]; // four blocks
    for (method, tensor, model) in settings() {
        let (k, base) = (count(method), method.spec().base);
        let operands = operands(300 * 701, k);
        let rule = || rule(method, &shape, &tensor, &vec![model.clone(); k], 1).unwrap();
        let one = merge(rule(), base, &shape, &operands).unwrap();
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(3)
            .build()
            .unwrap();
        let three = pool.install(|| merge_on_threads(rule(), base, &shape, &operands));
        assert!(bits(&one) == bits(&three), "{method:?} {tensor}");
        assert!(one.iter().all(|v| v.is_finite()), "{method:?} {tensor}");
        let unchanged = one == operands.0 || one == operands.1[0];
        assert!(!unchanged, "{method:?} {tensor} does nothing");
    }
}

#[test]
fn only_methods_of_chance_depend_on_the_seed() {
    let shape = [40, 30];
    for (method, tensor, model) in settings() {
        let (k, base) = (count(method), method.spec().base);
        let operands = operands(1200, k);
        let of = |seed| {
            let rule = rule(method, &shape, &tensor, &vec![model.clone(); k], seed).unwrap();
            merge(rule, base, &shape, &operands).unwrap()
        };
        let name = method.spec().card.name;
        let chance = name.starts_with("dare") || name.starts_with("della");
        assert_eq!(of(1) != of(2), chance, "{name}");
    }
}

#[test]
fn experts_that_learned_nothing_leave_the_base() {
    let shape = [20, 10];
    let base = values(5, 200);
    for (method, tensor, model) in settings() {
        let name = method.spec().card.name;
        if method == RecipeMethod::Passthrough {
            continue; // scaled
        }
        let k = count(method);
        let rule = rule(method, &shape, &tensor, &vec![model; k], 1).unwrap();
        let operands = (base.clone(), vec![base.clone(); k]);
        let merged = merge(rule, method.spec().base, &shape, &operands).unwrap();
        for (found, base) in merged.iter().zip(&base) {
            assert!(
                (found - base).abs() <= 2e-7,
                "{name} {tensor}: {found} {base}"
            );
        }
    }
}

#[test]
fn one_expert_is_itself() {
    let shape = [20, 10];
    let operands = operands(200, 1);
    let one = json!({"weight": 1.0});
    for (name, tensor, model) in [
        ("linear", json!({}), &one),
        ("slerp", json!({"t": 1}), &json!({})),
        ("multislerp", json!({}), &one),
        ("karcher", json!({}), &json!({})),
        ("nearswap", json!({"t": 1}), &json!({})),
        ("passthrough", json!({}), &json!({})),
        ("task_arithmetic", json!({}), &one),
        ("ties", json!({}), &one),
        ("dare_linear", json!({}), &one),
        ("dare_ties", json!({}), &one),
        ("della", json!({}), &one),
        ("della_linear", json!({}), &one),
        ("breadcrumbs", json!({}), &one),
        ("breadcrumbs_ties", json!({}), &one),
        ("sce", json!({}), &json!({})),
        ("ram", json!({"epsilon": 0}), &json!({})),
        ("ramplus_tl", json!({"epsilon": 0}), &json!({})),
    ] {
        let method = RecipeMethod::named(name).unwrap();
        let rule = rule(method, &shape, &tensor, std::slice::from_ref(model), 1).unwrap();
        let merged = merge(rule, method.spec().base, &shape, &operands).unwrap();
        for (found, expert) in merged.iter().zip(&operands.1[0]) {
            assert!((found - expert).abs() <= 1.2e-7, "{name}: {found} {expert}");
        }
    }
}

#[test]
fn tensors_without_values_axes_or_finite_values_are_merged() {
    for (method, tensor, model) in settings() {
        let (k, base) = (count(method), method.spec().base);
        for shape in [
            &[0][..],
            &[3, 0],
            &[0, 3],
            &[],
            &[1],
            &[1, 1],
            &[2, 3, 2],
            &[5, 1],
        ] {
            let len = shape.iter().product();
            let rule = |()| rule(method, shape, &tensor, &vec![model.clone(); k], 1).unwrap();
            let mut operands = operands(len, k);
            assert_eq!(merge(rule(()), base, shape, &operands).unwrap().len(), len);
            for spoilt in [f32::NAN, f32::INFINITY].into_iter().filter(|_| len > 0) {
                operands.1[0][0] = spoilt;
                match merge(rule(()), base, shape, &operands) {
                    Ok(merged) => assert_eq!(merged.len(), len),
                    // A matrix without finite values has no decomposition.
                    Err(error) => assert!(matches!(error, MergeError::Matrix { .. }), "{error}"),
                }
            }
        }
    }
}

#[test]
fn unknown_settings_are_refused_and_known_ones_are_listed() {
    let with = |value: &Value, key: &str, more: Value| {
        let mut settings = map(value);
        settings.insert(key.into(), more);
        Value::Object(settings)
    };
    for (method, tensor, model) in settings() {
        let (k, spec) = (count(method), method.spec());
        let refused = |tensor: &Value, model: &Value| {
            rule(method, &[2, 2], tensor, &vec![model.clone(); k], 1).unwrap_err()
        };
        let text = refused(&with(&tensor, "densty", json!(1)), &model);
        assert!(text.contains("unknown setting `densty`"), "{text}");
        let text = refused(&tensor, &with(&model, "wieght", json!(1)));
        assert!(text.contains("unknown setting `wieght`"), "{text}");
        for key in map(&tensor).keys() {
            assert!(spec.tensor_keys.contains(&key.as_str()), "{method:?} {key}");
        }
        for key in map(&model).keys() {
            assert!(spec.model_keys.contains(&key.as_str()), "{method:?} {key}");
        }
        // a listed key is known: a value of no possible type is not called unknown
        for key in spec.tensor_keys {
            let text = refused(&with(&tensor, key, json!([])), &model);
            assert!(!text.contains("unknown"), "{text}");
        }
        for key in spec.model_keys {
            let text = refused(&tensor, &with(&model, key, json!([])));
            assert!(!text.contains("unknown"), "{text}");
        }
    }
}

#[test]
fn settings_of_another_member_of_the_family_are_unknown() {
    for (name, tensor, model, key) in [
        (
            "ties",
            json!({}),
            json!({"weight": 1, "gamma": 0.1}),
            "gamma",
        ),
        (
            "breadcrumbs",
            json!({}),
            json!({"weight": 1, "epsilon": 0.1}),
            "epsilon",
        ),
        (
            "dare_linear",
            json!({"consensus": "sum"}),
            json!({"weight": 1}),
            "consensus",
        ),
        (
            "task_arithmetic",
            json!({"rescale_by": "l2"}),
            json!({"weight": 1}),
            "rescale_by",
        ),
    ] {
        let method = RecipeMethod::named(name).unwrap();
        let text = rule(method, &[2], &tensor, &[model], 1).unwrap_err();
        assert_eq!(text, format!("unknown setting `{key}`"));
    }
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    for (name, tensor, model, words) in [
        (
            "ties",
            json!({}),
            json!({"weight": 1, "density": 1.5}),
            "`density` is 1.5, expected a share in [0, 1]",
        ),
        (
            "dare_ties",
            json!({}),
            json!({"weight": 1, "density": -0.5}),
            "`density` is -0.5",
        ),
        (
            "breadcrumbs",
            json!({}),
            json!({"weight": 1, "density": 0.5, "gamma": 2}),
            "`gamma` is 2",
        ),
        (
            "della",
            json!({}),
            json!({"weight": 1, "density": 0.9}),
            "`epsilon` is 0.15 around a density of 0.9",
        ),
        (
            "della",
            json!({}),
            json!({"weight": 1, "density": 0.5, "epsilon": -1}),
            "`epsilon` is -1",
        ),
        (
            "ties",
            json!({"rescale": true, "rescale_by": "probability"}),
            json!({"weight": 1}),
            "`rescale_by` is `probability`",
        ),
        ("ties", json!({}), json!({}), "`weight` is missing"),
        ("slerp", json!({}), json!({}), "`t` is missing"),
    ] {
        let method = RecipeMethod::named(name).unwrap();
        let text = rule(method, &[2, 2], &tensor, &[model], 1).unwrap_err();
        assert!(text.contains(words), "{text}");
    }
}

#[derive(Deserialize)]
struct Observed {
    shape: Vec<usize>,
    cases: Vec<ObservedCase>,
}

#[derive(Deserialize)]
struct ObservedCase {
    name: String,
    method: RecipeMethod,
    base: bool,
    tensor: Value,
    models: Vec<Value>,
    merged: Vec<f32>,
}

/// Values of mergekit 0.1.5 for the operands that its file describes by the formula below.
#[test]
fn a_recipe_tool_makes_the_same_of_the_same_operands() {
    let observed: Observed = serde_json::from_str(include_str!("observed.json")).unwrap();
    let value = |seed: usize, i: usize| {
        ((i * i * 13 * (seed + 1) + i * 391 + seed * 577) % 997) as f64 / 997.0 - 0.5
    };
    let base: Vec<f32> = (0..24).map(|i| value(0, i) as f32).collect();
    let near = |seed: usize| -> Vec<f32> {
        base.iter()
            .enumerate()
            .map(|(i, base)| base + (value(seed, i) * value(seed, i) * value(seed, i)) as f32)
            .collect()
    };
    let models = [near(1), near(2), near(3)];
    for case in observed.cases {
        let rule = rule(case.method, &observed.shape, &case.tensor, &case.models, 0).unwrap();
        let models: Vec<&[f32]> = models[..case.models.len()]
            .iter()
            .map(Vec::as_slice)
            .collect();
        let base = case.base.then_some(base.as_slice());
        let merged = merge_values(rule, &observed.shape, base, &models).unwrap();
        for (at, (found, expected)) in merged.iter().zip(&case.merged).enumerate() {
            // single precision there, double precision here
            assert!(
                (found - expected).abs() < 1e-6,
                "{}: {found} at {at}, expected {expected}",
                case.name
            );
        }
    }
}
