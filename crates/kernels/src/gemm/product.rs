//! Large products on all threads: `y = a b`, plus a bias.
//!
//! A task computes a block of `y`. It packs one panel of `b` at a time, as wide as the register tile
//! and short enough for the second-level cache, and runs its rows of `a` over it. Every entry is
//! one chain of fused multiply-adds per pass over the inner axis, wherever it falls in a tile: the
//! result does not depend on the number of threads.

#![expect(
    unsafe_code,
    reason = "register tiles read packed memory without bounds checks"
)]

use super::{Mat, MatMut, Shared, Store, gemm, rows_mut};
use crate::memory::with_scratch;
use crate::parallel::for_each;
use crate::transpose::transpose;
use gemm::Parallelism;
use pulp::{Arch, Simd, WithSimd};
use std::cmp::Reverse;
use std::ops::Range;

/// Rows of a register tile.
const ROWS: usize = 6;
/// Most vectors side by side in a register tile.
const VECTORS: usize = 4;
/// Most columns of a panel.
const WIDEST: usize = 64;
/// Most entries of the inner axis per pass. Every pass reads and writes the results once more, so it is as long as leaves
/// a panel in the second-level cache (384 KiB; caches have 512 KiB to 2 MiB).
const DEPTH: usize = 1536;
/// Entries of a cache line.
const LINE: usize = 16;
/// Most rows of `a` that run over a panel before the next one is packed.
const ROW_CHUNK: usize = 1020;
/// The same where those rows are packed too, which bounds the memory of a task (2.3 MiB).
const PACKED_ROWS: usize = 384;
/// Multiply-adds that pay for waking another thread.
pub(super) const WORK: usize = 1 << 18;
/// Fewest rows of a task when there are several.
const LEAST_ROWS: usize = 8 * ROWS;
/// With fewer rows, packing `b` costs more than it saves.
const FEW_ROWS: usize = 8;

/// `y = a b` or `y = bias + a b`, with one bias for each column.
///
/// # Panics
/// If the dimensions do not fit.
pub(crate) fn product<B: Right>(y: &mut [f32], a: Mat, b: B, bias: Option<&[f32]>) {
    let ([rows, inner], [_, cols]) = (a.dims(), b.dims());
    let fits = b.dims()[0] == inner && y.len() == rows * cols;
    assert!(
        fits && bias.is_none_or(|bias| bias.len() == cols),
        "invariant: matrix dimensions fit"
    );
    if y.is_empty() {
        return;
    }
    if rows < FEW_ROWS || inner == 0 {
        return b.product_of_few_rows(y, a, bias);
    }
    let arch = Arch::new();
    let shape = arch.dispatch(PanelShape::default());
    let adjacent = a.col_stride == 1;
    let depth = DEPTH.min(inner);
    let packed_rows = if adjacent {
        0
    } else {
        rows.min(PACKED_ROWS).next_multiple_of(ROWS)
    };
    let y = Shared::new(y);
    let task = |block: Block| {
        let Block { rows, cols: range } = block;
        let dims = [rows.len(), range.len()];
        // SAFETY: blocks do not overlap.
        let y = unsafe { y.matrix(rows.start * cols + range.start, dims, cols) };
        let (a, b) = (
            a.part([rows.start, 0], [dims[0], inner]),
            b.part([0, range.start], [inner, dims[1]]),
        );
        let bias = bias.map(|bias| &bias[range]);
        with_scratch(depth * (shape.width + packed_rows) + LINE, |scratch| {
            let start = scratch.as_ptr().align_offset(LINE * size_of::<f32>());
            let (panel, rest) = scratch[start..].split_at_mut(depth * shape.width);
            let packed = (!adjacent).then_some(rest);
            arch.dispatch(Task {
                y,
                a,
                b,
                bias,
                shape,
                panel,
                packed,
            });
        });
    };
    let threads = rayon::current_num_threads();
    if threads == 1 || rows * inner * cols < WORK {
        task(Block {
            rows: 0..rows,
            cols: 0..cols,
        });
    } else {
        let costs = [
            if adjacent { 0 } else { 2 * rows },
            if b.is_packed_as_it_lies() {
                cols
            } else {
                2 * cols
            },
        ];
        let parts = parts(
            costs,
            [rows.div_ceil(LEAST_ROWS), cols.div_ceil(shape.width)],
            2 * threads,
        );
        let columns = cut(cols, parts[1], shape.width);
        let blocks = cut(rows, parts[0], ROWS).into_iter().flat_map(|rows| {
            columns.iter().map(move |cols| Block {
                rows: rows.clone(),
                cols: cols.clone(),
            })
        });
        for_each(blocks, task);
    }
}

