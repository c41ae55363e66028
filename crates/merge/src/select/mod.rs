//! Exact selection: which of a stream of values are the largest, without a copy of them.
//!
//! Values are ordered by magnitude, that is by the bits of `|x|`; NaN stands above infinity. Among equal magnitudes
//! those that come first are taken.

mod bracket;
mod count;

use crate::{
    layout::UNIT,
    stream::{Look, Tally},
};
use bracket::Bracket;
use count::Counted;
pub(crate) use count::{HIGH_BINS, bins, from_the_top, of_bins};

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

impl Taken {
    /// How many are taken of `n` values, of which `nonzero` are not zero; for a rank, all up to it.
    fn count(self, n: usize, nonzero: usize) -> usize {
        let count = match self {
            Self::Largest(count) | Self::Smallest(count) => count,
            Self::LargestShare(share) => (share * nonzero as f64) as usize,
            Self::Rank(rank) => rank.saturating_add(1),
        };
        count.min(n)
    }

    fn is_largest(self) -> bool {
        matches!(self, Self::Largest(_) | Self::LargestShare(_))
    }

    /// Whether it matters which of equal magnitudes are taken.
    fn ties_count(self) -> bool {
        !matches!(self, Self::Rank(_))
    }
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

impl Ties {
    /// The first `left` of ties that lie in blocks as told.
    fn first(mut left: usize, by_block: impl Iterator<Item = usize>) -> Self {
        for (block, here) in by_block.enumerate() {
            if left <= here {
                return Self::Until { block, left };
            }
            left -= here;
        }
        Self::All
    }
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

/// Answers to questions about streams of `len` values each.
///
/// A long stream is sampled first: the sample says between which magnitudes a cut must lie. Then one survey counts what
/// lies outside and collects the little that lies inside. Where the sample misled, bits are counted instead, which takes
/// two or three surveys more and always ends.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    streams: usize,
    len: usize,
    marks: Vec<Mark>,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    stream: usize,
    taken: Taken,
    cut: Cut,
    bracket: Bracket,
    /// Where the bracket was of no use.
    counted: Option<Counted>,
}

/// What a survey does.
enum Stage {
    Sample,
    Narrow,
    Count(usize),
}

impl Selection {
    /// Asks questions, each of one of the streams `0..streams`.
    pub(crate) fn new(
        streams: usize,
        len: usize,
        questions: impl IntoIterator<Item = (usize, Taken)>,
    ) -> Self {
        let mark = |(stream, taken)| Mark {
            stream,
            taken,
            cut: Cut::NOTHING,
            bracket: Bracket::default(),
            counted: None,
        };
        Self {
            streams,
            len,
            marks: questions.into_iter().map(mark).collect(),
        }
    }

    /// How many surveys are needed, as far as is known.
    pub(crate) fn rounds(&self) -> usize {
        if self.marks.is_empty() {
            return 0;
        }
        usize::from(self.samples()) + 1 + count::passes(&self.marks)
    }

    /// How much survey `round` wants to see.
    pub(crate) fn look(&self, round: usize) -> Look {
        match self.stage(round) {
            Stage::Sample => Look::Sample,
            _ => Look::Everything,
        }
    }

    /// Whether streams are so long that a sample saves work.
    fn samples(&self) -> bool {
        self.len > UNIT && !self.marks.is_empty()
    }

