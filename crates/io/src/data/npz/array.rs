//! One `.npy` array. Source: the format's own description, NEP 1, versions 1.0 to 3.0.

use crate::data::DataError;
use std::path::Path;

const MAGIC: &[u8] = b"\x93NUMPY";
/// Headers of plain arrays take about 128 bytes.
const MOST_HEADER: usize = 4096;
const MOST_AXES: usize = 8;

/// Element types that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementType {
    /// `u1`.
    U8,
    /// `i2`.
    I16,
    /// `i4`.
    I32,
    /// `u4`.
    U32,
    /// `i8`.
    I64,
    /// `f4`.
    F32,
}

impl ElementType {
    /// Bytes of one value.
    pub const fn size_bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::I16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 => 8,
        }
    }

    /// The type that numpy spells `descr`; big-endian ones, pickles, strings and records are none.
    fn from_descr(descr: &str) -> Option<Self> {
        match descr {
            "|u1" | "<u1" | "u1" => Some(Self::U8),
            "<i2" => Some(Self::I16),
            "<i4" => Some(Self::I32),
            "<u4" => Some(Self::U32),
            "<i8" => Some(Self::I64),
            "<f4" => Some(Self::F32),
            _ => None,
        }
    }

    /// The type as numpy spells it.
    const fn descr(self) -> &'static str {
        match self {
            Self::U8 => "|u1",
            Self::I16 => "<i2",
            Self::I32 => "<i4",
            Self::U32 => "<u4",
            Self::I64 => "<i8",
            Self::F32 => "<f4",
        }
    }
}

/// An array in memory: as many little-endian values as its shape says, in C order.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    element: ElementType,
    shape: Vec<usize>,
    bytes: Vec<u8>,
    /// Where the values start in `bytes`.
    start: usize,
}

impl Array {
    /// Checks the `.npy` file in `bytes`, which is array `key` of file `at`.
    pub(super) fn parse(bytes: Vec<u8>, at: &Path, key: &str) -> Result<Self, DataError> {
        let damaged = |problem: &str| {
            DataError::format(at, "npz", format_args!("the header of `{key}` {problem}"))
        };
        let (text, start) = header(&bytes).ok_or_else(|| damaged("is damaged"))?;
        let fields = Fields::parse(text).ok_or_else(|| damaged("is damaged"))?;
        let Some(element) = ElementType::from_descr(fields.descr) else {
            return Err(DataError::ElementType {
                at: at.into(),
                key: key.into(),
                found: fields.descr.chars().take(40).collect(),
                expected: "little-endian u8, i16, i32, u32, i64 or f32",
            });
        };
        if fields.fortran && fields.shape.len() > 1 {
            return Err(damaged("says column order, expected row order"));
        }
        let needed = fields
            .shape
            .iter()
            .try_fold(element.size_bytes() as u64, |n, &d| n.checked_mul(d));
        let found = (bytes.len() - start) as u64;
        if needed != Some(found) {
            let (at, what) = (at.into(), key.into());
            return Err(DataError::Truncated {
                at,
                what,
                needed: needed.unwrap_or(u64::MAX),
                found,
            });
        }
        let shape = fields.shape.iter().map(|&d| d as usize).collect();
        Ok(Self {
            element,
            shape,
            bytes,
            start,
        })
    }

    /// Type of the values.
    pub const fn element(&self) -> ElementType {
        self.element
    }

    /// Type of the values as the file spells it.
    pub const fn descr(&self) -> &'static str {
        self.element.descr()
    }

    /// Extent of each axis, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The values as little-endian bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// The values as little-endian bytes, without a copy of the buffer.
    pub fn into_bytes(mut self) -> Vec<u8> {
        self.bytes.drain(..self.start);
        self.bytes
    }

    /// The values of an integer array; `None` for floats.
    pub fn integers(&self) -> Option<Vec<i64>> {
        let bytes = self.bytes();
        Some(match self.element {
            ElementType::U8 => bytes.iter().map(|&b| i64::from(b)).collect(),
            ElementType::I16 => each(bytes, |b| i16::from_le_bytes(b).into()),
            ElementType::I32 => each(bytes, |b| i32::from_le_bytes(b).into()),
            ElementType::U32 => each(bytes, |b| u32::from_le_bytes(b).into()),
            ElementType::I64 => each(bytes, i64::from_le_bytes),
            ElementType::F32 => return None,
        })
    }

    /// The values of a float array; `None` for integers.
    pub fn floats(&self) -> Option<Vec<f32>> {
        (self.element == ElementType::F32).then(|| each(self.bytes(), f32::from_le_bytes))
    }
}

