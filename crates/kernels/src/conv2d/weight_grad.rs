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

use super::geometry::ConvShape;
use super::grid::{Grid, Layout, Strip};
use super::pack::{Source, fill_planes};
use crate::memory::with_scratch;
use crate::parallel::{add_up, for_each};
use crate::transpose::transpose;

/// Taps in a register tile with 32 registers, and with 16.
const WIDE: usize = 8;
const NARROW: usize = 6;
/// Floats of a transposed band of `dy`, a quarter of a first-level cache.
const BAND: usize = 3072;
/// Positions of a strip, at least and at most.
const STRIP: [usize; 2] = [256, 1536];
/// Partial sums, at most; and their floats together.
const PARTS: usize = 32;
const PART_FLOATS: usize = 1 << 23;

/// Gradients of weight `[out, in, kh, kw]` and bias `[out]`.
pub(super) fn weight_grad(shape: &ConvShape, x: &[f32], dy: &[f32]) -> (Vec<f32>, Vec<f32>) {
    if shape.channels_out == 0 {
        return (Vec::new(), Vec::new());
    }
    let pass = Pass {
        shape,
        grid: shape.forward_grid(),
        padded: Arch::new().dispatch(Fit(shape)),
        x,
        dy,
    };
    let positions = shape.batch * shape.output[0] * shape.output[1];
    let strips = pass
        .grid
        .strips(shape.batch, (positions / PARTS).clamp(STRIP[0], STRIP[1]));
    let size = pass.padded.floats();
    let parts = PARTS.min(PART_FLOATS / size).max(2);
    let share = strips.len().div_ceil(parts).max(1);
    let mut sums = vec![0.0; strips.len().div_ceil(share).max(1) * size];
    let parts = sums.chunks_mut(size).zip(strips.chunks(share));
    for_each(parts, |(sum, strips)| {
        for strip in strips {
            pass.add_strip(strip, sum);
        }
    });
    pass.unpack(&add_up(sums, size))
}

/// The sides of a sum, rounded up to whole tiles: `[taps + 1, outputs]`, the last row for the bias.
#[derive(Clone, Copy)]
struct Padded {
    taps: usize,
    outputs: usize,
}

impl Padded {
    fn floats(self) -> usize {
        (self.taps + 1) * self.outputs
    }
}

/// Finds the sides for the vectors and registers of this machine.
struct Fit<'a>(&'a ConvShape);

impl WithSimd for Fit<'_> {
    type Output = Padded;

    fn with_simd<S: Simd>(self, _: S) -> Padded {
        let width = if S::REGISTER_COUNT >= 32 {
            WIDE
        } else {
            NARROW
        };
        Padded {
            taps: self.0.taps().next_multiple_of(width),
            outputs: self.0.channels_out.next_multiple_of(S::F32_LANES),
        }
    }
}

struct Pass<'a> {
    shape: &'a ConvShape,
    grid: Grid,
    padded: Padded,
    x: &'a [f32],
    dy: &'a [f32],
}

impl Pass<'_> {
    fn add_strip(&self, strip: &Strip, sum: &mut [f32]) {
        let (grid, layout) = self.grid.strip(strip, 0);
        let mut offsets = grid.offsets(&layout);
        let last = offsets.last().copied().unwrap_or(0);
        offsets.resize(self.padded.taps, last); // results of the surplus are dropped
        let row = grid.cols.count * self.padded.outputs;
        let band = (BAND / row).clamp(1, grid.rows.count);
        let planes = grid.planes() * layout.plane;
        with_scratch(planes + band * row, |scratch| {
            let (planes, dy_t) = scratch.split_at_mut(planes);
            let task = StripTask {
                pass: self,
                strip,
                grid,
                layout,
                offsets,
                planes,
                dy_t,
                band,
                sum,
            };
            Arch::new().dispatch(task);
        });
    }

    /// `[out, taps]` and `[out]` of `[taps + 1, outputs]`, both padded.
    fn unpack(&self, total: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let (outputs, taps) = (self.shape.channels_out, self.shape.taps());
        let mut dw = Vec::with_capacity(outputs * taps);
        for o in 0..outputs {
            dw.extend((0..taps).map(|t| total[t * self.padded.outputs + o]));
        }
        let bias = self.padded.taps * self.padded.outputs;
        (dw, total[bias..bias + outputs].to_vec())
    }
}

/// One strip; runs under `dispatch` like the one of `correlate`.
struct StripTask<'a> {
    pass: &'a Pass<'a>,
    strip: &'a Strip,
    grid: Grid,
    layout: Layout,
    offsets: Vec<usize>,
    planes: &'a mut [f32],
    dy_t: &'a mut [f32],
    /// Rows of `dy` that are transposed at a time.
    band: usize,
    sum: &'a mut [f32],
}

