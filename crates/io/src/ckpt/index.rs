//! The index of a sharded checkpoint, `model.safetensors.index.json`.
//!
//! `{"metadata": {..}, "weight_map": {"tensor name": "file name", ..}}`. Only `weight_map` carries meaning here:
//! the `total_size` that writers put into `metadata` is wrong in many public files and is not relied upon.

use super::{
    error::IndexError,
    header::{MAX_HEADER_BYTES, check_name},
    text::{ObjectOnly, excerpt},
};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use std::fmt;

/// What a shard's name ends in.
pub(super) const EXTENSION: &str = ".safetensors";

/// Longest file name in bytes, as on every common file system.
const MAX_FILE_NAME_BYTES: usize = 255;

/// A checked index: which tensor lies in which file of the folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardIndex {
    tensors: Vec<Box<str>>,
    files: Vec<Box<str>>,
}

impl ShardIndex {
    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether no tensor is listed.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Tensor and file names, sorted by file, then by tensor.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.tensors
            .iter()
            .zip(&self.files)
            .map(|(tensor, file)| (&**tensor, &**file))
    }

    /// The runs of [`iter`](Self::iter) that share a file: its name and its tensors, sorted.
    pub fn shards(&self) -> impl Iterator<Item = (&str, &[Box<str>])> {
        let mut start = 0;
        self.files.chunk_by(|a, b| a == b).map(move |run| {
            let tensors = &self.tensors[start..start + run.len()];
            start += run.len();
            (&*run[0], tensors)
        })
    }
}

/// Reads and checks an index file.
///
/// After success tensor names are unique and every file is a plain name that ends in `.safetensors`: no separator,
/// no `..`, nothing absolute. (The file of that name may be a symbolic link: download caches store shards so, and
/// a link was made by the user, not by the author of the index.)
///
/// # Errors
/// A variant of [`IndexError`] per way to fail. No panic on any input.
/// # Example
/// ```
/// use refit_io::ckpt::{IndexError, parse_index};
/// let index = parse_index(br#"{"weight_map": {"a": "model-00001-of-00001.safetensors"}}"#)?;
/// assert_eq!(index.iter().next(), Some(("a", "model-00001-of-00001.safetensors")));
///
/// let outside = parse_index(br#"{"weight_map": {"a": "../secret.safetensors"}}"#);
/// assert!(matches!(outside, Err(IndexError::FileName { .. })));
/// # Ok::<(), IndexError>(())
/// ```
pub fn parse_index(bytes: &[u8]) -> Result<ShardIndex, IndexError> {
    parse_index_of(bytes, EXTENSION)
}

/// [`parse_index`] of shards whose names end so.
pub(super) fn parse_index_of(
    bytes: &[u8],
    extension: &'static str,
) -> Result<ShardIndex, IndexError> {
    if bytes.len() as u64 > MAX_HEADER_BYTES {
        return Err(IndexError::TooLarge {
            found: bytes.len() as u64,
        });
    }
    let json = std::str::from_utf8(bytes).map_err(|e| IndexError::Utf8 {
        at: e.valid_up_to(),
    })?;
    let ObjectOnly(raw) =
        serde_json::from_str::<ObjectOnly<RawIndex>>(json).map_err(|e| IndexError::Json {
            problem: excerpt(&e.to_string()),
        })?;
    let WeightMap { tensors, files } = raw.weight_map;
    for (tensor, file) in tensors.iter().zip(&files) {
        check_name(tensor).map_err(|problem| IndexError::TensorName { problem })?;
        check_file_name(tensor, file, extension)?;
    }
    sorted(tensors, files)
}

/// Sorts by file and tensor, refusing a tensor that is listed twice.
fn sorted(tensors: Vec<Box<str>>, files: Vec<Box<str>>) -> Result<ShardIndex, IndexError> {
    let mut order: Vec<u32> = (0..tensors.len() as u32).collect();
    let name = |i: u32| &tensors[i as usize];
    order.sort_unstable_by_key(|&i| name(i));
    if let Some(pair) = order.windows(2).find(|pair| name(pair[0]) == name(pair[1])) {
        return Err(IndexError::DuplicateName {
            tensor: name(pair[0]).to_string(),
        });
    }
    order.sort_by_key(|&i| &files[i as usize]); // stable: tensors stay sorted
    Ok(ShardIndex {
        tensors: reordered(tensors, &order),
        files: reordered(files, &order),
    })
}

fn reordered(mut items: Vec<Box<str>>, order: &[u32]) -> Vec<Box<str>> {
    order
        .iter()
        .map(|&i| std::mem::take(&mut items[i as usize]))
        .collect()
}

