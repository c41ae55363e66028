//! Weights packed into integers or eight-bit floats with scales: seen as the weights they stand for.
//!
//! `w[o, i] = scale[o, g(i)] (q[o, i] - zero[o, g(i)])`, where `g` is the group of an input. GPTQ stores `q` as words
//! down the inputs, zero points less one, and everything transposed; compressed-tensors stores words along the inputs,
//! or one byte per value. Source: Frantar et al. 2022, arXiv:2210.17323, and the layouts that the public
//! `quantization_config` of both names.

use super::{Place, TensorReader, Values, plain};
use crate::ckpt::{
    error::CkptError,
    scheme::{Method, Scheme},
};
use refit_core::{DType, TensorMeta, f16_to_f32};
use std::{collections::HashMap, ops::Range};

/// A weight and the stored tensors it is computed from.
#[derive(Debug)]
pub(super) struct Packed {
    layout: Layout,
    weight: Part,
    scale: Part,
    zero: Option<Part>,
    /// The group of each input.
    groups: Option<Part>,
    grid: Grid,
}

/// A stored tensor that is no longer listed.
#[derive(Debug)]
struct Part {
    meta: TensorMeta,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Layout {
    /// Words of `bits` each down the inputs; `less` was taken off the zero points.
    Gptq { bits: u32, less: u32 },
    /// Words of `bits` each along the inputs.
    Words { bits: u32 },
    /// A value per byte.
    Bytes,
}

/// Which values share a scale: `rows x columns` scales, each for a block of the weight.
#[derive(Clone, Copy, Debug)]
struct Grid {
    columns: usize,
    block: [usize; 2],
}

/// The parts in memory: words or bytes row by row, scales and zero points as a grid.
#[derive(Debug)]
pub(super) struct Unpacked {
    integers: Integers,
    scale: Vec<f32>,
    zero: Vec<f32>,
    groups: Option<Vec<u32>>,
}

#[derive(Debug)]
enum Integers {
    Words { bits: u32, words: Vec<u32> },
    Bytes(DType, Vec<u8>),
}

impl TensorReader {
    /// Puts a weight in the place of every group of tensors that `scheme` packs one into.
    pub(super) fn see_through(&mut self, scheme: &Scheme) -> Result<(), CkptError> {
        let mut made: HashMap<usize, (TensorMeta, Packed)> = HashMap::new();
        let mut used = vec![false; self.tensors.len()];
        for index in 0..self.tensors.len() {
            if let Some((meta, packed, parts)) = self.packed_at(index, scheme)? {
                for part in parts {
                    used[part] = true;
                }
                made.insert(index, (meta, packed));
            }
        }
        let stored = std::mem::take(&mut self.tensors).into_iter();
        let values = std::mem::take(&mut self.values);
        for (index, (meta, values)) in stored.zip(values).enumerate() {
            if let Some((meta, packed)) = made.remove(&index) {
                self.tensors.push(meta);
                self.values.push(Values::Packed(Box::new(packed)));
            } else if !used[index] {
                self.tensors.push(meta);
                self.values.push(values);
            }
        }
        Ok(())
    }

