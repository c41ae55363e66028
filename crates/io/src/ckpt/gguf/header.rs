//! The header of a GGUF file.
//!
//! Layout, little-endian: `GGUF`, version (u32), number of tensors and of metadata entries (u64), the entries (key,
//! type, value), the tensors (name, extents innermost first, element type, offset), zero bytes up to the alignment,
//! the values. Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use super::{GgufType, MAGIC};
use crate::ckpt::{
    error::GgufError,
    header::{MAX_METADATA, MAX_RANK, check_name},
    text::excerpt,
};
use std::{
    collections::{BTreeMap, HashSet},
    ops::Range,
};

const DEFAULT_ALIGNMENT: u64 = 32;
/// Longest text of the metadata that is kept; longer ones (chat templates, licences) are kept as their length.
const MOST_KEPT_TEXT: usize = 1 << 16;
/// How deep arrays may lie in arrays.
const MOST_NESTED: usize = 4;

/// A metadata value. Lists (of tokens, mostly) are kept as their length.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum GgufValue {
    /// Any unsigned integer.
    Unsigned(u64),
    /// Any signed integer.
    Signed(i64),
    /// A float of either size.
    Float(f64),
    /// Yes or no.
    Bool(bool),
    /// A text of at most 65536 bytes.
    Text(Box<str>),
    /// A longer text, as its number of bytes.
    LongText(u64),
    /// A list, as its number of entries.
    List(u64),
}

/// A tensor as the file describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GgufTensor {
    /// Its name in the file.
    pub name: Box<str>,
    /// How its values are stored.
    pub kind: GgufType,
    /// Extent of each axis, outermost first: the reverse of the file's order.
    pub shape: Vec<usize>,
    /// Where its bytes lie in the file.
    pub range: Range<u64>,
}

/// A checked header.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufHeader {
    /// Version of the format.
    pub version: u32,
    /// The metadata.
    pub metadata: BTreeMap<String, GgufValue>,
    /// The tensors, in the order of the file.
    pub tensors: Vec<GgufTensor>,
}

impl GgufHeader {
    /// The text at `key`.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.metadata.get(key)? {
            GgufValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The integer at `key`, if it is not negative.
    pub fn count(&self, key: &str) -> Option<u64> {
        match *self.metadata.get(key)? {
            GgufValue::Unsigned(n) => Some(n),
            GgufValue::Signed(n) => u64::try_from(n).ok(),
            _ => None,
        }
    }

    /// The number at `key`.
    pub fn number(&self, key: &str) -> Option<f64> {
        match *self.metadata.get(key)? {
            GgufValue::Float(x) => Some(x),
            GgufValue::Unsigned(n) => Some(n as f64),
            GgufValue::Signed(n) => Some(n as f64),
            _ => None,
        }
    }

    /// What kind of model it is, such as `llama`.
    pub fn architecture(&self) -> &str {
        self.text("general.architecture").unwrap_or_default()
    }
}

/// Reads and checks the header of a file of `file_len` bytes that begins with `head`.
///
/// After success every tensor lies inside the file and is as long as shape and element type say; rows are whole
/// blocks; names are unique and fit to be printed.
///
/// # Errors
/// A variant of [`GgufError`] per way to fail; [`GgufError::Truncated`] with `found < file_len` means that a longer
/// `head` may do. No panic on any input.
/// # Cost
/// One pass. Memory in proportion to `head`.
/// # Example
/// ```
/// use refit_io::ckpt::{GgufError, parse_gguf};
/// let mut head = b"GGUF".to_vec();
/// head.extend(3u32.to_le_bytes());
/// head.extend([0; 16]); // no tensor, no metadata
/// assert!(parse_gguf(&head, 32)?.tensors.is_empty());
/// assert!(matches!(parse_gguf(&head[..9], 9), Err(GgufError::Truncated { .. })));
/// # Ok::<(), GgufError>(())
/// ```
pub fn parse_gguf(head: &[u8], file_len: u64) -> Result<GgufHeader, GgufError> {
    let mut cursor = Cursor { head, at: 0 };
    if cursor.take(4)? != MAGIC {
        return Err(GgufError::Magic);
    }
    let version = cursor.u32()?;
    if !(2..=3).contains(&version) {
        return Err(GgufError::Version { found: version });
    }
    let (tensor_count, entry_count) = (cursor.u64()?, cursor.u64()?);
    let metadata = read_metadata(&mut cursor, entry_count)?;
    let alignment = match metadata.get("general.alignment") {
        None => DEFAULT_ALIGNMENT,
        Some(&GgufValue::Unsigned(n)) if n.is_power_of_two() && n <= 1 << 20 => n,
        Some(_) => {
            return Err(GgufError::Metadata {
                key: "general.alignment".into(),
                problem: "is not a power of two up to 1048576",
            });
        }
    };
    let mut tensors = Vec::new();
    for _ in 0..tensor_count {
        tensors.push(read_tensor(&mut cursor, alignment)?);
    }
    let start = (cursor.at as u64).next_multiple_of(alignment);
    for tensor in &mut tensors {
        place(tensor, start, file_len)?;
    }
    let mut names = HashSet::new();
    match tensors.iter().find(|tensor| !names.insert(&*tensor.name)) {
        Some(twice) => Err(GgufError::DuplicateName {
            tensor: twice.name.to_string(),
        }),
        None => Ok(GgufHeader {
            version,
            metadata,
            tensors,
        }),
    }
}

