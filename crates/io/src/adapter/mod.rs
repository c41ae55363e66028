//! Adapters on disk: folders of `adapter_config.json` and `adapter_model.safetensors`, as PEFT writes them; read, too,
//! from shards and from the pickles of earlier versions.
//!
//! [`read_adapter`] turns a folder into an [`Adapter`](refit_core::Adapter): per tensor of the model, two factors in
//! the orientation of the stored weight and one scale, ready to be folded in; [`write_adapter`] is its inverse. LoRA
//! and DoRA of linear layers, convolutions and embeddings are known, and tensors that were trained in full
//! (`modules_to_save`, biases). What would need more than the weights of the model to be right is refused by name.
//!
//! # Example
//! ```
//! use refit_core::{Adapter, AdapterTensor, Change, LowRank, Placement};
//! use refit_io::adapter::{AdapterOptions, read_adapter, write_adapter};
//! let home = tempfile::tempdir()?;
//! let factors = LowRank::new([2, 3], 1, vec![1.0, 2.0], vec![1.0, 0.0, -1.0], 0.5)?;
//! let change = Change::LowRank { factors, placement: Placement::Linear, magnitude: None };
//! let tensors = vec![AdapterTensor { target: "layers.0.q.weight".into(), change }];
//! let folder = home.path().join("tuned");
//! write_adapter(&folder, &Adapter { name: "tuned".into(), tensors }, &AdapterOptions::default())?;
//!
//! let found = read_adapter(&folder)?;
//! assert_eq!((found.config.r, found.config.lora_alpha), (1, 0.5));
//! let Change::LowRank { factors, .. } = &found.adapter.tensors[0].change else { panic!() };
//! assert_eq!(factors.to_dense(), [0.5, 0.0, -0.5, 1.0, 0.0, -1.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config;
mod error;
mod name;
mod pattern;
mod read;
mod settings;
mod write;

pub use config::{AdapterConfig, MAX_CONFIG_BYTES};
pub use error::AdapterError;
pub use pattern::Patterns;
pub use read::{StoredAdapter, read_adapter};
pub use write::{AdapterOptions, write_adapter, write_adapter_files};

/// File of an adapter's settings.
pub const CONFIG_FILE: &str = "adapter_config.json";

/// File of an adapter's tensors.
pub const WEIGHTS_FILE: &str = "adapter_model.safetensors";

/// Files that hold an adapter's tensors or say which files do, in the order in which they are looked for.
const WEIGHTS_FILES: [&str; 4] = [
    WEIGHTS_FILE,
    "adapter_model.safetensors.index.json",
    "adapter_model.bin",
    "adapter_model.bin.index.json",
];
