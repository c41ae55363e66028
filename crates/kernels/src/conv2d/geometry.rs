//! The arithmetic of positions: every pass of a convolution as products of shifted rows.
//!
//! Output position `j` of an axis reads source positions `j + offset` of a *plane*, one offset for
//! each tap of the kernel. A stride `s` splits the source into `s` phase planes (forward), or the
//! output into `s` phases (input gradient), so that neighbours in the output always read neighbours
//! in a plane. Planes are stored flat with a fixed row pitch; a tap is then one number, and a tile
//! of consecutive flat positions is computed with full vectors, across the ends of rows.

use std::ops::Range;

use super::grid::Grid;

/// Sizes of one convolution, `[batch, in, ..]` with `[out, in, ..]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConvShape {
    pub(super) batch: usize,
    pub(super) channels_in: usize,
    pub(super) channels_out: usize,
    /// Height and width of the input, the kernel and the output.
    pub(super) input: [usize; 2],
    pub(super) kernel: [usize; 2],
    pub(super) output: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) padding: [usize; 2],
}

impl ConvShape {
    /// The sizes, when they fit: `None` where the channels differ, a stride or kernel side is zero, or
    /// the kernel is larger than the padded image.
    pub(super) fn new(
        x: [usize; 4],
        weight: [usize; 4],
        bias: Option<usize>,
        stride: [usize; 2],
        padding: [usize; 2],
    ) -> Option<Self> {
        let ([batch, channels_in, ..], [channels_out, ..]) = (x, weight);
        let (input, kernel) = ([x[2], x[3]], [weight[2], weight[3]]);
        let padded = [0, 1].map(|i| input[i] + 2 * padding[i]);
        let fits = (0..2).all(|i| stride[i] > 0 && (1..=padded[i]).contains(&kernel[i]));
        if !fits || channels_in != weight[1] || bias.is_some_and(|bias| bias != channels_out) {
            return None;
        }
        let output = [0, 1].map(|i| (padded[i] - kernel[i]) / stride[i] + 1);
        Some(Self {
            batch,
            channels_in,
            channels_out,
            input,
            kernel,
            output,
            stride,
            padding,
        })
    }

    /// `[batch, out, h', w']`.
    pub(super) fn output_dims(&self) -> [usize; 4] {
        [
            self.batch,
            self.channels_out,
            self.output[0],
            self.output[1],
        ]
    }

    /// Kernel entries of one output channel.
    pub(super) fn taps(&self) -> usize {
        self.channels_in * self.kernel[0] * self.kernel[1]
    }

    /// The grid of the forward pass and of the weight gradient: source is the input.
    pub(super) fn forward_grid(&self) -> Grid {
        let axis = |i: usize| {
            Axis::forward(
                self.input[i],
                self.kernel[i],
                self.output[i],
                self.stride[i],
                self.padding[i],
            )
        };
        Grid {
            rows: axis(0),
            cols: axis(1),
            channels: self.channels_in,
        }
    }

    /// The grids of the input gradient, one for each phase: source is the output gradient.
    pub(super) fn input_grad_grids(&self) -> Vec<Grid> {
        let axes = |i: usize| {
            (0..self.stride[i]).map(move |phase| {
                Axis::input_grad(
                    self.input[i],
                    self.kernel[i],
                    self.output[i],
                    self.stride[i],
                    self.padding[i],
                    phase,
                )
            })
        };
        axes(0)
            .flat_map(|rows| {
                axes(1).map(move |cols| Grid {
                    rows: rows.clone(),
                    cols,
                    channels: self.channels_out,
                })
            })
            .filter(|grid| grid.rows.count > 0 && grid.cols.count > 0)
            .collect()
    }
}

/// One kernel position along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tap {
    /// Index into the kernel.
    pub(super) kernel: usize,
    /// Phase plane that is read.
    pub(super) plane: usize,
    /// Distance from the output position in that plane.
    pub(super) offset: usize,
}

