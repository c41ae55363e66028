//! Thinning out a task vector: the first step of the methods of recipes that are generalised task arithmetic.

use super::draws::{Draws, bound};
use crate::{
    select::{Cut, Selection, magnitude},
    simd::{each_hit, kernel},
};

/// How the entries of one task vector that stay are found.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Thinning {
    /// All stay.
    All,
    /// None stays.
    Nothing,
    /// The largest; the question to the [`Selection`].
    Largest(usize),
    /// All but the largest and the smallest; the questions for the smallest that go and for all that do not go upwards.
    Middle { below: usize, up_to: usize },
    /// Each with the same probability.
    Drawn { draws: Draws, probability: f64 },
    /// Each with a probability that grows with its rank in its row, from the first to the second.
    Ranked { draws: Draws, from: f64, to: f64 },
}

impl Thinning {
    /// Whether it changes anything.
    pub(crate) fn is_active(self) -> bool {
        !matches!(self, Self::All)
    }
}

/// Working memory for one task vector in one block.
#[derive(Clone, Debug)]
pub(crate) struct Thinner {
    how: Thinning,
    /// Cuts, and ties that are left to take in this block.
    cuts: [Option<(Cut, usize)>; 2],
    ranks: Ranks,
}

impl Thinner {
    /// Begins block `number`.
    pub(crate) fn new(how: Thinning, selection: &Selection, number: usize) -> Self {
        let cut = |at| {
            let cut = selection.cut(at);
            Some((cut, cut.ties_in(number)))
        };
        let cuts = match how {
            Thinning::Largest(at) => [cut(at), None],
            Thinning::Middle { below, up_to } => [cut(below), cut(up_to)],
            _ => [None, None],
        };
        Self {
            how,
            cuts,
            ranks: Ranks::default(),
        }
    }

    /// Zeroes what does not stay of a stretch, which begins at `position` of the tensor and goes on where the last one
    /// ended. Ranks are taken in rows of `row` values; `inverse` divides what stays by its probability.
    pub(crate) fn thin(&mut self, values: &mut [f32], position: usize, row: usize, inverse: bool) {
        match (self.how, &mut self.cuts) {
            (Thinning::Nothing, _) => values.fill(0.0),
            (Thinning::Largest(_), [Some((cut, left)), _]) => {
                let (tied, rest) = values.split_at_mut(cut.split(left, values));
                keep_from(tied, cut.least(true));
                keep_from(rest, cut.least(false));
            }
            (Thinning::Middle { .. }, [Some((below, low)), Some((up_to, high))]) => {
                // both cuts are found before either is made: zeroed entries must not count as ties
                let (low, high) = (below.split(low, values), up_to.split(high, values));
                let (tied, rest) = values.split_at_mut(low);
                keep_from(tied, below.beyond(true));
                keep_from(rest, below.beyond(false));
                let (tied, rest) = values.split_at_mut(high);
                keep_up_to(tied, up_to.beyond(true));
                keep_up_to(rest, up_to.beyond(false));
            }
            (Thinning::Drawn { draws, probability }, _) => {
                draws.keep_below(bound(probability), position, values);
                if inverse {
                    crate::simd::scale(values, 1.0 / probability);
                }
            }
            (Thinning::Ranked { draws, from, to }, _) => {
                for (at, values) in values.chunks_mut(row.max(1)).enumerate() {
                    let position = position + at * row;
                    self.ranks
                        .keep(values, draws, position, [from, to], inverse);
                }
            }
            _ => {} // all stay
        }
    }
}

kernel! {
    /// Zeroes what is smaller than a magnitude.
    fn keep_from(values: &'a mut [f32], least: u32) {
        for value in values {
            *value = if value.to_bits() & 0x7fff_ffff >= least { *value } else { 0.0 };
        }
    }
}

kernel! {
    /// Zeroes what is not smaller than a magnitude.
    fn keep_up_to(values: &'a mut [f32], beyond: u32) {
        for value in values {
            *value = if value.to_bits() & 0x7fff_ffff < beyond { *value } else { 0.0 };
        }
    }
}

/// Thins out rows by the ranks of their values.
#[derive(Clone, Debug, Default)]
struct Ranks {
    order: Vec<u64>,
    spare: Vec<u64>,
    draws: Vec<u32>,
    values: Vec<f32>,
    bins: Vec<u16>,
    starts: Vec<u32>,
    /// Of each bin.
    bounds: Vec<u32>,
    /// Of the bin of each value, and of the bin behind it.
    own: Vec<u32>,
    next: Vec<u32>,
    /// 1 for a value whose rank has to be known.
    open: Vec<u8>,
}

