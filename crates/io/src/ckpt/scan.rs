//! The JSON part of a header, read strictly and in one go.

use super::{
    error::HeaderError,
    header::{MAX_METADATA, MAX_RANK, METADATA_KEY, check_name},
    text::{ObjectOnly, excerpt},
};
use refit_core::{DType, ParamPath, TensorMeta};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    ops::Range,
};

/// No entry is shorter: `"a":{"dtype":"U8","shape":[],"data_offsets":[0,0]}`. Bounds how many there can be.
const MIN_ENTRY_BYTES: usize = 50;

/// What the JSON says, before the tensors are compared with each other and with the file.
#[derive(Default)]
pub(super) struct Scan {
    pub(super) tensors: Vec<TensorMeta>,
    pub(super) offsets: Vec<Range<u64>>,
    pub(super) metadata: Option<BTreeMap<String, String>>,
    /// The tensor being read, for the message should its JSON be wrong.
    current: Option<String>,
    /// A failure that is ours, not JSON's.
    fault: Option<HeaderError>,
}

/// Reads the JSON part of a header.
pub(super) fn scan(json: &str) -> Result<Scan, HeaderError> {
    let entries = json.len() / MIN_ENTRY_BYTES;
    let mut scan = Scan {
        tensors: Vec::with_capacity(entries),
        offsets: Vec::with_capacity(entries),
        ..Scan::default()
    };
    let mut reader = serde_json::Deserializer::from_str(json);
    let read = scan
        .deserialize_into(&mut reader)
        .and_then(|()| reader.end());
    match (scan.fault.take(), read) {
        (Some(fault), _) => Err(fault),
        (None, Err(e)) => Err(HeaderError::Json {
            tensor: scan.current.take(),
            problem: excerpt(&e.to_string()),
        }),
        (None, Ok(())) => {
            scan.tensors.shrink_to_fit();
            scan.offsets.shrink_to_fit();
            Ok(scan)
        }
    }
}

impl Scan {
    fn deserialize_into<'de, D: Deserializer<'de>>(&mut self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_map(self)
    }

    /// Turns the JSON of one tensor into checked words.
    fn take(&mut self, name: &str, raw: RawTensor) -> Result<(), HeaderError> {
        let tensor = || name.to_owned();
        if raw.shape.rank > MAX_RANK {
            return Err(HeaderError::Rank {
                tensor: tensor(),
                found: raw.shape.rank,
            });
        }
        let dtype = DType::from_name(&raw.dtype).ok_or_else(|| HeaderError::UnknownDType {
            tensor: tensor(),
            found: excerpt(&raw.dtype),
        })?;
        let (begin, end) = raw.data_offsets;
        if begin > end {
            return Err(HeaderError::ReversedOffsets {
                tensor: tensor(),
                begin,
                end,
            });
        }
        self.tensors.push(TensorMeta {
            path: ParamPath::new(name),
            dtype,
            shape: raw.shape.extents,
        });
        self.offsets.push(begin..end);
        Ok(())
    }

    /// Keeps a failure of ours and stops the JSON reader.
    fn stop<E: serde::de::Error>(&mut self, fault: HeaderError) -> E {
        self.fault = Some(fault);
        E::custom("stopped")
    }
}

impl<'de> Visitor<'de> for &mut Scan {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            if name == METADATA_KEY {
                if self.metadata.is_some() {
                    return Err(self.stop(HeaderError::DuplicateName { tensor: name }));
                }
                self.metadata = Some(map.next_value_seed(Metadata(&mut self.fault))?);
                continue;
            }
            if let Err(fault) = check_name(&name) {
                return Err(self.stop(fault));
            }
            self.current = Some(name);
            let ObjectOnly(raw) = map.next_value::<ObjectOnly<RawTensor>>()?;
            let name = self.current.take().unwrap_or_default();
            if let Err(fault) = self.take(&name, raw) {
                return Err(self.stop(fault));
            }
        }
        Ok(())
    }
}

/// One tensor as the JSON spells it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTensor {
    dtype: String,
    shape: Extents,
    data_offsets: (u64, u64),
}

/// A shape of which no more than [`MAX_RANK`] extents are kept, however long it is.
struct Extents {
    extents: Vec<usize>,
    rank: usize,
}

impl<'de> Deserialize<'de> for Extents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Extents;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of extents")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Extents, A::Error> {
                let mut extents = Vec::new();
                while extents.len() < MAX_RANK
                    && let Some(extent) = seq.next_element()?
                {
                    extents.push(extent);
                }
                let mut rank = extents.len();
                while rank >= MAX_RANK && seq.next_element::<IgnoredAny>()?.is_some() {
                    rank += 1;
                }
                Ok(Extents { extents, rank })
            }
        }
        deserializer.deserialize_seq(List)
    }
}

/// Reads the free-text part; a key that occurs twice is a fault.
struct Metadata<'a>(&'a mut Option<HeaderError>);

impl<'de> DeserializeSeed<'de> for Metadata<'_> {
    type Value = BTreeMap<String, String>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Metadata<'_> {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`__metadata__` as a map from text to text")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut out = BTreeMap::new();
        while let Some((key, value)) = map.next_entry::<String, String>()? {
            if out.len() == MAX_METADATA {
                *self.0 = Some(HeaderError::TooMuchMetadata);
                return Err(A::Error::custom("stopped"));
            }
            match out.entry(key) {
                Entry::Vacant(free) => free.insert(value),
                Entry::Occupied(taken) => {
                    *self.0 = Some(HeaderError::DuplicateMetadata {
                        key: excerpt(taken.key()),
                    });
                    return Err(A::Error::custom("stopped"));
                }
            };
        }
        Ok(out)
    }
}
