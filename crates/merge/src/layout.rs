//! Which weights there are, in which order: what every model of a merge has in common.

use refit_core::ParamPath;
use std::{collections::HashMap, ops::Range};

/// Names and shapes of the weights of a model, in one fixed order.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Layout {
    entries: Vec<Entry>,
}

/// One tensor of a [`Layout`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name inside the checkpoint.
    pub path: ParamPath,
    /// Extent of each axis, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// Number of values.
    pub len: usize,
}

impl Layout {
    /// Collects entries; the caller has made sure that names are unique.
    pub(crate) fn new(entries: impl IntoIterator<Item = (ParamPath, Vec<usize>)>) -> Self {
        let entries = entries.into_iter().map(|(path, shape)| {
            let len = shape.iter().product();
            Entry { path, shape, len }
        });
        Self {
            entries: entries.collect(),
        }
    }

    /// The tensors, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The names, in order.
    pub fn paths(&self) -> impl Iterator<Item = &ParamPath> {
        self.entries.iter().map(|entry| &entry.path)
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no tensor.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Number of values over all tensors: the `P` of the cost formulas.
    pub fn values(&self) -> usize {
        self.entries.iter().map(|entry| entry.len).sum()
    }

    /// Where each name stands.
    pub(crate) fn index(&self) -> HashMap<&str, usize> {
        self.paths()
            .enumerate()
            .map(|(i, path)| (path.as_str(), i))
            .collect()
    }

    /// Every [`Unit`] of the tensors in `tensors`, in order.
    pub(crate) fn units(&self, tensors: impl IntoIterator<Item = usize>) -> Vec<Unit> {
        let units = |tensor: usize| {
            let len = self.entries[tensor].len;
            (0..len).step_by(UNIT).map(move |start| Unit {
                tensor,
                start,
                end: (start + UNIT).min(len),
            })
        };
        tensors.into_iter().flat_map(units).collect()
    }
}

/// Values that one thread works on at a time. Fixed, so that partial sums are the same for any thread count.
pub(crate) const UNIT: usize = 32 * BLOCK;

/// Values that are worked on at a time: blocks of gradient, base, expert and sums fit the first-level cache.
pub(crate) const BLOCK: usize = 2048;

/// A stretch of one tensor, at most [`UNIT`] long; it starts at a multiple of [`UNIT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) tensor: usize,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Unit {
    /// The blocks of this unit, as ranges inside the tensor; each starts at a multiple of [`BLOCK`].
    pub(crate) fn blocks(self) -> impl Iterator<Item = Range<usize>> {
        (self.start..self.end)
            .step_by(BLOCK)
            .map(move |start| start..(start + BLOCK).min(self.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_blocks_cover_every_value_once() {
        let layout = Layout::new([
            ("a".into(), vec![2, UNIT + 5]),
            ("none".into(), vec![0, 3]),
            ("scalar".into(), vec![]),
        ]);
        let units = layout.units([0, 1, 2]);
        let mut next = [0, 0, 0];
        for unit in &units {
            for block in unit.blocks() {
                assert_eq!((block.start, block.start % BLOCK), (next[unit.tensor], 0));
                next[unit.tensor] = block.end;
            }
        }
        assert_eq!(next, [2 * UNIT + 10, 0, 1]);
        assert_eq!(units.len(), 4);
    }
}