/// The probability with which a value stays, linear in its rank.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    from: f64,
    step: f64,
}

impl Line {
    /// A row of one value has no rank, and the middle.
    fn new([from, to]: [f64; 2], len: usize) -> Self {
        Self {
            from: if len == 1 {
                f64::midpoint(from, to)
            } else {
                from
            },
            step: (to - from) / len.saturating_sub(1).max(1) as f64,
        }
    }

    #[inline(always)]
    fn probability(self, rank: u32) -> f64 {
        self.from + self.step * f64::from(rank)
    }

    /// A value of this rank stays when its draw is smaller.
    #[inline(always)]
    fn bound(self, rank: u32) -> f64 {
        self.probability(rank) * 2f64.powi(32)
    }
}

impl Ranks {
    /// Below this length of a row a comparison sort is faster.
    const FEW: usize = 64;

    /// Keeps each value with a probability that is linear in its rank.
    fn keep(
        &mut self,
        row: &mut [f32],
        draws: Draws,
        position: usize,
        [from, to]: [f64; 2],
        inverse: bool,
    ) {
        self.draws.resize(row.len(), 0);
        draws.fill(position, &mut self.draws);
        let line = Line::new([from, to], row.len());
        let few = row.len() < Self::FEW || row.len() > u32::MAX as usize;
        if inverse || few || !self.keep_by_bins(row, line) {
            self.keep_by_order(row, line, inverse);
        }
    }

    fn keep_by_order(&mut self, row: &mut [f32], line: Line, inverse: bool) {
        self.sort(row);
        for (rank, &item) in self.order.iter().enumerate() {
            let at = (item & u64::from(u32::MAX)) as usize;
            let kept = f64::from(self.draws[at]) < line.bound(rank as u32);
            let value = if kept { row[at] } else { 0.0 }; // chosen, not jumped over: chance has no pattern
            row[at] = if inverse {
                (f64::from(value) / line.probability(rank as u32)) as f32
            } else {
                value
            };
        }
    }

    /// The same without a sort: most draws lie outside the bounds of the values in the same bin of magnitudes. The
    /// ranks of the rest are counted one by one; `false` when that are too many, and the row is as it was.
    fn keep_by_bins(&mut self, row: &mut [f32], line: Line) -> bool {
        /// Ranks that are counted one by one, at most: what a sort costs lies above.
        const RANKS: usize = 256;
        self.values.clear();
        self.values.extend_from_slice(row);
        self.fill_bins(line);
        self.open.resize(row.len().next_multiple_of(64), 0);
        self.open[row.len()..].fill(0);
        // looked up apart from the comparison, which has no pattern: as a jump it would cost more than all the rest
        for (own, from) in [(&mut self.own, 0), (&mut self.next, 1)] {
            let bounds = &self.bounds[from..];
            own.clear();
            own.extend(self.bins.iter().map(|&bin| bounds[usize::from(bin)]));
        }
        keep_below(row, &self.draws, &self.own, &self.next, &mut self.open);
        let mut counted = 0;
        each_hit(&self.open, |at| {
            counted += 1;
            if counted <= RANKS {
                let kept = f64::from(self.draws[at]) < line.bound(rank_of(&self.values, at));
                row[at] = if kept { self.values[at] } else { 0.0 };
            }
        });
        if counted > RANKS {
            row.copy_from_slice(&self.values);
        }
        counted <= RANKS
    }