/// The right factor of a product, `[inner, cols]`.
pub(crate) trait Right: Copy + Sync {
    fn dims(&self) -> [usize; 2];

    /// `dims` entries from `(start[0], start[1])` on.
    fn part(self, start: [usize; 2], dims: [usize; 2]) -> Self;

    /// Whether a panel is a copy of rows; otherwise rows become columns.
    fn is_packed_as_it_lies(&self) -> bool;

    /// Writes the rows, `width` entries each, with zeros for missing columns.
    fn pack_panel(self, width: usize, out: &mut [f32]);

    /// `y = a b` or `y = bias + a b`, for which packing does not pay.
    fn product_of_few_rows(self, y: &mut [f32], a: Mat, bias: Option<&[f32]>);
}

impl Right for Mat<'_> {
    fn dims(&self) -> [usize; 2] {
        Mat::dims(self)
    }

    fn part(self, start: [usize; 2], dims: [usize; 2]) -> Self {
        Mat::part(self, start, dims)
    }

    fn is_packed_as_it_lies(&self) -> bool {
        self.col_stride == 1
    }

    #[inline(always)]
    fn pack_panel(self, width: usize, out: &mut [f32]) {
        pack_panel(self, width, out);
    }

    fn product_of_few_rows(self, y: &mut [f32], a: Mat, bias: Option<&[f32]>) {
        product_of_few_rows(y, a, self, bias);
    }
}

fn product_of_few_rows(y: &mut [f32], a: Mat, b: Mat, bias: Option<&[f32]>) {
    let dims = [a.dims()[0], b.dims()[1]];
    if let Some(bias) = bias {
        y.chunks_exact_mut(dims[1])
            .for_each(|row| row.copy_from_slice(bias));
    }
    let store = if bias.is_some() {
        Store::Add
    } else {
        Store::Set
    };
    let threads = Parallelism::Rayon(0);
    gemm(&mut rows_mut(y, dims), store, 1.0, a, b, threads);
}

/// Part of the result.
struct Block {
    rows: Range<usize>,
    cols: Range<usize>,
}

/// Parts along rows and along columns, at most `most`, that make about `count` tasks. Each task packs
/// what it reads, so a cut along one axis repeats the packing of the other operand, at `costs`.
fn parts(costs: [usize; 2], most: [usize; 2], count: usize) -> [usize; 2] {
    let ways = (1..=count).filter(|rows| count.is_multiple_of(*rows));
    let fitting = ways.map(|rows| [rows.min(most[0]), (count / rows).min(most[1])]);
    let order =
        |[rows, cols]: &[usize; 2]| (Reverse(rows * cols), rows * costs[1] + cols * costs[0]);
    fitting.min_by_key(order).unwrap_or([1, 1])
}

/// `0..len` in at most `parts` ranges of whole units, which differ by one unit at most.
fn cut(len: usize, parts: usize, unit: usize) -> Vec<Range<usize>> {
    let units = len.div_ceil(unit);
    let bound = |part: usize| len.min(units * part / parts * unit);
    let ranges = (0..parts).map(|part| bound(part)..bound(part + 1));
    ranges.filter(|range| !range.is_empty()).collect()
}

/// Columns of full panels, and of vectors that the last one is made of.
#[derive(Clone, Copy, Default)]
struct PanelShape {
    width: usize,
    lanes: usize,
}

impl WithSimd for PanelShape {
    type Output = Self;

    fn with_simd<S: Simd>(self, _: S) -> Self {
        let vectors = if S::REGISTER_COUNT >= 32 { VECTORS } else { 2 };
        Self {
            width: vectors * S::F32_LANES,
            lanes: S::F32_LANES,
        }
    }
}