/// A shard lies beside its index, so its name must be a name and nothing more.
fn check_file_name(tensor: &str, file: &str, extension: &'static str) -> Result<(), IndexError> {
    let problem = if file.contains(['/', '\\', ':']) {
        "holds a path separator"
    } else if file.chars().any(char::is_control) {
        "holds a control character"
    } else if file.len() > MAX_FILE_NAME_BYTES {
        "is longer than 255 bytes"
    } else if !file.ends_with(extension) || file.len() == extension.len() {
        // `..`, `.` and the empty name end here too
        if extension == EXTENSION {
            "does not end in `.safetensors`"
        } else {
            "does not end in `.bin`"
        }
    } else {
        return Ok(());
    };
    Err(IndexError::FileName {
        tensor: tensor.to_owned(),
        file: excerpt(file),
        problem,
    })
}

/// The index as the JSON spells it; other keys, such as `metadata`, are skipped.
#[derive(Deserialize)]
struct RawIndex {
    weight_map: WeightMap,
}

/// Two lists instead of pairs: neither outgrows the text it was read from.
struct WeightMap {
    tensors: Vec<Box<str>>,
    files: Vec<Box<str>>,
}

impl<'de> Deserialize<'de> for WeightMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = WeightMap;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`weight_map` as a map from tensor to file name")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WeightMap, A::Error> {
                let mut pairs = WeightMap {
                    tensors: Vec::new(),
                    files: Vec::new(),
                };
                while let Some((tensor, file)) = map.next_entry::<Box<str>, Box<str>>()? {
                    push_tight(&mut pairs.tensors, tensor);
                    push_tight(&mut pairs.files, file);
                }
                Ok(pairs)
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// Grows by a quarter instead of doubling: 16 bytes per name, times 5/4, is no more than the 20 bytes that the
/// shortest entry, `"a":"b.safetensors",`, takes in the file.
fn push_tight(list: &mut Vec<Box<str>>, item: Box<str>) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len() / 4 + 8);
    }
    list.push(item);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(file: &str) -> Result<ShardIndex, IndexError> {
        let json = serde_json::json!({ "weight_map": { "w": file } });
        parse_index(json.to_string().as_bytes())
    }

    #[test]
    fn shards_are_grouped_and_sorted() {
        let json = br#"{"metadata":{"total_size":1.5,"x":[{}]},"weight_map":
            {"c":"2.safetensors","b":"1.safetensors","a":"2.safetensors"}}"#;
        let index = parse_index(json).unwrap();
        let shards: Vec<_> = index
            .shards()
            .map(|(file, tensors)| (file, tensors.join(" ")))
            .collect();
        assert_eq!(
            shards,
            [
                ("1.safetensors", "b".into()),
                ("2.safetensors", "a c".into())
            ]
        );
        assert_eq!(index.len(), 3);
    }

    #[test]
    fn a_file_outside_the_folder_is_refused() {
        for bad in [
            "../x.safetensors",
            "/etc/passwd",
            "/x.safetensors",
            "a/b.safetensors",
            "a\\b.safetensors",
            "C:x.safetensors",
            "..",
            ".",
            "",
            ".safetensors",
            "x.bin",
            "x\0.safetensors",
            &format!("{}.safetensors", "x".repeat(250)),
        ] {
            assert!(
                matches!(one(bad), Err(IndexError::FileName { .. })),
                "{bad}"
            );
        }
        assert!(one("..x.safetensors").is_ok());
    }

    #[test]
    fn a_tensor_listed_twice_is_refused() {
        let json = br#"{"weight_map":{"w":"1.safetensors","w":"2.safetensors"}}"#;
        assert_eq!(
            parse_index(json),
            Err(IndexError::DuplicateName { tensor: "w".into() })
        );
    }

    #[test]
    fn wrong_json_is_refused() {
        for bad in [
            &b""[..],
            b"[]",
            b"null",
            b"{}",
            br#"{"weight_map":[]}"#,
            br#"{"weight_map":{"w":3}}"#,
            br#"{"weight_map":{},"weight_map":{}}"#,
            br#"{"weight_map":{}} x"#,
        ] {
            assert!(
                matches!(parse_index(bad), Err(IndexError::Json { .. })),
                "{bad:?}"
            );
        }
        assert!(matches!(
            parse_index(b"{\xff"),
            Err(IndexError::Utf8 { at: 1 })
        ));
        let empty_name = parse_index(br#"{"weight_map":{"":"1.safetensors"}}"#);
        assert!(matches!(empty_name, Err(IndexError::TensorName { .. })));
    }
}
