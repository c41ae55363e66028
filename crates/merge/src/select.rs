//! Exact selection by counting: which of a stream of values are the largest, without a copy of them.
//!
//! Values are ordered by magnitude, that is by the bits of `|x|`; NaN stands above infinity. Two passes count these
//! bits, upper part first. Among equal magnitudes those that come first are taken; where only some of them are, a
//! third pass counts them block by block.

use crate::stream::Tally;

/// How many of `len` entries a share keeps: `floor(keep len)`, but at least one of a share that is not zero.
pub(crate) fn kept(keep: f64, len: usize) -> usize {
    if keep <= 0.0 || len == 0 {
        return 0;
    }
    ((keep * len as f64) as usize).clamp(1, len)
}

/// Bits of `|value|`; their order as integers is that of the magnitudes.
pub(crate) fn magnitude(value: f32) -> u32 {
    value.to_bits() & 0x7fff_ffff
}

/// The magnitude of the `count`-th largest entry; infinite for `count = 0`.
///
/// Entries *at* the threshold are all kept, so equal magnitudes can keep a few more than `count`.
pub(crate) fn threshold(values: &[f32], count: usize) -> f32 {
    if count == 0 {
        return f32::INFINITY;
    }
    let mut magnitudes: Vec<u32> = values.iter().map(|v| magnitude(*v)).collect();
    let at = magnitudes.len() - count.min(magnitudes.len());
    f32::from_bits(*magnitudes.select_nth_unstable(at).1)
}

/// Bits that the second pass counts.
const LOW_BITS: u32 = 15;

/// Bins of the first pass.
pub(crate) const HIGH_BINS: usize = (1 << 16) + 1;

/// Bins of the second pass.
pub(crate) const LOW_BINS: usize = 1 << LOW_BITS;

/// Added to a magnitude, so that zero has bin 0 of the first pass to itself.
const OFFSET: u32 = (1 << LOW_BITS) - 1;

/// The bin of each pass.
pub(crate) fn bins(value: f32) -> (u32, u32) {
    let key = magnitude(value) + OFFSET;
    (key >> LOW_BITS, key & OFFSET)
}

/// The magnitude that falls into these bins.
pub(crate) fn of_bins(high: u32, low: u32) -> u32 {
    (high << LOW_BITS | low).saturating_sub(OFFSET)
}

/// The bin that holds the `count`-th entry from the top, and its rank inside that bin.
pub(crate) fn from_the_top(histogram: &[u64], count: u64) -> (u32, u64) {
    nth(histogram.iter().enumerate().rev(), count)
}

/// The bin that holds the `count`-th entry from the bottom, and its rank inside that bin.
fn from_the_bottom(histogram: &[u64], count: u64) -> (u32, u64) {
    nth(histogram.iter().enumerate(), count)
}

fn nth<'h>(bins: impl Iterator<Item = (usize, &'h u64)>, mut count: u64) -> (u32, u64) {
    for (bin, &entries) in bins {
        if entries >= count {
            return (bin as u32, count);
        }
        count -= entries;
    }
    (0, count)
}

/// What is asked of a stream of `n` values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Taken {
    /// So many of the largest; all, if there are not as many.
    Largest(usize),
    /// So many of the smallest; all, if there are not as many.
    Smallest(usize),
    /// `floor(share m)` of the largest, where `m` values are not zero.
    LargestShare(f64),
    /// The value of this rank, counted upwards from 0.
    Rank(usize),
}

/// Where taken values end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// The last taken magnitude.
    magnitude: u32,
    /// Which of the values at that magnitude are taken.
    ties: Ties,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ties {
    All,
    None,
    /// All in blocks before `block`, and the first `left` of it.
    Until {
        block: usize,
        left: usize,
    },
}

impl Cut {
    /// Nothing is taken, from whichever end: no magnitude is as large, and no tie counts.
    const NOTHING: Self = Self {
        magnitude: u32::MAX,
        ties: Ties::None,
    };

