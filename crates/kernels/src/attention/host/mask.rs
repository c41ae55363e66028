//! What a mask does to the scores of a query, and how its gradient is summed.

use super::{AttentionMask, Problem, Spans};
use crate::memory::{floats, tensor, zeros};
use burn::backend::TensorMetadata;
use burn::backend::flex::FlexTensor;
use std::ops::Range;

/// [`AttentionMask`] in row-major memory.
#[derive(Clone, Debug)]
pub(in crate::attention) enum HostMask {
    None,
    Causal,
    Padding(FlexTensor),
    Additive(FlexTensor),
    Spans(Spans),
    Distances(FlexTensor, Spans),
}

impl Problem {
    /// Whether the mask has a shape that this problem allows.
    pub(in crate::attention) fn admits(&self, mask: &AttentionMask) -> bool {
        match mask {
            AttentionMask::None | AttentionMask::Causal => true,
            AttentionMask::Padding(hidden) => hidden.dims() == [self.batch, self.keys],
            AttentionMask::Additive(bias) => {
                let [b, heads, n, m] = bias.dims();
                (b == 1 || b == self.batch)
                    && (heads == 1 || heads == self.heads)
                    && [n, m] == [self.queries, self.keys]
            }
            AttentionMask::Spans(spans) => self.admits_spans(spans),
            AttentionMask::Distances(scores, spans) => {
                scores.dims() == [self.heads, self.distances()] && self.admits_spans(spans)
            }
        }
    }

    fn admits_spans(&self, spans: &Spans) -> bool {
        let [batch, queries, keys] = spans.dims();
        (batch == 1 || batch == self.batch) && [queries, keys] == [self.queries, self.keys]
    }

    /// Different distances between a query and a key.
    pub(super) fn distances(&self) -> usize {
        (self.queries + self.keys).saturating_sub(1)
    }

    /// From the first to the last key that one of some queries of a batch entry may see.
    pub(super) fn visible(&self, mask: &HostMask, b: usize, queries: Range<usize>) -> Range<usize> {
        match mask {
            HostMask::Causal => {
                let end = (queries.end + self.keys).saturating_sub(self.queries);
                0..end.min(self.keys)
            }
            HostMask::Spans(spans) | HostMask::Distances(_, spans) => spans.of_any(b, queries),
            _ => 0..self.keys,
        }
    }

    /// Hides or shifts the scores of one query for the keys `seen`.
    #[inline(always)]
    pub(super) fn mask_row(
        &self,
        row: &mut [f32],
        mask: &HostMask,
        [b, h, query]: [usize; 3],
        seen: Range<usize>,
    ) {
        match mask {
            HostMask::None => {}
            HostMask::Causal => {
                let seen = self.visible(mask, b, query..query + 1);
                row[seen.end..].fill(f32::NEG_INFINITY);
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
            HostMask::Spans(spans) => hide(row, spans.of(b, query), &seen),
            HostMask::Distances(scores, spans) => {
                let start = h * self.distances() + self.queries - 1 - query + seen.start;
                for (x, &score) in row.iter_mut().zip(&floats(scores)[start..]) {
                    *x += score;
                }
                hide(row, spans.of(b, query), &seen);
            }
        }
    }

    /// Sums the gradient of the mask over the axes that it was broadcast along.
    pub(super) fn reduce_mask(&self, full: Vec<f32>, mask: &HostMask) -> Option<FlexTensor> {
        let bias = match mask {
            HostMask::Additive(bias) => bias,
            HostMask::Distances(scores, _) => {
                let mut sum = zeros(self.heads * self.distances());
                for values in full.chunks_exact(sum.len().max(1)) {
                    sum.iter_mut().zip(values).for_each(|(sum, &x)| *sum += x);
                }
                return Some(tensor(sum, scores.shape()));
            }
            _ => return None,
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

/// Hides the scores of the keys `all` that are not in `span`.
#[inline(always)]
fn hide(row: &mut [f32], span: Range<usize>, all: &Range<usize>) {
    if span.is_empty() {
        return row.fill(f32::NEG_INFINITY);
    }
    row[..span.start - all.start].fill(f32::NEG_INFINITY);
    row[span.end - all.start..].fill(f32::NEG_INFINITY);
}
