//! Stretches of a product of factors.

use crate::simd::kernel;
use refit_core::LowRank;
use std::ops::Range;

/// Rows that are computed together, so that a value of the right factor is read once for all of them.
const ROWS: usize = 4;

/// Columns that stay in registers while the rank is summed over.
const COLS: usize = 8;

/// `out_i = out_i + scale (left right)_i` for the flat positions `range`, which `out` stands for.
///
/// Every entry is summed over the rank in order and in double precision, and rounded once: neither the stretch nor the
/// machine changes its bits.
pub(super) fn add_product(factors: &LowRank, range: Range<usize>, out: &mut [f32]) {
    let (rank, cols) = (factors.rank(), factors.cols());
    if range.is_empty() || rank == 0 {
        return;
    }
    let mut packed = vec![[0.0; ROWS]; rank];
    let mut at = range.start;
    let mut out = out;
    while !out.is_empty() {
        let (row, col) = (at / cols, at % cols);
        let whole = (out.len() / cols).min(ROWS);
        // A stretch of one row, until whole rows begin; then up to `ROWS` of them.
        let (rows, width) = match (col, whole) {
            (0, 1..) => (whole, cols),
            _ => (1, (cols - col).min(out.len())),
        };
        for (k, packed) in packed.iter_mut().enumerate() {
            for (i, packed) in packed.iter_mut().enumerate() {
                // Rows beyond the last are computed from the first and thrown away.
                let row = if i < rows { row + i } else { row };
                *packed = f64::from(factors.left()[row * rank + k]);
            }
        }
        let (now, rest) = out.split_at_mut(rows * width);
        let right = &factors.right()[col..];
        match rows {
            1 => add_row(now, &packed, right, cols, factors.scale()),
            _ => add_rows(now, rows, width, &packed, right, cols, factors.scale()),
        }
        at += rows * width;
        out = rest;
    }
}

kernel! {
    /// Up to [`ROWS`] whole rows: `out [rows, width] += scale packed^T right`, where rows of `right` are `stride` apart.
    fn add_rows(
        out: &'a mut [f32],
        rows: usize,
        width: usize,
        packed: &'a [[f64; ROWS]],
        right: &'a [f32],
        stride: usize,
        scale: f64,
    ) {
        let mut col = 0;
        while col + COLS <= width {
            let mut sums = [[0.0f64; COLS]; ROWS];
            for (left, right) in packed.iter().zip(right[col..].chunks(stride)) {
                let Some(right) = right.first_chunk::<COLS>() else { break };
                for j in 0..COLS {
                    let right = f64::from(right[j]);
                    for i in 0..ROWS {
                        sums[i][j] += left[i] * right;
                    }
                }
            }
            for (sums, out) in sums.iter().zip(out.chunks_mut(width).take(rows)) {
                for (out, sum) in out[col..col + COLS].iter_mut().zip(sums) {
                    *out = (f64::from(*out) + scale * sum) as f32;
                }
            }
            col += COLS;
        }
        while col < width {
            let mut sums = [0.0f64; ROWS];
            for (left, right) in packed.iter().zip(right[col..].chunks(stride)) {
                for i in 0..ROWS {
                    sums[i] += left[i] * f64::from(right[0]);
                }
            }
            for (sum, out) in sums.iter().zip(out.chunks_mut(width).take(rows)) {
                out[col] = (f64::from(out[col]) + scale * sum) as f32;
            }
            col += 1;
        }
    }
}

kernel! {
    /// A stretch of one row: `out += scale packed_0^T right`.
    fn add_row(
        out: &'a mut [f32],
        packed: &'a [[f64; ROWS]],
        right: &'a [f32],
        stride: usize,
        scale: f64,
    ) {
        const WIDE: usize = 4 * COLS;
        let mut start = 0;
        while start < out.len() {
            let mut sums = [0.0f64; WIDE];
            let width = WIDE.min(out.len() - start);
            for (left, right) in packed.iter().zip(right[start..].chunks(stride)) {
                match right.first_chunk::<WIDE>() {
                    Some(right) if width == WIDE => {
                        for j in 0..WIDE {
                            sums[j] += left[0] * f64::from(right[j]);
                        }
                    }
                    _ => {
                        for (sum, &right) in sums.iter_mut().zip(&right[..width]) {
                            *sum += left[0] * f64::from(right);
                        }
                    }
                }
            }
            for (out, sum) in out[start..start + width].iter_mut().zip(&sums) {
                *out = (f64::from(*out) + scale * sum) as f32;
            }
            start += width;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn factors(rows: usize, cols: usize, rank: usize) -> LowRank {
        let values = |n: usize, step: f32| (0..n).map(|i| (i as f32 * step).sin()).collect();
        let (left, right) = (values(rows * rank, 0.7), values(rank * cols, 1.3));
        LowRank::new([rows, cols], rank, left, right, 0.37).unwrap()
    }

    /// Entry by entry, in double precision.
    fn plain(factors: &LowRank, base: &[f32]) -> Vec<f32> {
        let (rank, cols) = (factors.rank(), factors.cols());
        let entry = |(i, &base): (usize, &f32)| {
            let (row, col) = (i / cols, i % cols);
            let mut sum = 0.0;
            for k in 0..rank {
                let left = f64::from(factors.left()[row * rank + k]);
                sum += left * f64::from(factors.right()[k * cols + col]);
            }
            (f64::from(base) + factors.scale() * sum) as f32
        };
        base.iter().enumerate().map(entry).collect()
    }

    proptest! {
        #[test]
        fn any_stretch_has_the_bits_of_the_whole(
            (rows, cols, rank) in (1usize..11, 1usize..75, 0usize..6),
            (a, b) in (0.0..1.0, 0.0..1.0),
        ) {
            let factors = factors(rows, cols, rank);
            let base: Vec<f32> = (0..rows * cols).map(|i| (i as f32).cos()).collect();
            let expected = plain(&factors, &base);
            let at = |share: f64| (share * (base.len() + 1) as f64) as usize;
            let range = at(f64::min(a, b))..at(f64::max(a, b));
            let mut out = base[range.clone()].to_vec();
            add_product(&factors, range.clone(), &mut out);
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&out), bits(&expected[range]));
        }
    }
}