    /// The weight whose integers are the tensor at `index`, and the tensors it takes.
    fn packed_at(
        &self,
        index: usize,
        scheme: &Scheme,
    ) -> Result<Option<(TensorMeta, Packed, Vec<usize>)>, CkptError> {
        let name = self.tensors[index].path.as_str();
        let dtype = self.tensors[index].dtype;
        let find = |module: &str, part: &str| self.position(&format!("{module}.{part}"));
        let one_byte = matches!(dtype, DType::F8E4M3 | DType::F8E5M2)
            || dtype == DType::I8 && scheme.method == Method::CompressedTensors;
        let (module, layout, [scale, zero, groups], shape) =
            if let (Method::Gptq { bits, less }, Some(module)) =
                (scheme.method, name.strip_suffix(".qweight"))
            {
                let parts = ["scales", "qzeros", "g_idx"].map(|part| find(module, part));
                let shape = self.gptq_shape(index, bits);
                (module, Layout::Gptq { bits, less }, parts, shape)
            } else if let (Method::CompressedTensors, Some(module)) =
                (scheme.method, name.strip_suffix(".weight_packed"))
            {
                let parts = ["weight_scale", "weight_zero_point", "weight_g_idx"];
                let shape = match find(module, "weight_shape") {
                    Some(shape) => self.stored_shape(shape)?,
                    None => None,
                };
                let columns = self.tensors[index].shape.get(1).copied();
                let fits = |&&bits: &&u32| {
                    shape.is_some_and(|[_, n]| Some(n.div_ceil(32 / bits as usize)) == columns)
                };
                let bits = scheme.bits.iter().find(fits).copied();
                let bits =
                    bits.ok_or_else(|| self.wrong(index, "does not fit its `weight_shape`"))?;
                let parts = parts.map(|part| find(module, part));
                (module, Layout::Words { bits }, parts, shape)
            } else if let (true, Some(module)) = (one_byte, name.strip_suffix(".weight")) {
                let scale =
                    find(module, "weight_scale").or_else(|| find(module, "weight_scale_inv"));
                if scale.is_none() {
                    return Ok(None);
                }
                let shape = <[usize; 2]>::try_from(self.tensors[index].shape.as_slice()).ok();
                let zero = find(module, "weight_zero_point");
                (module, Layout::Bytes, [scale, zero, None], shape)
            } else {
                return Ok(None);
            };
        let shape = shape.ok_or_else(|| self.wrong(index, "is no packed matrix"))?;
        let scale = scale.ok_or_else(|| self.wrong(index, "has no scales"))?;
        let fail = |problem| self.wrong(index, problem);
        let packed = Packed {
            layout,
            weight: self.part(index).ok_or_else(|| fail("is computed itself"))?,
            scale: self
                .part(scale)
                .ok_or_else(|| fail("has computed scales"))?,
            zero: zero.and_then(|zero| self.part(zero)),
            groups: groups.and_then(|groups| self.part(groups)),
            grid: Grid {
                columns: 1,
                block: [1, 1],
            },
        };
        let grid = packed.grid(shape, scheme).map_err(fail)?;
        let dtype = match packed.scale.meta.dtype {
            dtype @ (DType::F16 | DType::BF16) => dtype,
            _ => scheme.dtype.unwrap_or(DType::F32),
        };
        let meta = TensorMeta {
            path: format!("{module}.weight").into(),
            dtype,
            shape: shape.to_vec(),
        };
        if layout != Layout::Bytes && self.position(meta.path.as_str()).is_some() {
            return Err(fail("has an unpacked weight beside it"));
        }
        crate::ckpt::header::size_bytes(&meta).map_err(|_| fail("has a size that overflows"))?;
        let shape = find(module, "weight_shape");
        let parts = [Some(index), Some(scale), zero, groups, shape];
        let parts = parts.into_iter().flatten().collect();
        Ok(Some((meta, Packed { grid, ..packed }, parts)))
    }

    fn part(&self, index: usize) -> Option<Part> {
        match &self.values[index] {
            Values::Plain(place) => Some(Part {
                meta: self.tensors[index].clone(),
                place: *place,
            }),
            _ => None,
        }
    }

    fn gptq_shape(&self, index: usize, bits: u32) -> Option<[usize; 2]> {
        match *self.tensors[index].shape.as_slice() {
            [words, outputs] => Some([outputs, words.checked_mul(32 / bits as usize)?]),
            _ => None,
        }
    }

    /// Two extents that are stored as integers.
    fn stored_shape(&self, index: usize) -> Result<Option<[usize; 2]>, CkptError> {
        let (meta, Some(part)) = (&self.tensors[index], self.part(index)) else {
            return Ok(None);
        };
        if meta.len() != 2 || !matches!(meta.dtype, DType::I64 | DType::I32) {
            return Ok(None);
        }
        let extents = integers(meta.dtype, &self.part_bytes(&part)?);
        let extents = extents.iter().map(|&n| usize::try_from(n).ok());
        let extents: Option<Vec<usize>> = extents.collect();
        Ok(extents.and_then(|extents| extents.try_into().ok()))
    }

