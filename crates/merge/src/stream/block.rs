//! Stretches of a tensor, and how a tensor is cut into them.

use crate::layout::UNIT;
use refit_core::Progress;
use std::ops::Range;

/// The same stretch of one tensor in every model.
#[derive(Clone, Copy)]
pub struct Block<'a> {
    /// Which block of the tensor, counted from 0.
    pub number: usize,
    /// Position of the first value in the tensor, row-major.
    pub start: usize,
    /// Extents of the whole tensor.
    pub shape: &'a [usize],
    /// The base, where the merge has one.
    pub base: Option<&'a [f32]>,
    /// Every model in the order of the recipe; a base that is also listed as a model is here too.
    pub models: &'a [&'a [f32]],
    /// Asked by rules that take long for one block whether they should stop.
    pub progress: &'a dyn Progress,
}

impl Block<'_> {
    /// Number of values.
    pub fn len(&self) -> usize {
        let first = self.models.first().copied().or(self.base);
        first.map_or(0, <[f32]>::len)
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Positions in the tensor.
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.len()
    }
}

/// What a rule must see at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Span {
    /// Any stretch: entries do not know of each other.
    #[default]
    Any,
    /// Whole rows, where the last axis is a row; a tensor with fewer than two axes is one row.
    Rows,
    /// The whole tensor.
    Whole,
}

impl Span {
    /// How a tensor of `shape` is cut: every block but the last has as many values. Fixed by the shape alone, so that
    /// partial sums are the same for any number of threads.
    ///
    /// ```
    /// use refit_merge::stream::Span;
    /// assert_eq!(Span::Rows.block_len(&[1000, 300]) % 300, 0);
    /// assert_eq!(Span::Whole.block_len(&[1000, 300]), 300_000);
    /// ```
    pub fn block_len(self, shape: &[usize]) -> usize {
        let len: usize = shape.iter().product();
        match self {
            Self::Any => UNIT,
            Self::Whole => len.max(1),
            Self::Rows if shape.len() < 2 => len.max(1),
            Self::Rows => {
                let row = shape.last().copied().unwrap_or(1).max(1);
                row * (UNIT / row).max(1)
            }
        }
    }

    /// The blocks of a tensor of `shape`, in order.
    pub fn blocks(self, shape: &[usize]) -> impl Iterator<Item = Range<usize>> + use<> {
        let (len, block) = (shape.iter().product(), self.block_len(shape));
        (0..len)
            .step_by(block)
            .map(move |start| start..(start + block).min(len))
    }
}

/// How much of a tensor a survey looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Look {
    /// Every block.
    #[default]
    Everything,
    /// Short stretches spread over the tensor, about one value in 256; they are no blocks and do not keep rows whole.
    Sample,
}

impl Look {
    /// What a survey sees of a tensor of `shape`, in order.
    ///
    /// ```
    /// use refit_merge::stream::{Look, Span};
    /// let seen = |look: Look| look.ranges(Span::Any, &[1 << 20]).iter().map(|range| range.len()).sum::<usize>();
    /// assert_eq!((seen(Look::Everything), seen(Look::Sample)), (1 << 20, 1 << 12));
    /// ```
    pub fn ranges(self, span: Span, shape: &[usize]) -> Vec<Range<usize>> {
        const WINDOW: usize = 1 << 14;
        const STRETCH: usize = 64;
        if self == Self::Everything {
            return span.blocks(shape).collect();
        }
        let len: usize = shape.iter().product();
        let stretch = |window: usize| {
            let room = (len - window).min(WINDOW).saturating_sub(STRETCH);
            // steps of the golden ratio: the same columns of a matrix are not met again and again
            let step = (window / WINDOW) as u32;
            let chance = f64::from(step.wrapping_mul(0x9e37_79b9)) / 2f64.powi(32);
            let start = window + (chance * room as f64) as usize;
            start..(start + STRETCH).min(len)
        };
        (0..len).step_by(WINDOW).map(stretch).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_spread_over_the_tensor_and_lie_in_it() {
        for len in [0, 1, 63, 64, 100_000, 3 << 20] {
            let ranges = Look::Sample.ranges(Span::Rows, &[len]);
            assert_eq!(ranges.len(), len.div_ceil(1 << 14));
            for (window, range) in ranges.iter().enumerate() {
                assert!(range.start >= window << 14 && range.end <= len.min((window + 1) << 14));
                assert_eq!(range.len(), 64.min(len - (window << 14)));
            }
            let columns: std::collections::HashSet<_> =
                ranges.iter().map(|range| range.start % 1024 / 64).collect();
            assert!(ranges.len() < 128 || columns.len() == 16, "{columns:?}");
        }
    }

    #[test]
    fn blocks_cover_every_value_once_and_keep_rows_whole() {
        for span in [Span::Any, Span::Rows, Span::Whole] {
            for shape in [
                &[][..],
                &[0],
                &[5],
                &[3, 0],
                &[3, UNIT + 1],
                &[UNIT, 3],
                &[2, 300, 777],
            ] {
                let mut next = 0;
                for block in span.blocks(shape) {
                    assert_eq!(block.start, next, "{span:?} {shape:?}");
                    next = block.end;
                    if span == Span::Rows && shape.len() > 1 {
                        assert_eq!(block.len() % shape.last().unwrap(), 0);
                    }
                }
                assert_eq!(next, shape.iter().product::<usize>());
            }
        }
    }
}
