//! Attention on the CPU: one task per batch entry and head, one tile of scores in the cache.

#![expect(
    unsafe_code,
    reason = "tasks write interleaved columns of one output in place"
)]

use super::{AttentionMask, State};
use crate::gemm::{Mat, Shared, Store, gemm, rows_mut};
use crate::math::exp;
use crate::memory::{buffer, floats, tensor, zeros};
use crate::parallel::for_each;
use crate::simd::{max, sum1, vectorized};
use crate::softmax::{exp_row, softmax_gradient};
use crate::team::for_each_index;
use burn::backend::TensorMetadata;
use burn::backend::flex::FlexTensor;
use gemm::Parallelism;

/// Queries per tile: with a few hundred keys the scores stay in the second-level cache.
const TILE: usize = 64;

/// [`AttentionMask`] in row-major memory.
#[derive(Clone, Debug)]
pub(super) enum HostMask {
    None,
    Causal,
    Padding(FlexTensor),
    Additive(FlexTensor),
}

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

    /// Whether the mask has a shape that this problem allows.
    pub(super) fn admits(&self, mask: &AttentionMask) -> bool {
        match mask {
            AttentionMask::None | AttentionMask::Causal => true,
            AttentionMask::Padding(hidden) => hidden.dims() == [self.batch, self.keys],
            AttentionMask::Additive(bias) => {
                let [b, heads, n, m] = bias.dims();
                (b == 1 || b == self.batch)
                    && (heads == 1 || heads == self.heads)
                    && [n, m] == [self.queries, self.keys]
            }
        }
    }

    fn scale(&self) -> f32 {
        1.0 / (self.dim as f32).sqrt()
    }

    /// Keys that the first `end` queries may see.
    fn visible(&self, mask: &HostMask, end: usize) -> usize {
        match mask {
            HostMask::Causal => (end + self.keys)
                .saturating_sub(self.queries)
                .min(self.keys),
            _ => self.keys,
        }
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
                let keys = self.visible(&state.mask, first + log_sums.len());
                let dims = [log_sums.len(), keys];
                let scores = &mut scores[..dims[0] * keys];
                let (q, k) = (
                    q.row_range(first, dims[0]),
                    k.row_range(0, keys).transposed(),
                );
                multiply(scores, dims, self.scale(), q, k);
                vectorized(
                    #[inline(always)]
                    || {
                        for (i, log_sum) in log_sums.iter_mut().enumerate() {
                            let row = &mut scores[i * keys..(i + 1) * keys];
                            self.mask_row(row, &state.mask, [b, h, first + i]);
                            *log_sum = normalise(row);
                        }
                    },
                );
                let offset = (b * self.queries + first) * width + h * self.dim;
                // SAFETY: each task writes the columns of its own head and batch entry.
                let mut y = unsafe { shared.matrix(offset, [dims[0], self.dim], width) };
                let p = Mat::rows(scores, dims);
                gemm(
                    &mut y,
                    Store::Set,
                    1.0,
                    p,
                    v.row_range(0, keys),
                    Parallelism::None,
                );
            }
        };
        let chunk = self.queries.max(1);
        for_each(log_sums.chunks_mut(chunk).enumerate(), task);
        (tensor(y, state.q.shape()), log_sums)
    }

    /// Gradients of `q`, `k`, `v` and, if asked for, of the additive mask.
    pub(super) fn backward(
        &self,
        state: &State,
        grad: &FlexTensor,
        of_mask: bool,
    ) -> [Option<FlexTensor>; 4] {
        let mut dq = buffer(self.batch * self.queries * self.heads * self.dim);
        let mut dk = buffer(self.batch * self.keys * self.kv_heads * self.dim);
        let mut dv = buffer(dk.len());
        let pairs = self.batch * self.heads * self.queries * self.keys;
        let mut dmask = zeros(if of_mask { pairs } else { 0 });
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
            let (rows, keys) = (
                log_sums.len(),
                self.visible(&state.mask, first + log_sums.len()),
            );
            let dims = [rows, keys];
            let (p, ds) = (&mut p[..rows * keys], &mut ds[..rows * keys]);
            let (q, dy) = (q.row_range(first, rows), dy.row_range(first, rows));
            let (k, v) = (k.row_range(0, keys), v.row_range(0, keys));
            multiply(p, dims, self.scale(), q, k.transposed());
            multiply(ds, dims, 1.0, dy, v.transposed());
            vectorized(
                #[inline(always)]
                || {
                    for (i, &log_sum) in log_sums.iter().enumerate() {
                        let row = i * keys..(i + 1) * keys;
                        let (p, ds) = (&mut p[row.clone()], &mut ds[row]);
                        self.mask_row(p, &state.mask, [b, h, first + i]);
                        for p in p.iter_mut() {
                            *p = exp(*p - log_sum);
                        }
                        softmax_gradient(ds, p);
                    }
                },
            );
            let (p, ds) = (Mat::rows(p, dims), Mat::rows(ds, dims));
            let offset = b * self.keys * kv_width + group * self.dim;
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
            if of_mask {
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

    /// Hides or shifts the scores of one query.
    #[inline(always)]
    fn mask_row(&self, row: &mut [f32], mask: &HostMask, [b, h, query]: [usize; 3]) {
        match mask {
            HostMask::None => {}
            HostMask::Causal => {
                let seen = self.visible(mask, query + 1);
                row[seen..].fill(f32::NEG_INFINITY);
            }
            HostMask::Padding(hidden) => {
                let start = hidden.layout().start_offset() + b * self.keys;
                let hidden = &hidden.storage::<u8>()[start..];
                for (x, &hidden) in row.iter_mut().zip(hidden) {
                    *x = if hidden == 0 { *x } else { f32::NEG_INFINITY };
                }
            }
            HostMask::Additive(bias) => {
                let shape = bias.layout().shape();
                let (b, h) = (b.min(shape[0] - 1), h.min(shape[1] - 1)); // 0 when broadcast
                let start = ((b * shape[1] + h) * self.queries + query) * self.keys;
                for (x, &bias) in row.iter_mut().zip(&floats(bias)[start..]) {
                    *x += bias;
                }
            }
        }
    }

    /// Sums the gradient of the mask over the axes that it was broadcast along.
    fn reduce_mask(&self, full: Vec<f32>, mask: &HostMask) -> Option<FlexTensor> {
        let HostMask::Additive(bias) = mask else {
            return None;
        };
        let shape = bias.shape();
        if shape.num_elements() == full.len() {
            return Some(tensor(full, shape));
        }
        let plane = self.queries * self.keys;
        let mut sum = zeros(shape.num_elements());
        for (task, values) in full.chunks_exact(plane.max(1)).enumerate() {
            let b = (task / self.heads).min(shape[0] - 1);
            let h = (task % self.heads).min(shape[1] - 1);
            let sum = &mut sum[(b * shape[1] + h) * plane..][..plane];
            sum.iter_mut().zip(values).for_each(|(sum, &x)| *sum += x);
        }
        Some(tensor(sum, shape))
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
