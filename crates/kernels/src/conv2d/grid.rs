//! The work of a pass: which positions, in which strips, and how a strip's planes lie in memory.

use std::ops::Range;

use super::geometry::Axis;

/// Both axes, and the channels of the source.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    pub(super) rows: Axis,
    pub(super) cols: Axis,
    pub(super) channels: usize,
}

/// A part of the batch that one task works on: whole images, or a band of rows of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Strip {
    pub(super) images: Range<usize>,
    pub(super) rows: Range<usize>,
}

impl Grid {
    /// Cuts the work into strips of about `positions` output positions. Depends on sizes alone, never
    /// on the number of threads.
    pub(super) fn strips(&self, batch: usize, positions: usize) -> Vec<Strip> {
        let (rows, row) = (self.rows.count, self.cols.count.max(1));
        let image = (rows * row).max(1);
        if image > positions {
            let bands = image.div_ceil(positions).min(rows);
            let band = rows.div_ceil(bands);
            let bands = |b| {
                (0..rows)
                    .step_by(band)
                    .map(move |r| (b, r..rows.min(r + band)))
            };
            let strips = (0..batch).flat_map(bands);
            return strips
                .map(|(b, rows)| Strip {
                    images: b..b + 1,
                    rows,
                })
                .collect();
        }
        let groups = batch.div_ceil((positions / image).max(1)).max(1);
        let group = batch.div_ceil(groups).max(1);
        let starts = (0..batch).step_by(group);
        starts
            .map(|b| Strip {
                images: b..batch.min(b + group),
                rows: 0..rows,
            })
            .collect()
    }

    /// The grid of one strip and how its planes lie in memory; tiles overshoot by up to `slack`.
    pub(super) fn strip(&self, strip: &Strip, slack: usize) -> (Grid, Layout) {
        let rows = self.rows.band(strip.rows.start, strip.rows.len());
        let grid = Grid {
            rows,
            ..self.clone()
        };
        let layout = Layout::new(&grid, strip.images.len(), slack);
        (grid, layout)
    }

    /// Planes of the source: channels times phases.
    pub(super) fn planes(&self) -> usize {
        self.channels * self.rows.planes() * self.cols.planes()
    }

    /// Flat offset of every tap, in the order channel, kernel row, kernel column.
    pub(super) fn offsets(&self, layout: &Layout) -> Vec<usize> {
        let mut offsets = Vec::with_capacity(self.taps());
        for channel in 0..self.channels {
            for row in &self.rows.taps {
                for col in &self.cols.taps {
                    let plane = (channel * self.rows.planes() + row.plane) * self.cols.planes();
                    let plane = (plane + col.plane) * layout.plane;
                    offsets.push(plane + row.offset * layout.row + col.offset);
                }
            }
        }
        offsets
    }

    /// Taps of all channels.
    pub(super) fn taps(&self) -> usize {
        self.channels * self.rows.taps.len() * self.cols.taps.len()
    }
}

/// The flat storage of a strip's planes: row by row, and within a row image by image. So the padding
/// between the rows of an image is stored once, and that above and below costs no positions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Elements between the same row of neighbouring images.
    pub(super) pitch: usize,
    /// Elements between rows.
    pub(super) row: usize,
    /// Rows stored.
    pub(super) rows: usize,
    /// Elements between planes.
    pub(super) plane: usize,
    /// Flat positions from the first output to one past the last.
    pub(super) flat: usize,
}

impl Layout {
    fn new(grid: &Grid, images: usize, slack: usize) -> Self {
        let (pitch, rows) = (grid.cols.pitch(), grid.rows.reach());
        let row = images * pitch;
        let before = grid.rows.count.saturating_sub(1) * row + row - pitch;
        let flat = before + grid.cols.count;
        let farthest = (rows - grid.rows.count) * row + grid.cols.reach();
        let stored = (rows * row).max(flat + slack + farthest);
        // An odd number of cache lines: planes must not fall on the same cache sets.
        let plane = (stored.div_ceil(16) | 1) * 16;
        Self {
            pitch,
            row,
            rows,
            plane,
            flat,
        }
    }
}