    /// The last taken magnitude.
    pub(crate) fn value(self) -> f32 {
        f32::from_bits(self.magnitude)
    }

    /// How many ties are taken in block `number`; the argument of [`split`](Self::split) for its first stretch.
    pub(crate) fn ties_in(self, number: usize) -> usize {
        match self.ties {
            Ties::All => usize::MAX,
            Ties::Until { block, .. } if number < block => usize::MAX,
            Ties::Until { block, left } if number == block => left,
            Ties::None | Ties::Until { .. } => 0,
        }
    }

    /// The position in this stretch of a block up to which ties are taken; `left` is what remains for the next one.
    pub(crate) fn split(self, left: &mut usize, values: &[f32]) -> usize {
        if matches!(*left, 0 | usize::MAX) {
            return values.len().min(*left);
        }
        for (at, value) in values.iter().enumerate() {
            *left -= usize::from(magnitude(*value) == self.magnitude);
            if *left == 0 {
                return at + 1;
            }
        }
        values.len()
    }

    /// The smallest magnitude among the largest, with or without those at the cut.
    pub(crate) fn least(self, ties: bool) -> u32 {
        self.magnitude.saturating_add(u32::from(!ties))
    }

    /// The smallest magnitude beyond the smallest, with or without those at the cut.
    pub(crate) fn beyond(self, ties: bool) -> u32 {
        if self == Self::NOTHING {
            return 0;
        }
        self.magnitude.saturating_add(u32::from(ties))
    }
}

/// Answers to questions about streams of values, which are surveyed two or three times.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    streams: usize,
    marks: Vec<Mark>,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    stream: usize,
    taken: Taken,
    /// Bin of the first pass, and rank inside it; `None` where nothing is taken.
    bin: Option<(u32, u64)>,
    cut: Cut,
    /// How many ties are taken, where not all are.
    some: Option<u64>,
}

impl Selection {
    /// Asks questions, each of one of the streams `0..streams`.
    pub(crate) fn new(streams: usize, questions: impl IntoIterator<Item = (usize, Taken)>) -> Self {
        let mark = |(stream, taken)| Mark {
            stream,
            taken,
            bin: None,
            cut: Cut::NOTHING,
            some: None,
        };
        Self {
            streams,
            marks: questions.into_iter().map(mark).collect(),
        }
    }

    /// How many surveys are needed, as far as is known.
    pub(crate) fn rounds(&self) -> usize {
        match self.marks.iter().any(|mark| mark.some.is_some()) {
            true => 3,
            false if self.marks.is_empty() => 0,
            false => 2,
        }
    }

    /// The answer to question `at`, after the last survey.
    pub(crate) fn cut(&self, at: usize) -> Cut {
        self.marks[at].cut
    }

    /// Looks at block `number`: `each` calls its argument with every stretch of every stream, in order.
    pub(crate) fn survey(
        &self,
        round: usize,
        number: usize,
        tally: &mut Tally,
        each: impl FnOnce(&mut dyn FnMut(usize, &[f32])),
    ) {
        match round {
            0 => {
                let counts = tally.counts(self.streams * HIGH_BINS);
                each(&mut |stream, values| {
                    let counts = &mut counts[stream * HIGH_BINS..][..HIGH_BINS];
                    for &value in values {
                        counts[bins(value).0 as usize] += 1;
                    }
                });
            }
            1 => {
                let counts = tally.counts(self.marks.len() * LOW_BINS);
                each(&mut |stream, values| {
                    for (mark, counts) in self.marks.iter().zip(counts.chunks_mut(LOW_BINS)) {
                        if let (true, Some((bin, _))) = (mark.stream == stream, mark.bin) {
                            count_within(values, bin, counts);
                        }
                    }
                });
            }
            _ => {
                let mut ties = vec![0; self.marks.len()];
                each(&mut |stream, values| {
                    for (mark, ties) in self.marks.iter().zip(&mut ties) {
                        if mark.stream == stream && mark.some.is_some() {
                            let tied = |v: &&f32| magnitude(**v) == mark.cut.magnitude;
                            *ties += values.iter().filter(tied).count();
                        }
                    }
                });
                tally.add(number, ties.into_iter().map(|n| n as f64).collect());
            }
        }
    }

