use super::*;
use crate::held::Held;
use proptest::prelude::*;
use refit_core::{Cancel, Hint, Placement, Silent};
use refit_testkit::{close_in_norm, normal_vec, with_threads};
use std::sync::Arc;

fn normal(seed: u64, len: usize) -> Vec<f32> {
    normal_vec(seed, len)
        .into_iter()
        .map(|v| v as f32)
        .collect()
}

fn random([rows, cols]: [usize; 2], rank: usize, scale: f64, seed: u64) -> LowRank {
    let (left, right) = (normal(seed, rows * rank), normal(!seed, rank * cols));
    LowRank::new([rows, cols], rank, left, right, scale).unwrap()
}

fn change(factors: LowRank, placement: Placement) -> Change {
    Change::LowRank {
        factors,
        placement,
        magnitude: None,
    }
}

fn adapter(name: &str, tensors: Vec<(&str, Change)>) -> Adapter {
    let tensors = tensors.into_iter().map(|(target, change)| AdapterTensor {
        target: target.into(),
        change,
    });
    Adapter {
        name: name.into(),
        tensors: tensors.collect(),
    }
}

/// An adapter of one layer.
fn single(name: &str, factors: LowRank) -> Adapter {
    adapter(name, vec![("q.weight", change(factors, Placement::Linear))])
}

fn merged(config: CombineConfig, adapters: &[(&Adapter, f64)]) -> Result<Adapter, CombineError> {
    config
        .check()?
        .merge("merged", adapters, Seed::new(1), &Silent)
}

fn factors(adapter: &Adapter, at: usize) -> &LowRank {
    match &adapter.tensors[at].change {
        Change::LowRank { factors, .. } => factors,
        other => panic!("{other:?}"),
    }
}

fn product(adapter: &Adapter) -> Vec<f32> {
    factors(adapter, 0).to_dense()
}

/// `sum_k w_k s_k B_k A_k`, in double precision.
fn weighted_sum_of(parts: &[(&LowRank, f64)]) -> Vec<f64> {
    let mut sum = vec![0.0; parts[0].0.rows() * parts[0].0.cols()];
    for (factors, weight) in parts {
        for (sum, value) in sum.iter_mut().zip(factors.to_dense()) {
            *sum += weight * f64::from(value);
        }
    }
    sum
}

/// Whether the distance is at most this part of the length.
fn is_near(found: &[f32], expected: Vec<f64>, part: f64) -> bool {
    let found: Vec<f64> = found.iter().map(|&v| f64::from(v)).collect();
    close_in_norm(found, expected, part, 0.0).is_ok()
}

fn linear() -> CombineConfig {
    CombineConfig::Linear(NoSettings {})
}

fn cat() -> CombineConfig {
    CombineConfig::Cat(NoSettings {})
}

fn svd(rank: usize) -> CombineConfig {
    CombineConfig::Svd(RankSettings { rank: Some(rank) })
}

fn ties(density: f64) -> CombineConfig {
    CombineConfig::Ties(ElectSettings {
        density,
        ..Default::default()
    })
}

fn knots(density: f64) -> CombineConfig {
    CombineConfig::Knots(KnotsSettings {
        density,
        ..Default::default()
    })
}

#[test]
fn cross_terms_of_linear_worked_by_hand() {
    // B: 2 (1, 0) + 1 (0, 1), A: 2 (1, 1) - 1 (3, 0); weights 4 and -1 at scale 1.
    let a = single(
        "a",
        LowRank::new([2, 2], 1, vec![1.0, 0.0], vec![1.0, 1.0], 1.0).unwrap(),
    );
    let b = single(
        "b",
        LowRank::new([2, 2], 1, vec![0.0, 1.0], vec![3.0, 0.0], 1.0).unwrap(),
    );
    let found = merged(linear(), &[(&a, 4.0), (&b, -1.0)]).unwrap();
    assert_eq!(factors(&found, 0).left(), [2.0, 1.0]);
    assert_eq!(factors(&found, 0).right(), [-1.0, 2.0]);
    // The exact sum is [[4, 4], [-3, 0]].
    assert_eq!(product(&found), [-2.0, 4.0, -1.0, 2.0]);
    let found = merged(cat(), &[(&a, 4.0), (&b, -1.0)]).unwrap();
    assert_eq!(product(&found), [4.0, 4.0, -3.0, 0.0]);
}

