//! Text on the way into models and out of them.
//!
//! A [`Tokenizer`] is read from the `tokenizer.json` beside a model and cuts texts into the numbers that the model has
//! rows for. An [`Answer`] is what a model writes, as it comes; a [`ChatTemplate`] makes a conversation the text that a model
//! was trained on.

mod answer;
mod chat;
mod day;
mod error;
mod json;
mod special;
mod tokenizer;

pub use answer::Answer;
pub use chat::{ChatTemplate, Message};
pub use day::Day;
pub use error::TextError;
pub use tokenizer::{Encoded, Tokenizer};