impl WithSimd for StripTask<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            pass,
            strip,
            grid,
            layout,
            offsets,
            planes,
            dy_t,
            sum,
            ..
        } = self;
        let source = Source {
            data: pass.x,
            size: pass.shape.input,
        };
        fill_planes(simd, &grid, &layout, &strip.images, source, planes);
        let outputs = pass.padded.outputs;
        for (i, image) in strip.images.clone().enumerate() {
            for first in (0..grid.rows.count).step_by(self.band) {
                let rows = self.band.min(grid.rows.count - first);
                let dy_t = &mut dy_t[..rows * grid.cols.count * outputs];
                load_band(
                    pass.shape,
                    pass.dy,
                    image,
                    strip.rows.start + first,
                    dy_t,
                    outputs,
                );
                let x = &planes[i * layout.pitch + first * layout.row..];
                let band = Band {
                    x,
                    dy_t,
                    rows,
                    cols: grid.cols.count,
                    row: layout.row,
                    outputs,
                };
                if S::REGISTER_COUNT >= 32 {
                    band.add::<S, WIDE>(simd, &offsets, sum);
                } else {
                    band.add::<S, NARROW>(simd, &offsets, sum);
                }
            }
        }
    }
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

/// Rows of one image: planes from the first row on, and `dy` as `[positions, outputs]`.
struct Band<'a> {
    x: &'a [f32],
    dy_t: &'a [f32],
    rows: usize,
    cols: usize,
    /// Distance of rows in the planes.
    row: usize,
    outputs: usize,
}

impl Band<'_> {
    /// Adds the band's part to the sum, `T` taps at a time.
    #[inline(always)]
    fn add<S: Simd, const T: usize>(&self, simd: S, offsets: &[usize], sum: &mut [f32]) {
        let outputs = self.outputs;
        let (taps, bias) = sum.split_at_mut(offsets.len() * outputs);
        for dy in self.dy_t.chunks_exact(outputs) {
            bias.iter_mut().zip(dy).for_each(|(sum, dy)| *sum += dy);
        }
        for (offsets, sum) in offsets
            .chunks_exact(T)
            .zip(taps.chunks_exact_mut(T * outputs))
        {
            let mut o = 0;
            while o + 2 * S::F32_LANES <= outputs {
                // SAFETY: offsets lie in the planes, `o` and two vectors in the row of outputs.
                unsafe { self.add_tile::<S, 2, T>(simd, offsets, o, sum) }
                o += 2 * S::F32_LANES;
            }
            if o < outputs {
                // SAFETY: as above, for one vector.
                unsafe { self.add_tile::<S, 1, T>(simd, offsets, o, sum) }
            }
        }
    }

    /// Adds to `T` taps by `V` vectors of outputs from `o` on.
    ///
    /// # Safety
    /// `x` is valid for the band at every offset, and `V` vectors from `o` on lie in `0..outputs`.
    #[inline(always)]
    unsafe fn add_tile<S: Simd, const V: usize, const T: usize>(
        &self,
        simd: S,
        offsets: &[usize],
        o: usize,
        sum: &mut [f32],
    ) {
        assert!(offsets.len() == T && sum.len() == T * self.outputs);
        let mut acc = [[simd.splat_f32s(0.0); V]; T];
        let mut x = [self.x.as_ptr(); T];
        // SAFETY: the caller's promise; `dy_t` has `rows cols outputs` floats.
        unsafe {
            for t in 0..T {
                x[t] = x[t].add(offsets[t]);
            }
            let mut dy = self.dy_t.as_ptr().add(o);
            for _ in 0..self.rows {
                for col in 0..self.cols {
                    let mut values = [simd.splat_f32s(0.0); V];
                    for v in 0..V {
                        values[v] = dy.cast::<S::f32s>().add(v).read_unaligned();
                    }
                    dy = dy.wrapping_add(self.outputs);
                    for t in 0..T {
                        let x = simd.splat_f32s(*x[t].add(col));
                        for v in 0..V {
                            acc[t][v] = simd.mul_add_e_f32s(x, values[v], acc[t][v]);
                        }
                    }
                }
                for t in 0..T {
                    x[t] = x[t].wrapping_add(self.row);
                }
            }
            for t in 0..T {
                let sum = sum.as_mut_ptr().add(t * self.outputs + o).cast::<S::f32s>();
                for v in 0..V {
                    let old = sum.add(v).read_unaligned();
                    sum.add(v).write_unaligned(simd.add_f32s(old, acc[t][v]));
                }
            }
        }
    }
}