#[test]
fn one_adapter_alone_is_itself_times_its_weight() {
    let one = single("one", random([5, 4], 2, 0.5, 7));
    let all = CombineConfig::all().into_iter().map(|config| match config {
        CombineConfig::Ties(s) => CombineConfig::Ties(ElectSettings { density: 1.0, ..s }),
        CombineConfig::DareTies(s) => CombineConfig::DareTies(ElectSettings { density: 1.0, ..s }),
        CombineConfig::DareLinear(_) => CombineConfig::DareLinear(DensitySettings { density: 1.0 }),
        CombineConfig::MagnitudePrune(_) => {
            CombineConfig::MagnitudePrune(DensitySettings { density: 1.0 })
        }
        CombineConfig::Knots(s) => CombineConfig::Knots(KnotsSettings { density: 1.0, ..s }),
        other => other,
    });
    for config in all {
        for weight in [1.0, -0.7, 3.0] {
            let found = merged(config.clone(), &[(&one, weight)]).unwrap();
            let expected = weighted_sum_of(&[(factors(&one, 0), weight)]);
            let name = config.name();
            // Factors are rounded once or twice to single precision.
            assert!(is_near(&product(&found), expected, 1e-6), "{name}");
            assert!(
                factors(&found, 0).rank() == 2
                    && factors(&found, 0).scale().to_bits() == 1f64.to_bits()
            );
        }
    }
}

#[test]
fn copies_average_to_themselves_where_signs_are_elected() {
    let one = single("one", random([5, 4], 2, 2.0, 9));
    for config in [ties(1.0), knots(1.0)] {
        let found = merged(config, &[(&one, 1.0), (&one, 1.0), (&one, 1.0)]).unwrap();
        assert!(is_near(
            &product(&found),
            weighted_sum_of(&[(factors(&one, 0), 1.0)]),
            1e-6
        ));
    }
}

#[test]
fn every_placement_is_kept_and_merged_as_it_lies() {
    let parts = |seed| {
        vec![
            (
                "a.weight",
                change(random([4, 6], 2, 1.5, seed), Placement::Transposed),
            ),
            (
                "b.weight",
                change(random([7, 3], 2, 1.0, seed + 1), Placement::Embedding),
            ),
            (
                "c.weight",
                change(random([3, 3], 2, 0.5, seed + 2), Placement::Linear),
            ),
        ]
    };
    let (one, two) = (adapter("one", parts(10)), adapter("two", parts(20)));
    let found = merged(cat(), &[(&one, 0.5), (&two, 2.0)]).unwrap();
    for (at, tensor) in found.tensors.iter().enumerate() {
        let pair = [(factors(&one, at), 0.5), (factors(&two, at), 2.0)];
        assert!(is_near(
            &factors(&found, at).to_dense(),
            weighted_sum_of(&pair),
            1e-6
        ));
        let (
            Change::LowRank { placement, .. },
            Change::LowRank {
                placement: before, ..
            },
        ) = (&tensor.change, &one.tensors[at].change)
        else {
            panic!()
        };
        assert_eq!(placement, before);
    }
}

#[test]
fn a_tensor_that_one_adapter_does_not_change_counts_as_zero_there() {
    let (one, mut two) = (
        single("one", random([4, 3], 1, 1.0, 1)),
        single("two", random([4, 3], 1, 1.0, 2)),
    );
    let extra = change(random([2, 3], 1, 2.0, 3), Placement::Linear);
    two.tensors.push(AdapterTensor {
        target: "k.weight".into(),
        change: extra,
    });
    for config in [linear(), cat(), svd(2), ties(1.0), knots(1.0)] {
        let found = merged(config, &[(&one, 1.0), (&two, 0.5)]).unwrap();
        assert_eq!(found.tensors[0].target.as_str(), "k.weight");
        let expected = weighted_sum_of(&[(factors(&two, 1), 0.5)]);
        assert!(is_near(&product(&found), expected, 1e-6));
    }
}

#[test]
fn biases_are_summed_with_their_weights() {
    let with = |values: &[f32]| {
        let mut one = single("one", random([2, 2], 1, 1.0, 1));
        one.tensors.push(AdapterTensor {
            target: "q.bias".into(),
            change: Change::Shift(values.to_vec()),
        });
        one
    };
    let (one, two) = (with(&[1.0, -2.0]), with(&[0.5, 4.0]));
    let found = merged(ties(0.5), &[(&one, 2.0), (&two, -1.0)]).unwrap();
    let Change::Shift(values) = &found.tensors[0].change else {
        panic!()
    };
    assert_eq!(*values, [1.5, -8.0]);
}

