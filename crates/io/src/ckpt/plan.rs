//! Where every byte of an output goes, before the first one is written.

use super::{
    error::{CkptError, HeaderError},
    header::{
        LENGTH_BYTES, MAX_HEADER_BYTES, MAX_METADATA, MAX_RANK, METADATA_KEY, by_name, check_name,
        size_bytes,
    },
    open::SINGLE_FILE,
};
use refit_core::TensorMeta;
use serde::{Serialize, Serializer, ser::SerializeMap};
use std::{cmp::Reverse, collections::BTreeMap, ops::Range, path::Path};

/// Shards are counted with five digits.
const MAX_SHARDS: usize = 99_999;

/// Headers are padded to this many bytes, so that values of eight bytes lie aligned.
const ALIGN: usize = 8;

/// Layout of an output: shards in order, each a run of consecutive tensors.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) shards: Vec<ShardPlan>,
    /// Offset of each tensor inside its file.
    pub(super) offsets: Vec<u64>,
    /// Bytes of each tensor.
    sizes: Vec<u64>,
    /// Bytes of all values.
    pub(super) total_bytes: u64,
}

/// Layout of one file.
#[derive(Debug)]
pub(super) struct ShardPlan {
    /// Length field, JSON and padding.
    pub(super) header: Vec<u8>,
    /// The tensors it holds.
    pub(super) tensors: Range<usize>,
}

impl Plan {
    /// Lays `metas` out in shards of at most `shard_bytes` of values (a larger tensor gets one of its own).
    pub(super) fn new(
        file: &Path,
        metas: &[TensorMeta],
        metadata: &BTreeMap<String, String>,
        shard_bytes: Option<u64>,
    ) -> Result<Self, CkptError> {
        let unwritable = |problem| CkptError::Unwritable {
            file: file.into(),
            problem,
        };
        if metadata.len() > MAX_METADATA {
            return Err(unwritable(HeaderError::TooMuchMetadata));
        }
        let sizes = sizes(metas).map_err(unwritable)?;
        let runs = runs(&sizes, shard_bytes.unwrap_or(u64::MAX));
        if runs.len() > MAX_SHARDS {
            return Err(CkptError::TooManyShards {
                file: file.into(),
                shards: runs.len(),
            });
        }
        let mut offsets = vec![0; metas.len()];
        let mut shards = Vec::with_capacity(runs.len());
        for run in runs {
            let (metas, sizes) = (&metas[run.clone()], &sizes[run.clone()]);
            let offsets = &mut offsets[run.clone()];
            let header = lay_out(metas, sizes, metadata, offsets).map_err(unwritable)?;
            shards.push(ShardPlan {
                header,
                tensors: run,
            });
        }
        Ok(Self {
            shards,
            offsets,
            total_bytes: sizes.iter().sum(),
            sizes,
        })
    }

    /// Size of the file of shard `i`.
    pub(super) fn file_bytes(&self, i: usize) -> u64 {
        let ShardPlan { header, tensors } = &self.shards[i];
        header.len() as u64 + self.sizes[tensors.clone()].iter().sum::<u64>()
    }

    /// Name of the file of shard `i` inside a folder.
    pub(super) fn file_name(&self, i: usize) -> String {
        match self.shards.len() {
            1 => SINGLE_FILE.to_owned(),
            n => format!("model-{:05}-of-{n:05}.safetensors", i + 1),
        }
    }
}

/// Bytes of each tensor; refuses what a reader would refuse.
fn sizes(metas: &[TensorMeta]) -> Result<Vec<u64>, HeaderError> {
    let mut total = 0u64;
    let mut sizes = Vec::with_capacity(metas.len());
    for meta in metas {
        check_name(meta.path.as_str())?;
        if meta.shape.len() > MAX_RANK {
            let found = meta.shape.len();
            return Err(HeaderError::Rank {
                tensor: meta.path.to_string(),
                found,
            });
        }
        let size = size_bytes(meta)?;
        total = total
            .checked_add(size)
            .ok_or_else(|| HeaderError::Overflow {
                tensor: meta.path.to_string(),
            })?;
        sizes.push(size);
    }
    let name = |i: u32| &metas[i as usize].path;
    match by_name(metas)
        .windows(2)
        .find(|pair| name(pair[0]) == name(pair[1]))
    {
        Some(pair) => Err(HeaderError::DuplicateName {
            tensor: name(pair[0]).to_string(),
        }),
        None => Ok(sizes),
    }
}

