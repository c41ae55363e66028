//! Taking a checkpoint file by file, whatever its format.

use super::{
    Place, RandomFile, TensorReader, Values,
    rows::Rows,
    strided::{MOST_GATHERED_BYTES, Strided, is_row_major},
};
use crate::ckpt::{
    error::{CkptError, GgufError, HeaderError, TorchError},
    gguf::{self, GgufHeader, GgufType, GgufValue, RowOrder, hub_tensor, parse_gguf},
    header::{Header, LENGTH_BYTES, MAX_HEADER_BYTES, parse_header, unique},
    open::Gather,
    torch::{self, Stored},
};
use refit_core::{DType, TensorMeta};
use std::path::PathBuf;

/// Bytes of a GGUF file that are looked at first; the words of a tokenizer take more, and are read then.
const FIRST_HEADER_BYTES: u64 = 1 << 20;

impl Gather for TensorReader {
    fn add(&mut self, file: PathBuf) -> Result<(), CkptError> {
        self.add_file(RandomFile::open(&file)?)
    }

    fn gathered(&self) -> &[TensorMeta] {
        &self.tensors
    }
}

impl TensorReader {
    /// Appends the tensors of one file, of the format that its first bytes tell.
    pub(super) fn add_file(&mut self, file: RandomFile) -> Result<(), CkptError> {
        let begin = file.read_vec(0..file.len().min(4))?;
        let number = self.files.len() as u32;
        match begin.as_slice() {
            torch::ZIP_MAGIC => self.add_torch(&file, number)?,
            gguf::MAGIC => self.add_gguf(&file, number)?,
            torch::LEGACY_MAGIC => {
                return Err(CkptError::Torch {
                    file: file.path().into(),
                    problem: TorchError::Legacy,
                });
            }
            _ => self.add_safetensors(&file, number)?,
        }
        self.files.push(file);
        Ok(())
    }

    fn add_safetensors(&mut self, file: &RandomFile, number: u32) -> Result<(), CkptError> {
        let Header {
            tensors,
            ranges,
            metadata,
        } = read_header(file)?;
        let plain = |offset| {
            Values::Plain(Place {
                file: number,
                offset,
            })
        };
        self.values
            .extend(ranges.into_iter().map(|range| plain(range.start)));
        self.tensors.extend(tensors);
        for (key, value) in metadata {
            self.metadata.entry(key).or_insert(value);
        }
        Ok(())
    }

    fn add_torch(&mut self, file: &RandomFile, number: u32) -> Result<(), CkptError> {
        let failed = |problem| CkptError::Torch {
            file: file.path().into(),
            problem,
        };
        let stored = torch::read_archive(file)?;
        let mut tensors = Vec::with_capacity(stored.len());
        for stored in stored {
            let values = torch_values(&stored, file, number).map_err(failed)?;
            self.values.push(values);
            tensors.push(stored.tensor.meta);
        }
        if let Err(HeaderError::DuplicateName { tensor }) = unique(&tensors) {
            let problem = "occurs twice";
            return Err(failed(TorchError::Tensor { tensor, problem }));
        }
        self.tensors.extend(tensors);
        Ok(())
    }

    fn add_gguf(&mut self, file: &RandomFile, number: u32) -> Result<(), CkptError> {
        let header = read_gguf(file)?;
        let mut tensors = Vec::new();
        for tensor in &header.tensors {
            let Some((name, order)) = hub_tensor(&header, tensor) else {
                continue;
            };
            let offset = tensor.range.start;
            let row = tensor.shape.iter().skip(1);
            let dtype = match tensor.kind {
                GgufType::Plain(dtype) => dtype,
                _ => DType::F16,
            };
            self.values.push(match (tensor.kind, order) {
                (GgufType::Plain(_), RowOrder::Same) => Values::Plain(Place {
                    file: number,
                    offset,
                }),
                (kind, order) => Values::Rows(Box::new(Rows {
                    file: number,
                    offset,
                    kind,
                    order,
                    // Large where the first axis is empty, and then not used.
                    row_len: row.fold(1, |len: usize, &extent| len.saturating_mul(extent)),
                })),
            });
            tensors.push(TensorMeta {
                path: name.into(),
                dtype,
                shape: tensor.shape.clone(),
            });
        }
        if let Err(HeaderError::DuplicateName { tensor }) = unique(&tensors) {
            return Err(CkptError::Gguf {
                file: file.path().into(),
                problem: GgufError::DuplicateName { tensor },
            });
        }
        self.tensors.extend(tensors);
        self.config = header.config();
        for (key, value) in header.metadata {
            if let Some(text) = text_of(value) {
                self.metadata.entry(key).or_insert(text);
            }
        }
        Ok(())
    }
}

