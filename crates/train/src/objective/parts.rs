//! Samples cut into parts that do not depend on the number of threads.

use rayon::prelude::*;
use std::ops::Range;

/// Most parts: enough to balance the threads of any machine that one sum is worth.
const MOST_PARTS: usize = 64;
/// Parts whose sums are so long that clearing them and adding them up takes as long as many terms.
const FEW_PARTS: usize = 8;
/// Fewest terms of a part.
const FEWEST_TERMS: usize = 128;
/// Numbers that the sums of all parts may take; long vectors have fewer parts.
const MOST_NUMBERS: usize = 1 << 18;
/// Numbers per task when sums are added up.
const CHUNK: usize = 1 << 13;

/// How a sample is cut: a function of its length and of the number of parameters alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    terms: usize,
    size: usize,
}

impl Parts {
    pub(super) fn new(terms: usize, dim: usize) -> Self {
        let most = (MOST_NUMBERS / dim.max(1)).clamp(4, MOST_PARTS);
        Self {
            terms,
            size: terms.div_ceil(most).max(FEWEST_TERMS),
        }
    }

    /// Fewer parts, for sums as long as a matrix.
    pub(super) fn few(terms: usize) -> Self {
        Self {
            terms,
            size: terms.div_ceil(FEW_PARTS).max(FEWEST_TERMS),
        }
    }

    /// Places of each part.
    fn ranges(self) -> impl IndexedParallelIterator<Item = Range<usize>> {
        let count = self.terms.div_ceil(self.size);
        let range = move |at: usize| at * self.size..((at + 1) * self.size).min(self.terms);
        (0..count).into_par_iter().map(range)
    }

    /// The parts of a slice that holds `width` values for each term.
    pub(super) fn cut<T: Send>(
        self,
        slice: &mut [T],
        width: usize,
    ) -> impl IndexedParallelIterator<Item = &mut [T]> {
        slice.par_chunks_mut((self.size * width).max(1))
    }

    /// The parts of a slice that is perhaps wanted.
    pub(super) fn cut_wanted(
        self,
        slice: Option<&mut [f64]>,
        width: usize,
    ) -> impl IndexedParallelIterator<Item = Option<&mut [f64]>> {
        let count = self.terms.div_ceil(self.size);
        let mut parts: Vec<_> = slice
            .into_iter()
            .flat_map(|slice| slice.chunks_mut((self.size * width).max(1)).map(Some))
            .collect();
        parts.resize_with(count, || None);
        parts.into_par_iter()
    }

    /// Nothing for each part.
    pub(super) fn nothing(self) -> impl IndexedParallelIterator<Item = ()> {
        rayon::iter::repeat_n((), self.terms.div_ceil(self.size))
    }

    /// Calls `f(places, part)` with what belongs to the places.
    pub(super) fn each<S: Send>(
        self,
        slices: impl IndexedParallelIterator<Item = S>,
        f: impl Fn(Range<usize>, S) + Sync + Send,
    ) {
        let pairs = self.ranges().zip(slices);
        pairs.for_each(|(places, part)| f(places, part));
    }

    /// `out = ` the sum over parts of what `f(places, part, sum)` adds to its `sum`, and the sum of what it returns.
    pub(super) fn sum<S: Send>(
        self,
        slices: impl IndexedParallelIterator<Item = S>,
        out: &mut [f64],
        f: impl Fn(Range<usize>, S, &mut [f64]) -> f64 + Sync + Send,
    ) -> f64 {
        let len = out.len();
        let part = |(places, part): (Range<usize>, S)| {
            let mut sum = vec![0.0; len];
            let extra = f(places, part, &mut sum);
            (sum, extra)
        };
        let parts: Vec<_> = self.ranges().zip(slices).map(part).collect();
        let add = |(at, out): (usize, &mut [f64])| {
            out.fill(0.0);
            for (sum, _) in &parts {
                let sum = &sum[at * CHUNK..][..out.len()];
                out.iter_mut().zip(sum).for_each(|(out, sum)| *out += sum);
            }
        };
        out.par_chunks_mut(CHUNK).enumerate().for_each(add);
        parts.iter().map(|part| part.1).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_in_one_part() {
        for (terms, dim) in [
            (0, 3),
            (1, 1),
            (127, 5),
            (129, 0),
            (100_000, 7),
            (1000, 1 << 30),
        ] {
            let parts = Parts::new(terms, dim);
            let mut seen = vec![0u8; terms * 2];
            parts.each(parts.cut(&mut seen, 2), |places, part| {
                assert_eq!(part.len(), 2 * places.len());
                for seen in part {
                    *seen += 1;
                }
            });
            assert!(seen.iter().all(|&seen| seen == 1), "{terms} {dim}");
        }
    }

    #[test]
    fn sums_are_added_in_order() {
        let mut places = vec![0.0; 10_000];
        let mut out = vec![7.0; 2];
        let parts = Parts::new(10_000, 2);
        let extra = parts.sum(parts.cut(&mut places, 1), &mut out, |range, part, sum| {
            for (place, seen) in range.zip(part) {
                *seen = place as f64;
                sum[0] += place as f64;
                sum[1] += 1.0;
            }
            1.0
        });
        // 64 parts of 157 places, the last one shorter; small integers are exact.
        assert_eq!(extra.to_bits(), 64f64.to_bits());
        assert_eq!(out, [49_995_000.0, 10_000.0]);
        assert_eq!(places[9_999].to_bits(), 9_999f64.to_bits());
    }
}
