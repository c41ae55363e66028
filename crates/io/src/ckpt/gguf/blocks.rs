//! Block formats of GGUF: a few values share a scale, sometimes a minimum, in half precision.
//! Source: the public description of the formats in ggml; layouts and formulas only.

use crate::ckpt::decode::each;
use refit_core::{DType, bf16_to_f32, f16_to_f32};

/// Values of a block of the K formats.
const K: usize = 256;

/// How a tensor of a GGUF file is stored. `d` is a scale, `m` a minimum, `q` a small integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GgufType {
    /// One value after the other, of an ordinary element type.
    Plain(DType),
    /// 32 values `d (q - 8)`, 4 bits.
    Q4_0,
    /// 32 values `d q + m`, 4 bits.
    Q4_1,
    /// 32 values `d (q - 16)`, 5 bits.
    Q5_0,
    /// 32 values `d q + m`, 5 bits.
    Q5_1,
    /// 32 values `d q`, 8 bits.
    Q8_0,
    /// 256 values in 16 groups `d q - m`, 2 bits; scales and minima of 4 bits.
    Q2K,
    /// 256 values in 16 groups `d (q - 4)`, 3 bits; scales of 6 bits.
    Q3K,
    /// 256 values in 8 groups `d q - m`, 4 bits; scales and minima of 6 bits.
    Q4K,
    /// 256 values in 8 groups `d q - m`, 5 bits; scales and minima of 6 bits.
    Q5K,
    /// 256 values in 16 groups `d (q - 32)`, 6 bits; scales of 8 bits.
    Q6K,
}

impl GgufType {
    /// The type of this number in the format's list, if it is read.
    pub fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Plain(DType::F32),
            1 => Self::Plain(DType::F16),
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            6 => Self::Q5_0,
            7 => Self::Q5_1,
            8 => Self::Q8_0,
            10 => Self::Q2K,
            11 => Self::Q3K,
            12 => Self::Q4K,
            13 => Self::Q5K,
            14 => Self::Q6K,
            24 => Self::Plain(DType::I8),
            25 => Self::Plain(DType::I16),
            26 => Self::Plain(DType::I32),
            27 => Self::Plain(DType::I64),
            28 => Self::Plain(DType::F64),
            30 => Self::Plain(DType::BF16),
            _ => return None,
        })
    }

    /// Values of a block.
    pub const fn block_len(self) -> usize {
        match self {
            Self::Plain(_) => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q2K | Self::Q3K | Self::Q4K | Self::Q5K | Self::Q6K => K,
        }
    }

    /// Bytes of a block.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::Plain(dtype) => dtype.size_bytes(),
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2K => 84,
            Self::Q3K => 110,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }
}

/// Decodes whole blocks of a quantised type; `bytes` are as long as `out` needs.
pub(in crate::ckpt) fn decode_blocks(kind: GgufType, bytes: &[u8], out: &mut [f32]) {
    debug_assert_eq!(
        out.len() / kind.block_len() * kind.block_bytes(),
        bytes.len()
    );
    pulp::Arch::new().dispatch(Decode { kind, bytes, out });
}

struct Decode<'a> {
    kind: GgufType,
    bytes: &'a [u8],
    out: &'a mut [f32],
}

impl pulp::WithSimd for Decode<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self { kind, bytes, out } = self;
        match kind {
            GgufType::Plain(DType::F32) => each(bytes, out, f32::from_le_bytes),
            GgufType::Plain(DType::F64) => each(bytes, out, |b| f64::from_le_bytes(b) as f32),
            GgufType::Plain(DType::BF16) => {
                each(bytes, out, |b| bf16_to_f32(u16::from_le_bytes(b)));
            }
            GgufType::Plain(DType::F16) => each(bytes, out, |b| f16_to_f32(u16::from_le_bytes(b))),
            GgufType::Plain(other) => {
                unreachable!("invariant: only weights are decoded, found {other}")
            }
            GgufType::Q4_0 => blocks(bytes, out, q4_0),
            GgufType::Q4_1 => blocks(bytes, out, q4_1),
            GgufType::Q5_0 => blocks(bytes, out, q5_0),
            GgufType::Q5_1 => blocks(bytes, out, q5_1),
            GgufType::Q8_0 => blocks(bytes, out, q8_0),
            GgufType::Q2K => blocks(bytes, out, q2_k),
            GgufType::Q3K => blocks(bytes, out, q3_k),
            GgufType::Q4K => blocks(bytes, out, q4_k),
            GgufType::Q5K => blocks(bytes, out, q5_k),
            GgufType::Q6K => blocks(bytes, out, q6_k),
        }
    }
}

/// Applies `block` to every group of `B` bytes and `V` values.
#[inline(always)]
fn blocks<const B: usize, const V: usize>(
    bytes: &[u8],
    out: &mut [f32],
    block: impl Fn(&[u8; B], &mut [f32; V]),
) {
    for (bytes, out) in bytes.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        block(bytes, out);
    }
}

