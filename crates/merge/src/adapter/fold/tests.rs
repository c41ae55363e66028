use super::*;
use crate::held::Held;
use refit_core::{Adapter, AdapterTensor, DType};
use serde_json::json;

/// The weights that the observed numbers started from.
fn base(len: usize, number: usize) -> Vec<f32> {
    let value = |i: usize| (((i * 7 + number * 3) % 11) as f32 - 5.0) / 4.0;
    (0..len).map(value).collect()
}

fn held(name: &str, shape: &[usize], values: Vec<f32>) -> Arc<dyn TensorRead> {
    Arc::new(Held::new(name, shape, values))
}

fn read(tensor: &dyn TensorRead, range: Range<usize>) -> Vec<f32> {
    let mut out = vec![0.0; range.len()];
    tensor.read_f32(range, &mut out, &mut Vec::new()).unwrap();
    out
}

fn dora(placement: Placement, a: [&[f32]; 2], magnitude: &[f32]) -> Change {
    let [a, b] = a.map(<[f32]>::to_vec);
    let outward = LowRank::new([b.len() / 2, a.len() / 2], 2, b, a, 2.0).unwrap();
    let factors = match placement {
        Placement::Linear => outward,
        _ => outward.transposed(),
    };
    let magnitude = Some(magnitude.to_vec());
    Change::LowRank {
        factors,
        placement,
        magnitude,
    }
}

