//! How a model is built, told from the names of its tensors: modules, layers, vocabularies.

mod known;
mod layers;
mod vocabulary;

pub(super) use layers::{ModuleShape, Structure};
pub(super) use vocabulary::is_early;
pub(crate) use vocabulary::{Vocabulary, is_buffer, vocabulary};