    fn stage(&self, round: usize) -> Stage {
        match round + usize::from(!self.samples()) {
            0 => Stage::Sample,
            1 => Stage::Narrow,
            later => Stage::Count(later - 2),
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
        match self.stage(round) {
            Stage::Sample => bracket::sample(self.streams, number, tally, each),
            Stage::Narrow => bracket::survey(&self.marks, number, tally, each),
            Stage::Count(pass) => {
                count::survey(&self.marks, self.streams, pass, number, tally, each);
            }
        }
    }

    /// Takes what a survey wrote down.
    pub(crate) fn learn(&mut self, round: usize, tally: Tally) {
        match self.stage(round) {
            Stage::Sample => bracket::learn_sample(&mut self.marks, self.streams, self.len, &tally),
            Stage::Narrow => bracket::learn(&mut self.marks, &tally),
            Stage::Count(pass) => count::learn(&mut self.marks, pass, tally),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::Span;
    use proptest::prelude::*;

    /// Surveys `values` cut into blocks of `block` values, in reverse order; the rounds that took.
    fn select(values: &[f32], block: usize, questions: &[Taken]) -> (Selection, usize) {
        let questions = questions.iter().map(|&taken| (0, taken));
        let mut selection = Selection::new(1, values.len(), questions);
        let mut round = 0;
        while round < selection.rounds() {
            let mut tally = Tally::default();
            let ranges = match selection.look(round) {
                Look::Sample => Look::Sample.ranges(Span::Any, &[values.len()]),
                Look::Everything => (0..values.len())
                    .step_by(block)
                    .map(|start| start..(start + block).min(values.len()))
                    .collect(),
            };
            for (number, range) in ranges.into_iter().enumerate().rev() {
                selection.survey(round, number, &mut tally, |look| {
                    let stretches = values[range].chunks((block / 3).max(3));
                    stretches.for_each(|stretch| look(0, stretch));
                });
            }
            selection.learn(round, tally);
            round += 1;
        }
        (selection, round)
    }

    /// Positions that `cut` takes, with ties first to last.
    fn taken(values: &[f32], block: usize, cut: Cut, largest: bool) -> Vec<usize> {
        let mut taken = vec![];
        for (number, block_values) in values.chunks(block).enumerate() {
            let mut left = cut.ties_in(number);
            let mut start = number * block;
            for stretch in block_values.chunks((block / 3).max(3)) {
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

    /// Checks the cuts of the `count` largest, of the `count` smallest and of rank `count` against a stable sort.
    fn check(values: &[f32], block: usize, count: usize, selection: &Selection) {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by_key(|&at| magnitude(values[at]));
        if let Some(&at) = order.get(count) {
            let found = magnitude(selection.cut(2).value());
            assert_eq!(found, magnitude(values[at]), "rank {count}");
        }
        let take = |order: &[usize]| {
            let mut taken = order[..count.min(order.len())].to_vec();
            taken.sort_unstable();
            taken
        };
        let smallest = taken(values, block, selection.cut(1), false);
        assert!(smallest == take(&order), "smallest {count}");
        order.sort_by_key(|&at| std::cmp::Reverse(magnitude(values[at])));
        let largest = taken(values, block, selection.cut(0), true);
        assert!(largest == take(&order), "largest {count}");
    }

    /// Values whose magnitudes follow a law, in no order.
    fn long(n: usize, law: impl Fn(f64) -> f64) -> Vec<f32> {
        let mut draws = vec![0; n];
        crate::task_vector::draws_for_tests(5, &mut draws);
        let value = |&draw: &u32| {
            let magnitude = law(f64::from(draw >> 1) / 2f64.powi(31)) as f32;
            if draw & 1 == 0 { magnitude } else { -magnitude }
        };
        draws.iter().map(value).collect()
    }

    #[test]
    fn long_streams_are_cut_where_a_stable_sort_cuts_them_and_in_two_surveys() {
        type Law = fn(f64) -> f64;
        let laws: [(&str, Law); 4] = [
            ("all different", |x| x),
            ("few magnitudes", |x| (20.0 * x).floor()),
            ("mostly zero", |x| (x - 0.8).max(0.0)),
            ("over many orders", |x| (60.0 * x - 50.0).exp2()),
        ];
        for (law, of) in laws {
            let values = long(3 * UNIT + 77, of);
            let n = values.len();
            for count in [0, 1, n / 100, n / 2, n - n / 10, n - 1, n, n + 9] {
                let questions = [
                    Taken::Largest(count),
                    Taken::Smallest(count),
                    Taken::Rank(count),
                ];
                let (selection, rounds) = select(&values, UNIT, &questions);
                assert_eq!(rounds, 2, "{law} {count}");
                check(&values, UNIT, count, &selection);
            }
            let nonzero = values.iter().filter(|v| **v != 0.0).count();
            let (selection, rounds) = select(&values, UNIT, &[Taken::LargestShare(0.3)]);
            assert_eq!(rounds, 2, "{law}");
            let found = taken(&values, UNIT, selection.cut(0), true).len();
            assert_eq!(found, (0.3 * nonzero as f64) as usize, "{law}");
        }
    }

    #[test]
    fn a_sample_that_misleads_costs_surveys_and_nothing_else() {
        // where the sample looks all is small; elsewhere it grows
        let mut values = long(2 * UNIT, |x| 10.0 + (300.0 * x).floor());
        for range in Look::Sample.ranges(Span::Any, &[values.len()]) {
            values[range].iter_mut().for_each(|value| *value *= 1e-3);
        }
        let count = values.len() / 2;
        let questions = [
            Taken::Largest(count),
            Taken::Smallest(count),
            Taken::Rank(count),
        ];
        let (selection, rounds) = select(&values, 1000, &questions);
        assert_eq!(rounds, 5);
        check(&values, 1000, count, &selection);
        // where it has gaps, too much lies between its values
        let mut values = long(64 * UNIT, |x| 1.0 + x);
        for range in Look::Sample.ranges(Span::Any, &[values.len()]) {
            for (at, value) in values[range].iter_mut().enumerate() {
                *value = if at % 2 == 0 { 0.5 } else { 3.0 };
            }
        }
        let (selection, rounds) = select(&values, UNIT, &[Taken::Rank(count)]);
        assert_eq!(rounds, 4); // ties do not count
        let mut sorted: Vec<u32> = values.iter().map(|v| magnitude(*v)).collect();
        sorted.sort_unstable();
        assert_eq!(magnitude(selection.cut(0).value()), sorted[count]);
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
    fn nothing_of_an_empty_stream_is_taken() {
        let (selection, _) = select(&[], 2, &[Taken::Largest(1), Taken::Smallest(0)]);
        assert_eq!(
            [selection.cut(0), selection.cut(1)],
            [Cut::NOTHING, Cut::NOTHING]
        );
    }

    #[test]
    fn a_share_is_taken_of_what_is_not_zero() {
        let values = [0.0, 1.0, -0.0, 3.0, 2.0, -1.0]; // four are not zero
        let cut = select(&values, 4, &[Taken::LargestShare(0.75)]).0.cut(0);
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
            let (selection, rounds) = select(&values, block, &questions);
            prop_assert_eq!(rounds, 1);
            check(&values, block, count, &selection);
        }
    }
}
