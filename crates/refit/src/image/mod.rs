//! Image classifiers in folders: training, saving, loading and scoring one.
//!
//! A folder holds `config.json` (architecture and class names), `preprocessor_config.json` (normalisation) and
//! `model.safetensors`, in the layout and names of Hugging Face.

mod error;
mod evaluate;
mod folder;
mod train;

pub use error::ImageError;
pub use evaluate::{Evaluation, evaluate};
pub use folder::{ClassifierFolder, MAX_CONFIG_BYTES, read_config};
pub use train::{Request, Trained, train};
