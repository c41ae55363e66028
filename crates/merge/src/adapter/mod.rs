//! Adapters: folded into a model while it is read, extracted from the difference of two models, merged without a base.
//!
//! The product of factors is never formed as a whole: [`attach`] and [`Folded`] compute the stretch that is read.
//! [`Extract`] is the way back. [`Combine`] works on factors alone.

mod combine;
mod error;
mod extract;
mod fold;
mod product;

pub use combine::{
    Combine, CombineConfig, CombineError, DensitySettings, ElectSettings, KnotsSettings, Majority,
    NoSettings, RankSettings,
};
pub use error::FoldError;
pub use extract::{
    Cut, Embeddings, Extract, ExtractConfig, ExtractPlan, ExtractedTensor, Extraction, Others,
    Part, PlannedTensor, cut,
};
pub use fold::{Folded, attach, oriented};

/// Model types whose blocks are made of layers that store their weights `[in, out]`.
const TRANSPOSED_TYPES: [&str; 4] = ["gpt2", "openai-gpt", "imagegpt", "decision_transformer"];

fn is_transposed_type(model_type: &str) -> bool {
    TRANSPOSED_TYPES.contains(&model_type)
}