/// How many files hold these tensors at `shard_bytes` of values each, as [`TensorWriter`](super::TensorWriter) and
/// [`CheckpointWriter`](super::CheckpointWriter) cut them.
///
/// ```
/// use refit_core::{DType, TensorMeta};
/// use refit_io::ckpt::shard_count;
/// let meta = |name: &str| TensorMeta { path: name.into(), dtype: DType::F32, shape: vec![2] };
/// let metas = [meta("a"), meta("b"), meta("c")];
/// assert_eq!(shard_count(&metas, 16), 2);
/// // A tensor that is larger than a file has one of its own.
/// assert_eq!(shard_count(&metas, 1), 3);
/// ```
pub fn shard_count(metas: &[TensorMeta], shard_bytes: u64) -> usize {
    let sizes = metas.iter().map(|meta| meta.size_bytes() as u64);
    runs(&sizes.collect::<Vec<_>>(), shard_bytes).len()
}

/// Cuts the tensors into runs of at most `limit` bytes, greedily and in order; at least one run.
fn runs(sizes: &[u64], limit: u64) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let (mut start, mut bytes) = (0, 0u64);
    for (i, &size) in sizes.iter().enumerate() {
        if i > start && bytes + size > limit {
            runs.push(start..i);
            (start, bytes) = (i, 0);
        }
        bytes += size;
    }
    runs.push(start..sizes.len());
    runs
}

/// Gives each tensor of one file its offset and returns the header.
///
/// The header lists tensors in the order they are put. Their values are laid out by falling element size, so that
/// each is aligned without the holes that the format forbids; readers that view values in place depend on that.
fn lay_out(
    metas: &[TensorMeta],
    sizes: &[u64],
    metadata: &BTreeMap<String, String>,
    offsets: &mut [u64],
) -> Result<Vec<u8>, HeaderError> {
    let mut order: Vec<usize> = (0..metas.len()).collect();
    order.sort_by_key(|&i| Reverse(metas[i].dtype.size_bytes())); // stable: put order within a size
    let mut cursor = 0;
    for i in order {
        offsets[i] = cursor;
        cursor += sizes[i];
    }
    let header = header_bytes(&HeaderJson {
        metas,
        sizes,
        offsets,
        metadata,
    })?;
    for offset in offsets {
        *offset += header.len() as u64;
    }
    Ok(header)
}

fn header_bytes(json: &HeaderJson<'_>) -> Result<Vec<u8>, HeaderError> {
    let mut bytes = vec![0; LENGTH_BYTES];
    serde_json::to_writer(&mut bytes, json).expect("invariant: text and numbers always serialise");
    bytes.resize(bytes.len().next_multiple_of(ALIGN), b' ');
    let length = (bytes.len() - LENGTH_BYTES) as u64;
    if length > MAX_HEADER_BYTES {
        return Err(HeaderError::TooLarge { found: length });
    }
    bytes[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    Ok(bytes)
}

/// The JSON part of a header.
struct HeaderJson<'a> {
    metas: &'a [TensorMeta],
    sizes: &'a [u64],
    offsets: &'a [u64],
    metadata: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct TensorJson<'a> {
    dtype: &'static str,
    shape: &'a [usize],
    data_offsets: [u64; 2],
}

impl Serialize for HeaderJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.metadata.is_empty() {
            map.serialize_entry(METADATA_KEY, self.metadata)?;
        }
        for ((meta, size), begin) in self.metas.iter().zip(self.sizes).zip(self.offsets) {
            let data_offsets = [*begin, begin + size];
            let tensor = TensorJson {
                dtype: meta.dtype.name(),
                shape: &meta.shape,
                data_offsets,
            };
            map.serialize_entry(meta.path.as_str(), &tensor)?;
        }
        map.end()
    }
}

