//! Pictures in files: the classes that a model tells of them, its own or any in words by a CLIP, and their vectors.

mod classify;
mod clip;
mod embed;
mod reader;

pub use classify::{PictureClassifier, Seen};
pub use clip::ClipFolder;
pub use embed::{ClipEmbedder, PictureEmbedder};
