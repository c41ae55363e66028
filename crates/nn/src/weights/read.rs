//! Values from a checkpoint.

use crate::NnError;
use burn::tensor::{DType as BurnDType, Device, Tensor, TensorData};
use burn_std::{AllocationProperty, Bytes};
use refit_core::{DType, Source, TensorMeta};

pub(super) fn read_f32<S: Source>(
    source: &S,
    at: usize,
    shape: &[usize],
    device: &Device,
) -> Result<Tensor<1>, NnError> {
    let meta = &source.tensors()[at];
    let path = || meta.path.clone();
    check_header(meta, shape)?;
    let data = match mapped(source, at) {
        Some(data) => data,
        None => {
            let bytes = source.bytes(at).map_err(|e| NnError::Read {
                path: path(),
                source: Box::new(e),
            })?;
            let dtype = match meta.dtype {
                DType::F16 => BurnDType::F16,
                DType::BF16 => BurnDType::BF16,
                DType::F64 => BurnDType::F64,
                _ => BurnDType::F32,
            };
            TensorData::from_bytes_vec(bytes.into_owned(), [meta.len()], dtype)
                .convert_dtype(BurnDType::F32)
        }
    };
    let values = data.as_slice::<f32>().expect("just converted to f32");
    // In stretches without a way out, which the compiler turns into wide comparisons.
    let finite = |stretch: &[f32]| stretch.iter().fold(true, |all, v| all & v.is_finite());
    if !values.chunks(1 << 12).all(finite) {
        return Err(NnError::NotFinite { path: path() });
    }
    Ok(Tensor::from_data(data, device))
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
fn mapped<S: Source>(source: &S, at: usize) -> Option<TensorData> {
    let meta = &source.tensors()[at];
    let as_in_memory = meta.dtype == DType::F32 && cfg!(target_endian = "little");
    let bytes = as_in_memory.then(|| source.lasting(at)).flatten()?;
    let aligned = bytes.as_ref().as_ptr().align_offset(align_of::<f32>()) == 0;
    if !aligned || bytes.as_ref().len() != meta.len() * size_of::<f32>() {
        return None;
    }
    let bytes = Bytes::from_shared(bytes::Bytes::from_owner(bytes), AllocationProperty::File);
    Some(TensorData::from_bytes(bytes, [meta.len()], BurnDType::F32))
}
