//! What a survey writes down.

/// Counts and sums over the blocks of a tensor, and the few values of each that are worth keeping.
///
/// Counts are whole numbers, so the order in which threads add them does not matter; sums and values are kept per block
/// and taken in the order of blocks. Either way the result has the same bits for any number of threads.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    counts: Vec<u64>,
    sums: Vec<(usize, Vec<f64>)>,
    kept: Vec<(usize, Vec<u32>)>,
}

impl Tally {
    /// Counters, all zero at first; `len` is the same in every call of a survey.
    pub fn counts(&mut self, len: usize) -> &mut [u64] {
        if self.counts.is_empty() {
            self.counts.resize(len, 0);
        }
        debug_assert_eq!(self.counts.len(), len);
        &mut self.counts
    }

    /// Notes the sums of block `number`.
    pub fn add(&mut self, number: usize, sums: Vec<f64>) {
        self.sums.push((number, sums));
    }

    /// Keeps what block `number` is to be remembered by.
    pub fn keep(&mut self, number: usize, values: Vec<u32>) {
        self.kept.push((number, values));
    }

    /// Both tallies in one.
    #[must_use]
    pub fn merged(mut self, other: Self) -> Self {
        if self.counts.is_empty() {
            self.counts = other.counts;
        } else {
            for (count, more) in self.counts.iter_mut().zip(other.counts) {
                *count += more;
            }
        }
        self.sums.extend(other.sums);
        self.kept.extend(other.kept);
        self
    }

    /// The counters; empty when nothing was counted.
    pub fn into_counts(self) -> Vec<u64> {
        self.counts
    }

    /// The sums over all blocks, added in the order of blocks; `len` zeros when there was no block.
    pub fn totals(&self, len: usize) -> Vec<f64> {
        let mut totals = vec![0.0; len];
        for sums in self.by_block() {
            for (total, sum) in totals.iter_mut().zip(sums) {
                *total += sum;
            }
        }
        totals
    }

    /// The sums of every block, in the order of blocks.
    pub fn by_block(&self) -> Vec<&[f64]> {
        in_order(&self.sums)
    }

    /// What was kept of every block, in the order of blocks.
    pub fn kept(&self) -> Vec<&[u32]> {
        in_order(&self.kept)
    }
}

fn in_order<T>(blocks: &[(usize, Vec<T>)]) -> Vec<&[T]> {
    let mut blocks: Vec<&(usize, Vec<T>)> = blocks.iter().collect();
    blocks.sort_unstable_by_key(|(number, _)| *number);
    blocks.iter().map(|(_, values)| values.as_slice()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_threads_does_not_matter() {
        let tally = |blocks: &[(usize, f64)]| {
            let mut tally = Tally::default();
            for &(number, value) in blocks {
                tally.counts(2)[number % 2] += 1;
                tally.add(number, vec![value]);
                tally.keep(number, vec![number as u32]);
            }
            tally
        };
        let one = tally(&[(0, 1e16), (1, 1.0)]).merged(tally(&[(2, -1e16)]));
        let other = tally(&[(2, -1e16)]).merged(tally(&[(1, 1.0), (0, 1e16)]));
        assert_eq!(one.totals(1), other.totals(1));
        assert_eq!(one.kept(), other.kept());
        assert_eq!(one.kept().concat(), [0, 1, 2]);
        assert_eq!(one.clone().into_counts(), [2, 1]);
        assert_eq!(other.into_counts(), [2, 1]);
        assert_eq!(Tally::default().merged(one.clone()), one);
    }
}