/// Where the output positions of one axis read and land.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    /// Output positions.
    pub(super) count: usize,
    pub(super) taps: Vec<Tap>,
    /// Source index of the first element of each plane; negative in the padding.
    starts: Vec<isize>,
    /// Source distance of neighbours in a plane.
    pub(super) step: usize,
    /// Length of the source axis.
    source: usize,
    /// Where position 0 lands in the destination, and the distance of neighbours there.
    pub(super) target_start: usize,
    pub(super) target_step: usize,
}

impl Axis {
    fn forward(source: usize, kernel: usize, count: usize, stride: usize, padding: usize) -> Self {
        let taps = (0..kernel)
            .map(|k| Tap {
                kernel: k,
                plane: k % stride,
                offset: k / stride,
            })
            .collect();
        let planes = stride.min(kernel).cast_signed();
        let starts = (0..planes)
            .map(|phase| phase - padding.cast_signed())
            .collect();
        Self {
            count,
            taps,
            starts,
            step: stride,
            source,
            target_start: 0,
            target_step: 1,
        }
    }

    /// Input positions `i` with `(i + padding) mod stride = phase`. Such an `i` is `j stride + phase -
    /// padding`, and `dx[i] = sum_m dy[j - m] w[phase + stride m]`.
    fn input_grad(
        input: usize,
        kernel: usize,
        output: usize,
        stride: usize,
        padding: usize,
        phase: usize,
    ) -> Self {
        let first = padding.saturating_sub(phase).div_ceil(stride);
        let target_start = first * stride + phase - padding;
        let taps: Vec<_> = (phase..kernel).step_by(stride).collect();
        let reach = taps.len().saturating_sub(1);
        let taps = taps.into_iter().enumerate();
        Self {
            count: input.saturating_sub(target_start).div_ceil(stride),
            taps: taps
                .map(|(m, kernel)| Tap {
                    kernel,
                    plane: 0,
                    offset: reach - m,
                })
                .collect(),
            starts: vec![first.cast_signed() - reach.cast_signed()],
            step: 1,
            source: output,
            target_start,
            target_step: stride,
        }
    }

    /// The same axis for a band of its output positions.
    pub(super) fn band(&self, from: usize, count: usize) -> Self {
        let shift = (from * self.step).cast_signed();
        Self {
            count,
            starts: self.starts.iter().map(|start| start + shift).collect(),
            target_start: self.target_start + from * self.target_step,
            ..self.clone()
        }
    }

    /// Plane elements that some output position reads.
    pub(super) fn reach(&self) -> usize {
        self.count + self.taps.iter().map(|tap| tap.offset).max().unwrap_or(0)
    }

    /// The elements of a plane that lie in the source: plane range and source index of its start.
    pub(super) fn inside(&self, plane: usize, len: usize) -> (Range<usize>, usize) {
        let (start, step) = (self.starts[plane], self.step);
        let from = start.min(0).unsigned_abs().div_ceil(step).min(len);
        let first = start + (from * step).cast_signed();
        let inside = self
            .source
            .saturating_sub(first.max(0).unsigned_abs())
            .div_ceil(step);
        (from..len.min(from + inside), first.max(0).unsigned_abs())
    }

    /// Least pitch at which an element past the end of a row may alias the head of the next one:
    /// both are padding, that is zero.
    pub(super) fn pitch(&self) -> usize {
        let reach = self.reach();
        let spans: Vec<_> = (0..self.planes())
            .map(|p| self.inside(p, reach).0)
            .collect();
        let zeros_before = spans.iter().map(|span| span.start).min().unwrap_or(0);
        let end = spans.iter().map(|span| span.end).max().unwrap_or(0);
        self.count.max(end).max(reach - zeros_before.min(reach))
    }

    /// Phase planes of this axis.
    pub(super) fn planes(&self) -> usize {
        self.starts.len()
    }
}
