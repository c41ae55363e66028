//! Finding a magnitude by counting bits: two passes whatever the values are, upper part first, and a third for ties.

use super::{Mark, Taken, Ties, magnitude};
use crate::stream::Tally;

/// Bits that the second pass counts.
const LOW_BITS: u32 = 15;

/// Bins of the first pass.
pub(crate) const HIGH_BINS: usize = (1 << 16) + 1;

/// Bins of the second pass.
const LOW_BINS: usize = 1 << LOW_BITS;

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

/// What counting knows of one question.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    /// Bin of the first pass, and rank inside it; `None` where nothing is taken.
    bin: Option<(u32, u64)>,
    /// How many ties are taken, where not all are.
    some: Option<u64>,
}

/// Passes that are needed for these questions, as far as is known.
pub(super) fn passes(marks: &[Mark]) -> usize {
    let counted: Vec<&Counted> = marks
        .iter()
        .filter_map(|mark| mark.counted.as_ref())
        .collect();
    match counted.iter().any(|counted| counted.some.is_some()) {
        true => 3,
        false if counted.is_empty() => 0,
        false => 2,
    }
}

/// Looks at block `number` in pass `pass`; see [`Selection::survey`](super::Selection::survey).
pub(super) fn survey(
    marks: &[Mark],
    streams: usize,
    pass: usize,
    number: usize,
    tally: &mut Tally,
    each: impl FnOnce(&mut dyn FnMut(usize, &[f32])),
) {
    match pass {
        0 => {
            let counts = tally.counts(streams * HIGH_BINS);
            each(&mut |stream, values| {
                let counts = &mut counts[stream * HIGH_BINS..][..HIGH_BINS];
                for &value in values {
                    counts[bins(value).0 as usize] += 1;
                }
            });
        }
        1 => {
            let counts = tally.counts(marks.len() * LOW_BINS);
            each(&mut |stream, values| {
                for (mark, counts) in marks.iter().zip(counts.chunks_mut(LOW_BINS)) {
                    let bin = mark.counted.and_then(|counted| counted.bin);
                    if let (true, Some((bin, _))) = (mark.stream == stream, bin) {
                        count_within(values, bin, counts);
                    }
                }
            });
        }
        _ => {
            let mut ties = vec![0; marks.len()];
            each(&mut |stream, values| {
                for (mark, ties) in marks.iter().zip(&mut ties) {
                    if mark.stream == stream && mark.counted.is_some_and(|c| c.some.is_some()) {
                        let tied = |v: &&f32| magnitude(**v) == mark.cut.magnitude;
                        *ties += values.iter().filter(tied).count();
                    }
                }
            });
            tally.add(number, ties.into_iter().map(|n| n as f64).collect());
        }
    }
}

/// Takes what pass `pass` wrote down.
pub(super) fn learn(marks: &mut [Mark], pass: usize, tally: Tally) {
    match pass {
        0 => {
            let counts = tally.into_counts();
            for mark in marks.iter_mut().filter(|mark| mark.counted.is_some()) {
                let histogram = &counts[mark.stream * HIGH_BINS..][..HIGH_BINS];
                let bin = find_bin(mark.taken, histogram);
                mark.counted = Some(Counted { bin, some: None });
            }
        }
        1 => {
            let counts = tally.into_counts();
            for (mark, counts) in marks.iter_mut().zip(counts.chunks(LOW_BINS)) {
                mark.find_magnitude(counts);
            }
        }
        _ => {
            for (at, mark) in marks.iter_mut().enumerate() {
                if let Some(some) = mark.counted.and_then(|counted| counted.some) {
                    let blocks = tally.by_block();
                    let ties = blocks.iter().map(|ties| ties[at] as usize); // counts are exact in f64
                    mark.cut.ties = Ties::first(some as usize, ties);
                }
            }
        }
    }
}

fn find_bin(taken: Taken, histogram: &[u64]) -> Option<(u32, u64)> {
    let n: u64 = histogram.iter().sum();
    let count = taken.count(n as usize, (n - histogram[0]) as usize) as u64;
    (count > 0).then(|| {
        if taken.is_largest() {
            from_the_top(histogram, count)
        } else {
            from_the_bottom(histogram, count)
        }
    })
}

impl Mark {
    fn find_magnitude(&mut self, histogram: &[u64]) {
        let Some(Counted {
            bin: Some((bin, rank)),
            some,
        }) = &mut self.counted
        else {
            return;
        };
        let (low, taken) = if self.taken.is_largest() {
            from_the_top(histogram, *rank)
        } else {
            from_the_bottom(histogram, *rank)
        };
        self.cut.magnitude = of_bins(*bin, low);
        self.cut.ties = Ties::All;
        let split = taken < histogram[low as usize] && self.taken.ties_count();
        *some = split.then_some(taken);
    }
}

/// Counts the values of one bin of the first pass by their bin of the second.
fn count_within(values: &[f32], bin: u32, counts: &mut [u64]) {
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
}
