//! Models that read text, with their tokenizer, from the folder that they were published in.

mod classify;
mod embed;
mod error;
mod folder;
mod head;
mod lines;
mod reader;
pub mod score;
mod sentence;
mod write;
mod zero_shot;

pub use classify::{TextClassifier, TextScores, open_head};
pub use embed::{Embedder, Embeddings};
pub use error::TextModelError;
pub use folder::TextFolder;
pub(crate) use folder::{cutting_to, object, optional, setting};
pub use head::TextHead;
pub use lines::{read_lines, read_running};
pub(crate) use reader::{Reader, by_length, check_finite, count_cut, encode, rows};
pub(crate) use sentence::{MODULES, SENTENCE_FILES, module_places};
pub use sentence::{TextPrompts, TextRole};
pub use write::{Heard, Prompts, WriteSettings, Writer, Writing, Written};
pub(crate) use zero_shot::hypotheses;
pub use zero_shot::{Labelled, ZeroShot};
