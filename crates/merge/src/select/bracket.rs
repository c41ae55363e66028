//! Finding a magnitude in one survey: a sample says between which magnitudes it must lie.
//!
//! Of a sample of `m` values the ranks around the wanted share `p` bracket it, `8 sqrt(m p (1 - p))` to either side: eight
//! deviations of a sample of independent values, which neighbours in a tensor are not quite. Inside lie at most about
//! `8 n / sqrt m` of the `n` values; with `m = n / 256` that is `128 sqrt n`, which the survey collects. Magnitudes at the edges and in
//! the middle of the bracket are counted, since differences of rounded weights take few values, and each of them often.

use super::{Cut, Mark, Taken, Ties, count::Counted, magnitude};
use crate::{
    simd::{each_hit, kernel},
    stream::Tally,
};

/// Magnitudes between which a cut is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bracket {
    /// Lower edge, the likeliest magnitude, and upper edge.
    edges: [u32; 3],
    /// Largest share of a block that is collected.
    room: f64,
}

impl Default for Bracket {
    /// Everything.
    fn default() -> Self {
        Self {
            edges: [0, 0, u32::MAX >> 1],
            room: 1.0,
        }
    }
}

/// Copies the magnitudes of a stretch of the sample.
pub(super) fn sample(
    streams: usize,
    number: usize,
    tally: &mut Tally,
    each: impl FnOnce(&mut dyn FnMut(usize, &[f32])),
) {
    let mut drawn = vec![vec![]; streams];
    each(&mut |stream, values| drawn[stream].extend(values.iter().map(|v| magnitude(*v))));
    tally.keep(number, drawn.concat());
}

/// Puts a bracket around every answer.
pub(super) fn learn_sample(marks: &mut [Mark], streams: usize, len: usize, tally: &Tally) {
    for stream in 0..streams {
        if marks.iter().all(|mark| mark.stream != stream) {
            continue;
        }
        let mut drawn = vec![];
        for magnitudes in tally.kept() {
            let width = magnitudes.len() / streams;
            drawn.extend_from_slice(&magnitudes[stream * width..][..width]);
        }
        drawn.sort_unstable();
        for mark in marks.iter_mut().filter(|mark| mark.stream == stream) {
            mark.bracket = around(mark.taken, &drawn, len);
        }
    }
}

/// The bracket that a sorted sample gives.
fn around(taken: Taken, drawn: &[u32], len: usize) -> Bracket {
    let Some(last) = drawn.len().checked_sub(1) else {
        return Bracket::default();
    };
    let (m, n) = (drawn.len() as f64, len as f64);
    let zeros = drawn.partition_point(|&magnitude| magnitude == 0) as f64;
    let count = taken.count(len, (n * (m - zeros) / m) as usize) as f64;
    let rank = if taken.is_largest() {
        n - count
    } else {
        count - 1.0
    };
    let share = rank / n;
    let width = (8.0 * (m * share * (1.0 - share)).max(1.0).sqrt()) as usize;
    let at = (share * m) as usize;
    let everything = Bracket::default().edges;
    Bracket {
        edges: [
            at.checked_sub(width)
                .map_or(everything[0], |at| drawn[at.min(last)]),
            drawn[at.min(last)],
            drawn.get(at + width).map_or(everything[2], |&edge| edge),
        ],
        room: (16.0 * width as f64 / m).min(1.0), // eight times what is expected
    }
}

/// What is written down of a block for each question, as sums: values, those that are not zero, those above the
/// bracket, those at each edge, and those inside, which are kept; or [`OVERFULL`].
const COUNTS: usize = 7;

/// In place of the number of values inside, where there are too many to keep.
const OVERFULL: f64 = -1.0;

/// Counts and collects the values of block `number`.
pub(super) fn survey(
    marks: &[Mark],
    number: usize,
    tally: &mut Tally,
    each: impl FnOnce(&mut dyn FnMut(usize, &[f32])),
) {
    let mut found = vec![Found::default(); marks.len()];
    each(&mut |stream, values| {
        for (mark, found) in marks.iter().zip(&mut found) {
            if mark.stream == stream {
                found.look(values, mark.bracket.edges);
            }
        }
    });
    let (mut counts, mut inside) = (vec![], vec![]);
    for (mark, found) in marks.iter().zip(found) {
        counts.extend(found.counts.map(|count| count as f64));
        if found.inside.len() as f64 > mark.bracket.room * found.counts[0] as f64 {
            counts.push(OVERFULL);
        } else {
            counts.push(found.inside.len() as f64);
            inside.extend(found.inside);
        }
    }
    tally.add(number, counts);
    tally.keep(number, inside);
}

/// What one question found in a block.
#[derive(Clone, Debug, Default)]
struct Found {
    counts: [usize; COUNTS - 1],
    inside: Vec<u32>,
}

impl Found {
    fn look(&mut self, values: &[f32], edges: [u32; 3]) {
        let mut hits = [0; PIECE];
        for values in values.chunks(PIECE) {
            let [nonzero, above, low, middle, high, inside] = count(values, edges);
            let more = [values.len() as u32, nonzero, above, low, middle, high];
            for (count, more) in self.counts.iter_mut().zip(more) {
                *count += more as usize;
            }
            if inside > 0 {
                mark_inside(&mut hits, values, edges);
                each_hit(&hits, |at| self.inside.push(magnitude(values[at])));
            }
        }
    }
}

/// Values that are counted before they are picked: where there is nothing to pick, counting is all.
const PIECE: usize = 256;

