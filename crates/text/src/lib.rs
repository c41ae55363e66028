//! Text on the way into models and out of them.
//!
//! A [`Tokenizer`] is read from the `tokenizer.json` beside a model and cuts texts into the numbers that the model has
//! rows for.

mod error;
mod tokenizer;

pub use error::TextError;
pub use tokenizer::{Encoded, Tokenizer};
