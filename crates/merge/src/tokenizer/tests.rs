//! From tokenizers to rows.

use super::*;
use crate::{
    held::Held,
    recipe::{ModelRef, TokenName, TokenOrigin, TokenRule, TokenizerSource, TokenizerSpec},
};
use proptest::prelude::*;
use refit_core::{DType, TensorRead};
use serde_json::{Value, json};
use std::{collections::BTreeMap, ops::Range, sync::Arc};

/// A tokenizer of words, whose ids are their places; words in angle brackets are added tokens.
fn words<S: AsRef<str>>(words: &[S]) -> Value {
    let words = || words.iter().map(AsRef::as_ref).enumerate();
    let vocab: BTreeMap<&str, usize> = words().map(|(id, word)| (word, id)).collect();
    let special = words().filter(|(_, word)| word.starts_with('<'));
    let special = special.map(|(id, word)| json!({"id": id, "content": word, "special": true}));
    let added: Vec<_> = special.collect();
    json!({"added_tokens": added, "model": {"type": "WordLevel", "vocab": vocab}})
}

fn model(name: &str) -> ModelRef {
    name.parse().unwrap()
}

fn spec<const N: usize>(source: TokenizerSource, rules: [(&str, TokenRule); N]) -> TokenizerSpec {
    let tokens = rules.map(|(token, rule)| (token.to_owned(), rule));
    TokenizerSpec {
        source,
        tokens: tokens.into(),
        pad_to_multiple_of: None,
    }
}

fn rule(source: Option<TokenOrigin>, force: bool) -> TokenRule {
    TokenRule { source, force }
}

/// Plans for models called `a`, `b`, ... that have as many rows as tokens.
fn plan(
    spec: &TokenizerSpec,
    tokenizers: &[&Value],
    base: Option<usize>,
) -> Result<VocabularyPlan, TokenizerError> {
    let names = ["a", "b", "c", "d"].into_iter();
    let inputs = names.zip(tokenizers).map(|(name, &tokenizer)| {
        let rows = Vocabulary::read(tokenizer).map_or(1, |read| read.rows());
        let rows = Some(rows);
        (model(name), VocabularyInput { tokenizer, rows })
    });
    plan_vocabulary(spec, &inputs.collect::<Vec<_>>(), base)
}

fn problem(result: Result<VocabularyPlan, TokenizerError>) -> String {
    use std::error::Error;
    let error = result.unwrap_err();
    let source = error.source().map(|source| format!(": {source}"));
    format!("{error}{}", source.unwrap_or_default())
}

fn row(model: usize, row: usize) -> RowSource {
    RowSource::Model { model, row }
}

fn sources(map: &RowMap) -> Vec<RowSource> {
    (0..map.rows())
        .map(|row| map.source(row).unwrap())
        .collect()
}

/// Ids and contents of added tokens.
fn added(plan: &VocabularyPlan) -> Vec<(u64, &str)> {
    let list = plan.tokenizer_json["added_tokens"].as_array().unwrap();
    list.iter()
        .map(|entry| {
            (
                entry["id"].as_u64().unwrap(),
                entry["content"].as_str().unwrap(),
            )
        })
        .collect()
}

/// The three vocabularies of `parity/merge_recipes.py`.
fn parity() -> [Value; 3] {
    let fixed = ["<s>", "</s>", "<unk>"].map(str::to_owned).into_iter();
    let base: Vec<String> = fixed.chain((0..90).map(|i| format!("word{i}"))).collect();
    let with = |extra: &[&str]| {
        let mut list = base[..85].to_vec();
        list.insert(40, extra[0].to_owned());
        list.extend(extra[1..].iter().map(|&word| word.to_owned()));
        words(&list)
    };
    let (a, b) = (
        with(&["<tool>", "alpha"]),
        with(&["beta", "<think>", "gamma"]),
    );
    [words(&base), a, b]
}

