//! Copies between tensors in `[batch, channel, row, column]` order and the flat planes of a strip.

#![expect(
    unsafe_code,
    reason = "rows are copied with full vectors, and tasks write disjoint parts of one tensor"
)]

use std::cell::RefCell;
use std::ops::Range;

use pulp::Simd;

use super::geometry::{Axis, Grid, Layout, Strip};

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Lends `len` floats of unspecified content that stay with the thread: a fresh allocation of this
/// size would fault in its pages for every task.
pub(super) fn with_scratch<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    SCRATCH.with_borrow_mut(|buffer| {
        if buffer.len() < len {
            buffer.resize(len, 0.0);
        }
        work(&mut buffer[..len])
    })
}

/// Copies a row with full vectors; rows are too short for a call of `memcpy` each.
///
/// # Safety
/// `source` and `target` are valid for `len` floats and do not overlap.
#[inline(always)]
unsafe fn copy_row<S: Simd>(_simd: S, source: *const f32, target: *mut f32, len: usize) {
    // SAFETY: every access lies in `0..len`.
    unsafe {
        if len < S::F32_LANES {
            for i in 0..len {
                *target.add(i) = *source.add(i);
            }
            return;
        }
        let last = len - S::F32_LANES;
        let mut i = 0;
        while i < last {
            let v = source.add(i).cast::<S::f32s>().read_unaligned();
            target.add(i).cast::<S::f32s>().write_unaligned(v);
            i += S::F32_LANES;
        }
        let v = source.add(last).cast::<S::f32s>().read_unaligned();
        target.add(last).cast::<S::f32s>().write_unaligned(v);
    }
}

/// Reads every `step`-th element.
#[inline(always)]
fn gather_row<S: Simd>(simd: S, source: &[f32], step: usize, target: &mut [f32]) {
    match step {
        _ if target.is_empty() => {}
        1 => {
            let source = &source[..target.len()];
            // SAFETY: both slices have `target.len()` elements; a `&mut` overlaps nothing.
            unsafe { copy_row(simd, source.as_ptr(), target.as_mut_ptr(), target.len()) }
        }
        2 => {
            let source = &source[..2 * target.len() - 1];
            let (last, target) = target.split_last_mut().expect("not empty");
            for (to, pair) in target.iter_mut().zip(source.chunks_exact(2)) {
                *to = pair[0];
            }
            *last = source[source.len() - 1];
        }
        _ => target
            .iter_mut()
            .zip(source.iter().step_by(step))
            .for_each(|(to, &from)| *to = from),
    }
}

/// Writes to every `step`-th element.
///
/// # Safety
/// `target` is valid at `0, step, .., (source.len() - 1) step` and does not overlap `source`.
#[inline(always)]
unsafe fn scatter_row<S: Simd>(simd: S, source: &[f32], step: usize, target: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe {
        if step == 1 {
            return copy_row(simd, source.as_ptr(), target, source.len());
        }
        for (i, &value) in source.iter().enumerate() {
            *target.add(i * step) = value;
        }
    }
}

/// Fills the planes of a strip from the source `[batch, channels, rows, cols]`, zero outside of it.
#[inline(always)]
pub(super) fn fill_planes<S: Simd>(
    simd: S,
    grid: &Grid,
    layout: &Layout,
    images: &Range<usize>,
    source: &[f32],
    source_size: [usize; 2],
    planes: &mut [f32],
) {
    let [height, width] = source_size;
    let mut planes = planes.chunks_exact_mut(layout.plane);
    for channel in 0..grid.channels {
        for row_plane in 0..grid.rows.planes() {
            for col_plane in 0..grid.cols.planes() {
                let plane = planes.next().expect("the buffer holds all planes");
                let (images_part, rest) = plane.split_at_mut(images.len() * layout.image());
                rest.fill(0.0);
                let parts = images_part.chunks_exact_mut(layout.image());
                for (image, part) in images.clone().zip(parts) {
                    let start = (image * grid.channels + channel) * height * width;
                    let source = &source[start..start + height * width];
                    let axes = [(&grid.rows, row_plane), (&grid.cols, col_plane)];
                    fill_plane(simd, axes, layout.pitch, source, width, part);
                }
            }
        }
    }
}

#[inline(always)]
fn fill_plane<S: Simd>(
    simd: S,
    [(rows, row_plane), (cols, col_plane)]: [(&Axis, usize); 2],
    pitch: usize,
    source: &[f32],
    width: usize,
    plane: &mut [f32],
) {
    let (row_span, first_row) = rows.inside(row_plane, plane.len() / pitch);
    let (col_span, first_col) = cols.inside(col_plane, pitch);
    let inner = row_span.start * pitch..row_span.end * pitch;
    if col_span != (0..pitch) || inner != (0..plane.len()) {
        plane.fill(0.0); // at once: a call for each margin of each row costs more
    }
    if col_span.is_empty() {
        return;
    }
    if col_span == (0..width) && pitch == width && [rows.step, cols.step] == [1, 1] {
        let from = first_row * width;
        plane[inner.clone()].copy_from_slice(&source[from..from + inner.len()]);
        return;
    }
    for (i, row) in plane[inner].chunks_exact_mut(pitch).enumerate() {
        let from = (first_row + i * rows.step) * width;
        let source = &source[from + first_col..from + width];
        gather_row(simd, source, cols.step, &mut row[col_span.clone()]);
    }
}

/// Where a strip's results go: `[batch, channels, height, width]`, written by many tasks at once.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub(super) data: *mut f32,
    pub(super) channels: usize,
    pub(super) size: [usize; 2],
}

// SAFETY: the strips and grids of one pass write disjoint positions.
unsafe impl Send for Target {}
// SAFETY: as above; nothing is read through the pointer.
unsafe impl Sync for Target {}

/// Drops the positions between rows and writes one channel of a strip.
///
/// # Safety
/// `target.data` is valid for all of `target`, and no other task writes the grid's positions of
/// these images in this channel.
#[inline(always)]
pub(super) unsafe fn write_channel<S: Simd>(
    simd: S,
    grid: &Grid,
    layout: &Layout,
    strip: &Strip,
    channel: usize,
    flat: &[f32],
    target: Target,
) {
    let [height, width] = target.size;
    let (rows, cols) = (&grid.rows, &grid.cols);
    let whole_rows = [cols.count, cols.target_step, rows.target_step] == [width, 1, 1];
    for (i, image) in strip.images.clone().enumerate() {
        let start = (image * target.channels + channel) * height * width + cols.target_start;
        if whole_rows && layout.pitch == width {
            let from = i * layout.image();
            let source = &flat[from..from + rows.count * width];
            let to = start + rows.target_start * width;
            // SAFETY: rows of the grid lie in the target by construction.
            unsafe { copy_row(simd, source.as_ptr(), target.data.add(to), source.len()) }
            continue;
        }
        for row in 0..rows.count {
            let from = i * layout.image() + row * layout.pitch;
            let to = start + (rows.target_start + row * rows.target_step) * width;
            let source = &flat[from..from + cols.count];
            // SAFETY: rows and columns of the grid lie in the target by construction.
            unsafe { scatter_row(simd, source, cols.target_step, target.data.add(to)) }
        }
    }
}
