//! Adapters and whole models: an adapter folded into weights while they are read, and extracted from the difference of
//! two models.
//!
//! The product of factors is never formed as a whole: [`attach`] and [`Folded`] compute the stretch that is read.
//! [`Extract`] is the way back.

mod error;
mod extract;
mod fold;
mod product;

pub use error::FoldError;
pub use extract::{
    Cut, Embeddings, Extract, ExtractConfig, ExtractPlan, ExtractedTensor, Extraction, Others,
    Part, PlannedTensor, cut,
};
pub use fold::{Folded, attach};