/// Whether a magnitude is collected.
#[inline(always)]
#[expect(
    clippy::needless_bitwise_bool,
    reason = "a jump per value would cost more than the rest"
)]
fn is_inside(key: u32, [low, middle, high]: [u32; 3]) -> bool {
    (key > low) & (key < high) & (key != middle)
}

kernel! {
    /// Numbers of values that are not zero, above the bracket, at each edge and inside. Equal edges count once.
    fn count(values: &'a [f32], edges: [u32; 3]) -> [u32; 6] {
        let [low, middle, high] = edges;
        let mut counts = [0; 6];
        for value in values {
            let key = value.to_bits() & 0x7fff_ffff;
            counts[0] += u32::from(key != 0);
            counts[1] += u32::from(key > high);
            counts[2] += u32::from(key == low);
            counts[3] += u32::from(key == middle);
            counts[4] += u32::from(key == high);
            counts[5] += u32::from(is_inside(key, edges));
        }
        if middle == low {
            counts[3] = 0;
        }
        if high == middle || high == low {
            counts[4] = 0;
        }
        counts
    }
}

kernel! {
    /// 1 for the values inside the bracket, 0 for the others and beyond the end.
    fn mark_inside(hits: &'a mut [u8; PIECE], values: &'a [f32], edges: [u32; 3]) {
        for (hit, value) in hits.iter_mut().zip(values) {
            *hit = u8::from(is_inside(value.to_bits() & 0x7fff_ffff, edges));
        }
        hits[values.len().min(PIECE)..].fill(0);
    }
}

/// Answers the questions whose bracket holds the answer; the others are counted.
pub(super) fn learn(marks: &mut [Mark], tally: &Tally) {
    let (counts, kept) = (tally.by_block(), tally.kept());
    let mut starts = vec![0; kept.len()];
    for (at, mark) in marks.iter_mut().enumerate() {
        let of_mark = |counts: &&[f64]| -> [f64; COUNTS] {
            std::array::from_fn(|count| counts[at * COUNTS + count])
        };
        let blocks: Vec<Answer<'_>> = counts
            .iter()
            .map(of_mark)
            .zip(kept.iter().zip(&mut starts))
            .map(|(counts, (kept, start))| {
                let inside = &kept[*start..][..counts[COUNTS - 1].max(0.0) as usize];
                *start += inside.len();
                Answer { counts, inside }
            })
            .collect();
        match mark.cut_of(&blocks) {
            Some(cut) => mark.cut = cut,
            None => mark.counted = Some(Counted::default()),
        }
    }
}

/// What a survey wrote down for one question in one block.
struct Answer<'t> {
    counts: [f64; COUNTS],
    inside: &'t [u32],
}

impl Mark {
    /// Where taken values end; `None` when that is not inside the bracket.
    fn cut_of(&self, blocks: &[Answer<'_>]) -> Option<Cut> {
        if blocks.iter().any(|block| block.counts[COUNTS - 1] < 0.0) {
            return None;
        }
        let total = |at: usize| blocks.iter().map(|block| block.counts[at] as usize).sum();
        let totals: [usize; COUNTS] = std::array::from_fn(total);
        let [n, nonzero, above, .., inside] = totals;
        let at_edges = &totals[3..6];
        let count = self.taken.count(n, nonzero);
        if count == 0 {
            return Some(Cut::NOTHING);
        }
        let below = n - above - inside - at_edges.iter().sum::<usize>();
        let rank = if self.taken.is_largest() {
            n - count
        } else {
            count - 1
        };
        let within = rank.checked_sub(below)?;
        if rank >= n - above {
            return None;
        }
        let mut collected = blocks
            .iter()
            .map(|block| block.inside)
            .collect::<Vec<_>>()
            .concat();
        let magnitude = self.bracket.nth(at_edges, &mut collected, within);
        let less = |key: &&u32| **key < magnitude;
        let edges = self.bracket.edges.iter().zip(at_edges);
        let lower = below
            + edges
                .filter(|(edge, _)| less(edge))
                .map(|(_, count)| count)
                .sum::<usize>()
            + collected.iter().filter(less).count();
        let ties = || blocks.iter().map(|block| block.at(magnitude, self.bracket));
        let (tied, beneath) = (ties().sum::<usize>(), rank - lower);
        let taken = if self.taken.is_largest() {
            tied - beneath
        } else {
            beneath + 1
        };
        let all = taken == tied || !self.taken.ties_count();
        let ties = if all {
            Ties::All
        } else {
            Ties::first(taken, ties())
        };
        Some(Cut { magnitude, ties })
    }
}

impl Bracket {
    /// The value of this rank in the bracket, from its values at each edge and inside.
    fn nth(self, at_edges: &[usize], inside: &mut [u32], mut rank: usize) -> u32 {
        let [low, middle, high] = self.edges;
        let (at_low, at_middle) = (at_edges[0], at_edges[1]);
        if rank < at_low {
            return low;
        }
        rank -= at_low;
        let less = inside.iter().filter(|key| **key < middle).count();
        if (less..less + at_middle).contains(&rank) {
            return middle;
        }
        if rank >= less {
            rank -= at_middle;
        }
        if rank >= inside.len() {
            return high;
        }
        *inside.select_nth_unstable(rank).1
    }
}

impl Answer<'_> {
    /// How many values have this magnitude, which lies in the bracket.
    fn at(&self, magnitude: u32, bracket: Bracket) -> usize {
        let at_edges = self.counts[3..6].iter().zip(bracket.edges);
        let at_edge = at_edges.filter(|(_, edge)| *edge == magnitude);
        let at_edge: f64 = at_edge.map(|(count, _)| count).sum();
        at_edge as usize + self.inside.iter().filter(|key| **key == magnitude).count()
    }
}
