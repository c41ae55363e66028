//! Who may see whom.

use burn::tensor::{Bool, Tensor, TensorData};
use refit_kernels::{
    Spans,
    dual::{self, AttentionMask, Dual},
};
use std::ops::Range;

/// Which of `keys` tokens the last `queries` of them may see, in each of `rows` texts.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// Texts.
    pub rows: usize,
    /// Tokens that look.
    pub queries: usize,
    /// Tokens that are looked at.
    pub keys: usize,
    /// Whether each of the keys is padding, row after row; empty where none is. Padding is not seen.
    pub padding: &'a [bool],
    /// Whether later tokens are not seen.
    pub causal: bool,
    /// How many tokens are seen, where that is limited: of those before a token, itself included; as many on both sides
    /// beside itself where later ones are seen.
    pub window: Option<usize>,
}

impl Sight<'_> {
    /// The mask of an attention whose scores have `bias [heads, queries + keys - 1]` added, if there is one, as
    /// [`RelativeBias::scores`](super::RelativeBias::scores) gives it; on the device and of the type of `like`.
    ///
    /// # Cost
    /// Two numbers for every text and query. Texts whose padding stands neither in front nor behind, which a memory of
    /// several parts can hold, cost a score for every text, query and key (and head, with a bias). Where padding stands behind
    /// the last token of a causal text, which no token sees anyway, what padding itself sees is left open.
    pub fn mask<const D: usize>(&self, bias: Option<Dual<2>>, like: &Dual<D>) -> AttentionMask {
        if let Some(bias) = bias {
            return match self.spans() {
                Some(spans) => AttentionMask::Distances(bias, spans),
                None => {
                    let bias = dual::by_pair(bias, self.queries, self.keys);
                    AttentionMask::Additive(bias + self.scores(like))
                }
            };
        }
        if self.narrows().is_none() && self.is_flat() {
            let hidden: Vec<bool> = self.hidden(self.rows, 1).collect();
            if !hidden.contains(&true) {
                return AttentionMask::None;
            }
            let hidden = TensorData::new(hidden, [self.rows, self.keys]);
            return AttentionMask::Padding(Tensor::<2, Bool>::from_data(hidden, &like.device()));
        }
        if self.causal && self.narrows().is_none() && self.trails() {
            return AttentionMask::Causal;
        }
        match self.spans() {
            Some(spans) => AttentionMask::Spans(spans),
            None => AttentionMask::Additive(self.scores(like)),
        }
    }

    /// Whether all queries see the same keys.
    fn is_flat(&self) -> bool {
        !self.causal || self.queries == 1
    }

    /// The keys that every query sees, where they stand side by side in every text.
    fn spans(&self) -> Option<Spans> {
        let first = self.keys - self.queries;
        let shared = self.padding.is_empty() || (self.causal && self.trails());
        let real = if shared {
            std::iter::once(0..self.keys).collect()
        } else {
            let rows = self.padding.chunks(self.keys);
            rows.map(unbroken).collect::<Option<Vec<_>>>()?
        };
        let (rows, window) = (real.len(), self.narrows());
        Some(Spans::new([rows, self.queries, self.keys], |row, at| {
            let (query, real) = (first + at, &real[row]);
            let (back, ahead) = match (self.causal, window) {
                (true, None) => (0, query + 1),
                (true, Some(window)) => ((query + 1).saturating_sub(window), query + 1),
                (false, None) => (0, self.keys),
                (false, Some(window)) => (query.saturating_sub(window), query + window + 1),
            };
            real.start.max(back)..real.end.min(ahead)
        }))
    }

    /// What is added to scores: 0 for what is seen, else `-inf`, as `[rows, 1, queries, keys]`.
    fn scores<const D: usize>(&self, like: &Dual<D>) -> Dual<4> {
        let score = |hidden| if hidden { f32::NEG_INFINITY } else { 0.0 };
        let scores: Vec<f32> = self.hidden(self.rows, self.queries).map(score).collect();
        let scores = TensorData::new(scores, [self.rows, 1, self.queries, self.keys]);
        Dual::constant(Tensor::from_data(
            scores,
            (&like.device(), like.value().dtype()),
        ))
    }

    /// Whether the last `queries` tokens do not see each key, in the first `rows` texts.
    fn hidden(&self, rows: usize, queries: usize) -> impl Iterator<Item = bool> {
        let (first, window) = (self.keys - queries, self.narrows());
        let trails = self.causal && self.trails();
        (0..rows * queries * self.keys).map(move |at| {
            let (key, query) = (at % self.keys, first + at / self.keys % queries);
            let row = at / (queries * self.keys);
            let padding = !trails && self.padding.get(row * self.keys + key) == Some(&true);
            let far = window.is_some_and(|window| {
                if self.causal {
                    key + window <= query
                } else {
                    key.abs_diff(query) > window
                }
            });
            padding || far || (self.causal && key > query)
        })
    }

    /// The window, if any token stands beyond it.
    fn narrows(&self) -> Option<usize> {
        self.window.filter(|&window| self.keys > window)
    }

    /// Whether no token follows padding.
    fn trails(&self) -> bool {
        let mut rows = self.padding.chunks(self.keys.max(1));
        rows.all(<[bool]>::is_sorted)
    }
}

