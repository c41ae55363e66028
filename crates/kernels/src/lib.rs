//! Operators that decide the speed, as plain functions on Burn tensors.

pub mod dual;

mod activation;
mod attention;
mod conv2d;
mod cross_entropy;
mod embedding;
mod gemm;
mod linear;
mod math;
mod memory;
mod norm;
mod parallel;
mod pool;
mod prefetch;
mod route;
mod simd;
mod softmax;
mod team;
#[cfg(test)]
mod testing;
mod transpose;

pub use activation::{gelu, gelu_tanh, silu};
pub use attention::{AttentionMask, Spans, attention};
pub use conv2d::conv2d;
pub use cross_entropy::cross_entropy;
pub use embedding::embedding;
pub use gemm::{HalfKind, widen};
pub use linear::linear;
pub use norm::{layer_norm, rms_norm};
pub use prefetch::prefetch;
pub use simd::vectorized;
pub use softmax::{log_softmax, softmax};