/// The index of a sharded output.
struct IndexJson<'a> {
    metas: &'a [TensorMeta],
    plan: &'a Plan,
}

/// The index of a sharded output, as its file holds it.
pub(super) fn index_bytes(metas: &[TensorMeta], plan: &Plan) -> Vec<u8> {
    let index = IndexJson { metas, plan };
    let mut bytes =
        serde_json::to_vec_pretty(&index).expect("invariant: text and numbers always serialise");
    bytes.push(b'\n');
    bytes
}

impl Serialize for IndexJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry(
            "metadata",
            &TotalSize {
                total_size: self.plan.total_bytes,
            },
        )?;
        map.serialize_entry("weight_map", &WeightMap(self))?;
        map.end()
    }
}

#[derive(Serialize)]
struct TotalSize {
    total_size: u64,
}

struct WeightMap<'a>(&'a IndexJson<'a>);

impl Serialize for WeightMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let IndexJson { metas, plan } = self.0;
        let mut map = serializer.serialize_map(Some(metas.len()))?;
        for (i, shard) in plan.shards.iter().enumerate() {
            let file = plan.file_name(i);
            for meta in &metas[shard.tensors.clone()] {
                map.serialize_entry(meta.path.as_str(), &file)?;
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ckpt::parse_header;
    use refit_core::DType;

    fn meta(name: &str, dtype: DType, len: usize) -> TensorMeta {
        TensorMeta {
            path: name.into(),
            dtype,
            shape: vec![len],
        }
    }

    fn plan(metas: &[TensorMeta], shard_bytes: Option<u64>) -> Result<Plan, CkptError> {
        Plan::new(Path::new("out"), metas, &BTreeMap::new(), shard_bytes)
    }

    #[test]
    fn runs_are_greedy_and_a_giant_stands_alone() {
        assert_eq!(runs(&[4, 4, 4], 8), [0..2, 2..3]);
        assert_eq!(runs(&[4, 99, 4], 8), [0..1, 1..2, 2..3]);
        assert_eq!(runs(&[0, 0], 0), std::slice::from_ref(&(0..2)));
        assert_eq!(runs(&[], 8), std::slice::from_ref(&(0..0)));
    }

    #[test]
    fn values_are_aligned_and_the_header_keeps_the_order() {
        let metas = [
            meta("mask", DType::Bool, 3),
            meta("w", DType::F32, 2),
            meta("steps", DType::I64, 1),
            meta("h", DType::F16, 5),
        ];
        let plan = plan(&metas, None).unwrap();
        for (meta, offset) in metas.iter().zip(&plan.offsets) {
            assert_eq!(offset % meta.dtype.size_bytes() as u64, 0, "{}", meta.path);
        }
        let head = &plan.shards[0].header;
        let header = parse_header(head, head.len() as u64 + plan.total_bytes).unwrap();
        assert_eq!(header.tensors, metas);
        let starts: Vec<u64> = header.ranges.iter().map(|r| r.start).collect();
        assert_eq!(starts, plan.offsets);
    }

    #[test]
    fn what_a_reader_refuses_is_not_planned() {
        let twice = plan(&[meta("a", DType::U8, 1), meta("a", DType::U8, 1)], None);
        assert!(matches!(
            twice,
            Err(CkptError::Unwritable {
                problem: HeaderError::DuplicateName { .. },
                ..
            })
        ));
        for bad in ["", "__metadata__", "a\nb"] {
            let found = plan(&[meta(bad, DType::U8, 1)], None);
            let problem = matches!(
                found,
                Err(CkptError::Unwritable {
                    problem: HeaderError::BadName { .. },
                    ..
                })
            );
            assert!(problem, "{bad:?}");
        }
        let huge = plan(&[meta("a", DType::F64, usize::MAX / 4)], None);
        assert!(matches!(
            huge,
            Err(CkptError::Unwritable {
                problem: HeaderError::Overflow { .. },
                ..
            })
        ));
    }
}