/// Rows of equal chunks of at most `most`, each of whole tiles: a small last one would pack a panel for little.
fn chunk(rows: usize, most: usize) -> usize {
    let chunks = rows.div_ceil(most).max(1);
    rows.div_ceil(chunks).next_multiple_of(ROWS)
}

/// One block of the result.
struct Task<'a, B> {
    y: MatMut<'a>,
    a: Mat<'a>,
    b: B,
    bias: Option<&'a [f32]>,
    shape: PanelShape,
    /// Room for one panel.
    panel: &'a mut [f32],
    /// Room for the rows of `a` in the order of the tiles, where they are not adjacent.
    packed: Option<&'a mut [f32]>,
}

impl<B: Right> WithSimd for Task<'_, B> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let [rows, inner] = self.a.dims();
        let most = if self.packed.is_some() {
            PACKED_ROWS
        } else {
            ROW_CHUNK
        };
        let chunk = chunk(rows, most);
        for row in (0..rows).step_by(chunk) {
            let rows = chunk.min(rows - row);
            for first in (0..inner).step_by(DEPTH) {
                let a = self.a.part([row, first], [rows, DEPTH.min(inner - first)]);
                if let Some(packed) = &mut self.packed {
                    pack_rows(a, packed);
                }
                for col in (0..self.b.dims()[1]).step_by(self.shape.width) {
                    self.run_panel(simd, a, [row, first, col]);
                }
            }
        }
    }
}

impl<B: Right> Task<'_, B> {
    /// One pass: the rows of `a`, which begin at `(row, first)` of the block, times the panel of `b`
    /// that begins at column `col`.
    #[inline(always)]
    fn run_panel<S: Simd>(&mut self, simd: S, a: Mat, [row, first, col]: [usize; 3]) {
        let [rows, depth] = a.dims();
        let cols = self.shape.width.min(self.b.dims()[1] - col);
        let width = cols.next_multiple_of(self.shape.lanes);
        let panel = &mut self.panel[..depth * width];
        let b = self.b.part([first, col], [depth, cols]);
        b.pack_panel(width, panel);
        let start = match self.bias {
            _ if first > 0 => Start::Add,
            Some(bias) => Start::Bias(&bias[col..col + cols]),
            None => Start::Zero,
        };
        for at in (0..rows).step_by(ROWS) {
            let (a, a_strides) = match &self.packed {
                Some(packed) => (packed[at * depth..].as_ptr(), [1, ROWS.cast_signed()]),
                None => (a.pointer(at, 0), [a.row_stride, 1]),
            };
            let tile = Tile {
                a,
                a_strides,
                panel,
                depth,
                start,
            };
            let mut y = self.y.part([row + at, col], [ROWS.min(rows - at), cols]);
            tile.run(simd, width / S::F32_LANES, &mut y);
        }
    }
}

/// Writes the rows of `b`, `width` entries each, with zeros for missing columns.
#[inline(always)]
fn pack_panel(b: Mat, width: usize, out: &mut [f32]) {
    let [depth, cols] = b.dims();
    if b.row_stride == 1 && b.col_stride > 0 {
        let columns = b.transposed().span();
        return transpose(
            columns,
            b.col_stride.cast_unsigned(),
            cols,
            depth,
            out,
            width,
        );
    }
    for (p, out) in out.chunks_exact_mut(width).enumerate() {
        let (values, padding) = out.split_at_mut(cols);
        if b.col_stride == 1 {
            values.copy_from_slice(b.row(p));
        } else {
            (values.iter_mut().enumerate()).for_each(|(j, value)| *value = b.entry(p, j));
        }
        padding.fill(0.0);
    }
}

/// Stores [`ROWS`] entries of a column of `a` side by side, block of rows after block of rows.
#[inline(always)]
fn pack_rows(a: Mat, out: &mut [f32]) {
    let [rows, depth] = a.dims();
    for first in (0..depth).step_by(LINE) {
        let columns = first..depth.min(first + LINE);
        for (row, block) in (0..rows)
            .step_by(ROWS)
            .zip(out.chunks_exact_mut(ROWS * depth))
        {
            let count = ROWS.min(rows - row);
            let targets = block[first * ROWS..].as_chunks_mut::<ROWS>().0;
            for (p, target) in columns.clone().zip(targets) {
                if a.row_stride == 1 && count == ROWS {
                    *target = a.column_chunk(row, p);
                } else {
                    (0..count).for_each(|r| target[r] = a.entry(row + r, p));
                }
            }
        }
    }
}