    fn part_bytes(&self, part: &Part) -> Result<Vec<u8>, CkptError> {
        let start = part.place.offset;
        self.files[part.place.file as usize].read_vec(start..start + part.meta.size_bytes() as u64)
    }

    fn wrong(&self, index: usize, problem: &'static str) -> CkptError {
        CkptError::Packed {
            file: self.path.clone(),
            tensor: self.tensors[index].path.as_str().into(),
            problem,
        }
    }

    /// Reads the parts of a weight of this shape.
    pub(super) fn unpack(&self, packed: &Packed, meta: &TensorMeta) -> Result<Unpacked, CkptError> {
        let [outputs, inputs] = [meta.shape[0], meta.shape[1]];
        let weight = self.part_bytes(&packed.weight)?;
        let mut scale = vec![0.0; packed.scale.meta.len()];
        let file = &self.files[packed.scale.place.file as usize];
        let (offset, dtype) = (packed.scale.place.offset, packed.scale.meta.dtype);
        plain::read_f32(file, offset, dtype, 0, &mut scale, &mut Vec::new())?;
        let zero = match &packed.zero {
            Some(part) => Some((part.meta.dtype, self.part_bytes(part)?)),
            None => None,
        };
        let groups = match &packed.groups {
            Some(part) => {
                let bytes = self.part_bytes(part)?;
                let groups = integers(part.meta.dtype, &bytes);
                let groups: Option<Vec<u32>> =
                    groups.iter().map(|&g| u32::try_from(g).ok()).collect();
                let inside = |g: &[u32]| g.iter().all(|&g| (g as usize) < packed.grid.columns);
                let groups = groups
                    .filter(|g| inside(g))
                    .ok_or_else(|| CkptError::Packed {
                        file: self.path.clone(),
                        tensor: part.meta.path.as_str().into(),
                        problem: "names a group that has no scale",
                    })?;
                Some(groups)
            }
            None => None,
        };
        let columns = packed.grid.columns;
        Ok(match packed.layout {
            Layout::Gptq { bits, less } => {
                let lanes = 32 / bits as usize;
                let stored = words(&weight);
                let zero = zero.map(|(_, bytes)| words(&bytes)).unwrap_or_default();
                let row = outputs / lanes;
                let zero = |o: usize, g: usize| lane(zero[g * row + o / lanes], bits, o) + less;
                let cells = |f: &dyn Fn(usize, usize) -> f32| {
                    let cells = (0..outputs).flat_map(|o| (0..columns).map(move |g| (o, g)));
                    cells.map(|(o, g)| f(o, g)).collect::<Vec<f32>>()
                };
                Unpacked {
                    integers: Integers::Words {
                        bits,
                        words: transposed(&stored, inputs / lanes, outputs),
                    },
                    zero: cells(&|o, g| zero(o, g) as f32),
                    scale: cells(&|o, g| scale[g * outputs + o]),
                    groups,
                }
            }
            Layout::Words { bits } => {
                let middle = (1u32 << (bits - 1)) as f32;
                let lanes = 32 / bits as usize;
                let zero = match zero {
                    None => vec![middle; scale.len()],
                    Some((DType::I32, bytes)) => {
                        let words = words(&bytes);
                        let cell = |i: usize| {
                            let (o, g) = (i / columns, i % columns);
                            lane(words[o / lanes * columns + g], bits, o) as f32
                        };
                        (0..scale.len()).map(cell).collect()
                    }
                    Some((dtype, bytes)) => {
                        let zeros = integers(dtype, &bytes);
                        zeros.iter().map(|&z| z as f32 + middle).collect()
                    }
                };
                Unpacked {
                    integers: Integers::Words {
                        bits,
                        words: words(&weight),
                    },
                    scale,
                    zero,
                    groups,
                }
            }
            Layout::Bytes => Unpacked {
                integers: Integers::Bytes(packed.weight.meta.dtype, weight),
                zero: match zero {
                    Some((dtype, bytes)) => {
                        integers(dtype, &bytes).iter().map(|&z| z as f32).collect()
                    }
                    None => vec![0.0; scale.len()],
                },
                scale,
                groups: None,
            },
        })
    }
}

impl Packed {
    /// The files of the weight are read from its integers.
    pub(super) fn weight(&self) -> (&TensorMeta, Place) {
        (&self.weight.meta, self.weight.place)
    }

