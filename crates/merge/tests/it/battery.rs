//! What holds for every rule that needs no data.

use crate::support::{distance, near, tasks, uniform};
use proptest::prelude::*;
use refit_core::{Cancel, Silent};
use refit_merge::{
    Aggregate, Checks, MergeConfig, MergeError, MergeMethod, TaskVectors, TensorSet, Weights, ties,
};

/// Settings under which a merge of one expert is that expert.
const IDENTITIES: [&str; 6] = [
    r#"{"method": "average"}"#,
    r#"{"method": "task-arithmetic", "scale": 1}"#,
    r#"{"method": "ties", "keep": 1}"#,
    r#"{"method": "ties", "keep": 1, "scope": "tensor", "aggregate": "sum"}"#,
    r#"{"method": "dare", "drop": 0, "scale": 1}"#,
    r#"{"method": "dare", "drop": 0, "scale": 1, "combine": "elected-mean"}"#,
];

/// Settings that do something to their operands.
const WORKING: [&str; 7] = [
    r#"{"method": "average"}"#,
    r#"{"method": "task-arithmetic"}"#,
    r#"{"method": "ties"}"#,
    r#"{"method": "ties", "scope": "tensor", "keep": 0.5, "aggregate": "sum"}"#,
    r#"{"method": "dare", "drop": 0.5}"#,
    r#"{"method": "dare", "drop": 0.5, "combine": "elected-sum"}"#,
    r#"{"method": "dare", "drop": 0.5, "combine": "elected-mean", "rescale": false}"#,
];

const SHAPE: [(&str, usize); 4] = [("a.w", 300), ("a.b", 7), ("empty", 0), ("s", 1)];

fn rule(text: &str) -> MergeMethod {
    serde_json::from_str::<MergeConfig>(text)
        .unwrap()
        .check()
        .unwrap()
}

fn merged(text: &str, tasks: &TaskVectors<'_>) -> TensorSet {
    rule(text).merge(tasks, &Silent).unwrap()
}

fn family(seed: u64, experts: usize) -> (TensorSet, Vec<TensorSet>) {
    let base = uniform(seed, &SHAPE);
    let experts = (0..experts)
        .map(|k| near(&base, 0.2, seed * 31 + k as u64))
        .collect();
    (base, experts)
}

#[test]
fn one_expert_is_itself() {
    let (base, experts) = family(1, 1);
    for text in IDENTITIES {
        let found = distance(&merged(text, &tasks(&base, &experts)), &experts[0]);
        assert!(found <= 1.2e-7, "{text}: {found}");
    }
}

#[test]
fn experts_that_learned_nothing_leave_the_base_in_every_bit() {
    let (base, _) = family(2, 0);
    let experts = vec![base.clone(), base.clone(), base.clone()];
    for text in WORKING {
        assert_eq!(merged(text, &tasks(&base, &experts)), base, "{text}");
    }
}

#[test]
fn a_merge_repeats_itself_for_any_number_of_threads() {
    let base = uniform(3, &[("big", 200_000), ("small", 5)]);
    let experts: Vec<_> = (0..3).map(|k| near(&base, 0.2, k)).collect();
    for text in WORKING {
        let [one, three] = [1, 3].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| merged(text, &tasks(&base, &experts)))
        });
        assert_eq!(one, three, "{text}");
        assert_ne!(one, base, "{text}");
    }
}

#[test]
fn masks_depend_on_the_seed_and_not_on_the_other_tensors() {
    let (base, experts) = family(4, 2);
    let whole = merged(WORKING[4], &tasks(&base, &experts));
    let alone = |set: &TensorSet| {
        let (path, shape, values) = set.iter().nth(1).unwrap();
        TensorSet::from_values([(path.clone(), shape.to_vec(), values.to_vec())]).unwrap()
    };
    let alone_experts: Vec<_> = experts.iter().map(alone).collect();
    let part = merged(WORKING[4], &tasks(&alone(&base), &alone_experts));
    assert_eq!(part.get("a.b"), whole.get("a.b"));
    let reseeded = r#"{"method": "dare", "drop": 0.5, "seed": 1}"#;
    assert_ne!(merged(reseeded, &tasks(&base, &experts)), whole);
}