/// What a tile adds its products to.
#[derive(Clone, Copy)]
enum Start<'a> {
    Zero,
    Bias(&'a [f32]),
    /// The result of the passes before.
    Add,
}

/// Up to [`ROWS`] rows of `a` times one panel.
struct Tile<'a> {
    a: *const f32,
    a_strides: [isize; 2],
    panel: &'a [f32],
    depth: usize,
    start: Start<'a>,
}

impl Tile<'_> {
    /// Fills `y`, which is as wide as the panel or a little less wide.
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, vectors: usize, y: &mut MatMut) {
        let width = vectors * S::F32_LANES;
        let [rows, cols] = [y.rows, y.cols];
        assert!(rows <= ROWS && cols <= width && self.panel.len() >= self.depth * width);
        let stride = y.row_stride.cast_unsigned();
        if cols == width {
            // SAFETY: checked above and where `y` was made; `a` holds `rows` by `depth` entries.
            return unsafe { self.dispatch(simd, [vectors, rows], y.start, stride) };
        }
        let mut tile = [0.0; ROWS * WIDEST];
        for (r, tile) in tile.chunks_exact_mut(width).enumerate().take(rows) {
            tile[..cols].copy_from_slice(y.row(r));
        }
        let mut bias = [0.0; WIDEST];
        let start = match self.start {
            Start::Bias(values) => {
                bias[..cols].copy_from_slice(values);
                Start::Bias(&bias)
            }
            start => start,
        };
        let padded = Tile { start, ..*self };
        // SAFETY: as above, in the padded tile.
        unsafe { padded.dispatch(simd, [vectors, rows], tile.as_mut_ptr(), width) };
        for (r, tile) in tile.chunks_exact(width).enumerate().take(rows) {
            y.row(r).copy_from_slice(&tile[..cols]);
        }
    }

    /// # Safety
    /// As for `fill`.
    #[inline(always)]
    unsafe fn dispatch<S: Simd>(&self, simd: S, shape: [usize; 2], y: *mut f32, stride: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            match shape[0] {
                4 => self.dispatch_rows::<S, 4>(simd, shape[1], y, stride),
                3 => self.dispatch_rows::<S, 3>(simd, shape[1], y, stride),
                2 => self.dispatch_rows::<S, 2>(simd, shape[1], y, stride),
                _ => self.dispatch_rows::<S, 1>(simd, shape[1], y, stride),
            }
        }
    }

    /// # Safety
    /// As for `fill`.
    #[inline(always)]
    unsafe fn dispatch_rows<S: Simd, const V: usize>(
        &self,
        simd: S,
        rows: usize,
        y: *mut f32,
        stride: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            match rows {
                6 => self.fill::<S, V, 6>(simd, y, stride),
                5 => self.fill::<S, V, 5>(simd, y, stride),
                4 => self.fill::<S, V, 4>(simd, y, stride),
                3 => self.fill::<S, V, 3>(simd, y, stride),
                2 => self.fill::<S, V, 2>(simd, y, stride),
                _ => self.fill::<S, V, 1>(simd, y, stride),
            }
        }
    }

    /// # Safety
    /// `a` is valid for `R` rows and `depth` columns, `panel` and a bias for `V` vectors a row, `y` for
    /// `R` rows of `V` vectors.
    #[inline(always)]
    unsafe fn fill<S: Simd, const V: usize, const R: usize>(
        &self,
        simd: S,
        y: *mut f32,
        stride: usize,
    ) {
        let mut acc = [[simd.splat_f32s(0.0); V]; R];
        // SAFETY: the caller's promise.
        unsafe {
            for r in 0..R {
                for line in 0..(V * S::F32_LANES).div_ceil(LINE) {
                    prefetch(y.wrapping_add(r * stride + line * LINE));
                }
            }
            let mut panel = self.panel.as_ptr().cast::<S::f32s>();
            let mut a = self.a;
            let [row, col] = self.a_strides;
            for _ in 0..self.depth {
                let mut values = [simd.splat_f32s(0.0); V];
                for (v, value) in values.iter_mut().enumerate() {
                    *value = panel.add(v).read_unaligned();
                }
                for (r, acc) in acc.iter_mut().enumerate() {
                    let factor = simd.splat_f32s(*a.offset(r.cast_signed() * row));
                    for (acc, &value) in acc.iter_mut().zip(&values) {
                        *acc = simd.mul_add_e_f32s(factor, value, *acc);
                    }
                }
                panel = panel.add(V);
                a = a.wrapping_offset(col);
            }
            for (r, acc) in acc.iter().enumerate() {
                let y = y.add(r * stride).cast::<S::f32s>();
                for (v, &acc) in acc.iter().enumerate() {
                    let old = match self.start {
                        Start::Zero => simd.splat_f32s(0.0),
                        Start::Bias(bias) => {
                            bias.as_ptr().cast::<S::f32s>().add(v).read_unaligned()
                        }
                        Start::Add => y.add(v).read_unaligned(),
                    };
                    y.add(v).write_unaligned(simd.add_f32s(acc, old));
                }
            }
        }
    }
}

