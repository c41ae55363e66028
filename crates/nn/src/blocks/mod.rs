//! The parts that models are wired from; each exists once.

mod batch_norm;
mod conv;
mod head;
mod linear;
mod norm;
mod patch;
mod transformer;

pub use batch_norm::BatchNorm;
pub use conv::Conv2d;
pub use head::{CosineHead, unit_row, unit_rows};
pub use linear::Linear;
pub use norm::LayerNorm;
pub use patch::PatchEmbedding;
pub(crate) use transformer::DEVIATION;
pub use transformer::{EncoderBlock, SelfAttention, TransformerSize};