// mergekit 0.1.5 on recipe `tokenizer-union` of `parity/merge_recipes.py`. It gave `gamma` and `beta` the ids 87 and 88
// in one run and 88 and 87 in another: the order of ordinary tokens is that of a hash table there, of ids here.
#[test]
fn a_union_has_the_ids_and_rows_of_the_recipe_tool() {
    let [_, a, b] = &parity();
    let plan = plan(&spec(TokenizerSource::Union, []), &[a, b], None).unwrap();
    assert_eq!((plan.model, plan.added, plan.rows), (0, 3, 90));
    let special = [(0, "<s>"), (2, "<unk>"), (40, "<tool>")];
    let new = [(87, "beta"), (88, "gamma"), (89, "<think>")];
    assert!(
        special
            .iter()
            .chain(&new)
            .all(|token| added(&plan).contains(token))
    );
    assert_eq!(plan.tokenizer_json["model"], a["model"]);
    let flags = |id: usize| {
        let entries = plan.tokenizer_json["added_tokens"].as_array().unwrap();
        entries.iter().find(|e| e["id"] == id).unwrap().clone()
    };
    assert_eq!(
        (&flags(88)["special"], &flags(88)["normalized"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(flags(89)["special"], true);

    let (of_a, of_b) = (sources(&plan.maps[0]), sources(&plan.maps[1]));
    for at in 0..87 {
        assert_eq!(of_a[at], row(0, at));
        let own = if at == 40 || at == 86 {
            row(0, at)
        } else {
            row(1, at)
        };
        assert_eq!(
            of_b[at], own,
            "`<tool>` and `alpha` are those of the first model"
        );
    }
    let of_new = [row(1, 40), row(1, 87), row(1, 86)];
    assert_eq!((&of_a[87..], &of_b[87..]), (&of_new[..], &of_new[..]));
}

// mergekit 0.1.5 on recipe `tokenizer-base`.
#[test]
fn a_base_lends_rows_of_tokens_that_others_do_not_know() {
    let [base, a, b] = &parity();
    let plan = plan(&spec(TokenizerSource::Base, []), &[base, a, b], Some(0)).unwrap();
    assert_eq!((plan.rows, plan.added, &plan.tokenizer_json), (93, 0, base));
    assert!(plan.maps[0].is_identity(0, 93));
    for (model, map) in plan.maps.iter().enumerate().skip(1) {
        let found = sources(map);
        assert_eq!((&found[39], &found[40]), (&row(model, 39), &row(model, 41)));
        assert_eq!(
            (&found[84], &found[85], &found[92]),
            (&row(model, 85), &row(0, 85), &row(0, 92))
        );
        assert_eq!(map.runs().len(), 3);
    }
}

// mergekit 0.1.5 on recipe `tokenizer-sources`: `<tool>` is that of the first model everywhere, `beta` is zero in the
// model that does not know it, the 90 tokens are filled up to 96 by their mean.
#[test]
fn rules_of_tokens_are_those_of_the_recipe_tool() {
    let [_, a, b] = &parity();
    let mut spec = spec(
        TokenizerSource::Union,
        [
            ("<tool>", rule(Some(TokenOrigin::Model(model("a"))), true)),
            ("beta", rule(Some(TokenOrigin::Zero), false)),
        ],
    );
    spec.pad_to_multiple_of = Some(16);
    let plan = plan(&spec, &[a, b], None).unwrap();
    let (of_a, of_b) = (sources(&plan.maps[0]), sources(&plan.maps[1]));
    assert_eq!((plan.rows, of_a.len(), of_b.len()), (96, 96, 96));
    assert_eq!((&of_a[40], &of_b[40]), (&row(0, 40), &row(0, 40)));
    assert_eq!((&of_a[87], &of_b[87]), (&RowSource::Zero, &row(1, 40)));
    assert!(of_b[90..].iter().all(|source| *source == RowSource::Fill));
}

#[test]
fn a_missing_token_comes_from_its_only_model_the_base_or_a_mean() {
    let [a, b, c, all] = &[
        words(&["x", "y"]),
        words(&["y", "z"]),
        words(&["w", "x", "y"]),
        words(&["none", "w", "x", "y", "z"]),
    ];
    let lent = |base| {
        let input = |tokenizer, rows| VocabularyInput { tokenizer, rows };
        let models = [
            (model("all"), input(all, None)),
            (model("a"), input(a, Some(2))),
            (model("b"), input(b, Some(2))),
            (model("c"), input(c, Some(3))),
        ];
        let spec = spec(TokenizerSource::Model(model("all")), []);
        let plan = plan_vocabulary(&spec, &models, base).unwrap();
        assert_eq!((plan.model, plan.maps.len()), (0, 3));
        sources(&plan.maps[1])
    };
    let mean = RowSource::Mean([(0, 0), (2, 1)].into());
    assert_eq!(
        lent(None),
        [RowSource::Zero, row(2, 0), mean, row(1, 0), row(1, 1)]
    );
    // Numbers of models leave out the one that only lends its tokenizer.
    assert_eq!(
        lent(Some(3)),
        [RowSource::Zero, row(2, 0), row(2, 1), row(1, 0), row(1, 1)]
    );
    assert_eq!(lent(Some(1))[2], row(0, 0));
}

#[test]
fn rules_take_any_row_and_may_be_forced() {
    let [a, b] = &[words(&["x", "y", "z"]), words(&["z", "x"])];
    let text = |text: &str| TokenName::Text(text.to_owned());
    let from = |name, token| Some(TokenOrigin::Token(model(name), token));
    let rules = [
        ("new", rule(from("b", text("z")), false)),
        ("other", rule(from("a", TokenName::Id(1)), false)),
        ("plain", rule(None, false)),
        ("x", rule(None, true)),
        ("y", rule(from("b", TokenName::Id(1)), true)),
        ("", rule(None, true)),
    ];
    let plan = plan(&spec(TokenizerSource::Base, rules), &[a, b], None).unwrap();
    let mean = RowSource::Mean([(0, 0), (1, 1)].into());
    let shared = [mean, row(1, 1)];
    let new = [row(1, 0), row(0, 1), RowSource::Zero];
    let expected = |own| [&shared[..], &[own], &new].concat();
    assert_eq!(sources(&plan.maps[0]), expected(row(0, 2)));
    assert_eq!(sources(&plan.maps[1]), expected(row(1, 0)));
    assert_eq!(added(&plan), [(3, "new"), (4, "other"), (5, "plain")]);
}

#[test]
fn of_two_definitions_the_first_wins_and_known_tokens_keep_their_ids() {
    let added =
        |id, special| json!({"id": id, "content": "<x>", "special": special, "lstrip": true});
    let tokenizer =
        |vocab: Value, added: Value| json!({"model": {"vocab": vocab}, "added_tokens": added});
    let plain = tokenizer(json!({"a": 0, "<x>": 1}), json!(null));
    let first = tokenizer(json!({"<y>": 0}), json!([added(1, true)]));
    let second = tokenizer(
        json!({"": 0}),
        json!([added(4, false), {"id": 2, "content": "<y>"}]),
    );
    let union = spec(TokenizerSource::Union, []);
    let plan = plan(&union, &[&plain, &first, &second], None).unwrap();
    let entries = &plan.tokenizer_json["added_tokens"];
    // `<y>` is added in one model, so it is no ordinary token; the token without text is left out.
    assert_eq!(
        *entries,
        json!([added(1, true), {"id": 2, "content": "<y>"}])
    );
    assert_eq!((plan.rows, plan.added), (3, 1));

    let mut config = json!({"added_tokens_decoder": {"1": {"content": "<x>"}}});
    plan.extend_config(&mut config);
    let expected = json!({"1": {"content": "<x>"}, "2": {"content": "<y>"}});
    assert_eq!(config["added_tokens_decoder"], expected);
    let mut none = json!({"model_max_length": 5});
    plan.extend_config(&mut none);
    assert_eq!(none, json!({"model_max_length": 5}));
}

#[test]
fn rows_between_tokens_are_filled() {
    let gap = &json!({"model": {"vocab": {"a": 0}}, "added_tokens": [{"id": 3, "content": "<x>"}]});
    let plan = plan(&spec(TokenizerSource::Base, []), &[gap], None).unwrap();
    assert_eq!(
        sources(&plan.maps[0]),
        [row(0, 0), RowSource::Fill, RowSource::Fill, row(0, 3)]
    );
}

#[test]
fn what_is_not_there_is_named() {
    let [a, b] = &[words(&["x", "y"]), words(&["y"])];
    let of = |source, rules| problem(plan(&spec(source, rules), &[a, b], None));
    let base = |token, source| of(TokenizerSource::Base, [(token, rule(Some(source), false))]);
    let from = |name, token| TokenOrigin::Token(model(name), token);
    let text = TokenName::Text("q".to_owned());
    for (found, expected) in [
        (
            base("x", TokenOrigin::Model(model("d"))),
            "token `x` takes its embedding from `d`, which is not merged",
        ),
        (
            base("x", from("b", text)),
            "token `x` takes its embedding from `q` of `b`, which does not know it",
        ),
        (
            base("new", TokenOrigin::Model(model("a"))),
            "token `new` takes its embedding from `new` of `a`, which does not know it",
        ),
        (
            base("x", from("b", TokenName::Id(1))),
            "token `x` takes its embedding from row 1 of `b`, which has 1",
        ),
        (
            problem(plan(
                &spec(TokenizerSource::Model(model("d")), []),
                &[a, b],
                None,
            )),
            "the result takes the tokenizer of `d`, which is not at hand",
        ),
        (
            problem(plan(
                &spec(TokenizerSource::Base, []),
                &[a, &json!(3)],
                None,
            )),
            "cannot use the tokenizer of `b`: `model` of `tokenizer.json` is missing, expected a mapping",
        ),
        (
            problem(plan(&spec(TokenizerSource::Base, []), &[a, b], Some(2))),
            "the base is model 2, expected one of the 2 that are merged",
        ),
        (
            problem(plan(&spec(TokenizerSource::Base, []), &[], None)),
            "no model is merged, expected at least one",
        ),
        (
            problem(plan(
                &spec(TokenizerSource::Base, []),
                &[&words::<&str>(&[])],
                None,
            )),
            "the result has 0 rows of tokens, expected 1 to 16777216",
        ),
    ] {
        assert_eq!(found, expected);
    }
    // Every model has its own `y`, so nobody asks the one that is not there.
    let unused = ("y", rule(Some(TokenOrigin::Model(model("d"))), false));
    assert!(plan(&spec(TokenizerSource::Base, [unused]), &[a, b], None).is_ok());

    let mut huge = spec(TokenizerSource::Base, []);
    for multiple in [usize::MAX, 1 << 25] {
        huge.pad_to_multiple_of = Some(multiple);
        assert!(problem(plan(&huge, &[a], None)).ends_with("expected 1 to 16777216"));
    }
}

#[test]
fn a_token_without_a_row_is_unknown_to_its_model() {
    let (a, b) = (words(&["x", "y"]), words(&["x", "<z>", "y", "<pad>"]));
    let input = |tokenizer, rows| VocabularyInput {
        tokenizer,
        rows: Some(rows),
    };
    let models = [(model("a"), input(&a, 2)), (model("b"), input(&b, 2))];
    let union = spec(TokenizerSource::Union, []);
    let found = plan_vocabulary(&union, &models, None).unwrap();
    // `<z>` has a row in `b`; `y` only in `a`; `<pad>` nowhere, so nobody brings it.
    assert_eq!((found.rows, found.added), (3, 1));
    let row = |model, row| RowSource::Model { model, row };
    let sources = |map: &RowMap| {
        (0..map.rows())
            .map(|at| map.source(at).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(sources(&found.maps[0]), [row(0, 0), row(0, 1), row(1, 1)]);
    assert_eq!(sources(&found.maps[1]), [row(1, 0), row(0, 1), row(1, 1)]);
    let first = vec!["y".to_owned(), "<pad>".to_owned()];
    let rowless = RowlessTokens {
        model: 1,
        count: 2,
        first,
    };
    assert_eq!(found.rowless, [rowless]);
    // The tokenizer of the result is not cut: what nobody has a row for is zero.
    let base = plan_vocabulary(&spec(TokenizerSource::Base, []), &models[1..], None).unwrap();
    assert_eq!(base.tokenizer_json, b);
    let zero = RowSource::Zero;
    assert_eq!(
        sources(&base.maps[0]),
        [row(0, 0), row(0, 1), zero.clone(), zero]
    );
}

#[test]
fn tensors_of_some_models_are_mapped_among_these() {
    let (a, b) = (words(&["x", "y"]), words(&["y", "z"]));
    let input = |tokenizer, rows| VocabularyInput { tokenizer, rows };
    let models = |rows: [Option<usize>; 2]| {
        [
            (model("a"), input(&a, rows[0])),
            (model("b"), input(&b, rows[1])),
        ]
    };
    let union = spec(TokenizerSource::Union, []);
    let both = models([Some(2); 2]);
    let plan = plan_vocabulary(&union, &both, Some(0)).unwrap();
    assert_eq!(plan.maps_among(&union, &both, Some(0)).unwrap(), plan.maps);
    // Alone, `b` has nobody to ask for `x`.
    let alone = plan
        .maps_among(&union, &models([None, Some(2)]), Some(0))
        .unwrap();
    let [map] = alone.as_slice() else {
        panic!("one map for one model");
    };
    let sources: Vec<_> = (0..3).map(|at| map.source(at).unwrap()).collect();
    let row = |row| RowSource::Model { model: 0, row };
    assert_eq!(sources, [RowSource::Zero, row(0), row(1)]);
}

fn held(rows: usize, width: usize, model: usize) -> Arc<dyn TensorRead> {
    let value = |i: usize| (model * 1000 + i) as f32;
    let values = (0..rows * width).map(value).collect();
    Arc::new(Held::new("wte.weight", &[rows, width], values))
}

fn read(tensor: &dyn TensorRead, range: Range<usize>) -> Vec<f32> {
    let mut out = vec![0.0; range.len()];
    tensor.read_f32(range, &mut out, &mut Vec::new()).unwrap();
    out
}

/// A plan with one row of each kind: own, another's, a mean, zero, padding.
fn every_kind() -> VocabularyPlan {
    let [a, b, c] = &[words(&["x", "y"]), words(&["y", "z"]), words(&["x"])];
    let mut spec = spec(TokenizerSource::Union, [("new", rule(None, false))]);
    spec.pad_to_multiple_of = Some(6);
    plan(&spec, &[a, b, c], None).unwrap()
}

#[test]
fn rows_are_copied_averaged_zeroed_and_filled() {
    let plan = every_kind();
    let tensors = vec![held(2, 2, 0), held(2, 2, 1), held(1, 2, 2)];
    // Model 1: `x` is the mean of [0, 1] and [2000, 2001]; `y` its row 0; `z` its row 1; `new` zero; then the mean.
    let rows = Rows::new(tensors.clone(), 1, &plan.maps[1]).unwrap();
    assert_eq!(rows.meta().shape, [6, 2]);
    let fill = [
        (1000.0 + 1000.0 + 1002.0) / 4.0,
        (1001.0 + 1001.0 + 1003.0) / 4.0,
    ];
    let expected = [
        1000.0, 1001.0, 1000.0, 1001.0, 1002.0, 1003.0, 0.0, 0.0, fill[0], fill[1], fill[0],
        fill[1],
    ];
    for start in 0..=12 {
        for end in start..=12 {
            assert_eq!(read(&rows, start..end), expected[start..end]);
        }
    }
    assert!(!rows.is_stored());
    let text = "`wte.weight` is computed and not stored, so it has no bytes";
    assert_eq!(
        rows.read_bytes(0..8, &mut [0; 8]).unwrap_err().to_string(),
        text
    );
    // Model 2 knows `x`; `y` is the mean of the others.
    let rows = Rows::new(tensors, 2, &plan.maps[2]).unwrap();
    assert_eq!(
        read(&rows, 0..6),
        [2000.0, 2001.0, 501.0, 502.0, 1002.0, 1003.0]
    );
}

#[test]
fn the_bias_of_a_head_has_one_value_per_row() {
    let plan = every_kind();
    let bias = |values: &[f32]| -> Arc<dyn TensorRead> {
        Arc::new(Held::new("lm_head.bias", &[values.len()], values.to_vec()))
    };
    let tensors = vec![bias(&[1.0, 2.0]), bias(&[5.0, f32::NAN]), bias(&[3.0])];
    let rows = Rows::new(tensors, 0, &plan.maps[0]).unwrap();
    let found = read(&rows, 0..6);
    assert_eq!(found[..2], [1.0, 2.0]);
    assert!(
        found[2].is_nan() && found[4].is_nan(),
        "what is not finite stays so"
    );
    assert_eq!(found[3].to_bits(), 0);
}

#[test]
fn an_embedding_that_stays_as_it_is_keeps_its_bytes() {
    let tokenizer = words(&["x", "y", "z"]);
    let plan = plan(
        &spec(TokenizerSource::Union, []),
        &[&tokenizer, &tokenizer],
        None,
    )
    .unwrap();
    let tensors = vec![held(3, 2, 0), held(3, 2, 1)];
    let rows = Rows::new(tensors, 1, &plan.maps[1]).unwrap();
    assert!(rows.is_stored() && rows.meta().shape == [3, 2]);
    let mut bytes = [0; 4];
    rows.read_bytes(4..8, &mut bytes).unwrap();
    assert_eq!(f32::from_le_bytes(bytes).to_bits(), 1001.0f32.to_bits());
    // A row behind the vocabulary is dropped, so the tensor is another one.
    let longer = Rows::new(vec![held(4, 2, 0), held(3, 2, 1)], 0, &plan.maps[0]).unwrap();
    assert!(!longer.is_stored() && longer.meta().shape == [3, 2]);
}

#[test]
fn the_element_type_holds_every_model() {
    let plan = every_kind();
    for (types, expected) in [
        ([DType::BF16, DType::BF16, DType::BF16], DType::BF16),
        ([DType::BF16, DType::F16, DType::BF16], DType::F32),
        ([DType::F16, DType::F16, DType::F64], DType::F64),
    ] {
        let tensor = |(rows, dtype): (usize, DType)| -> Arc<dyn TensorRead> {
            let held = Held::new("w", &[rows, 1], vec![0.0; rows]);
            Arc::new(held.with_dtype(dtype))
        };
        let tensors = [2, 2, 1].into_iter().zip(types).map(tensor).collect();
        assert_eq!(
            Rows::new(tensors, 0, &plan.maps[0]).unwrap().meta().dtype,
            expected
        );
    }
}

#[test]
fn tensors_that_do_not_fit_are_refused() {
    let plan = every_kind();
    let counter = |rows| -> Arc<dyn TensorRead> {
        Arc::new(Held::new("n", &[rows, 2], vec![0.0; rows * 2]).with_dtype(DType::I64))
    };
    for (tensors, model, text) in [
        (
            vec![held(2, 2, 0)],
            1,
            "the rows of `wte.weight` come from model 1, 1 were given",
        ),
        (
            vec![held(2, 2, 0)],
            0,
            "the rows of `wte.weight` come from model 1, 1 were given",
        ),
        (vec![], 0, "the rows of `` come from model 0, 0 were given"),
        (
            vec![held(2, 2, 0), held(2, 3, 1), held(1, 2, 2)],
            0,
            "`wte.weight` of model 1 has shape [2, 3], expected rows as in [2, 2]",
        ),
        (
            vec![held(2, 2, 0), held(1, 2, 1), held(1, 2, 2)],
            0,
            "`wte.weight` of model 1 has 1 rows, the vocabulary needs 2",
        ),
        (
            vec![counter(2), counter(2), counter(1)],
            0,
            "the rows of `n` hold no weights",
        ),
    ] {
        let found = Rows::new(tensors, model, &plan.maps[0]).unwrap_err();
        assert_eq!(found.to_string(), text);
    }
    let scalar: Arc<dyn TensorRead> = Arc::new(Held::new("s", &[], vec![1.0]));
    assert!(matches!(
        Rows::new(vec![scalar], 0, &plan.maps[0]),
        Err(RowsError::Shape { .. })
    ));
    let rows = Rows::new(
        vec![held(2, 2, 0), held(2, 2, 1), held(1, 2, 2)],
        0,
        &plan.maps[0],
    )
    .unwrap();
    for range in [0..3, 11..13] {
        assert!(
            rows.read_f32(range, &mut [0.0; 2], &mut Vec::new())
                .is_err()
        );
    }
    let empty: Vec<_> = [held(2, 0, 0), held(2, 0, 1), held(1, 0, 2)].into();
    assert_eq!(
        read(&Rows::new(empty, 0, &plan.maps[0]).unwrap(), 0..0),
        [0.0; 0]
    );
}

/// Some of eight words in some order, a few of them added tokens.
fn vocabulary() -> impl Strategy<Value = Value> {
    let all = ["<s>", "<t>", "a", "b", "c", "d", "e", "f"];
    (Just(all.to_vec()).prop_shuffle(), 1usize..8).prop_map(|(list, len)| words(&list[..len]))
}

/// What may stand in a `tokenizer.json`, and what should not.
fn hostile() -> impl Strategy<Value = Value> {
    let id = prop_oneof![
        (0u64..6).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        Just(json!(null)),
        Just(json!((1u64 << 24) - 1)),
    ];
    let kind = prop::sample::select(vec!["BPE", "Unigram", "WordLevel", "Magic"]);
    let vocab = prop_oneof![
        prop::collection::btree_map("[ab<]{0,2}", id.clone(), 0..5).prop_map(|map| json!(map)),
        prop::collection::vec("[ab<]{0,2}", 0..4)
            .prop_map(|list| { list.into_iter().map(|token| json!([token, -1.0])).collect() }),
        Just(json!(7)),
    ];
    let added = prop::collection::vec(("[ab<]{0,2}", id), 0..3);
    (prop::option::of(kind), vocab, added).prop_map(|(kind, vocab, added)| {
        let entry = |(token, id): (String, Value)| json!({"content": token, "id": id});
        let added: Vec<_> = added.into_iter().map(entry).collect();
        let mut model = json!({"vocab": vocab});
        if let Some(kind) = kind {
            model["type"] = kind.into();
        }
        json!({"model": model, "added_tokens": added})
    })
}

proptest! {
    #[test]
    fn every_row_of_a_token_comes_from_the_token(
        tokenizers in prop::collection::vec(vocabulary(), 1..4), base in 0usize..4, union: bool, pad in 1usize..9,
    ) {
        let tokenizers: Vec<&Value> = tokenizers.iter().collect();
        let base = Some(base).filter(|&base| base < tokenizers.len());
        let source = if union { TokenizerSource::Union } else { TokenizerSource::Base };
        let spec = TokenizerSpec { pad_to_multiple_of: Some(pad), ..spec(source, []) };
        let plan = plan(&spec, &tokenizers, base).unwrap();
        prop_assert_eq!(plan.rows % pad, 0);
        let output = Vocabulary::read(&plan.tokenizer_json).unwrap();
        let models: Vec<_> = tokenizers.iter().map(|t| Vocabulary::read(t).unwrap()).collect();
        for (model, map) in plan.maps.iter().enumerate() {
            prop_assert_eq!(map.rows(), plan.rows);
            for (at, token) in output.tokens() {
                let source = map.source(at).unwrap();
                match (models[model].id(token), source) {
                    (Some(id), source) => prop_assert_eq!(source, row(model, id)),
                    (None, RowSource::Model { model, row }) => prop_assert_eq!(models[model].id(token), Some(row)),
                    (None, RowSource::Mean(places)) => {
                        for &(model, row) in &*places {
                            prop_assert_eq!(models[model].id(token), Some(row));
                        }
                    }
                    (None, other) => prop_assert!(false, "{token}: {other:?}"),
                }
            }
            let rest = output.rows()..plan.rows;
            prop_assert!(rest.into_iter().all(|at| map.source(at) == Some(RowSource::Fill)));
        }
        let known = models.iter().flat_map(|model| model.tokens().map(|(_, token)| token));
        prop_assert!(!union || known.into_iter().all(|token| output.id(token).is_some()));
    }

    #[test]
    fn the_same_tokenizer_everywhere_is_the_identity(tokenizer in vocabulary(), models in 1usize..4, union: bool) {
        let source = if union { TokenizerSource::Union } else { TokenizerSource::Base };
        let plan = plan(&spec(source, []), &vec![&tokenizer; models], None).unwrap();
        prop_assert_eq!(&plan.tokenizer_json, &tokenizer);
        for (model, map) in plan.maps.iter().enumerate() {
            prop_assert!(map.is_identity(model, plan.rows));
        }
    }

    #[test]
    fn any_stretch_has_the_bits_of_the_whole(
        tokenizers in prop::collection::vec(vocabulary(), 2..4), width in 1usize..5, pad in 1usize..9,
        (a, b) in (0.0..1.0, 0.0..1.0),
    ) {
        let tokenizers: Vec<&Value> = tokenizers.iter().collect();
        let spec = TokenizerSpec { pad_to_multiple_of: Some(pad), ..spec(TokenizerSource::Union, []) };
        let plan = plan(&spec, &tokenizers, None).unwrap();
        let rows = |t: &&Value| Vocabulary::read(t).unwrap().rows();
        let tensors: Vec<_> = tokenizers.iter().enumerate().map(|(k, t)| held(rows(t), width, k)).collect();
        for (model, map) in plan.maps.iter().enumerate() {
            let tensor = Rows::new(tensors.clone(), model, map).unwrap();
            let whole = read(&tensor, 0..plan.rows * width);
            let at = |share: f64| (share * (whole.len() + 1) as f64) as usize;
            let range = at(f64::min(a, b))..at(f64::max(a, b));
            prop_assert_eq!(read(&tensor, range.clone()), &whole[range]);
        }
    }

    #[test]
    fn nothing_in_a_tokenizer_panics(a in hostile(), b in hostile(), rows in 0usize..1 << 25, pad in any::<usize>()) {
        let input = |tokenizer| VocabularyInput { tokenizer, rows: Some(rows) };
        let models = [(model("a"), input(&a)), (model("b"), input(&b))];
        let spec = TokenizerSpec { pad_to_multiple_of: Some(pad), ..spec(TokenizerSource::Union, []) };
        if let Ok(plan) = plan_vocabulary(&spec, &models, Some(1)) {
            prop_assert!(plan.maps.iter().all(|map| map.rows() == plan.rows));
            let written = Vocabulary::read(&plan.tokenizer_json).unwrap();
            prop_assert!(written.rows() <= plan.rows);
        }
    }
}
