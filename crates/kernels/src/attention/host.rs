//! Attention on the CPU: one task per batch entry and head, one tile of scores in the cache.

#![expect(
    unsafe_code,
    reason = "tasks write interleaved columns of one output in place"
)]

mod mask;

use super::{AttentionMask, Spans, State};
use crate::gemm::{Mat, Shared, Store, gemm, rows_mut};
use crate::math::exp;
use crate::memory::{buffer, tensor, zeros};
use crate::parallel::for_each;
use crate::simd::{max, sum1, vectorized};
use crate::softmax::{exp_row, softmax_gradient};
use crate::team::for_each_index;
use burn::backend::TensorMetadata;
use burn::backend::flex::FlexTensor;
use gemm::Parallelism;
pub(super) use mask::HostMask;

/// Queries per tile: with a few hundred keys the scores stay in the second-level cache.
const TILE: usize = 64;

/// The sizes of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Problem {
    batch: usize,
    queries: usize,
    keys: usize,
    heads: usize,
    kv_heads: usize,
    /// Columns per head.
    dim: usize,
}

impl Problem {
    /// `None` if the shapes do not fit.
    pub(super) fn new(
        q: [usize; 3],
        k: [usize; 3],
        v: [usize; 3],
        heads: usize,
        kv_heads: usize,
    ) -> Option<Self> {
        let divides = heads > 0 && kv_heads > 0 && heads.is_multiple_of(kv_heads);
        if !divides || !q[2].is_multiple_of(heads) {
            return None;
        }
        let (batch, queries, dim) = (q[0], q[1], q[2] / heads);
        let fits = k == v && k[0] == batch && k[2] == kv_heads * dim;
        fits.then_some(Self {
            batch,
            queries,
            keys: k[1],
            heads,
            kv_heads,
            dim,
        })
    }

    fn scale(&self) -> f32 {
        1.0 / (self.dim as f32).sqrt()
    }

    /// The result, and the logarithm of the sum of powers for each batch entry, head and query.
    pub(super) fn forward(&self, state: &State) -> (FlexTensor, Vec<f32>) {
        let width = self.heads * self.dim;
        let mut y = buffer(self.batch * self.queries * width);
        let mut log_sums = vec![0.0; self.batch * self.heads * self.queries];
        let shared = Shared::new(&mut y);
        let task = |(task, log_sums): (usize, &mut [f32])| {
            let (b, h) = (task / self.heads, task % self.heads);
            let (q, k) = (
                self.view(&state.q, b, h),
                self.view(&state.k, b, self.group(h)),
            );
            let v = self.view(&state.v, b, self.group(h));
            let mut scores = vec![0.0; TILE.min(self.queries) * self.keys];
            for (first, log_sums) in (0..).step_by(TILE).zip(log_sums.chunks_mut(TILE)) {
                let seen = self.visible(&state.mask, b, first..first + log_sums.len());
                let keys = seen.len();
                let dims = [log_sums.len(), keys];
                let scores = &mut scores[..dims[0] * keys];
                let (q, k, v) = (
                    q.row_range(first, dims[0]),
                    k.row_range(seen.start, keys).transposed(),
                    v.row_range(seen.start, keys),
                );
                multiply(scores, dims, self.scale(), q, k);
                vectorized(
                    #[inline(always)]
                    || {
                        for (i, log_sum) in log_sums.iter_mut().enumerate() {
                            let row = &mut scores[i * keys..(i + 1) * keys];
                            self.mask_row(row, &state.mask, [b, h, first + i], seen.clone());
                            *log_sum = normalise(row);
                        }
                    },
                );
                let offset = (b * self.queries + first) * width + h * self.dim;
                // SAFETY: each task writes the columns of its own head and batch entry.
                let mut y = unsafe { shared.matrix(offset, [dims[0], self.dim], width) };
                let p = Mat::rows(scores, dims);
                gemm(&mut y, Store::Set, 1.0, p, v, Parallelism::None);
            }
        };
        let chunk = self.queries.max(1);
        for_each(log_sums.chunks_mut(chunk).enumerate(), task);
        (tensor(y, state.q.shape()), log_sums)
    }