    /// Finds the bin of every value, and the bound of the first rank of each bin.
    fn fill_bins(&mut self, line: Line) {
        /// Binary orders below the largest magnitude that bins tell apart.
        const ORDERS: u32 = 8;
        let len = self.values.len();
        let count = (len.next_power_of_two() / 2).min(1 << 12);
        let shift = f32::MANTISSA_DIGITS - 1 + ORDERS.ilog2() - count.ilog2();
        let floor = largest_magnitude(&self.values).saturating_sub((count << shift) as u32 - 1);
        self.bins.resize(len, 0);
        find_bins(&mut self.bins, &self.values, floor, shift);
        // neighbours are counted apart: where most are equal, each count would wait for the one before
        self.starts.clear();
        self.starts.resize(2 * (count + 1), 0);
        let (even, odd) = self.starts.split_at_mut(count + 1);
        let (pairs, rest) = self.bins.as_chunks::<2>();
        for [one, two] in pairs {
            even[usize::from(*one)] += 1;
            odd[usize::from(*two)] += 1;
        }
        for bin in rest {
            even[usize::from(*bin)] += 1;
        }
        let mut next = 0;
        for (start, more) in even.iter_mut().zip(odd) {
            (*start, next) = (next, next + *start + *more);
        }
        self.bounds.resize(count + 1, 0);
        find_bounds(&mut self.bounds, even, line);
    }

    /// Orders positions (lower half) by magnitude (upper half), equal ones by position.
    fn sort(&mut self, row: &[f32]) {
        /// Below this length a comparison sort is faster.
        const FEW: usize = 512;
        /// Lowest bit and number of bits of each digit of a magnitude, and where its counters begin.
        const DIGITS: [(u32, u32, usize); 3] = [(32, 11, 0), (43, 10, 1 << 11), (53, 10, 3 << 10)];
        self.order.clear();
        let item = |(at, value): (u64, &f32)| u64::from(magnitude(*value)) << 32 | at;
        self.order.extend((0u64..).zip(row).map(item));
        if row.len() < FEW {
            self.order.sort_unstable();
            return;
        }
        let counter = |item: u64, (low, bits, first): (u32, u32, usize)| {
            first + ((item >> low) as usize & ((1 << bits) - 1))
        };
        let mut ends = [0u32; 1 << 12];
        for &item in &self.order {
            for digit in DIGITS {
                ends[counter(item, digit)] += 1;
            }
        }
        self.spare.resize(row.len(), 0);
        for digit in DIGITS {
            let (_, bits, first) = digit;
            let mut next = 0;
            for end in &mut ends[first..first + (1 << bits)] {
                (*end, next) = (next, next + *end);
            }
            for &item in &self.order {
                let end = &mut ends[counter(item, digit)];
                self.spare[*end as usize] = item;
                *end += 1;
            }
            std::mem::swap(&mut self.order, &mut self.spare);
        }
    }
}

kernel! {
    /// The largest bits of a magnitude.
    fn largest_magnitude(values: &'a [f32]) -> u32 {
        values.iter().fold(0, |most, value| most.max(value.to_bits() & 0x7fff_ffff))
    }
}

kernel! {
    /// `bins_i = (|b_i| - floor) >> shift` of bits, and 0 for what is less.
    fn find_bins(bins: &'a mut [u16], values: &'a [f32], floor: u32, shift: u32) {
        for (bin, value) in bins.iter_mut().zip(values) {
            *bin = ((value.to_bits() & 0x7fff_ffff).saturating_sub(floor) >> shift) as u16;
        }
    }
}

kernel! {
    /// Bounds of ranks, rounded up to whole draws; the largest draw where they are more.
    fn find_bounds(bounds: &'a mut [u32], ranks: &'a [u32], line: Line) {
        const WHOLE: f64 = (1u64 << 52) as f64; // its last bit is worth 1
        for (bound, &rank) in bounds.iter_mut().zip(ranks) {
            let draws = line.bound(rank).ceil().min(f64::from(u32::MAX));
            *bound = (draws + WHOLE).to_bits() as u32;
        }
    }
}

kernel! {
    /// Keeps the values whose draw is below their bound. Opens those that are not zero and whose draw is not above the
    /// bound of the next bin.
    fn keep_below(
        values: &'a mut [f32],
        draws: &'a [u32],
        bounds: &'a [u32],
        next: &'a [u32],
        open: &'a mut [u8],
    ) {
        let bounds = bounds.iter().zip(next);
        for (((value, &draw), (&bound, &next)), open) in values.iter_mut().zip(draws).zip(bounds).zip(open) {
            *open = u8::from(is_open(*value, draw, [bound, next]));
            *value = if draw < bound { *value } else { 0.0 };
        }
    }
}

#[inline(always)]
#[expect(
    clippy::needless_bitwise_bool,
    reason = "a jump per value would cost more than the rest"
)]
fn is_open(value: f32, draw: u32, [bound, next]: [u32; 2]) -> bool {
    (draw >= bound) & (draw <= next) & (value != 0.0)
}

