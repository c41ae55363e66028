//! The parts that models are wired from; each exists once.

mod attention;
mod batch_norm;
mod cache;
mod conv;
mod embedding;
mod head;
mod linear;
mod mlp;
mod norm;
mod patch;
mod rotary;
mod transformer;

pub use attention::{Attention, AttentionNames, Heads, Look, causal_mask};
pub(crate) use attention::{DEVIATION, dense};
pub use batch_norm::BatchNorm;
pub use cache::Cache;
pub use conv::Conv2d;
pub use embedding::Embedding;
pub use head::{CosineHead, unit_row, unit_rows};
pub use linear::Linear;
pub use mlp::{Activation, Mlp};
pub use norm::Norm;
pub use patch::PatchEmbedding;
pub use rotary::{Rotary, Rotation};
pub use transformer::{Layer, NormOrder};
