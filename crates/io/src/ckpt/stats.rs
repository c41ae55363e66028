//! Counts and moments of one tensor's values.

use super::{
    decode::{decode, each},
    error::CkptError,
    reader::TensorReader,
};
use rayon::prelude::*;
use refit_core::DType;
use serde::Serialize;

/// Values per unit of parallel work: large enough to amortise, small enough to share one big tensor.
const CHUNK: usize = 1 << 18;

/// Values decoded at a time, on the stack.
const BLOCK: usize = 1024;

/// Independent accumulators, so that the compiler can keep them in vector registers.
const LANES: usize = 8;

/// Counts and moments of the values of a tensor, computed in `f64`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ValueStats {
    /// Number of NaN.
    pub nan: u64,
    /// Number of infinities of either sign.
    pub inf: u64,
    /// Number of zeros of either sign.
    pub zero: u64,
    /// Least finite value; `None` if no value is finite.
    pub min: Option<f64>,
    /// Greatest finite value; `None` if no value is finite.
    pub max: Option<f64>,
    /// Mean of the finite values; `None` if no value is finite.
    pub mean: Option<f64>,
    /// Square root of the sum of the squares of the finite values.
    pub l2: f64,
}

/// Statistics of the tensor at `index`; `None` for opaque types.
pub(super) fn tensor_stats(
    reader: &TensorReader,
    index: usize,
) -> Result<Option<ValueStats>, CkptError> {
    let meta = &reader.tensors()[index];
    let stored = reader.is_stored(index);
    // Computed values come in single precision, whatever they are called.
    let dtype = if stored { meta.dtype } else { DType::F32 };
    let Some(decode) = decoder(dtype) else {
        return Ok(None);
    };
    let size = dtype.size_bytes();
    let chunks = meta.len().div_ceil(CHUNK);
    let part = |(bytes, values, scratch): &mut Buffers, chunk: usize| {
        let range = chunk * CHUNK..((chunk + 1) * CHUNK).min(meta.len());
        bytes.resize(range.len() * size, 0);
        if stored {
            reader.read_bytes(index, range.start * size..range.end * size, bytes)?;
        } else {
            values.resize(range.len(), 0.0);
            reader.read_f32(index, range, values, scratch)?;
            for (to, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
                *to = value.to_le_bytes();
            }
        }
        Ok(tally(decode, size, bytes))
    };
    // Partial sums are gathered in order: same result for any number of threads.
    let parts: Result<Vec<Tally>, CkptError> = (0..chunks)
        .into_par_iter()
        .map_init(Buffers::default, part)
        .collect();
    Ok(Some(parts?.iter().fold(Tally::EMPTY, Tally::merge).stats()))
}

/// Working memory of a thread: bytes, values, and what reading values needs.
type Buffers = (Vec<u8>, Vec<f32>, Vec<u8>);

/// Turns little-endian values into `f64`.
type Decode = fn(&[u8], &mut [f64]);

fn decoder(dtype: DType) -> Option<Decode> {
    Some(match dtype {
        DType::Bool | DType::U8 => |b, out| each(b, out, |[v]| f64::from(v)),
        DType::I8 => |b, out| each(b, out, |v| f64::from(i8::from_le_bytes(v))),
        DType::I16 => |b, out| each(b, out, |v| f64::from(i16::from_le_bytes(v))),
        DType::U16 => |b, out| each(b, out, |v| f64::from(u16::from_le_bytes(v))),
        DType::I32 => |b, out| each(b, out, |v| f64::from(i32::from_le_bytes(v))),
        DType::U32 => |b, out| each(b, out, |v| f64::from(u32::from_le_bytes(v))),
        DType::I64 => |b, out| each(b, out, |v| i64::from_le_bytes(v) as f64),
        DType::U64 => |b, out| each(b, out, |v| u64::from_le_bytes(v) as f64),
        DType::F32 => |b, out| each(b, out, |v| f64::from(f32::from_le_bytes(v))),
        DType::F64 => |b, out| each(b, out, f64::from_le_bytes),
        DType::BF16 => |b, out| widened(DType::BF16, b, out),
        DType::F16 => |b, out| widened(DType::F16, b, out),
        _ => return None,
    })
}

/// Half precision, by way of single precision.
fn widened(dtype: DType, bytes: &[u8], out: &mut [f64]) {
    let mut single = [0.0; BLOCK];
    let single = &mut single[..out.len()];
    decode(dtype, bytes, single);
    for (out, &v) in out.iter_mut().zip(&*single) {
        *out = f64::from(v);
    }
}

fn tally(decode: Decode, size: usize, bytes: &[u8]) -> Tally {
    let mut lanes = [Tally::EMPTY; LANES];
    let mut block = [0.0; BLOCK];
    for bytes in bytes.chunks(BLOCK * size) {
        let values = &mut block[..bytes.len() / size];
        decode(bytes, values);
        let (rows, rest) = values.as_chunks::<LANES>();
        for row in rows {
            for (lane, &v) in lanes.iter_mut().zip(row) {
                lane.add(v);
            }
        }
        for (lane, &v) in lanes.iter_mut().zip(rest) {
            lane.add(v);
        }
    }
    lanes.iter().fold(Tally::EMPTY, Tally::merge)
}

