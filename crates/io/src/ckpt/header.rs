//! The header of a safetensors file.
//!
//! Layout: eight bytes `N` (little-endian), `N` bytes of JSON, the values. The JSON is one object that maps each
//! tensor's name to `{"dtype", "shape", "data_offsets": [begin, end]}`, offsets counted from the end of the
//! header, and may hold `"__metadata__"`, a map from text to text. The values are covered completely: no holes, no
//! overlap. Format: <https://github.com/huggingface/safetensors#format>.

use super::{
    error::HeaderError,
    scan::{Scan, scan},
    text::excerpt,
};
use refit_core::TensorMeta;
use std::{collections::BTreeMap, ops::Range};

/// Longest JSON part of a file, and longest index file: the limit of the format's own reader.
pub const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Longest tensor name in bytes. Ours: ten times what public checkpoints use.
pub const MAX_NAME_BYTES: usize = 1024;

/// Most axes a tensor may have. Ours: a rank above eight is unheard of, and a bound keeps memory in proportion.
pub const MAX_RANK: usize = 32;

/// Most entries of the free-text part. Ours: small entries take ten times their length in memory.
pub const MAX_METADATA: usize = 65_536;

/// The key of the free-text part.
pub(super) const METADATA_KEY: &str = "__metadata__";

/// Bytes of the length field.
pub(super) const LENGTH_BYTES: usize = 8;

/// A checked header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The tensors, in the order of the JSON object.
    pub tensors: Vec<TensorMeta>,
    /// Where each tensor's bytes lie in the *file*; same order.
    pub ranges: Vec<Range<u64>>,
    /// The free-text part.
    pub metadata: BTreeMap<String, String>,
}

/// Reads and checks the header of a file of `file_len` bytes that begins with `head` (the whole file will do).
///
/// After success every range lies inside the file, is as long as shape and element type say, and together they
/// cover everything behind the header exactly once; names are unique.
///
/// # Errors
/// A variant of [`HeaderError`] per way to fail. No panic on any input.
/// # Cost
/// `O(n log n)` for `n` tensors; values are not touched. No allocation exceeds the length of the header, save that the
/// JSON reader may take up to twice the length of a text that contains escapes.
/// # Example
/// ```
/// use refit_io::ckpt::parse_header;
/// let json = br#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
/// let mut file = (json.len() as u64).to_le_bytes().to_vec();
/// file.extend(json);
/// file.extend(1.5f32.to_le_bytes());
/// file.extend(2.5f32.to_le_bytes());
/// let header = parse_header(&file, file.len() as u64)?;
/// assert_eq!(header.tensors[0].shape, [2]);
/// assert_eq!(header.ranges[0], 62..70);
/// # Ok::<(), refit_io::ckpt::HeaderError>(())
/// ```
pub fn parse_header(head: &[u8], file_len: u64) -> Result<Header, HeaderError> {
    let json = json_part(head, file_len)?;
    let scan = scan(json)?;
    let data_start = (LENGTH_BYTES + json.len()) as u64;
    let Some(data_len) = file_len.checked_sub(data_start) else {
        return Err(HeaderError::Truncated {
            expected: data_start,
            found: file_len,
        });
    };
    unique(&scan.tensors)?;
    for (meta, offsets) in scan.tensors.iter().zip(&scan.offsets) {
        sized(meta, offsets, data_len)?;
    }
    covered(&scan, data_len)?;
    let to_file = |o: &Range<u64>| o.start + data_start..o.end + data_start;
    Ok(Header {
        ranges: scan.offsets.iter().map(to_file).collect(),
        tensors: scan.tensors,
        metadata: scan.metadata.unwrap_or_default(),
    })
}

