//! Thinning out a task vector: the first step of the methods of recipes that are generalised task arithmetic.

use super::draws::{Draws, bound};
use crate::{
    select::{Cut, Selection, magnitude},
    simd::kernel,
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

/// Sorts rows by magnitude.
#[derive(Clone, Debug, Default)]
struct Ranks {
    order: Vec<u64>,
    spare: Vec<u64>,
    draws: Vec<u32>,
}

impl Ranks {
    /// Keeps each value with a probability that is linear in its rank; a row of one value has no rank, and the middle.
    fn keep(
        &mut self,
        row: &mut [f32],
        draws: Draws,
        position: usize,
        [from, to]: [f64; 2],
        inverse: bool,
    ) {
        self.sort(row);
        self.draws.resize(row.len(), 0);
        draws.fill(position, &mut self.draws);
        let step = (to - from) / row.len().saturating_sub(1).max(1) as f64;
        let from = if row.len() == 1 {
            f64::midpoint(from, to)
        } else {
            from
        };
        for (rank, &item) in self.order.iter().enumerate() {
            let at = (item & u64::from(u32::MAX)) as usize;
            let probability = from + step * rank as f64;
            let kept = f64::from(self.draws[at]) < probability * 2f64.powi(32);
            let value = if kept { row[at] } else { 0.0 }; // chosen, not jumped over: chance has no pattern
            row[at] = if inverse {
                (f64::from(value) / probability) as f32
            } else {
                value
            };
        }
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