    /// Takes what a survey wrote down.
    pub(crate) fn learn(&mut self, round: usize, tally: Tally) {
        match round {
            0 => {
                let counts = tally.into_counts(); // none of an empty tensor
                for mark in self.marks.iter_mut().filter(|_| !counts.is_empty()) {
                    mark.find_bin(&counts[mark.stream * HIGH_BINS..][..HIGH_BINS]);
                }
            }
            1 => {
                let counts = tally.into_counts();
                for (mark, counts) in self.marks.iter_mut().zip(counts.chunks(LOW_BINS)) {
                    mark.find_magnitude(counts);
                }
            }
            _ => {
                for (at, mark) in self.marks.iter_mut().enumerate() {
                    let Some(mut left) = mark.some.map(|n| n as usize) else {
                        continue;
                    };
                    for (block, ties) in tally.by_block().into_iter().enumerate() {
                        let here = ties[at] as usize; // counts are exact in f64
                        if left <= here {
                            mark.cut.ties = Ties::Until { block, left };
                            break;
                        }
                        left -= here;
                    }
                }
            }
        }
    }
}

impl Mark {
    fn find_bin(&mut self, histogram: &[u64]) {
        let n: u64 = histogram.iter().sum();
        let count = match self.taken {
            Taken::Largest(count) | Taken::Smallest(count) => count as u64,
            Taken::LargestShare(share) => (share * (n - histogram[0]) as f64) as u64,
            Taken::Rank(rank) => rank as u64 + 1,
        };
        let count = count.min(n);
        self.bin = (count > 0).then(|| match self.taken {
            Taken::Largest(_) | Taken::LargestShare(_) => from_the_top(histogram, count),
            Taken::Smallest(_) | Taken::Rank(_) => from_the_bottom(histogram, count),
        });
    }

    fn find_magnitude(&mut self, histogram: &[u64]) {
        let Some((bin, rank)) = self.bin else {
            return;
        };
        let (low, taken) = match self.taken {
            Taken::Largest(_) | Taken::LargestShare(_) => from_the_top(histogram, rank),
            Taken::Smallest(_) | Taken::Rank(_) => from_the_bottom(histogram, rank),
        };
        self.cut = Cut {
            magnitude: of_bins(bin, low),
            ties: Ties::All,
        };
        let split = taken < histogram[low as usize] && !matches!(self.taken, Taken::Rank(_));
        self.some = split.then_some(taken);
    }
}