    /// Gradients of `q`, `k`, `v` and, if asked for, of what the mask adds.
    pub(super) fn backward(
        &self,
        state: &State,
        grad: &FlexTensor,
        of_mask: bool,
    ) -> [Option<FlexTensor>; 4] {
        let mut dq = buffer(self.batch * self.queries * self.heads * self.dim);
        let mut dk = buffer(self.batch * self.keys * self.kv_heads * self.dim);
        let mut dv = buffer(dk.len());
        let of_head = match &state.mask {
            HostMask::Distances(..) => self.distances(),
            _ => self.queries * self.keys,
        };
        let added = self.batch * self.heads * of_head;
        let mut dmask = zeros(if of_mask { added } else { 0 });
        let outputs = [&mut dq, &mut dk, &mut dv, &mut dmask].map(|t| Shared::new(t));
        for_each_index(self.batch * self.kv_heads, |task| {
            let (b, group) = (task / self.kv_heads, task % self.kv_heads);
            let size = self.heads / self.kv_heads;
            let (dims, width) = ([self.keys, self.dim], self.kv_heads * self.dim);
            let offset = b * self.keys * width + group * self.dim;
            for t in &outputs[1..3] {
                // SAFETY: each task has the columns of its own group of heads and batch entry.
                unsafe { t.matrix(offset, dims, width) }.clear();
            }
            for h in group * size..(group + 1) * size {
                self.head_backward(state, grad, &outputs, [b, h], of_mask);
            }
        });
        let dmask = of_mask
            .then(|| self.reduce_mask(dmask, &state.mask))
            .flatten();
        let like = |values, t: &FlexTensor| Some(tensor(values, t.shape()));
        [
            like(dq, &state.q),
            like(dk, &state.k),
            like(dv, &state.v),
            dmask,
        ]
    }

