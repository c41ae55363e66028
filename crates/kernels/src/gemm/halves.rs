//! Weights of half precision as the right factor of a product: they are widened in the cache, and half as many bytes come
//! from memory as with `f32`.

use super::{
    Mat, MatMut, Shared,
    product::{Right, WORK},
};
use crate::{
    parallel::{for_each, for_row_blocks},
    simd::vectorized,
    transpose::transpose,
};
use pulp::{Arch, Simd, WithSimd};
use refit_core::{bf16_to_f32, f16_to_f32};

/// Entries that are widened at once: 4 KiB, in the first-level cache.
const STRETCH: usize = 1024;
/// Columns of a panel that are widened together, and entries of each: 16 KiB.
const TILE: [usize; 2] = [64, 64];
/// Outputs of a task where rows are few.
const OUTPUTS: usize = 32;

/// What the bits of a number of half precision mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalfKind {
    /// IEEE 754 `binary16`.
    F16,
    /// `bfloat16`.
    BF16,
}

impl HalfKind {
    /// The values of `bits`.
    #[inline(always)]
    pub(crate) fn widen(self, bits: impl Iterator<Item = u16>, out: &mut [f32]) {
        self.each(bits, f16_to_f32, out);
    }

    /// The values of `bits`, none of which is infinite or NaN.
    #[inline(always)]
    fn widen_finite(self, bits: &[u16], out: &mut [f32]) {
        self.each(bits.iter().copied(), finite_f16_to_f32, out);
    }

    #[inline(always)]
    fn each(self, bits: impl Iterator<Item = u16>, of_f16: impl Fn(u16) -> f32, out: &mut [f32]) {
        let pairs = out.iter_mut().zip(bits);
        match self {
            Self::F16 => pairs.for_each(|(out, bits)| *out = of_f16(bits)),
            Self::BF16 => pairs.for_each(|(out, bits)| *out = bf16_to_f32(bits)),
        }
    }
}

/// The value of a finite IEEE 754 `binary16`, exact, in four instructions: sign and magnitude go to their places together,
/// and a product with the difference of the biases mends the exponent, of subnormal numbers too.
#[inline(always)]
fn finite_f16_to_f32(bits: u16) -> f32 {
    const TWO_POW_112: f32 = f32::from_bits(0x7780_0000);
    let shifted = i32::from(bits.cast_signed()).cast_unsigned() << 13;
    f32::from_bits(shifted & 0x8fff_ffff) * TWO_POW_112
}

/// Widens little-endian numbers of half precision, on all threads.
///
/// # Panics
/// If there are not two bytes for each value.
///
/// ```
/// use refit_kernels::{HalfKind, widen};
/// let mut values = [0.0; 2];
/// widen(HalfKind::BF16, &[0x80, 0x3f, 0x00, 0xbf], &mut values);
/// assert_eq!(values, [1.0, -0.5]);
/// ```
pub fn widen(kind: HalfKind, bytes: &[u8], values: &mut [f32]) {
    assert_eq!(bytes.len(), 2 * values.len(), "two bytes for each value");
    let words = bytes.as_chunks::<2>().0;
    for_row_blocks(values, 1, |first, block| {
        let words = &words[first..][..block.len()];
        vectorized(
            #[inline(always)]
            || kind.widen(words.iter().map(|word| u16::from_le_bytes(*word)), block),
        );
    });
}

/// The transposed view `[inner, cols]` of rows of half precision, stored one after the other; all values are finite.
#[derive(Clone, Copy)]
pub(crate) struct Halves<'a> {
    /// From the first entry on.
    bits: &'a [u16],
    kind: HalfKind,
    dims: [usize; 2],
    /// Entries from the beginning of a stored row to that of the next.
    stride: usize,
}

impl<'a> Halves<'a> {
    /// `bits` as `outputs` rows of `inner` entries.
    ///
    /// # Panics
    /// If these are not as many.
    pub(crate) fn new(bits: &'a [u16], kind: HalfKind, outputs: usize, inner: usize) -> Self {
        assert_eq!(bits.len(), outputs * inner, "invariant: whole rows");
        Self {
            bits,
            kind,
            dims: [inner, outputs],
            stride: inner,
        }
    }

    /// The stored row behind column `j`.
    #[inline(always)]
    fn column(&self, j: usize) -> &'a [u16] {
        &self.bits[j * self.stride..][..self.dims[0]]
    }
}

