//! Copies between tensors in `[batch, channel, row, column]` order and the flat planes of a strip.

#![expect(
    unsafe_code,
    reason = "rows are copied with full vectors, and tasks write disjoint parts of one tensor"
)]

use std::ops::Range;

use pulp::Simd;

use super::grid::{Grid, Layout, Strip};

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
        2 => gather_even(source, target),
        _ => target
            .iter_mut()
            .zip(source.iter().step_by(step))
            .for_each(|(to, &from)| *to = from),
    }
}

/// Reads every second element, four at a time: compilers make single moves of such a loop.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn gather_even(source: &[f32], target: &mut [f32]) {
    use std::arch::x86_64::{_mm_loadu_ps, _mm_shuffle_ps, _mm_storeu_ps};
    let blocks = (source.len() / 8).min(target.len() / 4);
    for i in 0..blocks {
        // SAFETY: `8 i + 8 <= source.len()` and `4 i + 4 <= target.len()`; SSE belongs to every x86-64.
        unsafe {
            let from = source.as_ptr().add(8 * i);
            let (a, b) = (_mm_loadu_ps(from), _mm_loadu_ps(from.add(4)));
            _mm_storeu_ps(
                target.as_mut_ptr().add(4 * i),
                _mm_shuffle_ps::<0b10_00_10_00>(a, b),
            );
        }
    }
    for i in 4 * blocks..target.len() {
        target[i] = source[2 * i];
    }
}

/// Reads every second element.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn gather_even(source: &[f32], target: &mut [f32]) {
    target
        .iter_mut()
        .zip(source.iter().step_by(2))
        .for_each(|(to, &from)| *to = from);
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

/// What a pass reads: `[batch, channels, height, width]`.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) data: &'a [f32],
    pub(super) size: [usize; 2],
}

/// Fills the planes of a strip from the source, zero outside of it.
#[inline(always)]
pub(super) fn fill_planes<S: Simd>(
    simd: S,
    grid: &Grid,
    layout: &Layout,
    images: &Range<usize>,
    source: Source,
    planes: &mut [f32],
) {
    let (rows, cols) = (&grid.rows, &grid.cols);
    let mut planes = planes.chunks_exact_mut(layout.plane);
    for channel in 0..grid.channels {
        for row_plane in 0..rows.planes() {
            for col_plane in 0..cols.planes() {
                let plane = planes.next().expect("the buffer holds all planes");
                let part = Part {
                    rows: rows.inside(row_plane, layout.rows),
                    cols: cols.inside(col_plane, layout.pitch),
                    steps: [rows.step, cols.step],
                };
                part.fill(
                    simd,
                    layout,
                    images,
                    (channel, grid.channels),
                    source,
                    plane,
                );
            }
        }
    }
}

/// The elements of a plane that lie in the source, with the index of the first one there.
struct Part {
    rows: (Range<usize>, usize),
    cols: (Range<usize>, usize),
    steps: [usize; 2],
}

impl Part {
    #[inline(always)]
    fn fill<S: Simd>(
        &self,
        simd: S,
        layout: &Layout,
        images: &Range<usize>,
        (channel, channels): (usize, usize),
        source: Source,
        plane: &mut [f32],
    ) {
        let Source {
            data,
            size: [height, width],
        } = source;
        let ((rows, first_row), (cols, first_col)) = (&self.rows, &self.cols);
        let [row_step, col_step] = self.steps;
        let stored = layout.rows * layout.row;
        if *cols == (0..layout.pitch) && *rows == (0..layout.rows) {
            plane[stored..].fill(0.0);
        } else {
            plane.fill(0.0); // at once: a call for each margin of each row costs more
        }
        if cols.is_empty() {
            return;
        }
        let whole = *cols == (0..width) && layout.row == width && self.steps == [1, 1];
        for (i, image) in images.clone().enumerate() {
            let start = (image * channels + channel) * height * width;
            let source = &data[start..start + height * width];
            if whole {
                let from = &source[first_row * width..(first_row + rows.len()) * width];
                plane[rows.start * width..rows.end * width].copy_from_slice(from);
                continue;
            }
            for row in rows.clone() {
                let from = (first_row + (row - rows.start) * row_step) * width;
                let to = row * layout.row + i * layout.pitch;
                let target = &mut plane[to + cols.start..to + cols.end];
                gather_row(
                    simd,
                    &source[from + first_col..from + width],
                    col_step,
                    target,
                );
            }
        }
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
        if whole_rows && layout.row == width {
            let source = &flat[..rows.count * width];
            let to = start + rows.target_start * width;
            // SAFETY: rows of the grid lie in the target by construction.
            unsafe { copy_row(simd, source.as_ptr(), target.data.add(to), source.len()) }
            continue;
        }
        for row in 0..rows.count {
            let from = row * layout.row + i * layout.pitch;
            let to = start + (rows.target_start + row * rows.target_step) * width;
            let source = &flat[from..from + cols.count];
            // SAFETY: rows and columns of the grid lie in the target by construction.
            unsafe { scatter_row(simd, source, cols.target_step, target.data.add(to)) }
        }
    }
}
