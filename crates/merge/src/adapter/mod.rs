//! Adapters and whole models: an adapter folded into weights while they are read.
//!
//! The product of factors is never formed as a whole: [`attach`] and [`Folded`] compute the stretch that is read.

mod error;
mod fold;
mod product;

pub use error::FoldError;
pub use fold::{Folded, attach};