kernel! {
    /// How many values are smaller than value `at`, or equal and before it.
    fn rank_of(values: &'a [f32], at: usize) -> u32 {
        let own = values[at].to_bits() & 0x7fff_ffff;
        let (before, behind) = values.split_at(at);
        let mut rank = 0;
        for value in before {
            rank += u32::from(value.to_bits() & 0x7fff_ffff <= own);
        }
        for value in behind {
            rank += u32::from((value.to_bits() & 0x7fff_ffff) < own);
        }
        rank
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use refit_core::Seed;

    #[test]
    fn long_rows_are_sorted_as_short_ones_are() {
        for len in [0, 1, 2, 511, 512, 5000] {
            let row: Vec<f32> = (0..len)
                .map(|i| ((i * 7919) % 613) as f32 * 1e-3 - 0.3)
                .collect();
            let mut ranks = Ranks::default();
            ranks.sort(&row);
            let mut expected: Vec<usize> = (0..len).collect();
            expected.sort_by_key(|&at| magnitude(row[at]));
            let found: Vec<usize> = ranks
                .order
                .iter()
                .map(|item| (item & 0xffff_ffff) as usize)
                .collect();
            assert_eq!(found, expected, "{len}");
        }
    }

    #[test]
    fn bins_keep_what_ranks_keep() {
        // smooth, rounded so that ties are many, mostly zero, over many orders, all equal
        let laws: [fn(f64) -> f64; 5] = [
            |x| x.sin(),
            |x| (x.sin() * 30.0).round() / 30.0,
            |x| (x.sin() - 0.7).max(0.0),
            |x| (40.0 * x.sin()).exp2(),
            |_| -1.5,
        ];
        for (law, of) in laws.iter().enumerate() {
            for len in [64u32, 65, 1000, 1024, 5000, 20_000] {
                let row: Vec<f32> = (0..len).map(|i| of(f64::from(i) * 7.31) as f32).collect();
                let draws = Draws::new(Seed::new(len.into()));
                let mut by_bins = row.clone();
                let mut ranks = Ranks::default();
                ranks.keep(&mut by_bins, draws, 3, [0.35, 0.65], false);
                let mut by_order = row.clone();
                ranks.keep_by_order(&mut by_order, Line::new([0.35, 0.65], row.len()), false);
                assert_eq!(by_bins, by_order, "law {law}, {len} values");
                let found =
                    ranks.keep_by_bins(&mut row.clone(), Line::new([0.35, 0.65], row.len()));
                assert!(found || law > 2 || len == 20_000, "law {law}, {len} values");
            }
        }
    }

    #[test]
    fn larger_entries_are_likelier_to_stay() {
        // 4000 rows of 4 entries, ranks 0..4, probabilities 0.2, 0.4, 0.6, 0.8
        let mut values: Vec<f32> = (0..16_000).map(|i| [3.0, -1.0, 4.0, 2.0][i % 4]).collect();
        let how = Thinning::Ranked {
            draws: Draws::new(Seed::new(1)),
            from: 0.2,
            to: 0.8,
        };
        Thinner::new(how, &Selection::new(0, 0, []), 0).thin(&mut values, 0, 4, false);
        for (at, probability) in [(0, 0.6), (1, 0.2), (2, 0.8), (3, 0.4)] {
            let kept = values
                .iter()
                .skip(at)
                .step_by(4)
                .filter(|v| **v != 0.0)
                .count() as f64;
            let deviation = (4000.0f64 * probability * (1.0 - probability)).sqrt();
            assert!(
                (kept - 4000.0 * probability).abs() < 4.0 * deviation,
                "{at}: {kept}"
            );
        }
    }

    #[test]
    fn dividing_by_the_probability_keeps_the_mean() {
        for how in [
            Thinning::Drawn {
                draws: Draws::new(Seed::new(2)),
                probability: 0.3,
            },
            Thinning::Ranked {
                draws: Draws::new(Seed::new(2)),
                from: 0.1,
                to: 0.5,
            },
        ] {
            let mut values = vec![1.0; 40_000];
            Thinner::new(how, &Selection::new(0, 0, []), 0).thin(&mut values, 0, 100, true);
            let mean = values.iter().sum::<f32>() / 40_000.0;
            assert!((mean - 1.0).abs() < 0.05, "{mean}"); // standard error at most 0.01
        }
    }
}
