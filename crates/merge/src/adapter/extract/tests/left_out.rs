//! What is refused, skipped or left out.

use super::*;

#[test]
fn what_is_no_linear_layer_can_be_refused() {
    let base = base(SHAPES);
    let config = ExtractConfig {
        others: Others::Refuse,
        ..rank(1)
    };
    for (changed, refused) in [
        (["layers.0.q.weight", "layers.0.q.bias"], None),
        (["layers.0.q.weight", "embed_tokens.weight"], None),
        (["layers.0.q.weight", "norm.weight"], Some("norm.weight")),
        (
            ["layers.0.q.weight", "layers.0.k.bias"],
            Some("layers.0.k.bias"),
        ),
    ] {
        let model = tuned(&base, &changed, 1);
        let found = extracted(config.clone(), &base, &model, &json!({}));
        match (found, refused) {
            (Ok(found), None) => assert_eq!(found.tensors.len(), 2),
            (Err(error), Some(name)) => {
                let text = format!("`{name}` differs from the base and is no linear layer");
                assert_eq!(error.to_string(), text);
                assert!(error.hint().is_some());
            }
            (found, _) => panic!("{changed:?}: {found:?}"),
        }
    }
}

#[test]
fn what_is_no_layer_can_be_left_out() {
    let base = base(SHAPES);
    let names: Vec<&str> = SHAPES.iter().map(|(name, _)| *name).collect();
    let model = tuned(&base, &names, 1);
    let config = ExtractConfig {
        embeddings: Embeddings::LeaveOut,
        others: Others::LeaveOut,
        ..rank(1)
    };
    let found = extracted(config, &base, &model, &json!({})).unwrap();
    assert!(!found.tensors.is_empty());
    for tensor in &found.tensors {
        assert!(matches!(tensor.part, Part::LowRank(_)), "{tensor:?}");
        assert!(tensor.path.as_str().starts_with("layers."), "{tensor:?}");
    }
}

#[test]
fn a_beginning_to_skip_that_no_name_has_is_an_error_and_so_is_skipping_all() {
    let base = base(SHAPES);
    let model = tuned(&base, &["layers.0.q.weight"], 1);
    let skip = |begins: &[&str]| ExtractConfig {
        skip: begins.iter().map(|&begin| begin.to_owned()).collect(),
        ..rank(1)
    };
    let error = extracted(skip(&["norm", "lyers."]), &base, &model, &json!({})).unwrap_err();
    let text = "`skip` has `lyers.`, with which no name of a tensor begins";
    assert_eq!(error.to_string(), text);
    let all = SHAPES.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    let error = extracted(skip(&all), &base, &model, &json!({})).unwrap_err();
    assert!(
        error.to_string().ends_with("leave no tensor to compare"),
        "{error}"
    );
}
