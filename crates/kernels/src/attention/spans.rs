//! Keys that stand side by side, for each query its own.

use burn::tensor::{Bool, Device, Tensor, TensorData};
use std::{ops::Range, sync::Arc};

/// The keys that each query may see, `first..end` of them: texts that are filled up in front, windows, and both at
/// once, in two numbers for a query where a mask has one for every pair.
///
/// ```
/// use refit_kernels::Spans;
/// // Of two texts of three tokens the first has padding in front; tokens see what is before them.
/// let start = [1, 0];
/// let spans = Spans::new([2, 3, 3], |text, token| start[text]..token + 1);
/// assert_eq!((spans.of(0, 0), spans.of(0, 2), spans.of(1, 2)), (0..0, 1..3, 0..3));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spans {
    spans: Arc<[[u32; 2]]>,
    dims: [usize; 3],
}

impl Spans {
    /// The spans of `dims`: batch entries (or 1 for all), queries and keys; `of` is given the first two. What it says
    /// beyond the keys is cut off, and a span that ends before it begins is empty.
    ///
    /// # Panics
    /// If there are more than `u32::MAX` keys.
    pub fn new(dims: [usize; 3], mut of: impl FnMut(usize, usize) -> Range<usize>) -> Self {
        let [batch, queries, keys] = dims;
        let number = |key| u32::try_from(key).expect("fewer than 2^32 keys");
        let places = (0..batch).flat_map(|entry| (0..queries).map(move |query| (entry, query)));
        let spans = places.map(|(entry, query)| {
            let span = of(entry, query);
            let end = span.end.min(keys);
            if span.start < end {
                [number(span.start), number(end)]
            } else {
                [0; 2]
            }
        });
        Self {
            spans: spans.collect(),
            dims,
        }
    }

    /// Batch entries (or 1 for all), queries and keys.
    pub fn dims(&self) -> [usize; 3] {
        self.dims
    }

    /// The keys that a query of a batch entry may see.
    ///
    /// # Panics
    /// If there is no such query.
    pub fn of(&self, entry: usize, query: usize) -> Range<usize> {
        let [batch, queries, _] = self.dims;
        let [first, end] = self.spans[entry.min(batch - 1) * queries + query];
        first as usize..end as usize
    }

    /// The keys from the first that one of some queries may see to the last.
    pub(crate) fn of_any(&self, entry: usize, queries: Range<usize>) -> Range<usize> {
        let spans = queries.map(|query| self.of(entry, query));
        let seen = spans.filter(|span| !span.is_empty());
        let hull =
            |all: Range<usize>, one: Range<usize>| all.start.min(one.start)..all.end.max(one.end);
        seen.reduce(hull).unwrap_or(0..0)
    }

    /// `true` where a key must not be seen, `[batch or 1, 1, queries, keys]`.
    pub(crate) fn hidden(&self, device: &Device) -> Tensor<4, Bool> {
        let [batch, queries, keys] = self.dims;
        let mut hidden = vec![true; batch * queries * keys];
        for (row, &[first, end]) in hidden.chunks_mut(keys.max(1)).zip(self.spans.iter()) {
            row[first as usize..end as usize].fill(false);
        }
        let hidden = TensorData::new(hidden, [batch, 1, queries, keys]);
        Tensor::from_data(hidden, &device.clone().inner())
    }
}

/// Scores for distances as scores for pairs: entry `(i, j)` of `queries x keys` is entry `j - i + queries - 1` of
/// `by_distance [heads, queries + keys - 1]` -> `[1, heads, queries, keys]`. Every row is the one before it, moved on by
/// one.
pub(crate) fn by_pair(by_distance: Tensor<2>, queries: usize, keys: usize) -> Tensor<4> {
    let [heads, distances] = by_distance.dims();
    // A row that is one entry longer than those it is cut into again moves on by one each time.
    let gap = Tensor::zeros([heads, 1], (&by_distance.device(), by_distance.dtype()));
    let row = Tensor::cat(vec![by_distance, gap], 1).reshape([heads, 1, distances + 1]);
    let rows = row.expand([heads, queries, distances + 1]);
    let rows = rows.reshape([heads, queries * (distances + 1)]);
    let moved = rows.narrow(1, 0, queries * distances);
    let moved = moved.reshape([heads, queries, distances]);
    moved.narrow(2, queries - 1, keys).unsqueeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_become_pairs() {
        // Two queries and three keys: distances -1 to 2.
        let by_distance = Tensor::<2>::from_data([[10.0, 11.0, 12.0, 13.0]], &Device::flex());
        let found = by_pair(by_distance, 2, 3).into_data();
        let found = found.try_to_vec::<f32>().unwrap();
        assert_eq!(found, [11.0, 12.0, 13.0, 10.0, 11.0, 12.0]);
    }

    #[test]
    fn spans_are_cut_to_the_keys_and_shared_by_all_entries() {
        let spans = Spans::new([1, 3, 4], |_, query| 2 * query..2 * query + 3);
        assert_eq!(
            [0, 1, 2].map(|query| spans.of(7, query)),
            [0..3, 2..4, 0..0]
        );
        assert_eq!(spans.of_any(0, 1..3), 2..4);
        assert_eq!(spans.of_any(0, 2..3), 0..0);
        let hidden = spans.hidden(&Device::flex()).into_data();
        let hidden = hidden.try_to_vec::<bool>().unwrap();
        let expected = [0, 0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 1].map(|hidden| hidden == 1);
        assert_eq!(hidden, expected);
    }
}
