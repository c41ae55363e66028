//! Forward pass and input gradient on plain slices.

#![expect(
    unsafe_code,
    reason = "the output is written by tasks before it counts as initialised"
)]

use super::correlate::{Panels, correlate};
use super::geometry::{ConvShape, Grid};
use super::pack::Target;
use crate::simd::{sum1, vectorized};

/// `y [batch, out, h', w']` of `x [batch, in, h, w]` and `weight [out, in, kh, kw]`.
pub(super) fn forward(
    shape: &ConvShape,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let grid = shape.forward_grid();
    let taps = shape.taps();
    let panels = Panels::new(shape.channels_out, taps, |o, t| weight[o * taps + t]);
    evaluate(
        &[(grid, panels)],
        shape.batch,
        (x, shape.input),
        bias,
        shape.channels_out,
        shape.output,
    )
}

/// `dx [batch, in, h, w]` of `dy [batch, out, h', w']`.
pub(super) fn input_grad(shape: &ConvShape, weight: &[f32], dy: &[f32]) -> Vec<f32> {
    let grids = shape.input_grad_grids().into_iter().map(|grid| {
        let panels = input_grad_panels(shape, &grid, weight);
        (grid, panels)
    });
    let grids: Vec<_> = grids.collect();
    evaluate(
        &grids,
        shape.batch,
        (dy, shape.output),
        None,
        shape.channels_in,
        shape.input,
    )
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
    let [kernel_rows, kernel_cols] = shape.kernel;
    let (rows, cols) = (&grid.rows.taps, &grid.cols.taps);
    Panels::new(shape.channels_in, grid.taps(), |c, t| {
        let (o, t) = (t / (rows.len() * cols.len()), t % (rows.len() * cols.len()));
        let (row, col) = (rows[t / cols.len()].kernel, cols[t % cols.len()].kernel);
        weight[((o * shape.channels_in + c) * kernel_rows + row) * kernel_cols + col]
    })
}

/// Runs grids that together cover the target.
fn evaluate(
    grids: &[(Grid, Panels)],
    batch: usize,
    source: (&[f32], [usize; 2]),
    bias: Option<&[f32]>,
    channels: usize,
    size: [usize; 2],
) -> Vec<f32> {
    let len = batch * channels * size[0] * size[1];
    let mut out = Vec::with_capacity(len);
    let target = Target {
        data: out.as_mut_ptr(),
        channels,
        size,
    };
    for (grid, panels) in grids {
        // SAFETY: `out` has room for the whole target.
        unsafe { correlate(grid, panels, batch, source, bias, target) }
    }
    // SAFETY: the grids of a pass cover every position of the target once.
    unsafe { out.set_len(len) }
    out
}
