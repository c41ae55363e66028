//! Models that read text, with their tokenizer, from the folder that they were published in.

mod embed;
mod error;
mod folder;
mod lines;
mod write;

pub use embed::{Embedder, Embeddings};
pub use error::TextModelError;
pub use folder::TextFolder;
pub use lines::read_lines;
pub use write::{WriteSettings, Writer, Written};