    /// Checks that all parts are as large as a weight of this shape needs.
    fn grid(&self, shape: [usize; 2], scheme: &Scheme) -> Result<Grid, &'static str> {
        let [outputs, inputs] = shape;
        let scale = self.scale.meta.shape.as_slice();
        if !self.scale.meta.dtype.is_weight() {
            return Err("has scales that are no weights");
        }
        let zero = self.zero.as_ref().map(|part| &part.meta);
        let groups = self.groups.as_ref().map(|part| &part.meta);
        if groups.is_some_and(|g| g.len() != inputs || !is_integer(g.dtype)) {
            return Err("has another number of group numbers than inputs");
        }
        let rows = |(rows, columns): (usize, usize)| {
            let fits = |n: usize, blocks: usize| blocks > 0 && blocks <= n.max(1);
            if !fits(outputs, rows) || !fits(inputs, columns) {
                return Err("has more scales than values");
            }
            // A block that is not named has to divide; only the last one of a named size may be cut.
            let block = scheme.block.unwrap_or([
                outputs.div_ceil(rows).max(1),
                scheme
                    .group
                    .unwrap_or(inputs.div_ceil(columns))
                    .clamp(1, inputs.max(1)),
            ]);
            let block = [
                if rows == 1 { outputs.max(1) } else { block[0] },
                if columns == 1 {
                    inputs.max(1)
                } else {
                    block[1]
                },
            ];
            if outputs.div_ceil(block[0]).max(1) != rows
                || inputs.div_ceil(block[1]).max(1) != columns
            {
                return Err("has another number of scales than groups");
            }
            Ok(Grid { columns, block })
        };
        match self.layout {
            Layout::Gptq { bits, .. } => {
                let lanes = 32 / bits as usize;
                let &[columns, width] = scale else {
                    return Err("has scales that are no matrix");
                };
                let zero = zero.ok_or("has no zero points")?;
                if width != outputs
                    || !outputs.is_multiple_of(lanes)
                    || zero.shape != [columns, outputs / lanes]
                    || zero.dtype != DType::I32
                    || self.weight.meta.dtype != DType::I32
                {
                    return Err("has scales or zero points of another shape");
                }
                rows((outputs.max(1), columns)).map(|grid| Grid {
                    block: [1, grid.block[1]],
                    ..grid
                })
            }
            Layout::Words { bits } => {
                let lanes = 32 / bits as usize;
                let &[height, columns] = scale else {
                    return Err("has scales that are no matrix");
                };
                let fits = |zero: &TensorMeta| match zero.dtype {
                    DType::I32 => zero.shape == [outputs.div_ceil(lanes), columns],
                    _ => zero.shape == scale && is_integer(zero.dtype),
                };
                if height != outputs
                    || self.weight.meta.dtype != DType::I32
                    || self.weight.meta.shape != [outputs, inputs.div_ceil(lanes)]
                    || !zero.is_none_or(fits)
                {
                    return Err("has scales or zero points of another shape");
                }
                rows((outputs.max(1), columns)).map(|grid| Grid {
                    block: [1, grid.block[1]],
                    ..grid
                })
            }
            Layout::Bytes => {
                if zero.is_some_and(|zero| {
                    zero.len() != self.scale.meta.len() || !is_integer(zero.dtype)
                }) {
                    return Err("has another number of zero points than scales");
                }
                match *scale {
                    [] | [1] | [1, 1] => rows((1, 1)),
                    [height] => rows((height, 1)),
                    [height, columns] => rows((height, columns)),
                    _ => Err("has scales that are no matrix"),
                }
            }
        }
    }

