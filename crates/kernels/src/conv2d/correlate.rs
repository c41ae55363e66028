//! Any kernel, stride and padding: the forward pass and the input gradient as sums over taps.
//!
//! Inputs and outputs keep their layout and nothing is transposed: see [`super::geometry`].

#![expect(unsafe_code, reason = "tasks write disjoint parts of one tensor")]

use pulp::{Arch, Simd, WithSimd};

use super::grid::{Grid, Layout, Strip};
use super::pack::{Source, Target, fill_planes, write_channel};
use super::tile::{LANES, Panels, WIDE};
use crate::memory::with_scratch;
use crate::parallel::for_each;

/// Flat positions that a task aims at: planes and results stay in a 2 MiB second-level cache.
const STRIP: usize = 1536;
/// Positions of the smallest strip.
const LEAST: usize = 48;

/// Evaluates a grid for the whole batch.
///
/// # Safety
/// `target.data` is valid for all of `target`, which has the outputs of `panels` as channels.
pub(super) unsafe fn correlate(
    grid: &Grid,
    panels: &Panels,
    batch: usize,
    source: Source,
    bias: Option<&[f32]>,
    target: Target,
) {
    let positions = batch * grid.rows.count * grid.cols.count;
    let strips = grid.strips(batch, (positions / 8).clamp(LEAST, STRIP));
    let arch = Arch::new();
    for_each(strips, |strip| {
        let (grid, layout) = grid.strip(&strip, LANES);
        let offsets = grid.offsets(&layout);
        let flat = layout.flat.next_multiple_of(LANES);
        let planes = grid.planes() * layout.plane;
        with_scratch(planes + WIDE * flat, |scratch| {
            let (planes, y) = scratch.split_at_mut(planes);
            let buffers = Buffers { planes, y, flat };
            let task = StripTask {
                grid,
                layout,
                offsets,
                strip,
                panels,
                source,
                bias,
                target,
                buffers,
            };
            arch.dispatch(task);
        });
    });
}

/// One strip; the body runs under `dispatch`, so nothing in it may hide behind a closure that is not
/// inlined: it would be compiled without vector instructions.
struct StripTask<'a> {
    grid: Grid,
    layout: Layout,
    offsets: Vec<usize>,
    strip: Strip,
    panels: &'a Panels,
    source: Source<'a>,
    bias: Option<&'a [f32]>,
    target: Target,
    buffers: Buffers<'a>,
}

struct Buffers<'a> {
    planes: &'a mut [f32],
    /// Results of a block of outputs, `flat` positions each.
    y: &'a mut [f32],
    flat: usize,
}

impl WithSimd for StripTask<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Buffers { planes, y, flat } = self.buffers;
        let (grid, layout, strip) = (&self.grid, &self.layout, &self.strip);
        fill_planes(simd, grid, layout, &strip.images, self.source, planes);
        for panel in self.panels.blocks() {
            panel.run(simd, planes, &self.offsets, self.bias, y, (flat, flat));
            for o in 0..panel.outputs {
                let row = &y[o * flat..(o + 1) * flat];
                // SAFETY: the caller of `correlate` vouches for the target; strips are disjoint.
                unsafe {
                    write_channel(simd, grid, layout, strip, panel.first + o, row, self.target);
                }
            }
        }
    }
}