fn each<const N: usize, T>(bytes: &[u8], convert: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (values, _) = bytes.as_chunks::<N>();
    values.iter().map(|&b| convert(b)).collect()
}

/// The header's dictionary, and where the values start.
fn header(bytes: &[u8]) -> Option<(&str, usize)> {
    let version = *bytes.strip_prefix(MAGIC)?.first()?;
    let (len, start) = match version {
        1 => (
            usize::from(u16::from_le_bytes(*bytes.get(8..)?.first_chunk()?)),
            10,
        ),
        2 | 3 => (
            u32::from_le_bytes(*bytes.get(8..)?.first_chunk()?) as usize,
            12,
        ),
        _ => return None,
    };
    let text = bytes
        .get(start..)?
        .get(..len)
        .filter(|t| t.len() <= MOST_HEADER)?;
    Some((std::str::from_utf8(text).ok()?, start + len))
}

/// The three entries of a header, such as `{'descr': '|u1', 'fortran_order': False, 'shape': (6000, 28, 28), }`.
struct Fields<'a> {
    descr: &'a str,
    fortran: bool,
    shape: Vec<u64>,
}

impl<'a> Fields<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        while !rest.is_empty() {
            let (key, after) = quoted(rest)?;
            let value = after.trim_start().strip_prefix(':')?.trim_start();
            rest = match key {
                "descr" => {
                    // A record's list is kept as text: no element type is spelled so.
                    let (found, after) =
                        quoted(value).or_else(|| Some(value.split_at(value.rfind(']')? + 1)))?;
                    descr = Some(found);
                    after
                }
                "fortran_order" => {
                    let after = value.trim_start_matches(|c: char| c.is_ascii_alphabetic());
                    fortran = match &value[..value.len() - after.len()] {
                        "True" => Some(true),
                        "False" => Some(false),
                        _ => None,
                    };
                    after
                }
                "shape" => {
                    let (inside, after) = value.strip_prefix('(')?.split_once(')')?;
                    shape = Some(axes(inside)?);
                    after
                }
                _ => return None,
            };
            rest = rest.trim_start();
            rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
        }
        Some(Self {
            descr: descr?,
            fortran: fortran?,
            shape: shape?,
        })
    }
}

/// The text between quotes at the start of `text`, and what follows.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text[1..].split_once(quote)
}

/// The integers between the brackets of a shape.
fn axes(inside: &str) -> Option<Vec<u64>> {
    let parts = inside
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let axes = parts
        .map(|part| part.parse().ok())
        .collect::<Option<Vec<u64>>>()?;
    (axes.len() <= MOST_AXES).then_some(axes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_in_any_order() {
        let f = Fields::parse("{'shape': (3,), 'fortran_order': False, 'descr': '<i4'}").unwrap();
        assert_eq!((f.descr, f.fortran, f.shape), ("<i4", false, vec![3]));
        let f = Fields::parse("{'descr': '|u1', 'fortran_order': True, 'shape': (), } \n").unwrap();
        assert_eq!((f.fortran, f.shape), (true, vec![]));
    }

    #[test]
    fn nonsense_is_no_header() {
        for text in [
            "",
            "{",
            "{}",
            "{'descr': '<i4'}",
            "{'shape': (-1,)}",
            "{'a': 'b'}",
            "{'é",
        ] {
            assert!(Fields::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn records_are_reported_as_they_are_spelled() {
        let text = "{'descr': [('a', '<u2'), ('b', '<f4')], 'fortran_order': False, 'shape': (1,)}";
        let f = Fields::parse(text).unwrap();
        assert_eq!(f.descr, "[('a', '<u2'), ('b', '<f4')]");
        assert_eq!(ElementType::from_descr(f.descr), None);
    }
}
