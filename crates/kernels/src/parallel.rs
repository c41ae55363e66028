//! Work split into blocks whose size does not depend on the number of threads.

use crate::simd::vectorized;
use crate::team::for_each_index;
use std::sync::{Mutex, PoisonError};

/// Entries per block: large enough to pay for a task (about 10 microseconds of work), small enough
/// to stay in the second-level cache and to balance the threads.
const BLOCK: usize = 1 << 14;

/// Rows of `width` entries that make one block.
pub(crate) fn rows_per_block(width: usize) -> usize {
    (BLOCK / width.max(1)).max(1)
}

/// Calls `f` for each item, on all threads.
pub(crate) fn for_each<T: Send>(items: impl IntoIterator<Item = T>, f: impl Fn(T) + Sync) {
    let items: Vec<_> = items
        .into_iter()
        .map(|item| Mutex::new(Some(item)))
        .collect();
    for_each_index(items.len(), |index| {
        let item = items[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        f(item.expect("invariant: each index comes once"));
    });
}

/// Calls `f(first_row, block)` for blocks of whole rows of `out`.
pub(crate) fn for_row_blocks(out: &mut [f32], width: usize, f: impl Fn(usize, &mut [f32]) + Sync) {
    let rows = rows_per_block(width);
    if out.len() <= BLOCK {
        if !out.is_empty() {
            f(0, out);
        }
        return;
    }
    let blocks = out.chunks_mut(rows * width).enumerate();
    for_each(blocks, |(block, chunk)| f(block * rows, chunk));
}

/// Calls `f(block, a, b)` for block after block of two slices cut at their own lengths.
pub(crate) fn zip_blocks<A: Send, B: Send>(
    (a, a_len): (&mut [A], usize),
    (b, b_len): (&mut [B], usize),
    f: impl Fn(usize, &mut [A], &mut [B]) + Sync,
) {
    let (a_len, b_len) = (a_len.max(1), b_len.max(1));
    if a.len() <= a_len {
        if !a.is_empty() {
            f(0, a, b);
        }
        return;
    }
    let blocks = a.chunks_mut(a_len).zip(b.chunks_mut(b_len)).enumerate();
    for_each(blocks, |(block, (a, b))| f(block, a, b));
}

/// The sum of consecutive vectors of length `len`, added in order.
pub(crate) fn add_up(mut vectors: Vec<f32>, len: usize) -> Vec<f32> {
    let (total, rest) = vectors.split_at_mut(len);
    for vector in rest.chunks_exact(len.max(1)) {
        for (total, &x) in total.iter_mut().zip(vector) {
            *total += x;
        }
    }
    vectors.truncate(len);
    vectors
}

/// The sum of the rows of `data`: within blocks first, then over blocks.
pub(crate) fn sum_rows(data: &[f32], width: usize) -> Vec<f32> {
    let block = rows_per_block(width) * width.max(1);
    let mut partial = vec![0.0; data.len().div_ceil(block).max(1) * width];
    let add = |(sum, rows): (&mut [f32], &[f32])| {
        vectorized(
            #[inline(always)]
            || {
                for row in rows.chunks_exact(sum.len()) {
                    for (sum, &x) in sum.iter_mut().zip(row) {
                        *sum += x;
                    }
                }
            },
        );
    };
    for_each(
        partial
            .chunks_mut(width.max(1))
            .zip(data.chunks(block.max(1))),
        add,
    );
    add_up(partial, width)
}