/// Counts the values of one bin of the first pass by their bin of the second.
pub(crate) fn count_within(values: &[f32], bin: u32, counts: &mut [u64]) {
    for &value in values {
        let (high, low) = bins(value);
        if high == bin {
            counts[low as usize] += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Surveys `values` cut into blocks of `block` values, in reverse order.
    fn select(values: &[f32], block: usize, questions: &[Taken]) -> Selection {
        let mut selection = Selection::new(1, questions.iter().map(|&taken| (0, taken)));
        let mut round = 0;
        while round < selection.rounds() {
            let mut tally = Tally::default();
            let blocks: Vec<_> = values.chunks(block).enumerate().collect();
            for &(number, values) in blocks.iter().rev() {
                selection.survey(round, number, &mut tally, |look| {
                    values.chunks(3).for_each(|stretch| look(0, stretch));
                });
            }
            selection.learn(round, tally);
            round += 1;
        }
        selection
    }

    /// Positions that `cut` takes, with ties first to last.
    fn taken(values: &[f32], block: usize, cut: Cut, largest: bool) -> Vec<usize> {
        let mut taken = vec![];
        for (number, block_values) in values.chunks(block).enumerate() {
            let mut left = cut.ties_in(number);
            let mut start = number * block;
            for stretch in block_values.chunks(3) {
                let split = cut.split(&mut left, stretch);
                for (at, value) in stretch.iter().enumerate() {
                    let (m, ties) = (magnitude(*value), at < split);
                    let is_taken = if largest {
                        m >= cut.least(ties)
                    } else {
                        m < cut.beyond(ties)
                    };
                    taken.extend(is_taken.then_some(start + at));
                }
                start += stretch.len();
            }
        }
        taken
    }

    #[test]
    fn a_share_keeps_at_least_one_entry_and_none_keeps_none() {
        assert_eq!([kept(0.2, 10), kept(0.7, 10), kept(0.67, 3)], [2, 7, 2]);
        assert_eq!(
            [kept(0.2, 4), kept(1.0, 4), kept(0.0, 4), kept(0.5, 0)],
            [1, 4, 0, 0]
        );
    }

    #[test]
    fn the_threshold_is_the_last_kept_magnitude() {
        let values = [0.5, -3.0, 2.0, 0.0];
        for (count, expected) in [(1, 3.0), (2, 2.0), (3, 0.5), (4, 0.0), (0, f32::INFINITY)] {
            assert_eq!(
                threshold(&values, count).to_bits(),
                f32::to_bits(expected),
                "{count}"
            );
        }
    }

    #[test]
    fn bins_hold_every_magnitude_and_zero_is_alone() {
        for value in [0.0, 1e-45, f32::MIN_POSITIVE, 1.0, f32::INFINITY, f32::NAN] {
            let (high, low) = bins(value);
            assert_eq!(of_bins(high, low), magnitude(value));
            assert!((high as usize) < HIGH_BINS && (low as usize) < LOW_BINS);
            assert_eq!(high == 0, value == 0.0);
        }
        assert!((bins(f32::from_bits(0x7fff_ffff)).0 as usize) < HIGH_BINS);
    }

    #[test]
    fn nothing_of_an_empty_stream_is_taken() {
        let selection = select(&[], 2, &[Taken::Largest(1), Taken::Smallest(0)]);
        assert_eq!(
            [selection.cut(0), selection.cut(1)],
            [Cut::NOTHING, Cut::NOTHING]
        );
    }

    #[test]
    fn a_share_is_taken_of_what_is_not_zero() {
        let values = [0.0, 1.0, -0.0, 3.0, 2.0, -1.0]; // four are not zero
        let cut = select(&values, 4, &[Taken::LargestShare(0.75)]).cut(0);
        assert_eq!(taken(&values, 4, cut, true), [1, 3, 4]);
    }

    proptest! {
        #[test]
        fn cuts_take_what_a_stable_sort_takes(
            raw in prop::collection::vec(-4i32..4, 1..40),
            block in 1usize..9,
            count in 0usize..45,
        ) {
            // few distinct magnitudes, so that ties are the rule
            let values: Vec<f32> = raw.iter().map(|&v| v as f32 * 0.3).collect();
            let questions = [Taken::Largest(count), Taken::Smallest(count), Taken::Rank(count)];
            let selection = select(&values, block, &questions);
            let mut order: Vec<usize> = (0..values.len()).collect();
            order.sort_by_key(|&at| magnitude(values[at]));
            if let Some(&at) = order.get(count) {
                prop_assert_eq!(magnitude(selection.cut(2).value()), magnitude(values[at]));
            }
            let take = |order: &[usize]| {
                let mut taken = order[..count.min(order.len())].to_vec();
                taken.sort_unstable();
                taken
            };
            prop_assert_eq!(taken(&values, block, selection.cut(1), false), take(&order));
            order.sort_by_key(|&at| std::cmp::Reverse(magnitude(values[at])));
            prop_assert_eq!(taken(&values, block, selection.cut(0), true), take(&order));
        }
    }
}