impl Right for Halves<'_> {
    fn dims(&self) -> [usize; 2] {
        self.dims
    }

    fn part(self, [first, col]: [usize; 2], dims: [usize; 2]) -> Self {
        let inside = first + dims[0] <= self.dims[0] && col + dims[1] <= self.dims[1];
        assert!(inside, "invariant: a part lies inside its matrix");
        let start = (col * self.stride + first).min(self.bits.len());
        Self {
            bits: &self.bits[start..],
            dims,
            ..self
        }
    }

    fn is_packed_as_it_lies(&self) -> bool {
        false
    }

    #[inline(always)]
    fn pack_panel(self, width: usize, out: &mut [f32]) {
        let [depth, cols] = self.dims;
        let [most, long] = TILE;
        assert!(cols <= most, "invariant: a panel is at most so wide");
        let mut wide = [0.0; TILE[0] * TILE[1]];
        for first in (0..depth).step_by(long) {
            let len = long.min(depth - first);
            for (j, wide) in wide.chunks_exact_mut(long).take(cols).enumerate() {
                self.kind
                    .widen_finite(&self.column(j)[first..][..len], wide);
            }
            transpose(&wide, long, cols, len, &mut out[first * width..], width);
        }
    }

    fn product_of_few_rows(self, y: &mut [f32], a: Mat, bias: Option<&[f32]>) {
        let ([rows, inner], cols) = (a.dims(), self.dims[1]);
        if inner == 0 {
            let fill = |y: &mut [f32]| match bias {
                Some(bias) => y.copy_from_slice(bias),
                None => y.fill(0.0),
            };
            return y.chunks_exact_mut(cols).for_each(fill);
        }
        let result = Shared::new(y);
        let task = |first: usize| {
            let count = OUTPUTS.min(cols - first);
            // SAFETY: tasks write columns of their own.
            let y = unsafe { result.matrix(first, [rows, count], cols) };
            Arch::new().dispatch(Few {
                y,
                a,
                b: self.part([0, first], [inner, count]),
                bias: bias.map(|bias| &bias[first..][..count]),
            });
        };
        let tasks = (0..cols).step_by(OUTPUTS);
        if rows * inner * cols < WORK {
            tasks.for_each(task);
        } else {
            for_each(tasks, task);
        }
    }
}

/// Some columns of a result of few rows.
struct Few<'a> {
    y: MatMut<'a>,
    a: Mat<'a>,
    b: Halves<'a>,
    bias: Option<&'a [f32]>,
}

impl WithSimd for Few<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (rows, kind) = (self.a.dims()[0], self.b.kind);
        let mut wide = [0.0; STRETCH];
        for j in 0..self.b.dims[1] {
            let start = self.bias.map_or(0.0, |bias| bias[j]);
            (0..rows).for_each(|i| self.y.row(i)[j] = start);
            for (at, bits) in self.b.column(j).chunks(STRETCH).enumerate() {
                let part = at * STRETCH..at * STRETCH + bits.len();
                if rows == 1 {
                    // Widened in registers; sums are those of several rows, bit for bit.
                    let a = &self.a.row(0)[part];
                    self.y.row(0)[j] += match kind {
                        HalfKind::F16 => dot(simd, a, bits, finite_f16_to_f32),
                        HalfKind::BF16 => dot(simd, a, bits, bf16_to_f32),
                    };
                    continue;
                }
                let wide = &mut wide[..bits.len()];
                kind.widen_finite(bits, wide);
                for i in 0..rows {
                    let a = &self.a.row(i)[part.clone()];
                    self.y.row(i)[j] += dot(simd, a, wide, |value| value);
                }
            }
        }
    }
}

/// Partial sums of [`dot`], the same for every instruction set.
const SUMS: usize = 64;

/// `a^T b`, where the entries of `b` are what `value` makes of those that are stored, in a fixed order.
#[inline(always)]
fn dot<S: Simd, T: Copy>(simd: S, a: &[f32], b: &[T], value: impl Fn(T) -> f32) -> f32 {
    match S::F32_LANES {
        16 => dot_of::<S, T, 4>(simd, a, b, value),
        8 => dot_of::<S, T, 8>(simd, a, b, value),
        4 => dot_of::<S, T, 16>(simd, a, b, value),
        _ => dot_of::<S, T, SUMS>(simd, a, b, value),
    }
}