    /// Computes the values `range` of a weight with rows of `inputs` values.
    pub(super) fn read_f32(
        &self,
        whole: &Unpacked,
        inputs: usize,
        range: Range<usize>,
        out: &mut [f32],
    ) {
        let mut at = range.start;
        let mut rest = out;
        while !rest.is_empty() {
            let (row, column) = (at / inputs, at % inputs);
            let len = (inputs - column).min(rest.len());
            let (now, later) = rest.split_at_mut(len);
            self.read_row(whole, [row, inputs], column, now);
            (rest, at) = (later, at + len);
        }
    }

    /// Computes values of one row, from `start` on.
    fn read_row(&self, whole: &Unpacked, [row, inputs]: [usize; 2], start: usize, out: &mut [f32]) {
        match &whole.integers {
            Integers::Words { bits, words } => {
                let lanes = 32 / *bits as usize;
                let words = &words[row * inputs.div_ceil(lanes)..];
                for (out, i) in out.iter_mut().zip(start..) {
                    *out = lane(words[i / lanes], *bits, i) as f32;
                }
            }
            Integers::Bytes(dtype, bytes) => {
                let bytes = &bytes[row * inputs + start..];
                let value = |b: u8| match dtype {
                    DType::F8E4M3 => e4m3_to_f32(b),
                    DType::F8E5M2 => f16_to_f32(u16::from(b) << 8),
                    _ => f32::from(b.cast_signed()),
                };
                for (out, &b) in out.iter_mut().zip(bytes) {
                    *out = value(b);
                }
            }
        }
        let [height, width] = self.grid.block;
        let first = row / height * self.grid.columns;
        let (scale, zero) = (&whole.scale[first..], &whole.zero[first..]);
        let cell = |out: &mut f32, group: usize| *out = scale[group] * (*out - zero[group]);
        match &whole.groups {
            Some(groups) => {
                for (out, &group) in out.iter_mut().zip(&groups[start..]) {
                    cell(out, group as usize);
                }
            }
            None => {
                let mut at = start;
                let mut rest = out;
                while !rest.is_empty() {
                    let len = (width - at % width).min(rest.len());
                    let (now, later) = rest.split_at_mut(len);
                    for out in now {
                        cell(out, at / width);
                    }
                    (rest, at) = (later, at + len);
                }
            }
        }
    }
}

/// The integer of `bits` at lane `i` of a word, lowest first.
fn lane(word: u32, bits: u32, i: usize) -> u32 {
    word >> (bits * (i as u32 % (32 / bits))) & (u32::MAX >> (32 - bits))
}

fn words(bytes: &[u8]) -> Vec<u32> {
    let words = bytes.as_chunks::<4>().0;
    words.iter().map(|&word| u32::from_le_bytes(word)).collect()
}

fn transposed(words: &[u32], rows: usize, columns: usize) -> Vec<u32> {
    let cells = (0..columns).flat_map(|c| (0..rows).map(move |r| (r, c)));
    cells.map(|(r, c)| words[r * columns + c]).collect()
}

fn is_integer(dtype: DType) -> bool {
    matches!(dtype, DType::I8 | DType::U8 | DType::I32 | DType::I64)
}

/// The values of a checked integer type.
fn integers(dtype: DType, bytes: &[u8]) -> Vec<i64> {
    match dtype {
        DType::I8 => bytes.iter().map(|b| b.cast_signed().into()).collect(),
        DType::I32 => words(bytes)
            .iter()
            .map(|w| w.cast_signed().into())
            .collect(),
        DType::I64 => {
            let words = bytes.as_chunks::<8>().0;
            words.iter().map(|&w| i64::from_le_bytes(w)).collect()
        }
        _ => bytes.iter().map(|&b| b.into()).collect(),
    }
}

/// Exact: the exponent moves into half precision, whose bias is eight larger; all ones are no number.
fn e4m3_to_f32(bits: u8) -> f32 {
    if bits & 0x7f == 0x7f {
        return f32::NAN;
    }
    let half = u16::from(bits & 0x7f) << 7 | u16::from(bits & 0x80) << 8;
    f16_to_f32(half) * 256.0
}
