//! Random samples of terms.

use super::oracle::Sample;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use refit_core::Seed;
use std::ops::Range;

/// Blocks that a random sample is cut into: as many independent samples, whose means tell how far the mean of all may be
/// from what it estimates.
pub(super) const BLOCKS: usize = 16;

/// Terms of a small block.
const PART: usize = 32;

/// A random order of the terms, made as far as it is asked for: samples of growing size are nested.
pub(in crate::optim) struct Order {
    terms: Vec<u32>,
    drawn: usize,
    /// Blocks of what was drawn, each in ascending order so that memory is read in order.
    blocks: Vec<Range<usize>>,
    rng: ChaCha8Rng,
}

impl Order {
    pub(in crate::optim) fn new(terms: u32, seed: Seed) -> Self {
        Self {
            terms: (0..terms).collect(),
            drawn: 0,
            blocks: Vec::new(),
            rng: seed.rng(),
        }
    }

    /// Starts anew from another seed, in the same memory.
    pub(in crate::optim) fn restart(&mut self, seed: Seed) {
        (0..).zip(&mut self.terms).for_each(|(i, at)| *at = i);
        self.drawn = 0;
        self.blocks.clear();
        self.rng = seed.rng();
    }

    /// Terms drawn so far.
    pub(in crate::optim) fn drawn(&self) -> usize {
        self.drawn
    }

    /// Lets the sample grow to `size` terms, and says which blocks are new.
    pub(in crate::optim) fn grow(&mut self, size: usize) -> &[Range<usize>] {
        let (from, to) = (self.drawn, size.clamp(self.drawn, self.terms.len()));
        for at in from..to {
            let other = self.rng.random_range(at..self.terms.len());
            self.terms.swap(at, other);
        }
        let before = self.blocks.len();
        for block in cut(from..to) {
            self.terms[block.clone()].sort_unstable();
            self.blocks.push(block);
        }
        self.drawn = to;
        &self.blocks[before..]
    }

    /// The blocks drawn so far.
    pub(super) fn blocks(&self) -> &[Range<usize>] {
        &self.blocks
    }

    /// Terms at these places.
    pub(in crate::optim) fn at(&self, places: Range<usize>) -> &[u32] {
        &self.terms[places]
    }

    /// The sample drawn so far.
    pub(super) fn sample(&self) -> Sample<'_> {
        if self.drawn == self.terms.len() {
            Sample::All
        } else {
            Sample::Terms(&self.terms[..self.drawn])
        }
    }
}

/// At most [`BLOCKS`] blocks of nearly the same size; before them, of a large sample from its beginning, as many of
/// [`PART`] terms, which are enough to tell its variance.
pub(super) fn cut(places: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let large = places.start == 0 && places.len() >= 4 * BLOCKS * PART;
    let head = if large { BLOCKS * PART } else { 0 };
    let even = |places: Range<usize>, size: usize| {
        let end = places.end;
        places.step_by(size).map(move |at| at..(at + size).min(end))
    };
    let rest = places.start + head..places.end;
    let size = rest.len().div_ceil(BLOCKS).max(1);
    even(0..head, PART).chain(even(rest, size))
}

/// Draws with replacement in proportion to `shares`, and weights that make their mean right; in ascending order within
/// the blocks of [`cut`]. `None` when no share is above 0.
pub(super) fn weighted(shares: &[f64], draws: usize, seed: Seed) -> Option<(Vec<u32>, Vec<f64>)> {
    let mut sum = 0.0;
    let ends: Vec<f64> = shares
        .iter()
        .map(|share| {
            sum += share.max(0.0);
            sum
        })
        .collect();
    if !(sum > 0.0 && sum.is_finite()) {
        return None;
    }
    let mut rng = seed.rng();
    let mut terms: Vec<u32> = (0..draws)
        .map(|_| {
            let at = rng.random::<f64>() * sum;
            // The first end above: a term without a share is never met.
            ends.partition_point(|&end| end <= at).min(ends.len() - 1) as u32
        })
        .collect();
    for block in cut(0..draws) {
        terms[block].sort_unstable();
    }
    let mean = sum / shares.len() as f64;
    let weights = terms.iter().map(|&i| mean / shares[i as usize]).collect();
    Some((terms, weights))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_nested_and_every_term_is_as_likely() {
        let mut hits = [0u32; 10];
        for seed in 0..10_000 {
            let mut order = Order::new(10, Seed::new(seed));
            assert_eq!(order.grow(2), [0..1, 1..2]);
            let head = order.at(0..2).to_vec();
            let more = order.grow(3);
            assert_eq!((more.len(), more[0].clone()), (1, 2..3));
            assert_eq!(order.at(0..2), head);
            order.at(0..3).iter().for_each(|&i| hits[i as usize] += 1);
        }
        // 3000 expected, standard deviation 46: five of them.
        assert!(hits.iter().all(|&h| h.abs_diff(3000) < 230), "{hits:?}");
    }

    #[test]
    fn blocks_cover_every_place_once() {
        for (from, to) in [(0, 0), (0, 5), (0, 100), (0, 2047), (0, 2048), (700, 9000)] {
            let blocks: Vec<_> = cut(from..to).collect();
            assert!(blocks.len() <= 2 * BLOCKS);
            let places: Vec<usize> = blocks.into_iter().flatten().collect();
            assert!(places.into_iter().eq(from..to), "{from} {to}");
        }
    }

    #[test]
    fn all_terms_are_all_terms() {
        let mut order = Order::new(5, Seed::new(1));
        order.grow(9);
        assert_eq!((order.drawn(), order.sample()), (5, Sample::All));
        order.restart(Seed::new(2));
        order.grow(4);
        assert!(matches!(order.sample(), Sample::Terms(terms) if terms.len() == 4));
    }

    #[test]
    fn weights_make_the_mean_right() {
        let shares = [0.0, 1.0, 3.0, 0.0];
        let (terms, weights) = weighted(&shares, 40_000, Seed::new(3)).unwrap();
        assert!(terms.iter().all(|&i| i == 1 || i == 2));
        // The mean of f = (7, 2, 5, 9) over the terms with a share, out of 4.
        let f = [7.0, 2.0, 5.0, 9.0];
        let sum: f64 = terms
            .iter()
            .zip(&weights)
            .map(|(&i, w)| w * f[i as usize])
            .sum();
        // Each draw is 2 or 5/3: the mean is exact to 0.15 / sqrt(40000) a few times.
        assert!((sum / 40_000.0 - 7.0 / 4.0).abs() < 0.004);
        assert!(weighted(&[0.0, 0.0], 3, Seed::new(0)).is_none());
        assert!(weighted(&[1.0, f64::NAN], 3, Seed::new(0)).is_some());
    }
}