/// Where the tokens of a text stand, if no padding stands between them.
fn unbroken(padding: &[bool]) -> Option<Range<usize>> {
    let Some(first) = padding.iter().position(|padding| !padding) else {
        return Some(0..0);
    };
    let count = padding[first..]
        .iter()
        .take_while(|padding| !*padding)
        .count();
    let rest = &padding[first + count..];
    (!rest.contains(&false)).then_some(first..first + count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::to_host;
    use burn::tensor::Device;

    const NO: f32 = f32::NEG_INFINITY;

    fn mask(sight: Sight<'_>) -> AttentionMask {
        let like = Dual::constant(Tensor::<1>::zeros([1], &Device::flex()));
        sight.mask(None, &like)
    }

    fn added(sight: Sight<'_>) -> (Vec<f32>, [usize; 4]) {
        let AttentionMask::Additive(scores) = mask(sight) else {
            panic!("a mask of scores")
        };
        (to_host(scores.value().clone()), scores.dims())
    }

    const LEFT: [bool; 6] = [true, false, false, false, false, false];
    const SIGHT: Sight<'static> = Sight {
        rows: 2,
        queries: 3,
        keys: 3,
        padding: &LEFT,
        causal: true,
        window: None,
    };

    fn spans(sight: Sight<'_>) -> Vec<Vec<Range<usize>>> {
        let AttentionMask::Spans(spans) = mask(sight) else {
            panic!("a mask of spans")
        };
        let [rows, queries, _] = spans.dims();
        let row = |row| (0..queries).map(|query| spans.of(row, query)).collect();
        (0..rows).map(row).collect()
    }

    #[test]
    fn padding_in_front_is_hidden_row_by_row() {
        let expected = [[0..0, 1..2, 1..3], [0..1, 0..2, 0..3]];
        assert_eq!(spans(SIGHT), expected);
        let windowed = Sight {
            window: Some(2),
            ..SIGHT
        };
        let expected = [[0..0, 1..2, 1..3], [0..1, 0..2, 1..3]];
        assert_eq!(spans(windowed), expected);
    }

    #[test]
    fn padding_between_tokens_takes_a_score_for_every_pair() {
        let padding = [false, true, false, false, false, false];
        let sight = Sight {
            padding: &padding,
            ..SIGHT
        };
        let seen = [0.0, NO, NO, 0.0, 0.0, NO, 0.0, 0.0, 0.0];
        let mut first = seen;
        for row in 0..3 {
            first[3 * row + 1] = NO;
        }
        assert_eq!(added(sight), ([first, seen].concat(), [2, 1, 3, 3]));
    }

    #[test]
    fn a_window_without_causes_reaches_as_far_on_both_sides() {
        let sight = Sight {
            rows: 1,
            queries: 4,
            keys: 4,
            padding: &[false, false, false, true],
            causal: false,
            window: Some(1),
        };
        assert_eq!(spans(sight), [[0..2, 0..3, 1..3, 2..3]]);
        let dense: Vec<bool> = sight.hidden(1, 4).collect();
        let span = |at: usize| !spans(sight)[0][at / 4].contains(&(at % 4));
        assert_eq!(dense, (0..16).map(span).collect::<Vec<_>>());
    }

    #[test]
    fn padding_behind_needs_no_mask_but_that_of_causes() {
        let padding = [false, false, true, false, true, true];
        let sight = Sight {
            padding: &padding,
            ..SIGHT
        };
        assert!(matches!(mask(sight), AttentionMask::Causal));
        let windowed = Sight {
            window: Some(1),
            ..sight
        };
        assert_eq!(spans(windowed), [[0..1, 1..2, 2..3]]);
        let sight = Sight {
            window: Some(3),
            ..sight
        };
        assert!(matches!(mask(sight), AttentionMask::Causal));
    }

    #[test]
    fn one_query_hides_keys_and_nothing_else() {
        let padding = [true, false, false, false, true, false];
        let sight = Sight {
            queries: 1,
            padding: &padding,
            ..SIGHT
        };
        let AttentionMask::Padding(hidden) = mask(sight) else {
            panic!("a mask of keys")
        };
        let hidden = hidden.into_data().try_to_vec::<bool>().unwrap();
        assert_eq!(hidden, padding);
        let all = Sight {
            padding: &[],
            window: None,
            ..sight
        };
        assert!(matches!(mask(all), AttentionMask::None));
    }

    #[test]
    fn scores_for_distances_go_with_what_is_hidden() {
        let like = Dual::constant(Tensor::<1>::zeros([1], &Device::flex()));
        let bias = TensorData::from([[0f32, 1.0, 2.0, 3.0, 4.0]]);
        let bias = || Dual::constant(Tensor::<2>::from_data(bias.clone(), &Device::flex()));
        let sight = Sight {
            causal: false,
            ..SIGHT
        };
        let AttentionMask::Distances(_, spans) = sight.mask(Some(bias()), &like) else {
            panic!("a mask of distances")
        };
        assert_eq!((spans.of(0, 0), spans.of(1, 0)), (1..3, 0..3));
        let padding = [false, true, false, false, false, false];
        let broken = Sight {
            padding: &padding,
            ..sight
        };
        let AttentionMask::Additive(scores) = broken.mask(Some(bias()), &like) else {
            panic!("a mask of scores")
        };
        assert_eq!(scores.dims(), [2, 1, 3, 3]);
        let scores = to_host(scores.into_value());
        assert_eq!(scores[..6], [2.0, NO, 4.0, 1.0, NO, 3.0]);
        assert_eq!(scores[9..12], [2.0, 3.0, 4.0]);
    }

    /// The first text has ended, the second goes on: what is hidden from one must not be hidden from the other.
    #[test]
    fn a_text_that_has_ended_hides_nothing_from_others() {
        let like = Dual::constant(Tensor::<1>::zeros([1], &Device::flex()));
        let padding = [true, true, true, false, false, false];
        let sight = Sight {
            queries: 1,
            padding: &padding,
            ..SIGHT
        };
        assert!(matches!(mask(sight), AttentionMask::None));
        let bias = Dual::constant(Tensor::<2>::ones([1, 3], &Device::flex()));
        let AttentionMask::Distances(_, spans) = sight.mask(Some(bias), &like) else {
            panic!("a mask of distances")
        };
        // What padding sees is left open.
        assert_eq!((spans.dims()[0], spans.of(1, 0)), (1, 0..3));
    }
}