#[test]
fn masks_belong_to_experts_and_not_to_their_places() {
    let (base, experts) = family(6, 3);
    let in_order = |order: [usize; 3]| {
        let named = order
            .into_iter()
            .map(|k| Weights::from_set(format!("e{k}"), &experts[k]));
        let base = Weights::from_set("base", &base);
        TaskVectors::between(base, named.collect(), &Checks::default()).unwrap()
    };
    for combine in ["sum", "elected-sum", "elected-mean"] {
        let text = format!(r#"{{"method": "dare", "drop": 0.5, "combine": "{combine}"}}"#);
        let expected = merged(&text, &in_order([0, 1, 2]));
        for order in [[0, 2, 1], [1, 0, 2], [2, 1, 0], [1, 2, 0]] {
            // Sums of three terms in another order differ in their last bit at most.
            let found = distance(&merged(&text, &in_order(order)), &expected);
            assert!(found <= 1.2e-7, "{combine} {order:?}: {found}");
        }
    }
}

#[test]
fn subtracting_a_task_undoes_adding_it() {
    let (base, experts) = family(5, 1);
    let added = merged(
        r#"{"method": "task-arithmetic", "scale": 0.7}"#,
        &tasks(&base, &experts),
    );
    let experts: Vec<_> = experts.into_iter().collect();
    let task = TensorSet::from_values(base.iter().enumerate().map(|(t, (path, shape, _))| {
        (
            path.clone(),
            shape.to_vec(),
            tasks(&base, &experts).task(0, t),
        )
    }))
    .unwrap();
    let direct = TaskVectors::direct(
        Weights::own("added", added),
        vec![Weights::own("task", task)],
        &Checks::default(),
    )
    .unwrap();
    let back = merged(
        r#"{"method": "task-arithmetic", "weights": [-1], "scale": 0.7}"#,
        &direct,
    );
    assert!(distance(&back, &base) < 2e-7);
}

#[test]
fn weights_must_be_one_per_expert() {
    let (base, experts) = family(6, 2);
    for method in ["average", "task-arithmetic", "ties", "dare"] {
        let text = format!(r#"{{"method": "{method}", "weights": [1, 2, 3]}}"#);
        let error = rule(&text)
            .merge(&tasks(&base, &experts), &Silent)
            .unwrap_err();
        let expected = "`weights` names 3 values, expected one for each of 2 experts";
        assert_eq!(error.to_string(), expected, "{method}");
    }
}

#[test]
fn a_merge_can_be_stopped_and_one_that_learns_says_what_it_lacks() {
    let (base, experts) = family(7, 2);
    let cancel = Cancel::default();
    cancel.raise();
    let stopped = rule(WORKING[0]).merge(&tasks(&base, &experts), &cancel);
    assert!(matches!(stopped, Err(MergeError::Cancelled)));
    let learns = rule(r#"{"method": "adamerging"}"#).merge(&tasks(&base, &experts), &Silent);
    assert!(
        learns
            .unwrap_err()
            .to_string()
            .contains("cannot run on weights alone")
    );
}

/// TIES by sorting, entry by entry.
fn plain_ties(tasks: &[Vec<f32>], keep: f64, mean: bool) -> Vec<f64> {
    let p = tasks[0].len();
    let trimmed: Vec<Vec<f64>> = tasks
        .iter()
        .map(|task| {
            let mut sizes: Vec<f32> = task.iter().map(|v| v.abs()).collect();
            sizes.sort_by(|a, b| b.total_cmp(a));
            let count = ((keep * p as f64).floor() as usize).max(1);
            let last = sizes[count - 1];
            task.iter()
                .map(|&v| if v.abs() >= last { f64::from(v) } else { 0.0 })
                .collect()
        })
        .collect();
    let sums: Vec<f64> = (0..p).map(|j| trimmed.iter().map(|t| t[j]).sum()).collect();
    let sign = |x: f64| {
        if x > 0.0 {
            1.0
        } else if x < 0.0 {
            -1.0
        } else {
            0.0
        }
    };
    let majority = sign(sums.iter().map(|&s| sign(s)).sum());
    (0..p)
        .map(|j| {
            let elected = if sums[j] == 0.0 {
                majority
            } else {
                sign(sums[j])
            };
            let agreeing: Vec<f64> = trimmed
                .iter()
                .map(|t| t[j])
                .filter(|v| v * elected > 0.0)
                .collect();
            let count = if mean {
                agreeing.len().max(1) as f64
            } else {
                1.0
            };
            agreeing.iter().sum::<f64>() / count
        })
        .collect()
}

proptest! {
    #[test]
    fn ties_agrees_with_sorting(
        // Few distinct values: draws, and ties at the threshold, are common.
        tasks in (1usize..5, 1usize..40).prop_flat_map(|(k, p)| {
            prop::collection::vec(prop::collection::vec(-3i8..=3, p), k)
        }),
        keep in 0.01f64..=1.0,
        mean in any::<bool>(),
    ) {
        let tasks: Vec<Vec<f32>> =
            tasks.iter().map(|t| t.iter().map(|&v| f32::from(v)).collect()).collect();
        let views: Vec<&[f32]> = tasks.iter().map(Vec::as_slice).collect();
        let how = if mean { Aggregate::Mean } else { Aggregate::Sum };
        let ours = ties(&views, &[], keep, how).unwrap();
        for (ours, plain) in ours.iter().zip(plain_ties(&tasks, keep, mean)) {
            prop_assert!((f64::from(*ours) - plain).abs() < 1e-6);
        }
    }

    #[test]
    fn over_one_tensor_global_and_local_trimming_are_the_same(
        seed in any::<u32>(), k in 1usize..5, p in 1usize..200, keep in 0.01f64..=1.0,
    ) {
        let base = uniform(u64::from(seed), &[("w", p)]);
        let experts: Vec<_> = (0..k).map(|i| near(&base, 0.3, i as u64)).collect();
        let [global, local] = ["global", "tensor"].map(|scope| {
            let text = format!(r#"{{"method": "ties", "keep": {keep}, "scope": "{scope}"}}"#);
            merged(&text, &tasks(&base, &experts))
        });
        prop_assert_eq!(global, local);
    }

    #[test]
    fn experts_commute(seed in any::<u32>(), k in 2usize..6, turn in 1usize..5) {
        let (base, mut experts) = family(u64::from(seed), k);
        for text in &WORKING[..4] { // the masks of DARE belong to places
            let before = merged(text, &tasks(&base, &experts));
            experts.rotate_left(turn % k);
            let after = merged(text, &tasks(&base, &experts));
            prop_assert!(distance(&before, &after) <= 2e-7, "{}", text);
        }
    }

    #[test]
    fn the_scale_is_linear_in_task_arithmetic(seed in any::<u32>(), scale in -2.0f64..2.0) {
        let (base, experts) = family(u64::from(seed), 3);
        let at = |scale: f64| {
            let text = format!(r#"{{"method": "task-arithmetic", "scale": {scale}}}"#);
            merged(&text, &tasks(&base, &experts))
        };
        let (none, once, twice) = (at(0.0), at(scale), at(2.0 * scale));
        prop_assert_eq!(&none, &base);
        for ((b, o), t) in base.tensors().iter().flatten()
            .zip(once.tensors().iter().flatten()).zip(twice.tensors().iter().flatten())
        {
            prop_assert!((2.0 * (o - b) - (t - b)).abs() < 2e-6);
        }
    }
}
