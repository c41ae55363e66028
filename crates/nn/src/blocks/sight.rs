//! Who may see whom.

use burn::tensor::{Bool, Tensor, TensorData};
use refit_kernels::dual::{AttentionMask, Dual};

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
    /// How many tokens back are seen, where that is limited; of meaning to causal sight alone.
    pub window: Option<usize>,
}

impl Sight<'_> {
    /// The mask of an attention whose scores have `bias [1, heads, queries, keys]` added, if there is one; on the
    /// device and of the type of `like`.
    ///
    /// # Cost
    /// A single query costs `rows keys`. So does padding behind the last token of a causal text, which no token sees
    /// anyway; what padding itself sees is then left open. All else costs `rows queries keys`, whatever the heads.
    pub fn mask<const D: usize>(&self, bias: Option<Dual<4>>, like: &Dual<D>) -> AttentionMask {
        let flat = !self.causal || self.queries == 1;
        let hidden: Vec<bool> = if flat {
            self.hidden(self.rows, 1).collect()
        } else {
            Vec::new()
        };
        let nothing = flat && !hidden.contains(&true);
        match bias {
            Some(bias) if nothing => AttentionMask::Additive(bias),
            Some(bias) => AttentionMask::Additive(bias + self.scores(like)),
            None if nothing => AttentionMask::None,
            None if flat => {
                let hidden = TensorData::new(hidden, [self.rows, self.keys]);
                AttentionMask::Padding(Tensor::<2, Bool>::from_data(hidden, &like.device()))
            }
            None if self.narrows().is_none() && self.trails() => AttentionMask::Causal,
            None => AttentionMask::Additive(self.scores(like)),
        }
    }

    /// What is added to scores: 0 for what is seen, else `-inf`, as `[rows or 1, 1, queries or 1, keys]`.
    fn scores<const D: usize>(&self, like: &Dual<D>) -> Dual<4> {
        let rows = if self.causal && self.trails() {
            1
        } else {
            self.rows
        };
        let queries = if self.causal { self.queries } else { 1 };
        let score = |hidden| if hidden { f32::NEG_INFINITY } else { 0.0 };
        let scores: Vec<f32> = self.hidden(rows, queries).map(score).collect();
        let scores = TensorData::new(scores, [rows, 1, queries, self.keys]);
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
            let far = window.is_some_and(|window| key + window <= query);
            padding || (self.causal && (key > query || far))
        })
    }

    /// The window, if any token stands beyond it.
    fn narrows(&self) -> Option<usize> {
        self.window
            .filter(|&window| self.causal && self.keys > window)
    }

    /// Whether no token follows padding.
    fn trails(&self) -> bool {
        let mut rows = self.padding.chunks(self.keys.max(1));
        rows.all(<[bool]>::is_sorted)
    }
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

    #[test]
    fn padding_in_front_is_hidden_row_by_row() {
        let seen = [0.0, NO, NO, 0.0, 0.0, NO, 0.0, 0.0, 0.0];
        let mut first = seen;
        for row in 0..3 {
            first[3 * row] = NO;
        }
        assert_eq!(added(SIGHT), ([first, seen].concat(), [2, 1, 3, 3]));
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
        let own = vec![0.0, NO, NO, NO, 0.0, NO, NO, NO, 0.0];
        assert_eq!(added(windowed), (own, [1, 1, 3, 3]));
        let sight = Sight {
            window: Some(3),
            ..sight
        };
        assert!(matches!(mask(sight), AttentionMask::Causal));
    }

    #[test]
    fn one_query_hides_keys_and_nothing_else() {
        let sight = Sight {
            queries: 1,
            window: Some(2),
            ..SIGHT
        };
        let AttentionMask::Padding(hidden) = mask(sight) else {
            panic!("a mask of keys")
        };
        let hidden = hidden.into_data().try_to_vec::<bool>().unwrap();
        assert_eq!(hidden, [true, false, false, true, false, false]);
        let all = Sight {
            padding: &[],
            window: None,
            ..sight
        };
        assert!(matches!(mask(all), AttentionMask::None));
    }

    #[test]
    fn a_bias_is_added_to_what_is_hidden() {
        let like = Dual::constant(Tensor::<1>::zeros([1], &Device::flex()));
        let bias = Dual::constant(Tensor::<4>::ones([1, 2, 3, 3], &Device::flex()));
        let sight = Sight {
            causal: false,
            ..SIGHT
        };
        let AttentionMask::Additive(scores) = sight.mask(Some(bias), &like) else {
            panic!("a mask of scores")
        };
        assert_eq!(scores.dims(), [2, 2, 3, 3]);
        let scores = to_host(scores.into_value());
        assert_eq!(scores[..6], [NO, 1.0, 1.0, NO, 1.0, 1.0]);
        assert_eq!(scores[18..], [1.0; 18]);
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
        let bias = Dual::constant(Tensor::<4>::ones([1, 1, 1, 3], &Device::flex()));
        let AttentionMask::Additive(scores) = sight.mask(Some(bias), &like) else {
            panic!("a mask of scores")
        };
        assert_eq!(to_host(scores.into_value()), [1.0; 3]);
    }
}