/// Running counts and sums.
#[derive(Clone, Copy)]
struct Tally {
    nan: u64,
    inf: u64,
    zero: u64,
    finite: u64,
    min: f64,
    max: f64,
    sum: f64,
    squares: f64,
}

impl Tally {
    const EMPTY: Self = Self {
        nan: 0,
        inf: 0,
        zero: 0,
        finite: 0,
        min: f64::INFINITY,
        max: f64::NEG_INFINITY,
        sum: 0.0,
        squares: 0.0,
    };

    /// Without branches, so that eight of them run side by side.
    #[inline]
    fn add(&mut self, v: f64) {
        let finite = v.abs() < f64::INFINITY;
        let kept = if finite { v } else { 0.0 };
        self.nan += u64::from(v.is_nan());
        self.inf += u64::from(v.is_infinite());
        self.zero += u64::from(v.abs() <= 0.0);
        self.finite += u64::from(finite);
        self.min = self.min.min(if finite { v } else { f64::INFINITY });
        self.max = self.max.max(if finite { v } else { f64::NEG_INFINITY });
        self.sum += kept;
        self.squares += kept * kept;
    }

    fn merge(self, other: &Self) -> Self {
        Self {
            nan: self.nan + other.nan,
            inf: self.inf + other.inf,
            zero: self.zero + other.zero,
            finite: self.finite + other.finite,
            min: self.min.min(other.min),
            max: self.max.max(other.max),
            sum: self.sum + other.sum,
            squares: self.squares + other.squares,
        }
    }

    fn stats(self) -> ValueStats {
        let some = |v| (self.finite > 0).then_some(v);
        ValueStats {
            nan: self.nan,
            inf: self.inf,
            zero: self.zero,
            min: some(self.min),
            max: some(self.max),
            mean: some(self.sum / self.finite as f64),
            l2: self.squares.sqrt(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Statistics of a tensor of one dimension.
    fn value_stats(dtype: DType, bytes: &[u8]) -> Option<ValueStats> {
        let (name, len) = (dtype.name(), bytes.len() / dtype.size_bytes());
        let header = format!(
            r#"{{"w":{{"dtype":"{name}","shape":[{len}],"data_offsets":[0,{}]}}}}"#,
            bytes.len()
        );
        let length = (header.len() as u64).to_le_bytes();
        let file = [&length, header.as_bytes(), bytes].concat();
        tensor_stats(&TensorReader::from_bytes("w", file).unwrap(), 0).unwrap()
    }

    fn stats(values: &[f32]) -> ValueStats {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        value_stats(DType::F32, &bytes).unwrap()
    }

    #[test]
    fn a_case_worked_by_hand() {
        let found = stats(&[
            3.0,
            -4.0,
            0.0,
            -0.0,
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
        ]);
        let expected = ValueStats {
            nan: 1,
            inf: 2,
            zero: 2,
            min: Some(-4.0),
            max: Some(3.0),
            mean: Some(-0.25),
            l2: 5.0,
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn nothing_finite_has_no_mean() {
        for values in [&[][..], &[f32::NAN], &[f32::INFINITY]] {
            let found = stats(values);
            assert_eq!((found.min, found.max, found.mean), (None, None, None));
        }
    }

    #[test]
    fn a_tensor_of_many_chunks_agrees_with_a_plain_loop() {
        let n = 3 * CHUNK + 5;
        let values: Vec<f32> = (0..n).map(|i| ((i * 7919) % 1013) as f32 - 500.0).collect();
        let found = stats(&values);
        let exact = |f: fn(f64) -> f64| values.iter().map(|&v| f(f64::from(v))).sum::<f64>();
        assert!((found.mean.unwrap() - exact(|v| v) / n as f64).abs() < 1e-9);
        assert!((found.l2 - exact(|v| v * v).sqrt()).abs() < 1e-6 * found.l2);
        assert_eq!((found.min, found.max), (Some(-500.0), Some(512.0)));
        assert_eq!(
            found.zero,
            values.iter().filter(|v| v.abs() <= 0.0).count() as u64
        );
    }

    #[test]
    fn every_type_is_decoded_or_declared_opaque() {
        for dtype in DType::ALL {
            let bytes = [0u8; 16];
            match value_stats(dtype, &bytes) {
                Some(found) => assert_eq!(found.zero as usize, 16 / dtype.size_bytes()),
                None => assert!(matches!(dtype, DType::F8E4M3 | DType::F8E5M2)),
            }
        }
        assert_eq!(value_stats(DType::I8, &[0xff, 2]).unwrap().min, Some(-1.0));
        assert_eq!(
            value_stats(DType::I64, &(-3i64).to_le_bytes()).unwrap().max,
            Some(-3.0)
        );
        assert_eq!(
            value_stats(DType::F16, &[0x00, 0xc0]).unwrap().mean,
            Some(-2.0)
        );
        assert_eq!(value_stats(DType::BF16, &[0x80, 0x7f]).unwrap().inf, 1);
    }
}
