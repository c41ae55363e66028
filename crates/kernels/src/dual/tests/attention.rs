use super::*;
use crate::dual::{self, AttentionMask};
use burn::tensor::{Bool, TensorData};

/// Extents of one call: batch, queries, keys, heads, key heads, width of a head.
#[derive(Clone, Copy)]
struct Extents([usize; 6]);

const SQUARE: Extents = Extents([2, 5, 5, 3, 3, 2]);
const WIDE: Extents = Extents([2, 3, 7, 2, 2, 4]);
const GROUPED: Extents = Extents([1, 4, 4, 6, 2, 3]);
const ONE: Extents = Extents([1, 1, 1, 1, 1, 1]);

impl Extents {
    fn lengths(self) -> [usize; 3] {
        let [b, n, m, h, g, d] = self.0;
        [b * n * h * d, b * m * g * d, b * m * g * d]
    }

    fn attend(self, p: &[Dual<1>], mask: AttentionMask) -> Dual<1> {
        let [b, n, m, h, g, d] = self.0;
        let q = p[0].clone().reshape([b, n, h * d]);
        let k = p[1].clone().reshape([b, m, g * d]);
        let v = p[2].clone().reshape([b, m, g * d]);
        flat(dual::attention(q, k, v, h, g, mask))
    }
}

#[test]
fn every_key_is_seen() {
    for extents in [ONE, SQUARE, WIDE, GROUPED] {
        check(&normals(extents.lengths()), |p| {
            extents.attend(p, AttentionMask::None)
        });
    }
}

#[test]
fn causal_masks() {
    for extents in [ONE, SQUARE, WIDE, GROUPED] {
        check(&normals(extents.lengths()), |p| {
            extents.attend(p, AttentionMask::Causal)
        });
    }
}

#[test]
fn padding_masks() {
    let hidden = [
        [false, true, false, false, true],
        [true, false, false, false, false],
    ];
    let hidden = TensorData::from(hidden);
    check(&normals(SQUARE.lengths()), |p| {
        let hidden = Tensor::<2, Bool>::from_data(hidden.clone(), &device());
        SQUARE.attend(p, AttentionMask::Padding(hidden))
    });
}

#[test]
fn added_scores_that_are_learned() {
    let [q, k, v] = WIDE.lengths();
    for shape in [[2, 2, 3, 7], [1, 2, 3, 7], [1, 1, 3, 7]] {
        check(&normals([q, k, v, shape.iter().product()]), |p| {
            WIDE.attend(p, AttentionMask::Additive(p[3].clone().reshape(shape)))
        });
    }
}

#[test]
fn added_scores_of_minus_infinity_hide_a_key() {
    let mut scores = normal_vec(5, 25);
    (0..5).for_each(|query| scores[5 * query + (query + 2) % 5] = f64::NEG_INFINITY);
    check(&normals(SQUARE.lengths()), |p| {
        let scores = fixed(&p[0], tensor_f64(scores.clone(), [1, 1, 5, 5]));
        SQUARE.attend(p, AttentionMask::Additive(scores))
    });
}

#[test]
fn spans_and_distances_that_are_learned() {
    let spans = |extents: Extents| {
        let [b, n, m, ..] = extents.0;
        // The first query of the second text sees nothing.
        crate::Spans::new([b, n, m], |text, query| 2 * text..query + 2)
    };
    for extents in [ONE, SQUARE, WIDE, GROUPED] {
        check(&normals(extents.lengths()), |p| {
            extents.attend(p, AttentionMask::Spans(spans(extents)))
        });
        let ([q, k, v], [_, n, m, h, ..]) = (extents.lengths(), extents.0);
        check(&normals([q, k, v, h * (n + m - 1)]), |p| {
            let scores = p[3].clone().reshape([h, n + m - 1]);
            extents.attend(p, AttentionMask::Distances(scores, spans(extents)))
        });
    }
}

#[test]
fn a_query_that_sees_no_key_has_no_derivatives() {
    // All keys of the first image are padding; with more queries than keys the first two see none.
    let hidden = TensorData::from([[true; 5], [false; 5]]);
    check(&normals(SQUARE.lengths()), |p| {
        let hidden = Tensor::<2, Bool>::from_data(hidden.clone(), &device());
        SQUARE.attend(p, AttentionMask::Padding(hidden))
    });
    let tall = Extents([1, 5, 3, 2, 2, 3]);
    check(&normals(tall.lengths()), |p| {
        tall.attend(p, AttentionMask::Causal)
    });
}

#[test]
fn masks_of_the_plain_function_are_accepted() {
    let x = Dual::constant(tensor_f64(normal_vec(1, 6), [1, 3, 2]));
    let y = dual::attention(
        x.clone(),
        x.clone(),
        x.clone(),
        1,
        1,
        crate::AttentionMask::Causal,
    );
    let x = x.into_value();
    let plain = crate::attention(x.clone(), x.clone(), x, 1, 1, crate::AttentionMask::Causal);
    close(y.into_value(), plain, 0.0, 0.0).unwrap();
}