#[test]
fn what_does_not_go_together_is_refused_by_name() {
    let one = single("one", random([4, 3], 2, 1.0, 1));
    let refused = |config: CombineConfig, other: &Adapter| {
        let error = merged(config, &[(&one, 1.0), (other, 1.0)]).unwrap_err();
        assert!(error.hint().is_some(), "{error}");
        error.to_string()
    };
    let wide = single("two", random([4, 3], 3, 1.0, 2));
    for config in [linear(), ties(0.5)] {
        let name = config.name();
        let text = format!(
            "`two` has rank 3 at `q.weight`, `{name}` expects that of the other adapters, 2"
        );
        assert_eq!(refused(config, &wide), text);
    }
    let shape = single("two", random([3, 4], 2, 1.0, 2));
    let text = "`two` changes `q.weight` by a matrix of shape [3, 4], other adapters by [4, 3]";
    assert_eq!(refused(cat(), &shape), text);
    let turned = change(random([4, 3], 2, 1.0, 2), Placement::Transposed);
    let text = "`two` changes `q.weight` in another way than other adapters";
    assert_eq!(
        refused(cat(), &adapter("two", vec![("q.weight", turned)])),
        text
    );
    let dora = Change::LowRank {
        factors: random([4, 3], 2, 1.0, 2),
        placement: Placement::Linear,
        magnitude: Some(vec![1.0; 4]),
    };
    let text =
        "`two` has magnitudes (DoRA) for `q.weight`, which cannot be merged without the base";
    assert_eq!(
        refused(cat(), &adapter("two", vec![("q.weight", dora)])),
        text
    );
    let whole = Change::Replace(Arc::new(Held::new("x", &[1], vec![1.0])));
    let text = "`two` replaces `norm.weight`, which cannot be merged without the base";
    assert_eq!(
        refused(cat(), &adapter("two", vec![("norm.weight", whole)])),
        text
    );
    let nan = LowRank::new([4, 3], 1, vec![f32::NAN; 4], vec![0.0; 3], 1.0).unwrap();
    let text = "`two` changes `q.weight` by values that are not finite";
    assert_eq!(refused(cat(), &single("two", nan)), text);
    assert!(matches!(merged(cat(), &[]), Err(CombineError::NoAdapters)));
    assert!(matches!(
        merged(cat(), &[(&one, f64::NAN)]),
        Err(CombineError::Config(_))
    ));
}

#[test]
fn a_table_of_the_base_beside_factors_stays() {
    let with_table = |name: &str, seed, values: Vec<f32>| {
        let table = Change::Replace(Arc::new(Held::new("e.weight", &[3, 2], values)));
        let factors = change(random([3, 2], 1, 1.0, seed), Placement::Embedding);
        adapter(name, vec![("e.weight", table), ("e.weight", factors)])
    };
    let values = normal(7, 6);
    let (one, two) = (
        with_table("one", 1, values.clone()),
        with_table("two", 2, values.clone()),
    );
    let both = merged(cat(), &[(&one, 1.0), (&two, 0.5)]).unwrap();
    let Change::Replace(table) = &both.tensors[0].change else {
        panic!("{both:?}")
    };
    let mut read = vec![0.0; 6];
    table.read_f32(0..6, &mut read, &mut Vec::new()).unwrap();
    assert_eq!(read, values);
    let [first, second] = [&one, &two].map(|adapter| factors(adapter, 1).to_dense());
    let sum = factors(&both, 1).to_dense();
    for ((sum, first), second) in sum.iter().zip(first).zip(second) {
        // Two products of numbers of size one in single precision.
        assert!((sum - (first + 0.5 * second)).abs() < 1e-5);
    }
    let mut other = values;
    other[5] += 1.0;
    let other = with_table("other", 3, other);
    let error = merged(cat(), &[(&one, 1.0), (&other, 1.0)]).unwrap_err();
    let text = "`other` was trained on another `e.weight`, which cannot be merged without the base";
    assert_eq!(error.to_string(), text);
}

#[test]
fn a_result_that_overflows_is_refused_by_name() {
    let huge = single("huge", random([4, 3], 2, 1e300, 1));
    for config in [cat(), linear(), ties(0.5)] {
        let error = merged(config, &[(&huge, 1.0), (&huge, 1.0)]).unwrap_err();
        let text = "the merged change of `q.weight` overflows";
        assert_eq!(error.to_string(), text);
        assert!(error.hint().is_some());
    }
}

#[test]
fn a_listener_can_stop_it() {
    let one = single("one", random([4, 3], 2, 1.0, 1));
    let cancel = Cancel::default();
    cancel.raise();
    let stopped = cat()
        .check()
        .unwrap()
        .merge("m", &[(&one, 1.0)], Seed::new(0), &cancel);
    assert!(matches!(stopped, Err(CombineError::Cancelled)));
}

