//! Which calls the fused operators serve: `f32` on the `flex` CPU backend, tracked or not.

use burn::backend::{DType, TensorMetadata};
use burn::backend::{DispatchTensor, DispatchTensorKind};

/// Whether every tensor is `f32` on the CPU; otherwise Burn's own operators serve the call.
pub(crate) fn is_host_f32<'a>(tensors: impl IntoIterator<Item = &'a DispatchTensor>) -> bool {
    tensors
        .into_iter()
        .all(|t| t.dtype() == DType::F32 && is_host(t))
}

/// Whether the tensor is of half precision, on the CPU, and part of no graph.
pub(crate) fn is_plain_half(t: &DispatchTensor) -> bool {
    is_half(t.dtype()) && matches!(t.kind, DispatchTensorKind::Flex(_))
}

/// Whether a type is one of half precision.
pub(crate) fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}

/// Whether the tensor, of any type, is on the CPU.
pub(crate) fn is_host(t: &DispatchTensor) -> bool {
    match &t.kind {
        DispatchTensorKind::Flex(_) => true,
        DispatchTensorKind::Autodiff(inner) => matches!(**inner, DispatchTensorKind::Flex(_)),
        #[allow(
            unreachable_patterns,
            reason = "other backends are cargo features of the front ends"
        )]
        _ => false,
    }
}
