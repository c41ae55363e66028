//! Coefficients as documents: published tables, round trips, and names that do not fit.

use crate::support::{near, tasks, uniform};
use proptest::prelude::*;
use refit_core::Hint;
use refit_merge::{
    AdaMerging, AdaMergingConfig, Checks, Coefficients, Grouping, Plus, Session, TaskVectors,
    TensorSet, Weights,
};

const TASKS: [&str; 8] = [
    "sun397", "cars", "resisc45", "eurosat", "svhn", "gtsrb", "mnist", "dtd",
];

/// Task-wise coefficients that the authors of AdaMerging released, in the order of [`TASKS`]
/// (logs of the public code, arXiv:2310.02575): name, whether `++`, values.
const PUBLISHED: [(&str, bool, [f32; 8]); 4] = [
    (
        "vit-b-32",
        false,
        [0.220, 0.141, 0.283, 0.328, 0.284, 0.400, 0.198, 0.169],
    ),
    (
        "vit-b-32",
        true,
        [0.317, 0.170, 0.424, 0.520, 0.439, 0.580, 0.245, 0.289],
    ),
    (
        "vit-b-16",
        false,
        [0.192, 0.159, 0.250, 0.309, 0.254, 0.354, 0.217, 0.154],
    ),
    (
        "vit-b-16",
        true,
        [0.339, 0.181, 0.340, 0.587, 0.378, 0.740, 0.244, 0.000],
    ),
];

fn document(base: &str, plus: bool, values: &[f32; 8]) -> String {
    let plus = if plus {
        r#""plus": {"keep": 0.2},"#
    } else {
        ""
    };
    format!(
        r#"{{"format": "refit-coefficients", "version": 1, "base": "{base}", "experts": {TASKS:?},
            "grouping": "task", {plus} "groups": [{{"name": "all", "values": {values:?}}}]}}"#
    )
}

fn experts(base: &TensorSet) -> Vec<TensorSet> {
    (0..8).map(|k| near(base, 0.1, k)).collect()
}

/// Task vectors whose experts are listed in the order of `names`.
fn named<'a>(base: &'a TensorSet, sets: &'a [TensorSet], names: &[&str]) -> TaskVectors<'a> {
    let set = |name: &&str| {
        let at = TASKS.iter().position(|task| task == name).unwrap_or(0);
        Weights::from_set(name, &sets[at])
    };
    let base = Weights::from_set("base", base);
    TaskVectors::between(base, names.iter().map(set).collect(), &Checks::default()).unwrap()
}

#[test]
fn published_tables_load_by_name_and_are_recipes() {
    let base = uniform(1, &[("a.w", 64), ("b.w", 5)]);
    let sets = experts(&base);
    for (model, plus, values) in PUBLISHED {
        let table = Coefficients::load(document(model, plus, &values).as_bytes()).unwrap();
        for (task, value) in TASKS.iter().zip(values) {
            assert_eq!(table.value("all", task), Some(value));
        }
        let mut reversed = TASKS;
        reversed.reverse();
        let merged = named(&base, &sets, &reversed).merge_with(&table).unwrap();
        let tasks = named(&base, &sets, &TASKS);
        let tasks = if plus {
            tasks.trimmed_and_elected(0.2)
        } else {
            tasks
        };
        for (tensor, merged) in merged.tensors().iter().enumerate() {
            let mut expected: Vec<f64> = base.tensors()[tensor]
                .iter()
                .map(|&v| f64::from(v))
                .collect();
            for (k, value) in values.into_iter().enumerate() {
                for (sum, tau) in expected.iter_mut().zip(tasks.task(k, tensor)) {
                    *sum += f64::from(value) * f64::from(tau);
                }
            }
            for (found, expected) in merged.iter().zip(expected) {
                assert!((f64::from(*found) - expected).abs() < 1e-7, "{model}");
            }
        }
        let mut file = vec![];
        table.save(&mut file).unwrap();
        assert_eq!(Coefficients::load(&file[..]).unwrap(), table);
    }
}

#[test]
fn learned_coefficients_come_back_from_a_file_and_give_the_same_weights() {
    let base = uniform(
        2,
        &[
            ("blocks.0.w", 40),
            ("blocks.0.b", 4),
            ("blocks.1.w", 40),
            ("cls", 3),
        ],
    );
    let sets = experts(&base);
    for plus in [None, Some(Plus { keep: 0.5 })] {
        let config = AdaMergingConfig {
            plus,
            grouping: Grouping::Block,
            learning_rate: 0.05,
            ..Default::default()
        };
        let method = AdaMerging::try_from(config).unwrap();
        let mut session = Session::start(&method, named(&base, &sets, &TASKS)).unwrap();
        for _ in 0..4 {
            session.step(&mut Slope).unwrap();
        }
        let learned = session.coefficients();
        assert_ne!(learned.groups[0].values[0].to_bits(), 0.3f32.to_bits());
        let mut file = vec![];
        learned.save(&mut file).unwrap();
        let loaded = Coefficients::load(&file[..]).unwrap();
        assert_eq!(loaded, learned);
        let merged = named(&base, &sets, &TASKS).merge_with(&loaded).unwrap();
        assert_eq!(merged, session.into_merged());
    }
}

struct Slope;

impl refit_merge::EntropyModel for Slope {
    type Error = refit_merge::MergeError;

    fn entropy_gradient(
        &mut self,
        _step: u64,
        theta: &mut refit_merge::Theta,
        gradient: &mut refit_merge::Gradient<'_>,
    ) -> Result<refit_merge::EntropyReport, Self::Error> {
        for (tensor, values) in theta.tensors().iter().enumerate() {
            gradient.add(tensor, values)?;
        }
        Ok(refit_merge::EntropyReport::default())
    }
}

#[test]
fn names_that_do_not_fit_are_listed() {
    let base = uniform(3, &[("a", 3), ("b", 3)]);
    let sets = experts(&base);
    let method = AdaMerging::try_from(AdaMergingConfig::default()).unwrap();
    let table = Session::start(&method, tasks(&base, &sets[..2]))
        .unwrap()
        .coefficients();

    let renamed = named(&base, &sets, &["e0", "dtd"])
        .merge_with(&table)
        .unwrap_err();
    let expected = "experts differ from those of the coefficients: missing `e1`; unexpected `dtd`";
    assert_eq!(renamed.to_string(), expected);
    assert!(renamed.hint().is_some());

    let names: Vec<String> = (0..13).map(|i| format!("t{i:02}")).collect();
    let shape: Vec<(&str, usize)> = names.iter().map(|n| (n.as_str(), 1)).collect();
    let other = uniform(4, &shape);
    let sets = [near(&other, 0.1, 0), near(&other, 0.1, 1)];
    let text = tasks(&other, &sets)
        .merge_with(&table)
        .unwrap_err()
        .to_string();
    assert!(
        text.starts_with("the tensors of the coefficients differ from the base: missing `t00`")
    );
    assert!(
        text.contains("`t09` and 3 more; unexpected `a`, `b`"),
        "{text}"
    );
}

proptest! {
    #[test]
    fn every_coefficient_survives_the_file(values in prop::collection::vec(-1e3f32..1e3, 8), tiny in 0u32..0x0100_0000) {
        let mut values: [f32; 8] = values.try_into().unwrap();
        values[0] = f32::from_bits(tiny);
        let mut table = Coefficients::load(document("m", false, &[0.0; 8]).as_bytes()).unwrap();
        table.groups[0].values = values.to_vec();
        let mut file = vec![];
        table.save(&mut file).unwrap();
        prop_assert_eq!(Coefficients::load(&file[..]).unwrap(), table);
    }
}