/// [`dot`], where `V` vectors make [`SUMS`] entries.
#[inline(always)]
fn dot_of<S: Simd, T: Copy, const V: usize>(
    simd: S,
    a: &[f32],
    b: &[T],
    value: impl Fn(T) -> f32,
) -> f32 {
    assert_eq!(V * S::F32_LANES, SUMS, "invariant: vectors of this width");
    let ((a, a_tail), (b, b_tail)) = (a.as_chunks::<SUMS>(), b.as_chunks::<SUMS>());
    let mut sums = [simd.splat_f32s(0.0); V];
    for (a, stored) in a.iter().zip(b) {
        let mut b = [0.0f32; SUMS]; // which the compiler keeps in registers
        for (b, &stored) in b.iter_mut().zip(stored) {
            *b = value(stored);
        }
        let (a, b) = (a.as_ptr().cast::<S::f32s>(), b.as_ptr().cast::<S::f32s>());
        for (v, sum) in sums.iter_mut().enumerate() {
            // SAFETY: `V` vectors lie in a chunk, by the assertion above.
            let (a, b) = unsafe { (a.add(v).read_unaligned(), b.add(v).read_unaligned()) };
            *sum = simd.mul_add_e_f32s(a, b, *sum);
        }
    }
    let mut apart = [0.0f32; SUMS];
    for (v, sum) in sums.into_iter().enumerate() {
        // SAFETY: as above.
        unsafe {
            let place = apart.as_mut_ptr().cast::<S::f32s>().add(v);
            place.write_unaligned(sum);
        }
    }
    for (sum, (&a, &b)) in apart.iter_mut().zip(a_tail.iter().zip(b_tail)) {
        *sum = a.mul_add(value(b), *sum);
    }
    let mut width = SUMS / 2;
    while width > 0 {
        for lane in 0..width {
            apart[lane] += apart[lane + width];
        }
        width /= 2;
    }
    apart[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{gemm::product, testing::normal};
    use refit_testkit::{close_in_norm, reference};

    /// The bits of the nearest `bfloat16` below, and of a `binary16` that is exact.
    fn bits(kind: HalfKind, value: f64) -> u16 {
        match kind {
            HalfKind::BF16 => ((value as f32).to_bits() >> 16) as u16,
            // Sign, exponent 15 + e and ten bits, of numbers that are not too small.
            HalfKind::F16 => {
                let bits = (value as f32).to_bits();
                let exponent = ((bits >> 23) & 0xff).saturating_sub(112).clamp(1, 30);
                ((bits >> 16 & 0x8000) | exponent << 10 | (bits >> 13 & 0x3ff)) as u16
            }
        }
    }

    #[test]
    fn every_finite_number_is_widened_to_the_one_it_is() {
        for bits in 0..=u16::MAX {
            let expected = f16_to_f32(bits);
            if expected.is_finite() {
                let found = finite_f16_to_f32(bits);
                assert_eq!(found.to_bits(), expected.to_bits(), "{bits:#06x}");
            }
        }
    }

    #[test]
    fn a_row_alone_has_the_bits_it_has_among_others() {
        let ([k, m], rows) = ([2100, 37], 3);
        let a: Vec<f32> = normal(1, rows * k).iter().map(|&a| a as f32).collect();
        for kind in [HalfKind::F16, HalfKind::BF16] {
            let stored: Vec<u16> = normal(2, m * k).iter().map(|&b| bits(kind, b)).collect();
            let right = Halves::new(&stored, kind, m, k);
            let product_of = |a: &[f32]| {
                let rows = a.len() / k;
                let mut y = vec![f32::NAN; rows * m];
                product(&mut y, Mat::rows(a, [rows, k]), right, None);
                y
            };
            let alone: Vec<f32> = a.chunks(k).flat_map(product_of).collect();
            assert_eq!(alone, product_of(&a), "{kind:?}");
        }
    }

    #[test]
    fn products_agree_with_f64_for_few_and_many_rows() {
        for kind in [HalfKind::F16, HalfKind::BF16] {
            for [n, k, m] in [
                [1, 1, 1],
                [1, 1500, 37],
                [3, 70, 65],
                [7, 2100, 130],
                [9, 5, 65],
                [50, 1700, 129],
                [400, 270, 70],
                [12, 0, 3],
                [1, 0, 3],
                [0, 4, 3],
            ] {
                let (a, b, bias) = (normal(1, n * k), normal(2, m * k), normal(3, m));
                let stored: Vec<u16> = b.iter().map(|&b| bits(kind, b)).collect();
                let mut wide = vec![0.0; stored.len()];
                kind.widen(stored.iter().copied(), &mut wide);
                let b: Vec<f64> = wide.iter().map(|&b| f64::from(b)).collect();
                let a_single: Vec<f32> = a.iter().map(|&a| a as f32).collect();
                let a: Vec<f64> = a_single.iter().map(|&a| f64::from(a)).collect();
                let bias: Vec<f32> = bias.iter().map(|&b| b as f32).collect();
                let plain = reference::matmul(&a, &reference::transpose(&b, [m, k]), [n, k, m]);
                for biased in [true, false] {
                    let mut y = vec![f32::NAN; n * m];
                    let right = Halves::new(&stored, kind, m, k);
                    let left = Mat::rows(&a_single, [n, k]);
                    product(&mut y, left, right, biased.then_some(&bias[..]));
                    let shift = |i: usize| if biased { f64::from(bias[i % m]) } else { 0.0 };
                    let expected: Vec<f64> = plain
                        .iter()
                        .enumerate()
                        .map(|(i, y)| y + shift(i))
                        .collect();
                    let found: Vec<f64> = y.iter().map(|&y| f64::from(y)).collect();
                    close_in_norm(found, expected, 1e-6, 0.0).unwrap();
                }
            }
        }
    }
}
