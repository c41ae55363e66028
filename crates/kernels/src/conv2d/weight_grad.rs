//! `dw[t, o] = sum_p x[p + offset_t] dy[o, p]`, and `db[o] = sum_p dy[o, p]`.
//!
//! The sum runs over batch and positions, so lanes run over outputs: a band of `dy` is transposed into
//! the first-level cache and a tile of `T` taps by `V` vectors of outputs stays in registers over the
//! band. Strips add up in a fixed number of partial sums that is chosen from sizes alone, and these are
//! added in order: the result does not depend on the number of threads.

#![expect(
    unsafe_code,
    reason = "register tiles read packed memory without bounds checks"
)]

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::geometry::{ConvShape, Grid, Layout, Strip};
use super::pack::{fill_planes, with_scratch};
use super::transpose::transpose;

/// Taps in a register tile with 32 registers, and with 16.
const WIDE: usize = 8;
const NARROW: usize = 6;
/// Floats of a transposed band of `dy`, a quarter of a first-level cache.
const BAND: usize = 3072;
/// Positions that a strip aims at.
const STRIP: usize = 1536;
/// Partial sums, at most; and their floats together.
const PARTS: usize = 32;
const PART_FLOATS: usize = 1 << 23;

/// Gradients of weight `[out, in, kh, kw]` and bias `[out]`.
pub(super) fn weight_grad(shape: &ConvShape, x: &[f32], dy: &[f32]) -> (Vec<f32>, Vec<f32>) {
    if shape.channels_out == 0 {
        return (Vec::new(), Vec::new());
    }
    let grid = shape.forward_grid();
    let arch = Arch::new();
    let tile = arch.dispatch(QuerySizes);
    let outputs = shape.channels_out.next_multiple_of(tile.lanes);
    let taps = shape.taps();
    let size = (taps.next_multiple_of(tile.taps) + 1) * outputs;
    let positions = shape.batch * grid.rows.count * grid.cols.count;
    let strips = grid.strips(shape.batch, (positions / PARTS).clamp(256, STRIP));
    let parts = PARTS.min(PART_FLOATS / size).max(2);
    let per_part = strips.len().div_ceil(parts).max(1);
    let sums = strips.par_chunks(per_part).map(|strips| {
        let mut sum = vec![0.0; size];
        for strip in strips {
            let (grid, layout) = grid.strip(strip, 0);
            let mut offsets = grid.offsets(&layout);
            let last = offsets.last().copied().unwrap_or(0);
            offsets.resize(taps.next_multiple_of(tile.taps), last);
            let band = (BAND / (grid.cols.count * outputs)).clamp(1, grid.rows.count);
            let planes = grid.planes() * layout.plane;
            with_scratch(planes + band * grid.cols.count * outputs, |scratch| {
                let (planes, dy_t) = scratch.split_at_mut(planes);
                let sum = &mut sum[..];
                let task = StripTask {
                    shape,
                    strip,
                    x,
                    dy,
                    outputs,
                    band,
                    grid,
                    layout,
                    offsets,
                    planes,
                    dy_t,
                    sum,
                };
                arch.dispatch(task);
            });
        }
        sum
    });
    let sums: Vec<_> = sums.collect();
    let mut sums = sums.into_iter();
    let mut total = sums.next().unwrap_or_else(|| vec![0.0; size]);
    for sum in sums {
        total.iter_mut().zip(sum).for_each(|(t, s)| *t += s);
    }
    let mut dw = Vec::with_capacity(shape.channels_out * taps);
    for o in 0..shape.channels_out {
        dw.extend((0..taps).map(|t| total[t * outputs + o]));
    }
    let last = size - outputs;
    (dw, total[last..last + shape.channels_out].to_vec())
}

/// Lanes of a vector and taps of a tile on this machine.
struct TileSizes {
    lanes: usize,
    taps: usize,
}

struct QuerySizes;

impl WithSimd for QuerySizes {
    type Output = TileSizes;

    fn with_simd<S: Simd>(self, _: S) -> TileSizes {
        let taps = if S::REGISTER_COUNT >= 32 {
            WIDE
        } else {
            NARROW
        };
        TileSizes {
            lanes: S::F32_LANES,
            taps,
        }
    }
}

struct StripTask<'a> {
    shape: &'a ConvShape,
    strip: &'a Strip,
    grid: Grid,
    layout: Layout,
    /// Padded to full tiles.
    offsets: Vec<usize>,
    x: &'a [f32],
    dy: &'a [f32],
    /// Rows of `dy` that are transposed at a time.
    band: usize,
    /// Outputs with padding: the row length of `sum` and `dy_t`.
    outputs: usize,
    planes: &'a mut [f32],
    dy_t: &'a mut [f32],
    /// `[taps with padding + 1, outputs]`; the last row is the bias gradient.
    sum: &'a mut [f32],
}