type Case = (
    Placement,
    &'static [usize],
    usize,
    [&'static [f32]; 2],
    &'static [f32],
    &'static [f32],
);

/// PEFT 0.21.2, `merge_and_unload` of a DoRA adapter with `r = 2`, `lora_alpha = 4`: shape and number of the base,
/// the factors and magnitudes that were saved, and what the weights became.
fn observed() -> [Case; 4] {
    use Placement::{Embedding, Linear, Transposed};
    [
        (
            Linear,
            &[2, 3],
            1,
            [
                &[-0.5, 1.25, 0.25, -0.75, 1.0, 0.0],
                &[0.25, -0.75, 1.0, 0.0],
            ],
            &[2.053_959_6, 1.875],
            &[
                1.185_854_2,
                1.185_854_2,
                1.185_854_2,
                -0.831_763_1,
                1.663_526_2,
                0.237_646_6,
            ],
        ),
        (
            Transposed,
            &[3, 2],
            3,
            [
                &[-1.0, 0.75, -0.25, -1.25, 0.5, -0.5],
                &[-0.25, -1.25, 0.5, -0.5],
            ],
            &[2.154_211, 2.186_607],
            &[
                1.832_922_8,
                0.380_639_4,
                -1.040_307_5,
                1.522_557_6,
                0.445_846_1,
                -1.522_557_6,
            ],
        ),
        (
            Linear,
            &[2, 2, 1, 2],
            5,
            [
                &[1.25, 0.25, -0.75, 1.0, 0.0, -1.0, 0.75, -0.25],
                &[-0.75, 1.0, 0.0, -1.0],
            ],
            &[2.186_607, 2.678_035_7],
            &[
                -0.800_748_2,
                -1.365_982_3,
                1.177_570_9,
                -0.942_056_8,
                0.896_672_7,
                1.614_010_8,
                -1.614_010_8,
                1.076_007_2,
            ],
        ),
        (
            Embedding,
            &[4, 3],
            0,
            [
                &[0.0, -1.0, 0.75, -0.25, -1.25, 0.5, -0.5, 1.25],
                &[0.75, -0.25, -1.25, 0.5, -0.5, 1.25],
            ],
            &[3.247_595_3, 0.918_558_7, 2.755_676],
            &[
                -0.805_877_3,
                -0.156_385_8,
                -1.857_976_9,
                -0.644_701_8,
                0.677_671_9,
                0.768_818,
                3.062_333_8,
                -0.495_221_8,
                -1.537_636,
                -0.322_350_9,
                0.338_836,
                1.089_158_9,
            ],
        ),
    ]
}

#[test]
fn every_kind_of_layer_becomes_what_peft_makes_of_it() {
    for (placement, shape, number, factors, magnitude, merged) in observed() {
        let base = held("w", shape, base(merged.len(), number));
        let folded = Folded::new(base, &dora(placement, factors, magnitude)).unwrap();
        let found = read(&folded, 0..merged.len());
        for (found, merged) in found.iter().zip(merged) {
            assert!(
                (found - merged).abs() < 1e-6,
                "{placement:?}: {found} is not {merged}"
            );
        }
        // Any stretch has the bits of the whole.
        for start in 0..merged.len() {
            for end in start..=merged.len() {
                assert_eq!(read(&folded, start..end), found[start..end]);
            }
        }
    }
}

fn rank_one(rows: usize, cols: usize) -> Change {
    let factors = LowRank::new([rows, cols], 1, vec![1.0; rows], vec![1.0; cols], 0.5);
    let factors = factors.unwrap();
    Change::LowRank {
        factors,
        placement: Placement::Linear,
        magnitude: None,
    }
}

fn adapter(tensors: Vec<(&str, Change)>) -> Adapter {
    let tensors = tensors
        .into_iter()
        .map(|(target, change)| AdapterTensor {
            target: target.into(),
            change,
        })
        .collect();
    let name = "tuned".into();
    Adapter { name, tensors }
}

#[test]
fn tensors_are_found_behind_and_without_a_first_part() {
    let model = |name: &str| {
        vec![
            held("x", &[1], vec![7.0]),
            held(name, &[1, 2], vec![1.0, 2.0]),
        ]
    };
    for (stored, named) in [
        ("h.0.q.weight", "h.0.q.weight"),
        ("h.0.q.weight", "transformer.h.0.q.weight"),
        ("bert.h.0.q.weight", "h.0.q.weight"),
    ] {
        let folded = attach(model(stored), &adapter(vec![(named, rank_one(1, 2))])).unwrap();
        assert_eq!(read(&*folded[0], 0..1), [7.0]);
        assert_eq!(read(&*folded[1], 0..2), [1.5, 2.5]);
        assert_eq!(folded[1].meta().path.as_str(), stored);
        assert!(folded[0].is_stored() && !folded[1].is_stored());
    }
    let slip = adapter(vec![
        ("h.0.qq.weight", rank_one(1, 2)),
        ("z", rank_one(1, 2)),
    ]);
    let error = attach(model("h.0.q.weight"), &slip).err().unwrap();
    let text = "the adapter `tuned` changes `h.0.qq.weight`, which the model has not, nor 1 more";
    assert_eq!(error.to_string(), text);
    assert_eq!(
        refit_core::Hint::hint(&error).unwrap(),
        "did you mean `h.0.q.weight`?"
    );
}

#[test]
fn a_head_that_is_the_embedding_is_replaced_once() {
    let values = vec![5.0, 6.0];
    let whole = |name: &str, values: &[f32]| Change::Replace(held(name, &[2, 1], values.to_vec()));
    let both = |head: &[f32]| {
        adapter(vec![
            ("model.embed_tokens.weight", whole("e", &values)),
            ("lm_head.weight", whole("h", head)),
        ])
    };
    for stored in ["model.embed_tokens.weight", "embed_tokens.weight"] {
        let tied = vec![held(stored, &[2, 1], vec![1.0, 2.0])];
        let folded = attach(tied.clone(), &both(&values)).unwrap();
        assert_eq!(read(&*folded[0], 0..2), values);
        // Another head is no part of this model.
        let error = attach(tied, &both(&[5.0, 7.0])).err().unwrap();
        assert!(matches!(error, FoldError::NoTarget { .. }));
    }
    let untied = vec![
        held("model.embed_tokens.weight", &[2, 1], vec![1.0, 2.0]),
        held("lm_head.weight", &[2, 1], vec![3.0, 4.0]),
    ];
    let folded = attach(untied, &both(&[7.0, 8.0])).unwrap();
    assert_eq!(read(&*folded[1], 0..2), [7.0, 8.0]);
    let shared = vec![held("shared.weight", &[2, 1], vec![1.0, 2.0])];
    let twins = [
        "shared.weight",
        "encoder.embed_tokens.weight",
        "lm_head.weight",
    ];
    let change = adapter(twins.map(|name| (name, whole(name, &values))).into());
    let folded = attach(shared, &change).unwrap();
    assert_eq!(read(&*folded[0], 0..2), values);
}

#[test]
fn a_matrix_that_fits_only_turned_over_is_turned_over() {
    let factors = LowRank::new([2, 1], 1, vec![1.0, 2.0], vec![3.0], 1.0).unwrap();
    let change = Change::LowRank {
        factors,
        placement: Placement::Linear,
        magnitude: Some(vec![1.0, 2.0]),
    };
    // The outputs are the columns now: each has one value, so its length is the magnitude.
    let folded = Folded::new(held("w", &[1, 2], vec![0.0, -9.0]), &change).unwrap();
    assert_eq!(read(&folded, 0..2), [1.0, -2.0]);
    let folded = Folded::new(held("w", &[2, 2], vec![0.0; 4]), &change);
    let text = "the adapter changes `w` by a matrix of shape [2, 1], the model has [2, 2]";
    assert_eq!(folded.unwrap_err().to_string(), text);
}

#[test]
fn an_output_of_length_zero_stays_zero() {
    let change = dora(Placement::Linear, [&[0.0; 4], &[0.0; 4]], &[3.0, 10.0]);
    let folded = Folded::new(held("w", &[2, 2], vec![0.0, 0.0, 3.0, 4.0]), &change).unwrap();
    assert_eq!(read(&folded, 0..4), [0.0, 0.0, 6.0, 8.0]);
}

#[test]
fn biases_are_shifted_and_tensors_replaced() {
    let shift = Folded::new(
        held("b", &[2], vec![1.0, 2.0]),
        &Change::Shift(vec![0.5, -0.5]),
    );
    assert_eq!(read(&shift.unwrap(), 1..2), [1.5]);
    let wrong = Folded::new(held("b", &[2], vec![1.0, 2.0]), &Change::Shift(vec![0.5]));
    assert!(matches!(wrong, Err(FoldError::Shape { .. })));
    let other = Change::Replace(held("adapter.b", &[2], vec![8.0, 9.0]));
    let replaced = Folded::new(held("b", &[2], vec![1.0, 2.0]), &other).unwrap();
    assert_eq!(read(&replaced, 0..2), [8.0, 9.0]);
    assert!(replaced.is_stored() && replaced.meta().path.as_str() == "b");
    let other = Change::Replace(held("adapter.b", &[3], vec![8.0; 3]));
    assert!(Folded::new(held("b", &[2], vec![1.0, 2.0]), &other).is_err());
}

#[test]
fn wrong_stretches_and_counters_are_errors() {
    let folded = Folded::new(held("w", &[1, 2], vec![1.0, 2.0]), &rank_one(1, 2)).unwrap();
    let mut out = [0.0; 2];
    for range in [1..3, 0..1] {
        assert!(folded.read_f32(range, &mut out, &mut Vec::new()).is_err());
    }
    let error = folded.read_bytes(0..4, &mut [0; 4]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`w` is computed and not stored, so it has no bytes"
    );
    let counter = Arc::new(Held::new("n", &[1, 2], vec![1.0, 2.0]).with_dtype(DType::I64));
    assert!(matches!(
        Folded::new(counter, &rank_one(1, 2)),
        Err(FoldError::NotWeights { .. })
    ));
}

#[test]
fn fan_in_fan_out_means_nothing_on_models_that_store_no_layer_so() {
    // As read with `fan_in_fan_out: true`: the product is turned over.
    let factors = LowRank::new([2, 2], 1, vec![1.0, 2.0], vec![3.0, 0.0], 1.0).unwrap();
    let adapter = |placement| Adapter {
        name: "a".into(),
        tensors: vec![AdapterTensor {
            target: "q.weight".into(),
            change: Change::LowRank {
                factors: factors.clone(),
                placement,
                magnitude: None,
            },
        }],
    };
    let dense = |adapter: &Adapter| match &adapter.tensors[0].change {
        Change::LowRank {
            factors, placement, ..
        } => (factors.to_dense(), *placement),
        other => panic!("{other:?}"),
    };
    let as_read = adapter(Placement::Transposed);
    let gpt2 = json!({ "model_type": "gpt2" });
    for config in [None, Some(&gpt2), Some(&json!({}))] {
        let found = dense(&oriented(&as_read, config));
        assert_eq!(found, (vec![3.0, 0.0, 6.0, 0.0], Placement::Transposed));
    }
    let llama = json!({ "model_type": "llama" });
    let turned = dense(&oriented(&as_read, Some(&llama)));
    assert_eq!(turned, (vec![3.0, 6.0, 0.0, 0.0], Placement::Linear));
    let linear = dense(&oriented(&adapter(Placement::Linear), Some(&llama)));
    assert_eq!(linear, (vec![3.0, 0.0, 6.0, 0.0], Placement::Linear));
}
