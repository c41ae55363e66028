//! The register tile: `y[o, p] = bias[o] + sum_t w[o, t] x[p + offset_t]` for consecutive positions.
//!
//! Lanes run over positions and weights are broadcast. `V` vectors by `O` outputs stay in registers
//! over all terms.

#![expect(
    unsafe_code,
    reason = "register tiles read packed memory without bounds checks"
)]

use pulp::{Arch, Simd, WithSimd};

/// Vectors of positions in a register tile.
const VECTORS: usize = 3;
/// Outputs in a register tile with 32 registers, and with 16 or for a remainder.
pub(super) const WIDE: usize = 8;
const NARROW: usize = 4;
/// Lanes of the longest vector; those of shorter ones divide it.
pub(super) const LANES: usize = 16;

/// Weights as the tiles read them: for each block of outputs, term by term.
pub(super) struct Panels {
    data: Vec<f32>,
    outputs: usize,
    terms: usize,
}

/// The weights of a block of outputs.
pub(super) struct Panel<'a> {
    /// `[terms, width]`, zero beyond the last output.
    data: &'a [f32],
    pub(super) first: usize,
    /// Outputs that exist.
    pub(super) outputs: usize,
    width: usize,
}

impl Panels {
    /// Packs `weight(output, term)`.
    pub(super) fn new(outputs: usize, terms: usize, weight: impl Fn(usize, usize) -> f32) -> Self {
        let mut panels = Self {
            data: Vec::new(),
            outputs,
            terms,
        };
        let blocks = widths(outputs);
        panels
            .data
            .reserve_exact(terms * blocks.iter().sum::<usize>());
        let mut first = 0;
        for width in blocks {
            for term in 0..terms {
                let entry = |o| if o < outputs { weight(o, term) } else { 0.0 };
                panels.data.extend((first..first + width).map(entry));
            }
            first += width;
        }
        panels
    }

    /// The blocks in order.
    pub(super) fn blocks(&self) -> Vec<Panel<'_>> {
        let (mut rest, mut first) = (&self.data[..], 0);
        let mut blocks = Vec::new();
        for width in widths(self.outputs) {
            let (data, next) = rest.split_at(width * self.terms);
            let outputs = width.min(self.outputs - first);
            blocks.push(Panel {
                data,
                first,
                outputs,
                width,
            });
            (rest, first) = (next, first + width);
        }
        blocks
    }
}

/// Widths of the blocks of outputs.
fn widths(outputs: usize) -> Vec<usize> {
    let wide = Arch::new().dispatch(Registers) >= 32;
    let mut widths = Vec::new();
    let mut rest = outputs;
    while rest > 0 {
        widths.push(if wide && rest > NARROW { WIDE } else { NARROW });
        rest = rest.saturating_sub(widths[widths.len() - 1]);
    }
    widths
}

struct Registers;

impl WithSimd for Registers {
    type Output = usize;

    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::REGISTER_COUNT
    }
}

impl Panel<'_> {
    /// Fills `outputs` rows of `y`, `flat` positions each: a multiple of [`LANES`]. Rows up to the
    /// width of the block are overwritten.
    #[inline(always)]
    pub(super) fn run<S: Simd>(
        &self,
        simd: S,
        x: &[f32],
        offsets: &[usize],
        bias: Option<&[f32]>,
        y: &mut [f32],
        (flat, row): (usize, usize),
    ) {
        let farthest = offsets.iter().max().map_or(0, |offset| offset + flat);
        assert!(x.len() >= farthest && self.data.len() == self.width * offsets.len());
        assert!(flat.is_multiple_of(LANES) && flat <= row && y.len() >= self.width * row);
        let mut start = [0.0; WIDE];
        if let Some(bias) = bias {
            start[..self.outputs].copy_from_slice(&bias[self.first..self.first + self.outputs]);
        }
        let data = Tile {
            x: x.as_ptr(),
            offsets,
            weight: self.data.as_ptr(),
            start,
            row,
        };
        // SAFETY: the assertions bound every access of the tiles.
        unsafe {
            match self.width {
                WIDE => data.run::<S, WIDE>(simd, y.as_mut_ptr(), flat),
                _ => data.run::<S, NARROW>(simd, y.as_mut_ptr(), flat),
            }
        }
    }
}

struct Tile<'a> {
    x: *const f32,
    offsets: &'a [usize],
    weight: *const f32,
    start: [f32; WIDE],
    row: usize,
}

impl Tile<'_> {
    /// # Safety
    /// `x` is valid for `flat` positions at each offset, `weight` for `O` floats each, and `y` for `O`
    /// rows.
    #[inline(always)]
    unsafe fn run<S: Simd, const O: usize>(&self, simd: S, y: *mut f32, flat: usize) {
        let mut at = 0;
        // SAFETY: the caller's promise; tiles end at `flat`.
        unsafe {
            while at + VECTORS * S::F32_LANES <= flat {
                self.fill::<S, VECTORS, O>(simd, at, y);
                at += VECTORS * S::F32_LANES;
            }
            if at + 2 * S::F32_LANES <= flat {
                self.fill::<S, 2, O>(simd, at, y);
                at += 2 * S::F32_LANES;
            }
            if at < flat {
                self.fill::<S, 1, O>(simd, at, y);
            }
        }
    }

    /// # Safety
    /// As for `run`, for `V` vectors from `at` on.
    #[inline(always)]
    unsafe fn fill<S: Simd, const V: usize, const O: usize>(
        &self,
        simd: S,
        at: usize,
        y: *mut f32,
    ) {
        let mut acc = [[simd.splat_f32s(0.0); V]; O];
        for o in 0..O {
            acc[o] = [simd.splat_f32s(self.start[o]); V];
        }
        // SAFETY: the caller's promise.
        unsafe {
            let x = self.x.add(at);
            let mut w = self.weight;
            for &offset in self.offsets {
                let x = x.add(offset).cast::<S::f32s>();
                let mut values = [simd.splat_f32s(0.0); V];
                for v in 0..V {
                    values[v] = x.add(v).read_unaligned();
                }
                for o in 0..O {
                    let weight = simd.splat_f32s(*w.add(o));
                    for v in 0..V {
                        acc[o][v] = simd.mul_add_e_f32s(weight, values[v], acc[o][v]);
                    }
                }
                w = w.add(O);
            }
            for o in 0..O {
                let y = y.add(o * self.row + at).cast::<S::f32s>();
                for v in 0..V {
                    y.add(v).write_unaligned(acc[o][v]);
                }
            }
        }
    }
}