impl WithSimd for StripTask<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            grid,
            layout,
            planes,
            dy_t,
            ..
        } = self;
        let images = &self.strip.images;
        fill_planes(
            simd,
            &grid,
            &layout,
            images,
            self.x,
            self.shape.input,
            planes,
        );
        for (i, image) in images.clone().enumerate() {
            for first in (0..grid.rows.count).step_by(self.band) {
                let rows = first..grid.rows.count.min(first + self.band);
                let at = i * layout.image() + first * layout.pitch;
                let dy_t = &mut dy_t[..rows.len() * grid.cols.count * self.outputs];
                load_band(
                    self.shape,
                    self.dy,
                    image,
                    self.strip.rows.start + first,
                    dy_t,
                    self.outputs,
                );
                let (rows, cols) = (rows.len(), grid.cols.count);
                let band = Band {
                    x: &planes[at..],
                    dy_t,
                    rows,
                    cols,
                    pitch: layout.pitch,
                };
                if S::REGISTER_COUNT >= 32 {
                    add_band::<S, WIDE>(simd, &self.offsets, &band, self.outputs, self.sum);
                } else {
                    add_band::<S, NARROW>(simd, &self.offsets, &band, self.outputs, self.sum);
                }
            }
        }
    }
}

/// Rows of one image: planes from the first row on, and `dy` as `[positions, outputs]`.
struct Band<'a> {
    x: &'a [f32],
    dy_t: &'a [f32],
    rows: usize,
    cols: usize,
    pitch: usize,
}

/// Transposes the rows of `dy[image]` from `row` on into `dy_t [positions, outputs]`.
#[inline(always)]
fn load_band(
    shape: &ConvShape,
    dy: &[f32],
    image: usize,
    row: usize,
    dy_t: &mut [f32],
    outputs: usize,
) {
    let [height, width] = shape.output;
    let start = image * shape.channels_out * height * width + row * width;
    let positions = dy_t.len() / outputs;
    transpose(
        &dy[start..],
        height * width,
        shape.channels_out,
        positions,
        dy_t,
        outputs,
    );
}

#[inline(always)]
fn add_band<S: Simd, const T: usize>(
    simd: S,
    offsets: &[usize],
    band: &Band,
    outputs: usize,
    sum: &mut [f32],
) {
    let (taps, rest) = sum.split_at_mut(offsets.len() * outputs);
    add_rows(band.dy_t, rest);
    for (offsets, sum) in offsets
        .chunks_exact(T)
        .zip(taps.chunks_exact_mut(T * outputs))
    {
        let mut o = 0;
        while o + 2 * S::F32_LANES <= outputs {
            // SAFETY: offsets lie in the planes, `o` and two vectors in the row of outputs.
            unsafe { add_tile::<S, 2, T>(simd, offsets, band, o, outputs, sum) }
            o += 2 * S::F32_LANES;
        }
        if o < outputs {
            // SAFETY: as above, for one vector.
            unsafe { add_tile::<S, 1, T>(simd, offsets, band, o, outputs, sum) }
        }
    }
}

/// Adds each row of `rows [.., n]` to `sum [n]`.
#[inline(always)]
fn add_rows(rows: &[f32], sum: &mut [f32]) {
    for row in rows.chunks_exact(sum.len()) {
        sum.iter_mut().zip(row).for_each(|(s, r)| *s += r);
    }
}

/// Adds a band's part to `T` taps by `V` vectors of outputs from `o` on.
///
/// # Safety
/// `band.x` is valid for the band at every offset, and `V` vectors from `o` on lie in `0..outputs`.
#[inline(always)]
unsafe fn add_tile<S: Simd, const V: usize, const T: usize>(
    simd: S,
    offsets: &[usize],
    band: &Band,
    o: usize,
    outputs: usize,
    sum: &mut [f32],
) {
    assert!(offsets.len() == T && sum.len() == T * outputs);
    let mut acc = [[simd.splat_f32s(0.0); V]; T];
    // SAFETY: the caller's promise; `dy_t` has `rows cols outputs` floats.
    unsafe {
        let mut x = [band.x.as_ptr(); T];
        for t in 0..T {
            x[t] = x[t].add(offsets[t]);
        }
        let mut dy = band.dy_t.as_ptr().add(o);
        for _ in 0..band.rows {
            for col in 0..band.cols {
                let mut row = [simd.splat_f32s(0.0); V];
                for v in 0..V {
                    row[v] = dy.cast::<S::f32s>().add(v).read_unaligned();
                }
                dy = dy.add(outputs);
                for t in 0..T {
                    let value = simd.splat_f32s(*x[t].add(col));
                    for v in 0..V {
                        acc[t][v] = simd.mul_add_e_f32s(value, row[v], acc[t][v]);
                    }
                }
            }
            for t in 0..T {
                x[t] = x[t].wrapping_add(band.pitch);
            }
        }
        for t in 0..T {
            let sum = sum.as_mut_ptr().add(t * outputs + o).cast::<S::f32s>();
            for v in 0..V {
                let old = sum.add(v).read_unaligned();
                sum.add(v).write_unaligned(simd.add_f32s(old, acc[t][v]));
            }
        }
    }
}