/// Asks for a cache line that will be written when the tile is done.
#[inline(always)]
fn prefetch(line: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint; any address will do.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(line.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::normal;
    use refit_testkit::{close_in_norm, reference};

    /// A matrix of the values, stored row after row or column after column.
    fn stored(values: &[f64], [rows, cols]: [usize; 2], by_rows: bool) -> Vec<f32> {
        let values = if by_rows {
            values.to_vec()
        } else {
            reference::transpose(values, [rows, cols])
        };
        values.iter().map(|&x| x as f32).collect()
    }

    fn view(values: &[f32], [rows, cols]: [usize; 2], by_rows: bool) -> Mat<'_> {
        if by_rows {
            Mat::rows(values, [rows, cols])
        } else {
            Mat::rows(values, [cols, rows]).transposed()
        }
    }

    /// More than one task, chunk of rows, pass and panel; and remainders of each.
    #[test]
    fn every_order_of_storage_agrees_with_f64() {
        for [n, k, m] in [
            [9, 5, 65],
            [400, 270, 70],
            [50, 1700, 129],
            [8, 300, 3],
            [1100, 20, 5],
            [400, 1700, 70],
        ] {
            let (a, b, bias) = (normal(1, n * k), normal(2, k * m), normal(3, m));
            let plain = reference::matmul(&a, &b, [n, k, m]);
            for case in 0..8 {
                let [a_rows, b_rows, biased] = [1, 2, 4].map(|bit| case & bit == 0);
                let (a, b) = (stored(&a, [n, k], a_rows), stored(&b, [k, m], b_rows));
                let bias: Vec<f32> = bias.iter().map(|&x| x as f32).collect();
                let mut y = vec![f32::NAN; n * m];
                let (a, b) = (view(&a, [n, k], a_rows), view(&b, [k, m], b_rows));
                product(&mut y, a, b, biased.then_some(&bias[..]));
                let shift = |i: usize| if biased { f64::from(bias[i % m]) } else { 0.0 };
                let expected = plain
                    .iter()
                    .enumerate()
                    .map(|(i, y)| y + shift(i))
                    .collect::<Vec<_>>();
                let found = y.iter().map(|&y| f64::from(y)).collect::<Vec<_>>();
                close_in_norm(found, expected, 1e-6, 0.0).unwrap();
            }
        }
    }

    #[test]
    fn cuts_cover_everything_once() {
        for (len, parts, unit) in [
            (1, 1, 6),
            (100, 4, 6),
            (384, 4, 64),
            (129, 2, 64),
            (7, 9, 3),
        ] {
            let ranges = cut(len, parts, unit);
            let joined: Vec<usize> = ranges.into_iter().flatten().collect();
            assert_eq!(joined, (0..len).collect::<Vec<_>>());
        }
    }
}