/// The text between the length field and the values.
fn json_part(head: &[u8], file_len: u64) -> Result<&str, HeaderError> {
    let Some((length, rest)) = head.split_first_chunk::<LENGTH_BYTES>() else {
        return Err(HeaderError::TooShort { found: file_len });
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER_BYTES {
        return Err(HeaderError::TooLarge { found: length });
    }
    let needed = length + LENGTH_BYTES as u64;
    if needed > file_len || length > rest.len() as u64 {
        let found = file_len.min(head.len() as u64);
        return Err(HeaderError::Truncated {
            expected: needed,
            found,
        });
    }
    // In range: `length` is at most `rest.len()`, a `usize`.
    let json = std::str::from_utf8(&rest[..length as usize]).map_err(|e| HeaderError::Utf8 {
        at: e.valid_up_to(),
    })?;
    if json.starts_with('{') {
        Ok(json)
    } else {
        Err(HeaderError::NotAnObject)
    }
}

/// Names that no checkpoint needs and that could mislead whoever prints or compares them.
pub(super) fn check_name(name: &str) -> Result<(), HeaderError> {
    let problem = if name.is_empty() {
        "is empty"
    } else if name.len() > MAX_NAME_BYTES {
        "is longer than 1024 bytes"
    } else if name.chars().any(char::is_control) {
        "holds a control character"
    } else if name == METADATA_KEY {
        "is reserved"
    } else {
        return Ok(());
    };
    Err(HeaderError::BadName {
        tensor: excerpt(name),
        problem,
    })
}

/// Refuses a name that occurs twice. Sorted indices instead of a set: four bytes per tensor.
pub(super) fn unique(tensors: &[TensorMeta]) -> Result<(), HeaderError> {
    let order = by_name(tensors);
    let name = |i: u32| tensors[i as usize].path.as_str();
    match order.windows(2).find(|pair| name(pair[0]) == name(pair[1])) {
        Some(pair) => Err(HeaderError::DuplicateName {
            tensor: name(pair[0]).to_owned(),
        }),
        None => Ok(()),
    }
}

/// The indices of `tensors`, sorted by name. A header holds at most two million tensors, so 32 bits are enough.
pub(super) fn by_name(tensors: &[TensorMeta]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..tensors.len() as u32).collect();
    order.sort_unstable_by(|&a, &b| tensors[a as usize].path.cmp(&tensors[b as usize].path));
    order
}

/// Shape and element type agree with the offsets, and these lie inside the file.
fn sized(meta: &TensorMeta, offsets: &Range<u64>, data_len: u64) -> Result<(), HeaderError> {
    let tensor = || meta.path.to_string();
    let expected = size_bytes(meta)?;
    let found = offsets.end - offsets.start;
    if found != expected {
        return Err(HeaderError::Size {
            tensor: tensor(),
            expected,
            found,
        });
    }
    if offsets.end > data_len {
        return Err(HeaderError::OutOfRange {
            tensor: tensor(),
            end: offsets.end,
            data_len,
        });
    }
    Ok(())
}

/// Bytes that a tensor of this shape and element type needs.
pub(super) fn size_bytes(meta: &TensorMeta) -> Result<u64, HeaderError> {
    meta.checked_len()
        .and_then(|len| len.checked_mul(meta.dtype.size_bytes()))
        .map(|bytes| bytes as u64)
        .ok_or_else(|| HeaderError::Overflow {
            tensor: meta.path.to_string(),
        })
}

