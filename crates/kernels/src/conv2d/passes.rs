//! Forward pass and input gradient on plain slices.

#![expect(
    unsafe_code,
    reason = "the output is written by tasks before it counts as initialised"
)]

use super::correlate::correlate;
use super::geometry::ConvShape;
use super::grid::Grid;
use super::pack::{Source, Target};
use super::tile::Panels;
use crate::memory::buffer;
use crate::simd::{sum1, vectorized};

/// `y [batch, out, h', w']` of `x [batch, in, h, w]` and `weight [out, in, kh, kw]`.
pub(super) fn forward(
    shape: &ConvShape,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let source = Source {
        data: x,
        size: shape.input,
    };
    let channels = shape.channels_out;
    let taps = shape.taps();
    let panels = Panels::new(channels, taps, |o, t| weight[o * taps + t]);
    let grid = shape.forward_grid();
    // SAFETY: the grid covers the target.
    unsafe {
        fill(shape.batch, channels, shape.output, |target| {
            correlate(&grid, &panels, shape.batch, source, bias, target);
        })
    }
}

/// `dx [batch, in, h, w]` of `dy [batch, out, h', w']`.
pub(super) fn input_grad(shape: &ConvShape, weight: &[f32], dy: &[f32]) -> Vec<f32> {
    let source = Source {
        data: dy,
        size: shape.output,
    };
    let channels = shape.channels_in;
    // SAFETY: every input position belongs to the grid of its phase.
    unsafe {
        fill(shape.batch, channels, shape.input, |target| {
            for grid in shape.input_grad_grids() {
                let panels = input_grad_panels(shape, &grid, weight);
                correlate(&grid, &panels, shape.batch, source, None, target);
            }
        })
    }
}

/// A new tensor that `write` fills.
///
/// # Safety
/// `write` writes every position of its target.
unsafe fn fill(
    batch: usize,
    channels: usize,
    size: [usize; 2],
    write: impl FnOnce(Target),
) -> Vec<f32> {
    let len = batch * channels * size[0] * size[1];
    let mut out = buffer(len);
    write(Target {
        data: out.as_mut_ptr(),
        channels,
        size,
    });
    out
}

/// `db [out]` of `dy [batch, out, h', w']`: planes first, then over the batch.
pub(super) fn bias_grad(shape: &ConvShape, dy: &[f32]) -> Vec<f32> {
    let mut db = vec![0.0; shape.channels_out];
    let plane = shape.output[0] * shape.output[1];
    for image in dy.chunks_exact((plane * shape.channels_out).max(1)) {
        for (sum, plane) in db.iter_mut().zip(image.chunks_exact(plane)) {
            *sum += vectorized(
                #[inline(always)]
                || sum1(plane, |dy| dy),
            );
        }
    }
    db
}

/// The part of the weight that a phase uses, with the roles of the channels exchanged.
fn input_grad_panels(shape: &ConvShape, grid: &Grid, weight: &[f32]) -> Panels {
    let kernel = shape.kernel[0] * shape.kernel[1];
    let mut starts = Vec::with_capacity(grid.taps());
    for o in 0..shape.channels_out {
        for row in &grid.rows.taps {
            let row = o * shape.channels_in * kernel + row.kernel * shape.kernel[1];
            starts.extend(grid.cols.taps.iter().map(|col| row + col.kernel));
        }
    }
    Panels::new(shape.channels_in, starts.len(), |c, t| {
        weight[starts[t] + c * kernel]
    })
}
