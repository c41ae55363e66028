use crate::{
    layout::UNIT,
    recipe::testing::{Case, close},
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn merge(method: &str, tensor: Value, models: &[(Value, &[f32])]) -> Result<Vec<f32>, String> {
    let len = models[0].1.len();
    Case {
        method,
        shape: &[len],
        tensor,
        base: Some(&vec![0.0; len]),
        models,
    }
    .merge()
}

fn with(weight: f64, density: f64) -> Value {
    json!({ "weight": weight, "density": density })
}

#[test]
fn task_vectors_are_weighted_scaled_and_divided_where_asked_for() {
    let models: [(Value, &[f32]); 2] = [
        (with(2.0, 1.0), &[1.0, -2.0]),
        (with(-1.0, 0.1), &[3.0, 4.0]),
    ];
    let merged = |tensor| merge("task_arithmetic", tensor, &models).unwrap();
    assert_eq!(merged(json!({})), [-1.0, -8.0]);
    assert_eq!(merged(json!({"lambda": 0.5})), [-0.5, -4.0]);
    let even: [(Value, &[f32]); 2] = [(with(3.0, 1.0), &[1.0]), (with(1.0, 1.0), &[5.0])];
    assert_eq!(
        merge("task_arithmetic", json!({"normalize": 1}), &even).unwrap(),
        [2.0]
    );
    // weights without a sum are not divided by
    let none: [(Value, &[f32]); 2] = [(with(1.0, 1.0), &[1.0]), (with(-1.0, 1.0), &[5.0])];
    assert_eq!(
        merge("task_arithmetic", json!({"normalize": true}), &none).unwrap(),
        [-4.0]
    );
}

#[test]
fn ties_are_worked_by_hand() {
    // kept 2 of 3: [2, -1, 0] and [1, 3, 0]; elected (+, +, +): the -1 is dropped
    let models: [(Value, &[f32]); 2] = [
        (with(1.0, 0.67), &[2.0, -1.0, 0.1]),
        (with(1.0, 0.67), &[1.0, 3.0, -0.2]),
    ];
    assert_eq!(merge("ties", json!({}), &models).unwrap(), [1.5, 3.0, 0.0]);
    assert_eq!(
        merge("ties", json!({"normalize": false}), &models).unwrap(),
        [3.0, 3.0, 0.0]
    );
    // an exact draw elects plus
    let draw: [(Value, &[f32]); 2] = [(with(1.0, 1.0), &[1.0]), (with(1.0, 1.0), &[-1.0])];
    assert_eq!(merge("ties", json!({}), &draw).unwrap(), [1.0]);
    // by sum minus wins, by count plus
    let three: [(Value, &[f32]); 3] = [
        (with(1.0, 1.0), &[1.0]),
        (with(1.0, 1.0), &[2.0]),
        (with(1.0, 1.0), &[-6.0]),
    ];
    assert_eq!(merge("ties", json!({}), &three).unwrap(), [-6.0]);
    assert_eq!(
        merge("ties", json!({"consensus": "count"}), &three).unwrap(),
        [1.5]
    );
}

#[test]
fn equal_magnitudes_are_kept_first_to_last() {
    let one: [(Value, &[f32]); 1] = [(with(1.0, 0.5), &[1.0, -1.0, 2.0, 1.0, -1.0, 0.5])];
    assert_eq!(
        merge("ties", json!({}), &one).unwrap(),
        [1.0, -1.0, 2.0, 0.0, 0.0, 0.0]
    );
    // over blocks: all the same, and more than a block holds
    let len = 2 * UNIT + 10;
    let ones = vec![1.0; len];
    let merged = merge("ties", json!({}), &[(with(1.0, 0.75), &ones)]).unwrap();
    let kept = len * 3 / 4;
    let expected: Vec<f32> = (0..len).map(|at| f32::from(u8::from(at < kept))).collect();
    assert!(merged == expected);
}

#[test]
fn breadcrumbs_leave_out_both_ends() {
    let task: &[f32] = &[9.0, -1.0, 5.0, -8.0, 2.0, 3.0, -4.0, 6.0, 7.0, 10.0];
    let settings = json!({"weight": 1, "density": 0.5, "gamma": 0.2});
    let merged = merge("breadcrumbs", json!({}), &[(settings, task)]).unwrap();
    assert_eq!(merged, [0.0, 0.0, 5.0, -8.0, 0.0, 0.0, -4.0, 6.0, 7.0, 0.0]);
    // a gamma of less than an entry leaves out none of the largest
    let settings = json!({"weight": 1, "density": 0.5});
    let merged = merge("breadcrumbs", json!({}), &[(settings, task)]).unwrap();
    assert_eq!(merged, [9.0, 0.0, 0.0, -8.0, 0.0, 0.0, 0.0, 6.0, 7.0, 10.0]);
    // density counts: fewer outliers go
    let settings = json!({"weight": 1, "density": 0.9, "gamma": 0.5});
    let merged = merge("breadcrumbs", json!({}), &[(settings, task)]).unwrap();
    assert_eq!(
        merged,
        [9.0, -1.0, 5.0, -8.0, 2.0, 3.0, -4.0, 6.0, 7.0, 0.0]
    );
}

#[test]
fn rescaling_restores_the_norm_that_was_asked_for() {
    let task: Vec<f32> = (0..5000).map(|i| (i as f32 * 0.7).sin()).collect();
    let norms = |values: &[f32]| {
        let sum = |f: fn(f64) -> f64| values.iter().map(|&v| f(f64::from(v))).sum::<f64>();
        let most = values.iter().fold(0.0, |m, v| v.abs().max(m));
        [sum(f64::abs), sum(|v| v * v).sqrt(), f64::from(most)]
    };
    let whole = norms(&task);
    for method in ["dare_linear", "ties", "della_linear", "breadcrumbs"] {
        for (at, by) in ["l1", "l2", "linf"].into_iter().enumerate() {
            let tensor = json!({"rescale": true, "rescale_by": by});
            let found = norms(&merge(method, tensor, &[(with(1.0, 0.5), &task)]).unwrap())[at];
            assert!(
                (found / whole[at] - 1.0).abs() < 1e-6,
                "{method} {by}: {found}"
            );
        }
    }
}

#[test]
fn chance_keeps_the_share_and_models_do_not_keep_the_same() {
    let ones = vec![1.0; 40_000];
    for method in ["dare_linear", "della_linear"] {
        let raw = json!({"rescale": false});
        let one = merge(method, raw.clone(), &[(with(1.0, 0.3), &ones)]).unwrap();
        let kept = one.iter().filter(|v| **v != 0.0).count() as f64 / 4e4;
        assert!((kept - 0.3).abs() < 0.01, "{method} {kept}"); // deviation 0.0023
        let two = merge(
            method,
            raw,
            &[(with(1.0, 0.3), &ones), (with(1.0, 0.3), &ones)],
        )
        .unwrap();
        let both = two.iter().filter(|v| **v > 1.5).count() as f64 / 4e4;
        // equal ranks do correlate: the mean of squared probabilities is 0.09 or 0.0975
        assert!((both - 0.09).abs() < 0.015, "{method} {both}");
        let by = json!({"rescale_by": "probability"});
        let mean = merge(method, by, &[(with(1.0, 0.3), &ones)])
            .unwrap()
            .iter()
            .sum::<f32>()
            / 4e4;
        assert!((mean - 1.0).abs() < 0.04, "{method} {mean}"); // deviation below 0.01
    }
}

proptest! {
    #[test]
    fn models_commute_and_scale(seed in 0u32..1000, k in 1usize..4, len in 0usize..50, density in 0.0f64..=1.0) {
        let values = |k: usize| -> Vec<f32> {
            (0..len).map(|i| ((seed as usize + i * 37 + k * 211) as f32 * 0.37).sin()).collect()
        };
        let tasks: Vec<Vec<f32>> = (0..k).map(values).collect();
        let models: Vec<(Value, &[f32])> = tasks
            .iter()
            .enumerate()
            .map(|(k, task)| (with(1.0 + k as f64, density), task.as_slice()))
            .collect();
        let reversed: Vec<_> = models.iter().rev().cloned().collect();
        for method in ["task_arithmetic", "ties", "breadcrumbs_ties"] {
            let one = merge(method, json!({}), &models).unwrap();
            let other = merge(method, json!({}), &reversed).unwrap();
            prop_assert!(close(&one, &other, 1e-6), "{method}");
            let twice = merge(method, json!({"lambda": 2}), &models).unwrap();
            let doubled: Vec<f32> = one.iter().map(|v| 2.0 * v).collect();
            prop_assert!(close(&twice, &doubled, 1e-6), "{method}");
        }
    }
}