#[inline(always)]
fn half(bytes: &[u8], at: usize) -> f32 {
    f16_to_f32(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

#[inline(always)]
fn q4_0(b: &[u8; 18], out: &mut [f32; 32]) {
    let d = half(b, 0);
    for j in 0..16 {
        out[j] = d * (f32::from(b[2 + j] & 15) - 8.0);
        out[j + 16] = d * (f32::from(b[2 + j] >> 4) - 8.0);
    }
}

#[inline(always)]
fn q4_1(b: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m) = (half(b, 0), half(b, 2));
    for j in 0..16 {
        out[j] = d * f32::from(b[4 + j] & 15) + m;
        out[j + 16] = d * f32::from(b[4 + j] >> 4) + m;
    }
}

/// The 5-bit integers `j` and `j + 16`: low bits in `low`, the fifth in bit `j` of `high`.
#[inline(always)]
fn five_bits(high: &[u8], low: u8, j: usize) -> [f32; 2] {
    let high = u32::from_le_bytes([high[0], high[1], high[2], high[3]]) >> j;
    let first = low & 15 | (high as u8 & 1) << 4;
    let second = low >> 4 | ((high >> 16) as u8 & 1) << 4;
    [f32::from(first), f32::from(second)]
}

#[inline(always)]
fn q5_0(b: &[u8; 22], out: &mut [f32; 32]) {
    let d = half(b, 0);
    for j in 0..16 {
        let [first, second] = five_bits(&b[2..6], b[6 + j], j);
        out[j] = d * (first - 16.0);
        out[j + 16] = d * (second - 16.0);
    }
}

#[inline(always)]
fn q5_1(b: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m) = (half(b, 0), half(b, 2));
    for j in 0..16 {
        let [first, second] = five_bits(&b[4..8], b[8 + j], j);
        out[j] = d * first + m;
        out[j + 16] = d * second + m;
    }
}

#[inline(always)]
fn q8_0(b: &[u8; 34], out: &mut [f32; 32]) {
    let d = half(b, 0);
    for j in 0..32 {
        out[j] = d * f32::from(b[2 + j].cast_signed());
    }
}

/// Scales (low) and minima (high) of 4 bits, 64 bytes of 2-bit integers, `d`, `m`.
#[inline(always)]
fn q2_k(b: &[u8; 84], out: &mut [f32; K]) {
    let (d, m) = (half(b, 80), half(b, 82));
    for group in 0..16 {
        let (d, m) = (d * f32::from(b[group] & 15), m * f32::from(b[group] >> 4));
        // Eight groups share 32 bytes, two bits at a time.
        let (bytes, shift) = (
            16 + 32 * (group / 8) + 16 * (group % 2),
            2 * (group % 8 / 2),
        );
        for l in 0..16 {
            out[16 * group + l] = d * f32::from(b[bytes + l] >> shift & 3) - m;
        }
    }
}

/// 32 bytes of third bits, 64 bytes of 2-bit integers, 12 bytes of 6-bit scales, `d`.
#[inline(always)]
fn q3_k(b: &[u8; 110], out: &mut [f32; K]) {
    let d = half(b, 108);
    for group in 0..16 {
        let low = b[96 + group % 8] >> (4 * (group / 8)) & 15;
        let high = b[104 + group % 4] >> (2 * (group / 4)) & 3;
        let d = d * (f32::from(low | high << 4) - 32.0);
        let (place, shift) = (16 * (group % 2), 2 * (group % 8 / 2));
        for l in 0..16 {
            let low = b[32 + 32 * (group / 8) + place + l] >> shift & 3;
            let high = b[place + l] >> (group / 2) & 1;
            out[16 * group + l] = d * (f32::from(low | high << 2) - 4.0);
        }
    }
}

/// The 6-bit scale and minimum `j` of the twelve bytes that eight of each are packed into.
#[inline(always)]
fn scale_and_min(b: &[u8], j: usize) -> [f32; 2] {
    let [scale, min] = if j < 4 {
        [b[j] & 63, b[j + 4] & 63]
    } else {
        [
            b[j + 4] & 15 | b[j - 4] >> 6 << 4,
            b[j + 4] >> 4 | b[j] >> 6 << 4,
        ]
    };
    [f32::from(scale), f32::from(min)]
}

/// `d`, `m`, 12 bytes of scales and minima, 128 bytes of 4-bit integers.
#[inline(always)]
fn q4_k(b: &[u8; 144], out: &mut [f32; K]) {
    let (d, m) = (half(b, 0), half(b, 2));
    for group in 0..8 {
        let [scale, min] = scale_and_min(&b[4..16], group);
        let (d, m) = (d * scale, m * min);
        for l in 0..32 {
            let q = b[16 + 32 * (group / 2) + l] >> (4 * (group % 2)) & 15;
            out[32 * group + l] = d * f32::from(q) - m;
        }
    }
}

