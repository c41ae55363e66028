//! The parts that models are wired from; each exists once.

mod attention;
mod batch_norm;
mod cache;
mod conv;
mod embedding;
mod experts;
mod head;
mod linear;
mod mlp;
mod norm;
mod patch;
mod relative;
mod rotary;
mod sight;
mod transformer;

pub use attention::{Attention, AttentionNames, Heads, Look, Source};
pub(crate) use attention::{DEVIATION, dense};
pub use batch_norm::BatchNorm;
pub use cache::Cache;
pub use conv::Conv2d;
pub use embedding::Embedding;
pub(crate) use embedding::look_up;
pub use experts::{Experts, FeedForward};
pub use head::{CosineHead, unit_row, unit_rows};
pub use linear::Linear;
pub use mlp::{Activation, Mlp};
pub use norm::Norm;
pub use patch::PatchEmbedding;
pub use relative::RelativeBias;
pub use rotary::{Rotary, Rotation};
pub use sight::Sight;
pub use transformer::{Layer, NormOrder};