    /// One head of one batch entry: with `P` computed again, `dV += P' dO`, `dP = dO V'`,
    /// `dS = P (dP - rowsum(P dP))`, `dQ = scale dS K`, `dK += scale dS' Q`.
    fn head_backward(
        &self,
        state: &State,
        grad: &FlexTensor,
        outputs: &[Shared; 4],
        [b, h]: [usize; 2],
        of_mask: bool,
    ) {
        let group = self.group(h);
        let (q, dy) = (self.view(&state.q, b, h), self.view(grad, b, h));
        let (k, v) = (self.view(&state.k, b, group), self.view(&state.v, b, group));
        let [dq, dk, dv, dmask] = outputs;
        let (width, kv_width) = (self.heads * self.dim, self.kv_heads * self.dim);
        let log_sums = &state.log_sums[(b * self.heads + h) * self.queries..][..self.queries];
        let tile = TILE.min(self.queries) * self.keys;
        let (mut p, mut ds) = (vec![0.0; tile], vec![0.0; tile]);
        for (first, log_sums) in (0..).step_by(TILE).zip(log_sums.chunks(TILE)) {
            let rows = log_sums.len();
            let seen = self.visible(&state.mask, b, first..first + rows);
            let keys = seen.len();
            let dims = [rows, keys];
            let (p, ds) = (&mut p[..rows * keys], &mut ds[..rows * keys]);
            let (q, dy) = (q.row_range(first, rows), dy.row_range(first, rows));
            let [k, v] = [k, v].map(|t| t.row_range(seen.start, keys));
            multiply(p, dims, self.scale(), q, k.transposed());
            multiply(ds, dims, 1.0, dy, v.transposed());
            vectorized(
                #[inline(always)]
                || {
                    for (i, &log_sum) in log_sums.iter().enumerate() {
                        let row = i * keys..(i + 1) * keys;
                        let (p, ds) = (&mut p[row.clone()], &mut ds[row]);
                        self.mask_row(p, &state.mask, [b, h, first + i], seen.clone());
                        for p in p.iter_mut() {
                            *p = exp(*p - log_sum);
                        }
                        softmax_gradient(ds, p);
                    }
                },
            );
            let (p, ds) = (Mat::rows(p, dims), Mat::rows(ds, dims));
            let offset = (b * self.keys + seen.start) * kv_width + group * self.dim;
            // SAFETY: each task writes the columns of its own group of heads and batch entry, and
            // runs through its heads one after the other.
            let [mut dk, mut dv] =
                [dk, dv].map(|t| unsafe { t.matrix(offset, [keys, self.dim], kv_width) });
            gemm(
                &mut dv,
                Store::Add,
                1.0,
                p.transposed(),
                dy,
                Parallelism::None,
            );
            gemm(
                &mut dk,
                Store::Add,
                self.scale(),
                ds.transposed(),
                q,
                Parallelism::None,
            );
            let offset = (b * self.queries + first) * width + h * self.dim;
            // SAFETY: as above, with the columns of this head.
            let mut dq = unsafe { dq.matrix(offset, [rows, self.dim], width) };
            gemm(&mut dq, Store::Set, self.scale(), ds, k, Parallelism::None);
            if of_mask && matches!(state.mask, HostMask::Distances(..)) {
                let distances = self.distances();
                let offset = (b * self.heads + h) * distances;
                // SAFETY: as above, with the distances of this head and batch entry.
                let mut sums = unsafe { dmask.matrix(offset, [1, distances], distances) };
                for i in 0..rows {
                    let nearest = self.queries - 1 - (first + i) + seen.start;
                    let sums = &mut sums.row(0)[nearest..];
                    sums.iter_mut()
                        .zip(ds.row(i))
                        .for_each(|(sum, &ds)| *sum += ds);
                }
            } else if of_mask {
                let offset = ((b * self.heads + h) * self.queries + first) * self.keys;
                // SAFETY: as above, with the rows of these queries.
                let mut dmask = unsafe { dmask.matrix(offset, dims, self.keys) };
                (0..rows).for_each(|i| dmask.row(i).copy_from_slice(ds.row(i)));
            }
        }
    }

    /// The key head that serves head `h`.
    fn group(&self, h: usize) -> usize {
        h / (self.heads / self.kv_heads)
    }

    /// One head of one batch entry of a tensor `[b, tokens, any number of heads * dim]`.
    fn view<'a>(&self, t: &'a FlexTensor, b: usize, h: usize) -> Mat<'a> {
        let (strides, tokens) = (t.layout().strides(), t.shape()[1]);
        let start = t.layout().start_offset().cast_signed() + b.cast_signed() * strides[0];
        let offset = start.cast_unsigned() + h * self.dim;
        Mat::new(t.storage(), offset, [tokens, self.dim], [strides[1], 1])
    }
}

/// `out = scale a b`, on this thread.
fn multiply(out: &mut [f32], dims: [usize; 2], scale: f32, a: Mat, b: Mat) {
    gemm(
        &mut rows_mut(out, dims),
        Store::Set,
        scale,
        a,
        b,
        Parallelism::None,
    );
}

/// Turns scores into probabilities and returns the logarithm of the sum of their powers; zeros and
/// `+inf` (which makes every recomputed probability 0) when no key may be seen.
#[inline(always)]
fn normalise(row: &mut [f32]) -> f32 {
    let largest = max(row);
    let nothing_seen = largest == f32::NEG_INFINITY;
    if nothing_seen && !sum1(row, |x| x).is_nan() {
        row.fill(0.0);
        return f32::INFINITY;
    }
    let sum = exp_row(row, largest);
    let scale = 1.0 / sum;
    for p in row.iter_mut() {
        *p *= scale;
    }
    sum.ln() + largest
}