/// `d`, `m`, 12 bytes of scales and minima, 32 bytes of fifth bits, 128 bytes of 4-bit integers.
#[inline(always)]
fn q5_k(b: &[u8; 176], out: &mut [f32; K]) {
    let (d, m) = (half(b, 0), half(b, 2));
    for group in 0..8 {
        let [scale, min] = scale_and_min(&b[4..16], group);
        let (d, m) = (d * scale, m * min);
        for l in 0..32 {
            let low = b[48 + 32 * (group / 2) + l] >> (4 * (group % 2)) & 15;
            let high = b[16 + l] >> group & 1;
            out[32 * group + l] = d * f32::from(low | high << 4) - m;
        }
    }
}

/// 128 bytes of low four bits, 64 bytes of high two, 16 signed scales, `d`.
#[inline(always)]
fn q6_k(b: &[u8; 210], out: &mut [f32; K]) {
    let d = half(b, 208);
    for part in 0..8 {
        // Four parts of 32 values share 64 bytes of low and 32 bytes of high bits.
        let (half, quarter) = (part / 4, part % 4);
        let (low_at, low_shift) = (64 * half + 32 * (quarter % 2), 4 * (quarter / 2));
        for l in 0..32 {
            let low = b[low_at + l] >> low_shift & 15;
            let high = b[128 + 32 * half + l] >> (2 * quarter) & 3;
            let scale = f32::from(b[192 + 2 * part + l / 16].cast_signed());
            out[32 * part + l] = d * scale * (f32::from(low | high << 4) - 32.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block whose byte `i` is `37 i + 11`, with scale 0.5 and minimum -0.25.
    fn block(kind: GgufType) -> Vec<u8> {
        let halves: &[usize] = match kind {
            GgufType::Q4_1 | GgufType::Q5_1 | GgufType::Q4K | GgufType::Q5K => &[0, 2],
            GgufType::Q2K => &[80, 82],
            GgufType::Q3K => &[108],
            GgufType::Q6K => &[208],
            _ => &[0],
        };
        let byte = |i: usize| (37 * i + 11) as u8;
        let mut bytes: Vec<u8> = (0..kind.block_bytes()).map(byte).collect();
        for (&at, value) in halves.iter().zip([0.5, -0.25]) {
            let half = half::f16::from_f32(value).to_le_bytes();
            bytes[at..at + 2].copy_from_slice(&half);
        }
        bytes
    }

    /// Values and `sum (i + 1) x_i` as the Python package `gguf` 0.19.0 (`gguf.quants.dequantize`) gives them; all are exact.
    #[test]
    fn every_block_format_agrees_with_the_format_s_own_package() {
        type Seen = (GgufType, [f32; 6], f64);
        let seen: [Seen; 10] = [
            (GgufType::Q4_0, [-1.5, 1.0, -4.0, -1.5, -0.5, 0.0], -259.0),
            (GgufType::Q4_1, [7.25, 1.75, 4.75, 4.25, 5.75, 5.75], 1859.5),
            (GgufType::Q5_0, [4.5, -1.0, -6.0, 7.0, 0.0, 0.5], 56.0),
            (
                GgufType::Q5_1,
                [9.25, 11.75, 14.75, 9.25, 2.25, 2.25],
                3818.5,
            ),
            (
                GgufType::Q8_0,
                [42.5, 61.0, -64.0, -45.5, -27.0, -24.0],
                -4040.0,
            ),
            (
                GgufType::Q2K,
                [16.5, 0.0, 11.0, 0.75, 0.75, 0.75],
                237_249.0,
            ),
            (
                GgufType::Q3K,
                [40.5, -54.0, -27.0, -48.0, 64.0, 32.0],
                88_572.5,
            ),
            (
                GgufType::Q4K,
                [183.25, 12.75, 105.75, 183.25, 12.75, 105.75],
                4_262_132.0,
            ),
            (
                GgufType::Q5K,
                [431.25, 12.75, 105.75, 431.25, 12.75, 105.75],
                8_489_436.0,
            ),
            (
                GgufType::Q6K,
                [-715.5, 848.0, -159.0, -216.0, 256.0, -48.0],
                392_210.0,
            ),
        ];
        for (kind, values, sum) in seen {
            let mut out = vec![f32::NAN; kind.block_len()];
            decode_blocks(kind, &block(kind), &mut out);
            let found = [0, 1, 15, 16, 17, 31].map(|i| out[i]);
            assert_eq!(
                found.map(f32::to_bits),
                values.map(f32::to_bits),
                "{kind:?}"
            );
            let found: f64 = (1..)
                .zip(&out)
                .map(|(i, &x)| f64::from(i) * f64::from(x))
                .sum();
            assert!((found - sum).abs() < 1e-6, "{kind:?}: {found}");
        }
    }

    #[test]
    fn blocks_stand_for_themselves() {
        for kind in [GgufType::Q4_0, GgufType::Q8_0, GgufType::Q6K] {
            let (one, len) = (block(kind), kind.block_len());
            let mut out = vec![0.0; 3 * len];
            decode_blocks(kind, &one.repeat(3), &mut out);
            assert!(out.chunks(len).all(|part| part == &out[..len]), "{kind:?}");
        }
    }
}
