//! `y[o, p] = bias[o] + sum_t w[o, t] x[p + offset_t]` over flat positions: the forward pass and the
//! input gradient.
//!
//! Lanes run over positions, weights are broadcast: inputs and outputs keep their layout and nothing
//! is transposed. A tile of `V` vectors by `O` outputs stays in registers over all taps.

#![expect(
    unsafe_code,
    reason = "register tiles read packed memory without bounds checks"
)]

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::geometry::{Grid, Layout, Strip};
use super::pack::{Target, fill_planes, with_scratch, write_channel};

/// Vectors of positions in a register tile.
const VECTORS: usize = 3;
/// Outputs in a register tile with 32 registers, and with 16 or for a remainder.
const WIDE: usize = 8;
const NARROW: usize = 4;
/// Flat positions that a task aims at: planes and results stay in a 2 MiB second-level cache.
const STRIP: usize = 1536;
/// Positions of the longest register tile; those of shorter vectors divide it.
const TILE: usize = VECTORS * 16;

/// Weights as the tiles read them: for each block of outputs, tap by tap.
pub(super) struct Panels {
    data: Vec<f32>,
    /// First output and width of each block.
    blocks: Vec<(usize, usize)>,
    outputs: usize,
    taps: usize,
}

impl Panels {
    /// Packs `weight(output, tap)`; blocks are padded with zeros.
    pub(super) fn new(outputs: usize, taps: usize, weight: impl Fn(usize, usize) -> f32) -> Self {
        let mut blocks = Vec::new();
        let mut first = 0;
        while first < outputs {
            let width = if wide() && outputs - first > NARROW {
                WIDE
            } else {
                NARROW
            };
            blocks.push((first, width));
            first += width;
        }
        let mut data = Vec::with_capacity(taps * first);
        for &(first, width) in &blocks {
            for tap in 0..taps {
                let entry = |o| if o < outputs { weight(o, tap) } else { 0.0 };
                data.extend((first..first + width).map(entry));
            }
        }
        Self {
            data,
            blocks,
            outputs,
            taps,
        }
    }
}

/// Whether the machine has the registers for wide tiles.
fn wide() -> bool {
    struct Registers;
    impl WithSimd for Registers {
        type Output = usize;
        fn with_simd<S: Simd>(self, _: S) -> usize {
            S::REGISTER_COUNT
        }
    }
    Arch::new().dispatch(Registers) >= 32
}

/// Evaluates a grid for the whole batch.
///
/// # Safety
/// `target.data` is valid for all of `target`, which has `panels.outputs` channels.
pub(super) unsafe fn correlate(
    grid: &Grid,
    panels: &Panels,
    batch: usize,
    source: (&[f32], [usize; 2]),
    bias: Option<&[f32]>,
    target: Target,
) {
    let positions = batch * grid.rows.count * grid.cols.count;
    let strips = grid.strips(batch, (positions / 8).clamp(TILE, STRIP));
    let arch = Arch::new();
    strips.into_par_iter().for_each(|strip| {
        let (grid, layout) = grid.strip(&strip, TILE);
        let offsets = grid.offsets(&layout);
        let flat = layout.flat.next_multiple_of(TILE);
        let planes = grid.planes() * layout.plane;
        with_scratch(planes + WIDE * flat, |scratch| {
            let (planes, y) = scratch.split_at_mut(planes);
            let task = StripTask {
                grid,
                panels,
                source,
                bias,
                target,
                strip,
                layout,
                offsets,
                planes,
                y,
                flat,
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
    source: (&'a [f32], [usize; 2]),
    bias: Option<&'a [f32]>,
    target: Target,
    planes: &'a mut [f32],
    /// Results of a block of outputs, `flat` positions each.
    y: &'a mut [f32],
    flat: usize,
}

impl WithSimd for StripTask<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (source, size) = self.source;
        let images = &self.strip.images;
        fill_planes(
            simd,
            &self.grid,
            &self.layout,
            images,
            source,
            size,
            self.planes,
        );
        let mut at = 0;
        for &(first, width) in &self.panels.blocks {
            let panel = &self.panels.data[at..at + width * self.panels.taps];
            at += panel.len();
            let mut bias = [0.0; WIDE];
            let outputs = width.min(self.panels.outputs - first);
            if let Some(all) = self.bias {
                bias[..outputs].copy_from_slice(&all[first..first + outputs]);
            }
            let block = Block {
                offsets: &self.offsets,
                planes: self.planes,
                panel,
                bias,
            };
            match width {
                WIDE => block.run::<S, WIDE>(simd, self.y, self.flat),
                _ => block.run::<S, NARROW>(simd, self.y, self.flat),
            }
            for o in 0..outputs {
                let flat = &self.y[o * self.flat..(o + 1) * self.flat];
                let channel = first + o;
                // SAFETY: the caller of `correlate` vouches for the target; strips are disjoint.
                unsafe {
                    write_channel(
                        simd,
                        &self.grid,
                        &self.layout,
                        &self.strip,
                        channel,
                        flat,
                        self.target,
                    );
                }
            }
        }
    }
}

struct Block<'a> {
    offsets: &'a [usize],
    planes: &'a [f32],
    panel: &'a [f32],
    bias: [f32; WIDE],
}

impl Block<'_> {
    /// All tiles of `O` outputs; row `o` of `y` has `flat` positions.
    #[inline(always)]
    fn run<S: Simd, const O: usize>(&self, simd: S, y: &mut [f32], flat: usize) {
        let tile = VECTORS * S::F32_LANES;
        let farthest = self.offsets.iter().max().map_or(0, |offset| offset + flat);
        assert!(y.len() >= O * flat && flat.is_multiple_of(tile));
        assert!(self.planes.len() >= farthest && self.panel.len() == O * self.offsets.len());
        for at in (0..flat).step_by(tile) {
            // SAFETY: the assertions above bound every access.
            unsafe { self.tile::<S, O>(simd, at, y.as_mut_ptr().add(at), flat) }
        }
    }

    /// # Safety
    /// `planes` is valid at `at + offset` and `y` at `o flat` for a tile of positions each.
    #[inline(always)]
    unsafe fn tile<S: Simd, const O: usize>(&self, simd: S, at: usize, y: *mut f32, flat: usize) {
        let mut acc = [[simd.splat_f32s(0.0); VECTORS]; O];
        for o in 0..O {
            acc[o] = [simd.splat_f32s(self.bias[o]); VECTORS];
        }
        // SAFETY: the caller's promise; the panel has `O` entries for each offset.
        unsafe {
            let x = self.planes.as_ptr().add(at);
            let mut w = self.panel.as_ptr();
            for &offset in self.offsets {
                let x = x.add(offset).cast::<S::f32s>();
                let mut row = [simd.splat_f32s(0.0); VECTORS];
                for v in 0..VECTORS {
                    row[v] = x.add(v).read_unaligned();
                }
                for o in 0..O {
                    let weight = simd.splat_f32s(*w.add(o));
                    for v in 0..VECTORS {
                        acc[o][v] = simd.mul_add_e_f32s(weight, row[v], acc[o][v]);
                    }
                }
                w = w.add(O);
            }
            for o in 0..O {
                let y = y.add(o * flat).cast::<S::f32s>();
                for v in 0..VECTORS {
                    y.add(v).write_unaligned(acc[o][v]);
                }
            }
        }
    }
}