/// The tensors cover the values exactly once.
fn covered(scan: &Scan, data_len: u64) -> Result<(), HeaderError> {
    let at = |i: u32| &scan.offsets[i as usize];
    let name = |i: u32| scan.tensors[i as usize].path.to_string();
    let mut order: Vec<u32> = (0..scan.offsets.len() as u32).collect();
    order.sort_unstable_by_key(|&i| (at(i).start, at(i).end));
    let mut cursor = 0;
    let mut before = None;
    for i in order {
        let begin = at(i).start;
        if let Some(other) = before.filter(|_| begin < cursor) {
            return Err(HeaderError::Overlap {
                tensor: name(i),
                other: name(other),
            });
        }
        if begin > cursor {
            return Err(HeaderError::Hole {
                tensor: name(i),
                bytes: begin - cursor,
            });
        }
        cursor = at(i).end;
        before = Some(i);
    }
    if cursor == data_len {
        Ok(())
    } else {
        Err(HeaderError::Trailing {
            bytes: data_len - cursor,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(json: &str, data_len: usize) -> Vec<u8> {
        let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
        bytes.extend(json.as_bytes());
        bytes.resize(bytes.len() + data_len, 0);
        bytes
    }

    fn parse(json: &str, data_len: usize) -> Result<Header, HeaderError> {
        let bytes = file(json, data_len);
        parse_header(&bytes, bytes.len() as u64)
    }

    /// `name:dtype:[shape]:begin:end` spelt as JSON.
    fn entry(name: &str, dtype: &str, shape: &str, begin: u64, end: u64) -> String {
        format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]}}"#)
    }

    #[test]
    fn order_is_that_of_the_header_and_ranges_are_those_of_the_file() {
        let json = format!(
            "{{{},{}}}",
            entry("b", "U8", "[3]", 4, 7),
            entry("a", "F32", "[]", 0, 4)
        );
        let header = parse(&json, 7).unwrap();
        let names: Vec<_> = header.tensors.iter().map(|t| t.path.as_str()).collect();
        assert_eq!(names, ["b", "a"]);
        let start = 8 + json.len() as u64;
        assert_eq!(header.ranges, [start + 4..start + 7, start..start + 4]);
    }

    #[test]
    fn no_tensor_at_all_is_a_checkpoint() {
        assert_eq!(parse("{}  ", 0).unwrap(), Header::default());
    }

    #[test]
    fn a_tensor_with_a_zero_extent_takes_no_room_wherever_it_lies() {
        let json = format!(
            "{{{},{},{}}}",
            entry("a", "U8", "[2]", 0, 2),
            entry("none", "F32", "[0,7]", 2, 2),
            entry("b", "U8", "[1]", 2, 3)
        );
        assert_eq!(parse(&json, 3).unwrap().tensors.len(), 3);
    }

    #[test]
    fn metadata_is_kept_and_its_keys_are_unique() {
        let header = parse(r#"{"__metadata__":{"format":"pt"}}"#, 0).unwrap();
        assert_eq!(header.metadata["format"], "pt");
        let twice = parse(r#"{"__metadata__":{"a":"1","a":"2"}}"#, 0);
        assert_eq!(
            twice,
            Err(HeaderError::DuplicateMetadata { key: "a".into() })
        );
        let two_maps = parse(r#"{"__metadata__":{},"__metadata__":{}}"#, 0);
        assert!(matches!(two_maps, Err(HeaderError::DuplicateName { .. })));
        let entries: Vec<_> = (0..=MAX_METADATA).map(|i| format!(r#""{i}":"""#)).collect();
        let many = parse(
            &format!(r#"{{"__metadata__":{{{}}}}}"#, entries.join(",")),
            0,
        );
        assert_eq!(many, Err(HeaderError::TooMuchMetadata));
        let number = parse(r#"{"__metadata__":{"a":1}}"#, 0);
        assert!(matches!(
            number,
            Err(HeaderError::Json { tensor: None, .. })
        ));
    }

    #[test]
    fn a_name_has_to_be_printable_and_short() {
        for bad in [
            "",
            "a\\u0000b",
            "a\\u001b[2J",
            &"n".repeat(MAX_NAME_BYTES + 1),
        ] {
            let found = parse(&format!("{{{}}}", entry(bad, "U8", "[1]", 0, 1)), 1);
            assert!(
                matches!(found, Err(HeaderError::BadName { .. })),
                "{bad}: {found:?}"
            );
        }
        let longest = entry(&"n".repeat(MAX_NAME_BYTES), "U8", "[1]", 0, 1);
        assert!(parse(&format!("{{{longest}}}"), 1).is_ok());
    }

    #[test]
    fn an_unknown_element_type_names_the_tensor() {
        let found = parse(&format!("{{{}}}", entry("w", "F4", "[2]", 0, 1)), 1);
        let expected = HeaderError::UnknownDType {
            tensor: "w".into(),
            found: "F4".into(),
        };
        assert_eq!(found, Err(expected));
    }

    #[test]
    fn wrong_json_of_a_tensor_names_the_tensor() {
        for bad in [
            r#"{"w":{"dtype":"U8","shape":[1]}}"#,
            r#"{"w":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}"#,
            r#"{"w":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}}"#,
            r#"{"w":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#,
            r#"{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"more":0}}"#,
            r#"{"w":["U8",[1],[0,1]]}"#,
            r#"{"w":{"dtype":"U8","shape":[99999999999999999999],"data_offsets":[0,1]}}"#,
        ] {
            let found = parse(bad, 1);
            let named =
                matches!(&found, Err(HeaderError::Json { tensor: Some(t), .. }) if t == "w");
            assert!(named, "{bad}: {found:?}");
        }
    }

    #[test]
    fn a_shape_of_too_many_axes_is_counted_but_not_kept() {
        let shape = format!("[{}1]", "1,".repeat(MAX_RANK));
        let found = parse(&format!("{{{}}}", entry("w", "U8", &shape, 0, 1)), 1);
        assert_eq!(
            found,
            Err(HeaderError::Rank {
                tensor: "w".into(),
                found: MAX_RANK + 1
            })
        );
        let shape = format!("[{}1]", "1,".repeat(MAX_RANK - 1));
        assert!(parse(&format!("{{{}}}", entry("w", "U8", &shape, 0, 1)), 1).is_ok());
    }
}