/// Where the values of a tensor of an archive lie.
fn torch_values(stored: &Stored, file: &RandomFile, number: u32) -> Result<Values, TorchError> {
    let Stored { tensor, storage } = stored;
    let size = tensor.meta.dtype.size_bytes() as u64;
    // In range: the tensor was found to lie inside its storage, unless it holds nothing.
    let offset = storage.start
        + tensor
            .offset
            .saturating_mul(size)
            .min(storage.end - storage.start);
    if is_row_major(&tensor.meta.shape, &tensor.strides) {
        return Ok(Values::Plain(Place {
            file: number,
            offset,
        }));
    }
    let wrong = |problem| TorchError::Tensor {
        tensor: tensor.meta.path.to_string(),
        problem,
    };
    let bytes = tensor.meta.size_bytes() as u64;
    if bytes > MOST_GATHERED_BYTES || bytes > file.len() {
        return Err(wrong(
            "lies apart and is too large to be brought into order",
        ));
    }
    let strides: Vec<u64> = tensor
        .strides
        .iter()
        .map(|s| s.saturating_mul(size))
        .collect();
    let steps = tensor.meta.shape.iter().zip(&strides);
    let last: u64 = steps
        .map(|(&d, &stride)| (d as u64 - 1) * if d == 1 { 0 } else { stride })
        .sum();
    Ok(Values::Strided(Box::new(Strided {
        file: number,
        offset,
        strides,
        span: last + size,
    })))
}

fn text_of(value: GgufValue) -> Option<String> {
    Some(match value {
        GgufValue::Unsigned(n) => n.to_string(),
        GgufValue::Signed(n) => n.to_string(),
        GgufValue::Float(x) => x.to_string(),
        GgufValue::Bool(b) => b.to_string(),
        GgufValue::Text(text) => text.into(),
        GgufValue::LongText(_) | GgufValue::List(_) => return None,
    })
}

/// The checked header of a GGUF file: the first part of the file, twice as much while it is too little.
fn read_gguf(file: &RandomFile) -> Result<GgufHeader, CkptError> {
    let failed = |problem| CkptError::Gguf {
        file: file.path().into(),
        problem,
    };
    let mut len = FIRST_HEADER_BYTES;
    loop {
        let head = file.read_vec(0..len.min(file.len()))?;
        match parse_gguf(&head, file.len()) {
            Err(GgufError::Truncated { needed, .. })
                if needed <= file.len() && len < MAX_HEADER_BYTES =>
            {
                len = needed.max(2 * len).min(MAX_HEADER_BYTES);
            }
            Err(GgufError::Truncated { needed, .. }) if needed <= file.len() => {
                return Err(failed(GgufError::TooLarge {
                    limit: MAX_HEADER_BYTES,
                }));
            }
            parsed => return parsed.map_err(failed),
        }
    }
}

/// The checked header of a safetensors file; nothing behind it is read.
fn read_header(file: &RandomFile) -> Result<Header, CkptError> {
    let failed = |problem| CkptError::Header {
        file: file.path().into(),
        problem,
    };
    if file.len() < LENGTH_BYTES as u64 {
        return Err(failed(HeaderError::TooShort { found: file.len() }));
    }
    let mut length = [0; LENGTH_BYTES];
    file.read_at(0, &mut length)?;
    let length = u64::from_le_bytes(length);
    // What is longer is refused by the parser, from the eight bytes alone.
    let end = LENGTH_BYTES as u64 + if length > MAX_HEADER_BYTES { 0 } else { length };
    let head = file.read_vec(0..end.min(file.len()))?;
    parse_header(&head, file.len()).map_err(failed)
}
