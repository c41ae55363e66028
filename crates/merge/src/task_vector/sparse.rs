//! Task vectors with few entries: 6 bytes per entry that is not zero, so 1.2 bytes per weight at a density of 20 %.

use crate::{
    layout::BLOCK,
    simd::{Lanes, Wide},
};
use std::ops::Range;

/// One task vector, tensor by tensor.
#[derive(Clone, Debug, Default)]
pub(crate) struct SparseVector {
    pub(crate) tensors: Vec<SparseTensor>,
}

/// The entries of one tensor that are not zero.
///
/// Positions are 16-bit offsets inside blocks of [`BLOCK`] values; entries of block `b` are
/// `starts[b]..starts[b + 1]`.
#[derive(Clone, Debug)]
pub(crate) struct SparseTensor {
    starts: Vec<usize>,
    offsets: Vec<u16>,
    values: Vec<f32>,
}

const _: () = assert!(BLOCK <= 1 << 16, "offsets inside a block fit 16 bits");

impl Default for SparseTensor {
    fn default() -> Self {
        Self {
            starts: vec![0],
            offsets: vec![],
            values: vec![],
        }
    }
}

impl SparseTensor {
    /// Appends the next block; every block but the last is full.
    pub(crate) fn push_block(&mut self, values: &[f32]) {
        for (offset, &value) in values.iter().enumerate() {
            if value != 0.0 {
                self.offsets.push(offset as u16);
                self.values.push(value);
            }
        }
        self.starts.push(self.values.len());
    }

    /// Appends all blocks of `next`, which starts at a block boundary.
    pub(crate) fn append(&mut self, mut next: Self) {
        let before = self.values.len();
        self.starts
            .extend(next.starts[1..].iter().map(|start| start + before));
        self.offsets.append(&mut next.offsets);
        self.values.append(&mut next.values);
    }

    /// Gives back what growing left over.
    pub(crate) fn shrink(&mut self) {
        self.offsets.shrink_to_fit();
        self.values.shrink_to_fit();
    }

    /// Number of entries that are not zero.
    pub(crate) fn entries(&self) -> usize {
        self.values.len()
    }

    fn block(&self, start: usize) -> (&[u16], &[f32]) {
        let at = start / BLOCK;
        let range = self.starts[at]..self.starts[at + 1];
        (&self.offsets[range.clone()], &self.values[range])
    }

    /// Writes the values in `range`, which lies inside one block.
    pub(crate) fn read(&self, range: Range<usize>, out: &mut [f32]) {
        out.fill(0.0);
        let shift = range.start % BLOCK;
        let (offsets, values) = self.block(range.start);
        for (&offset, &value) in offsets.iter().zip(values) {
            if let Some(out) = usize::from(offset)
                .checked_sub(shift)
                .and_then(|i| out.get_mut(i))
            {
                *out = value;
            }
        }
    }

    /// `lanes[i mod 16] += gradient[offset_i] value_i` over the block at `start`.
    pub(crate) fn dot<G: Wide>(&self, lanes: &mut Lanes, start: usize, gradient: &[G]) {
        let (offsets, values) = self.block(start);
        let (offsets, last_offsets) = offsets.as_chunks::<8>();
        let (values, last_values) = values.as_chunks::<8>();
        for (offsets, values) in offsets.iter().zip(values) {
            for i in 0..8 {
                lanes[i] += gradient[usize::from(offsets[i])].into() * f64::from(values[i]);
            }
        }
        for (lane, (&offset, &value)) in lanes.iter_mut().zip(last_offsets.iter().zip(last_values))
        {
            *lane += gradient[usize::from(offset)].into() * f64::from(value);
        }
    }

    /// `sums[offset_i] += factor value_i` over the block at `start`.
    pub(crate) fn add_scaled(&self, sums: &mut [f64], start: usize, factor: f64) {
        let (offsets, values) = self.block(start);
        for (&offset, &value) in offsets.iter().zip(values) {
            sums[usize::from(offset)] += factor * f64::from(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd;

    /// Every third entry of `n`, block by block.
    fn example(n: usize) -> (Vec<f32>, SparseTensor) {
        let dense: Vec<f32> = (0..n)
            .map(|i| if i % 3 == 0 { 1.0 + i as f32 } else { 0.0 })
            .collect();
        let mut sparse = SparseTensor::default();
        dense
            .chunks(BLOCK)
            .for_each(|block| sparse.push_block(block));
        (dense, sparse)
    }

    #[test]
    fn what_was_pushed_is_read_back() {
        for n in [0, 1, BLOCK - 1, BLOCK, 2 * BLOCK + 17] {
            let (dense, sparse) = example(n);
            let mut out = vec![9.0; n];
            for (block, out) in out.chunks_mut(BLOCK).enumerate() {
                sparse.read(block * BLOCK..block * BLOCK + out.len(), out);
            }
            assert_eq!(out, dense);
            assert_eq!(sparse.entries(), n.div_ceil(3));
        }
        let (dense, sparse) = example(BLOCK);
        let mut part = [9.0; 5];
        sparse.read(7..12, &mut part);
        assert_eq!(part.to_vec(), dense[7..12]);
    }

    #[test]
    fn products_and_sums_are_those_of_the_dense_vector() {
        let (dense, sparse) = example(100);
        let gradient: Vec<f32> = (0..100).map(|i| (i as f32).sin()).collect();
        let (mut one, mut other) = ([0.0; simd::LANES], [0.0; simd::LANES]);
        sparse.dot(&mut one, 0, &gradient);
        simd::dot(&mut other, &gradient, &dense);
        assert!((simd::total(one) - simd::total(other)).abs() < 1e-9);
        let (mut one, mut other) = (vec![1.0; 100], vec![1.0; 100]);
        sparse.add_scaled(&mut one, 0, 0.3);
        simd::add_scaled(&mut other, 0.3, &dense);
        assert_eq!(one, other);
    }

    #[test]
    fn appending_joins_at_block_boundaries() {
        let (dense, _) = example(BLOCK + 5);
        let (mut joined, mut tail) = (SparseTensor::default(), SparseTensor::default());
        joined.push_block(&dense[..BLOCK]);
        tail.push_block(&dense[BLOCK..]);
        joined.append(tail);
        joined.shrink();
        let mut out = [0.0; 5];
        joined.read(BLOCK..BLOCK + 5, &mut out);
        assert_eq!(out.to_vec(), dense[BLOCK..]);
    }
}
