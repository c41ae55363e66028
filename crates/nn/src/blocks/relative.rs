//! Positions as scores by distance.

use super::{attention::DEVIATION, embedding::look_up};
use crate::{Init, NnError, Scope};
use refit_kernels::dual::Dual;

/// Scores by how far a key stands from a query, learned for every head; tensor `weight [buckets, heads]`. Near
/// distances have a bucket each, far ones share buckets that widen by a factor.
///
/// # Source
/// Raffel et al. 2020, arXiv:1910.10683, section 2.1.
#[derive(Clone, Debug)]
pub struct RelativeBias {
    weight: Dual<2>,
    /// From this distance on all are one.
    reach: usize,
    /// Whether keys behind a query are told apart from those before it, or not seen.
    both_ways: bool,
}

impl RelativeBias {
    /// Binds a table of `buckets` rows.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    pub fn bind(
        scope: &Scope<'_>,
        buckets: usize,
        heads: usize,
        reach: usize,
        both_ways: bool,
    ) -> Result<Self, NnError> {
        Ok(Self {
            weight: scope.tensor("weight", [buckets, heads], Init::Normal(DEVIATION))?,
            reach,
            both_ways,
        })
    }

    /// Scores of the last `queries` of `keys` tokens by distance, `[heads, queries + keys - 1]`: entry `j - i + queries - 1`
    /// is that of key `j` as seen from the query `i`.
    ///
    /// # Cost
    /// A number for every head and distance; pairs have none of their own.
    pub fn scores(&self, queries: usize, keys: usize) -> Dual<2> {
        let [buckets, heads] = self.weight.dims();
        let distances = queries + keys - 1;
        let rows = (0..distances).map(|at| {
            // Entry `keys - 1` is that of a token as seen from itself.
            let (query, key) = ((keys - 1).saturating_sub(at), at.saturating_sub(keys - 1));
            bucket(query, key, buckets, self.reach, self.both_ways)
        });
        let scores = look_up(self.weight.clone(), rows, [1, distances]);
        scores.permute([0, 2, 1]).reshape([heads, distances])
    }
}

/// The row of the table for a key as seen from a query.
fn bucket(query: usize, key: usize, buckets: usize, reach: usize, both_ways: bool) -> usize {
    let (mut start, mut buckets, mut distance) = (0, buckets, query.saturating_sub(key));
    if both_ways {
        buckets /= 2;
        start = if key > query { buckets } else { 0 };
        distance = query.abs_diff(key);
    }
    let near = buckets / 2;
    if distance < near {
        return start + distance;
    }
    // Single precision, as models were trained with it: distances at the edge of a bucket feel it.
    let far = (distance as f32 / near as f32).ln() / (reach as f64 / near as f64).ln() as f32;
    let far = near + (far * (buckets - near) as f32) as usize;
    start + far.min(buckets - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_share_buckets_the_more_the_farther_they_are() {
        let back = |distance: usize| bucket(1000, 1000 - distance, 32, 128, true);
        assert_eq!([0, 1, 7, 8].map(back), [0, 1, 7, 8]);
        // 8 (128 / 8)^(i / 8): 8, 11.3, 16, 22.6, 32, 45.3, 64, 90.5.
        let edges = [
            11, 12, 15, 16, 22, 23, 31, 32, 45, 46, 63, 64, 90, 91, 128, 999,
        ];
        let expected = [8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 14, 14, 15, 15, 15];
        assert_eq!(edges.map(back), expected);
        let ahead = |distance| bucket(0, distance, 32, 128, true);
        assert_eq!([1, 8, 999].map(ahead), [17, 24, 31]);
        let causal = |distance: usize| bucket(1000, 1000 - distance, 32, 128, false);
        assert_eq!([0, 15, 16, 127, 128].map(causal), [0, 15, 16, 31, 31]);
        assert_eq!(bucket(0, 5, 32, 128, false), 0); // never seen
    }
}