fn read_metadata(
    cursor: &mut Cursor<'_>,
    count: u64,
) -> Result<BTreeMap<String, GgufValue>, GgufError> {
    let mut metadata = BTreeMap::new();
    for _ in 0..count {
        let bytes = cursor.bytes()?;
        let key = String::from_utf8_lossy(bytes);
        let wrong = |problem| GgufError::Metadata {
            key: excerpt(&key),
            problem,
        };
        let kind = cursor.u32()?;
        let value = cursor
            .value(kind)?
            .ok_or_else(|| wrong("has an unknown type"))?;
        check_name(&key)
            .map_err(|_| wrong("has a key that is empty, too long or not printable"))?;
        if metadata.len() == MAX_METADATA {
            return Err(wrong("is one of more than 65536"));
        }
        if metadata.insert(key.clone().into_owned(), value).is_some() {
            return Err(wrong("occurs twice"));
        }
    }
    Ok(metadata)
}

/// One tensor; its range holds the offset from the start of the values until [`place`] has checked it.
fn read_tensor(cursor: &mut Cursor<'_>, alignment: u64) -> Result<GgufTensor, GgufError> {
    let bytes = cursor.bytes()?;
    let name = String::from_utf8_lossy(bytes);
    let wrong = |problem| GgufError::Tensor {
        tensor: excerpt(&name),
        problem,
    };
    check_name(&name).map_err(|_| wrong("has a name that is empty, too long or not printable"))?;
    let rank = cursor.u32()? as usize;
    if rank > MAX_RANK {
        return Err(wrong("has more than 32 axes"));
    }
    let mut shape = Vec::with_capacity(rank);
    for _ in 0..rank {
        let extent = usize::try_from(cursor.u64()?);
        shape.push(extent.map_err(|_| wrong("has a size that overflows"))?);
    }
    let number = cursor.u32()?;
    let kind = GgufType::from_number(number).ok_or_else(|| GgufError::Type {
        tensor: excerpt(&name),
        found: number,
    })?;
    let offset = cursor.u64()?;
    if offset % alignment != 0 {
        return Err(wrong("does not begin at the alignment"));
    }
    if shape.first().copied().unwrap_or(1) % kind.block_len() != 0 {
        return Err(wrong("has rows that are no whole blocks"));
    }
    shape.reverse();
    let len = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    let bytes = len
        .and_then(|len| (len / kind.block_len()).checked_mul(kind.block_bytes()))
        .filter(|_| len.is_some_and(|len| len.checked_mul(8).is_some()));
    let bytes = bytes.ok_or_else(|| wrong("has a size that overflows"))?;
    let end = offset.checked_add(bytes as u64);
    let end = end.ok_or_else(|| wrong("has a size that overflows"))?;
    Ok(GgufTensor {
        name: name.into(),
        kind,
        shape,
        range: offset..end,
    })
}

fn place(tensor: &mut GgufTensor, start: u64, file_len: u64) -> Result<(), GgufError> {
    let Range { start: from, end } = tensor.range;
    let end = start.saturating_add(end);
    if end > file_len {
        return Err(GgufError::OutOfRange {
            tensor: tensor.name.to_string(),
            end,
            file_len,
        });
    }
    tensor.range = start + from..end;
    Ok(())
}

struct Cursor<'a> {
    head: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: u64) -> Result<&'a [u8], GgufError> {
        let rest = &self.head[self.at..];
        let taken = usize::try_from(len).ok().and_then(|len| rest.get(..len));
        let taken = taken.ok_or(GgufError::Truncated {
            needed: (self.at as u64).saturating_add(len),
            found: self.head.len() as u64,
        })?;
        self.at += taken.len();
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], GgufError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N as u64)?);
        Ok(out)
    }

    fn u32(&mut self) -> Result<u32, GgufError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, GgufError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A text with its length before it.
    fn bytes(&mut self) -> Result<&'a [u8], GgufError> {
        let len = self.u64()?;
        self.take(len)
    }

    /// A value of this type; `None` where the type is unknown.
    fn value(&mut self, kind: u32) -> Result<Option<GgufValue>, GgufError> {
        use GgufValue::{Bool, Float, Signed, Unsigned};
        Ok(Some(match kind {
            0 => Unsigned(self.array::<1>()?[0].into()),
            1 => Signed(i8::from_le_bytes(self.array()?).into()),
            2 => Unsigned(u16::from_le_bytes(self.array()?).into()),
            3 => Signed(i16::from_le_bytes(self.array()?).into()),
            4 => Unsigned(self.u32()?.into()),
            5 => Signed(i32::from_le_bytes(self.array()?).into()),
            6 => Float(f32::from_le_bytes(self.array()?).into()),
            7 => Bool(self.array::<1>()?[0] != 0),
            8 => self.text()?,
            9 => return self.list(0),
            10 => Unsigned(self.u64()?),
            11 => Signed(i64::from_le_bytes(self.array()?)),
            12 => Float(f64::from_le_bytes(self.array()?)),
            _ => return Ok(None),
        }))
    }

    fn text(&mut self) -> Result<GgufValue, GgufError> {
        let bytes = self.bytes()?;
        Ok(if bytes.len() <= MOST_KEPT_TEXT {
            GgufValue::Text(String::from_utf8_lossy(bytes).into())
        } else {
            GgufValue::LongText(bytes.len() as u64)
        })
    }

    /// Passes over a list.
    fn list(&mut self, depth: usize) -> Result<Option<GgufValue>, GgufError> {
        let (kind, len) = (self.u32()?, self.u64()?);
        let width = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            8 => {
                for _ in 0..len {
                    self.bytes()?;
                }
                return Ok(Some(GgufValue::List(len)));
            }
            9 if depth < MOST_NESTED => {
                for _ in 0..len {
                    if self.list(depth + 1)?.is_none() {
                        return Ok(None);
                    }
                }
                return Ok(Some(GgufValue::List(len)));
            }
            _ => return Ok(None),
        };
        self.take(len.saturating_mul(width))?;
        Ok(Some(GgufValue::List(len)))
    }
}
