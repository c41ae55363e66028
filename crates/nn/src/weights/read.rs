//! Values from a checkpoint.

use crate::NnError;
use burn::tensor::{DType as BurnDType, Device, Tensor, TensorData};
use burn_std::{AllocationProperty, Bytes};
use refit_core::{DType, Source, TensorMeta};
use refit_kernels::{HalfKind, widen};

/// Reads a tensor as f32; with `as_stored` one of half precision as it is.
pub(super) fn read<S: Source>(
    source: &S,
    at: usize,
    shape: &[usize],
    as_stored: bool,
    device: &Device,
) -> Result<Tensor<1>, NnError> {
    let meta = &source.tensors()[at];
    let path = || meta.path.clone();
    check_header(meta, shape)?;
    let half = match meta.dtype {
        DType::F16 => Some((HalfKind::F16, BurnDType::F16)),
        DType::BF16 => Some((HalfKind::BF16, BurnDType::BF16)),
        _ => None,
    };
    let bytes = || {
        source.bytes(at).map_err(|e| NnError::Read {
            path: path(),
            source: Box::new(e),
        })
    };
    let data = match (half, meta.dtype) {
        (Some((_, dtype)), _) if as_stored => match mapped(source, at, dtype) {
            Some(data) => data,
            None => TensorData::from_bytes_vec(bytes()?.into_owned(), [meta.len()], dtype),
        },
        (Some((kind, _)), _) => {
            let mut values = vec![0.0; meta.len()];
            widen(kind, &bytes()?, &mut values);
            TensorData::new(values, [meta.len()])
        }
        (None, DType::F64) => {
            let bytes = bytes()?.into_owned();
            TensorData::from_bytes_vec(bytes, [meta.len()], BurnDType::F64)
                .convert_dtype(BurnDType::F32)
        }
        _ => match mapped(source, at, BurnDType::F32) {
            Some(data) => data,
            None => TensorData::from_bytes_vec(bytes()?.into_owned(), [meta.len()], BurnDType::F32),
        },
    };
    if !is_finite(&data) {
        return Err(NnError::NotFinite { path: path() });
    }
    let dtype = data.dtype();
    Ok(Tensor::from_data(data, (device, dtype)))
}

/// Whether all values are finite, in stretches without a way out, which the compiler turns into wide comparisons.
fn is_finite(data: &TensorData) -> bool {
    let of_bits = |mask: u16| {
        let words = data.as_bytes().as_chunks::<2>().0;
        let finite = |word: &[u8; 2]| u16::from_le_bytes(*word) & mask != mask;
        let all = |stretch: &[[u8; 2]]| stretch.iter().fold(true, |all, word| all & finite(word));
        words.chunks(1 << 12).all(all)
    };
    match data.dtype() {
        BurnDType::F16 => of_bits(0x7c00),
        BurnDType::BF16 => of_bits(0x7f80),
        _ => {
            let values = data
                .as_slice::<f32>()
                .expect("f32, or just converted to it");
            let all = |stretch: &[f32]| stretch.iter().fold(true, |all, v| all & v.is_finite());
            values.chunks(1 << 12).all(all)
        }
    }
}

/// Checks that a tensor is a weight of an expected shape.
pub(super) fn check_header(meta: &TensorMeta, shape: &[usize]) -> Result<(), NnError> {
    let path = meta.path.clone();
    if !meta.dtype.is_weight() {
        let found = meta.dtype;
        return Err(NnError::DType { path, found });
    }
    if meta.shape != shape {
        let (found, expected) = (meta.shape.clone(), shape.to_vec());
        return Err(NnError::Shape {
            path,
            found,
            expected,
        });
    }
    Ok(())
}

/// The values of a tensor where they lie: nothing is copied until something writes there.
fn mapped<S: Source>(source: &S, at: usize, dtype: BurnDType) -> Option<TensorData> {
    let meta = &source.tensors()[at];
    let as_in_memory = cfg!(target_endian = "little");
    let bytes = as_in_memory.then(|| source.lasting(at)).flatten()?;
    let aligned = bytes.as_ref().as_ptr().align_offset(dtype.size()) == 0;
    if !aligned || bytes.as_ref().len() != meta.len() * dtype.size() {
        return None;
    }
    let bytes = Bytes::from_shared(bytes::Bytes::from_owner(bytes), AllocationProperty::File);
    Some(TensorData::from_bytes(bytes, [meta.len()], dtype))
}
