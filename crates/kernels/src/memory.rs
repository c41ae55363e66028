//! Host memory behind tensors: read as slices, taken over when nobody else holds it.

use crate::gemm::HalfKind;
use crate::pool;
pub(crate) use crate::pool::buffer;
use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::{DType, Element, TensorMetadata};
use burn::tensor::Shape;
use bytemuck::Pod;
use std::cell::RefCell;

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Lends `len` floats of unspecified content that stay with the thread: a fresh allocation of this
/// size would fault in its pages for every task.
pub(crate) fn with_scratch<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    SCRATCH.with_borrow_mut(|buffer| {
        if buffer.len() < len {
            buffer.resize(len, 0.0);
        }
        work(&mut buffer[..len])
    })
}

/// A buffer of `len` zeros.
pub(crate) fn zeros(len: usize) -> Vec<f32> {
    let mut zeros = buffer(len);
    zeros.fill(0.0);
    zeros
}

/// A new tensor over `values`, in row-major order.
pub(crate) fn tensor(values: Vec<f32>, shape: Shape) -> FlexTensor {
    debug_assert_eq!(values.len(), shape.num_elements());
    FlexTensor::new(pool::bytes(values), Layout::contiguous(shape), DType::F32)
}

/// The tensor in row-major order, copied only when it is not.
pub(crate) fn contiguous(t: FlexTensor) -> FlexTensor {
    if t.is_contiguous() {
        t
    } else {
        t.to_contiguous()
    }
}

/// The entries of a tensor that [`contiguous`] returned.
pub(crate) fn floats(t: &FlexTensor) -> &[f32] {
    t.as_slice().expect("invariant: row-major f32")
}

/// The bits of a tensor of half precision that [`contiguous`] returned, and what they mean.
pub(crate) fn halves(t: &FlexTensor) -> (&[u16], HalfKind) {
    let kind = match t.dtype() {
        DType::F16 => HalfKind::F16,
        _ => HalfKind::BF16,
    };
    let (start, len) = (t.layout().start_offset(), t.layout().num_elements());
    let bytes = &t.bytes()[start * size_of::<u16>()..][..len * size_of::<u16>()];
    (bytemuck::cast_slice(bytes), kind)
}

/// The tensor in row-major order and in memory of its own: the same memory when nobody shares it.
pub(crate) fn owned(mut t: FlexTensor) -> FlexTensor {
    let bytes = t.layout().num_elements() * size_of::<f32>();
    let whole = t.is_contiguous() && t.layout().start_offset() == 0 && t.bytes().len() == bytes;
    if whole && t.try_storage_mut::<f32>().is_some() {
        return t;
    }
    let source = contiguous(t);
    let mut copy = buffer(floats(&source).len());
    copy.copy_from_slice(floats(&source));
    tensor(copy, source.shape())
}

/// The entries of a tensor that [`owned`] returned.
pub(crate) fn floats_mut(t: &mut FlexTensor) -> &mut [f32] {
    t.storage_mut()
}

/// Length of the last axis.
pub(crate) fn width(t: &FlexTensor) -> usize {
    t.shape().last().copied().unwrap_or(1)
}

/// The entries of an integer tensor as indices. A negative entry becomes `usize::MAX`, which is no
/// index of any slice.
pub(crate) fn indices(t: &FlexTensor) -> Vec<usize> {
    fn read<E: Element + Pod + TryInto<usize>>(t: &FlexTensor) -> Vec<usize> {
        let values: &[E] = t.as_slice().expect("invariant: row-major, dtype matched");
        values
            .iter()
            .map(|&i| i.try_into().unwrap_or(usize::MAX))
            .collect()
    }
    let t = &contiguous(t.clone());
    match t.dtype() {
        DType::I64 => read::<i64>(t),
        DType::I32 => read::<i32>(t),
        DType::I16 => read::<i16>(t),
        DType::I8 => read::<i8>(t),
        DType::U64 => read::<u64>(t),
        DType::U32 => read::<u32>(t),
        DType::U16 => read::<u16>(t),
        DType::U8 => read::<u8>(t),
        other => unreachable!("`{other:?}` is no integer type"),
    }
}