#[test]
fn threads_change_no_bit_and_equal_adapters_get_masks_of_their_own() {
    let many = |seed: u64| {
        let names = ["a.weight", "b.weight", "c.weight", "d.weight", "e.weight"];
        let layer = |(at, name): (usize, &&'static str)| {
            (
                *name,
                change(
                    random([30, 20], 3, 1.0, seed + at as u64),
                    Placement::Linear,
                ),
            )
        };
        adapter("one", names.iter().enumerate().map(layer).collect())
    };
    let (one, two) = (many(1), many(100));
    for config in CombineConfig::all() {
        let run = || merged(config.clone(), &[(&one, 0.6), (&two, -0.3)]).unwrap();
        let (few, more) = (with_threads(1, run), with_threads(4, run));
        for at in 0..5 {
            assert_eq!(factors(&few, at), factors(&more, at), "{}", config.name());
        }
    }
    let dare = CombineConfig::DareLinear(DensitySettings { density: 0.5 });
    let found = merged(dare, &[(&one, 1.0), (&one, -1.0)]).unwrap();
    // With one mask for both the second factor would be zero.
    assert!(factors(&found, 0).right().iter().any(|v| *v != 0.0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn cat_and_svd_of_full_rank_are_the_sum_of_changes(
        seed in any::<u64>(), (rows, cols) in (1usize..12, 1usize..12),
        many in prop::collection::vec((1usize..4, -2.0..2.0, 0.1..4.0), 1..4),
    ) {
        let adapters: Vec<(Adapter, f64)> = many
            .iter()
            .enumerate()
            .map(|(k, &(rank, weight, scale))| {
                (single("one", random([rows, cols], rank, scale, seed ^ k as u64)), weight)
            })
            .collect();
        let given: Vec<(&Adapter, f64)> = adapters.iter().map(|(a, w)| (a, *w)).collect();
        let pairs: Vec<(&LowRank, f64)> = given.iter().map(|(a, w)| (factors(a, 0), *w)).collect();
        let expected = weighted_sum_of(&pairs);
        // Against the size of what is summed: the sum itself may cancel.
        let size: f64 = pairs
            .iter()
            .map(|(f, w)| w.abs() * f.to_dense().iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt())
            .sum();
        let ranks = many.iter().map(|(rank, ..)| rank).sum();
        for config in [cat(), svd(ranks)] {
            let found = product(&merged(config, &given).unwrap());
            let square: f64 = found.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum();
            prop_assert!(square.sqrt() <= 2e-6 * size);
        }
    }

    #[test]
    fn svd_is_the_nearest_matrix_of_its_rank(
        seed in any::<u64>(), (rows, cols) in (2usize..12, 2usize..12), most in 1usize..4,
    ) {
        let (one, two) = (random([rows, cols], 3, 1.0, seed), random([rows, cols], 2, 0.5, seed ^ 9));
        let expected = weighted_sum_of(&[(&one, 1.0), (&two, -0.5)]);
        let (one, two) = (single("one", one), single("two", two));
        let found = merged(svd(most), &[(&one, 1.0), (&two, -0.5)]).unwrap();
        prop_assert!(factors(&found, 0).rank() <= most);
        let whole = refit_math::Matrix::new(rows, cols, expected.clone()).unwrap();
        let values = refit_math::svd(&whole).unwrap().values;
        let rest: f64 = values.iter().skip(most).map(|v| v * v).sum();
        let all: f64 = values.iter().map(|v| v * v).sum();
        let product = product(&found);
        let lost: f64 = product.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum();
        prop_assert!((lost - rest).abs() <= 1e-5 * all);
    }

    #[test]
    fn scaling_every_weight_scales_the_result(seed in any::<u64>(), factor in 0.1..5.0) {
        let (one, two) = (
            single("one", random([6, 5], 2, 1.0, seed)),
            single("two", random([6, 5], 2, 0.5, seed ^ 3)),
        );
        for config in CombineConfig::all() {
            let before = product(&merged(config.clone(), &[(&one, 1.0), (&two, 0.5)]).unwrap());
            let after = merged(config, &[(&one, factor), (&two, 0.5 * factor)]).unwrap();
            let expected: Vec<f64> = before.iter().map(|v| f64::from(*v) * factor).collect();
            prop_assert!(is_near(&product(&after), expected, 1e-5));
        }
    }
}
