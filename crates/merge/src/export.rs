//! From the merged weights back to a checkpoint.

use crate::{
    error::{MergeError, ModelName},
    task_vector::NotFinite,
    tensor_set::TensorSet,
    values::{all_stored_finite, encode},
};
use refit_core::{Sink, Source, TensorMeta};

/// Writes every tensor of `base` to `sink` in the base's order, shape and element type, with the weights of `merged`
/// in place of the base's own.
///
/// Weights are rounded to the nearest value of the stored type. Tensors that `merged` does not hold (counters,
/// masks, heads left out on opening) are copied from the base byte by byte.
///
/// # Errors
/// [`MergeError::Size`] when a merged tensor does not have the base's size; [`MergeError::Overflow`] when a merged value
/// is not finite once it is rounded, unless `not_finite` allows that; [`MergeError::Read`] and [`MergeError::Write`]
/// when either end fails.
pub fn write_merged<S: Source, T: Sink>(
    base: &S,
    merged: &TensorSet,
    not_finite: NotFinite,
    sink: &mut T,
) -> Result<(), MergeError> {
    let index = merged.layout().index();
    for (at, meta) in base.tensors().iter().enumerate() {
        let place = |error: T::Error| MergeError::Write {
            path: meta.path.clone(),
            source: Box::new(error),
        };
        let weights = index
            .get(meta.path.as_str())
            .filter(|_| meta.dtype.is_weight());
        let Some(&tensor) = weights else {
            let bytes = base.bytes(at).map_err(|error| MergeError::Read {
                path: meta.path.clone(),
                model: ModelName::Plain("base".into()),
                source: Box::new(error),
            })?;
            sink.put(meta, &bytes).map_err(place)?;
            continue;
        };
        let values = &merged.tensors()[tensor];
        if values.len() != meta.len() {
            return Err(MergeError::Size {
                path: meta.path.clone(),
                model: ModelName::Merged,
                found: values.len(),
                expected: meta.len(),
                unit: "values",
            });
        }
        let bytes = encode(values, meta.dtype);
        if not_finite == NotFinite::Refuse && !all_stored_finite(&bytes, meta.dtype) {
            return Err(overflow(meta, values));
        }
        sink.put(meta, &bytes).map_err(place)?;
    }
    Ok(())
}

/// Names the first of `values` that is not finite as `meta` stores it.
fn overflow(meta: &TensorMeta, values: &[f32]) -> MergeError {
    let spoils = |v: &f32| !all_stored_finite(&encode(&[*v], meta.dtype), meta.dtype);
    let position = values.iter().position(spoils).unwrap_or(0);
    MergeError::Overflow {
        path: meta.path.clone(),
        position,
        value: values[position],
        dtype: meta.dtype,
    }
}
