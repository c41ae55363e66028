//! The words of `refit`: what every other crate may speak about without knowing bytes, numbers or models.
//!
//! A **checkpoint** is a set of named tensors ([`ParamPath`], [`TensorMeta`]) behind a [`Source`]; an [`Adapter`] is a
//! small [`Change`] of such a set; a **method** describes itself by a [`Card`] and is granted a level of [`Access`];
//! chance comes from one [`Seed`], forked by name; work that can be long takes a [`Progress`] and ends with a
//! [`StopReason`].
//!
//! ```
//! use refit_core::{ParamPath, Seed};
//! let weight = ParamPath::new("blocks.0.attn").join("weight");
//! assert_eq!(weight.as_str(), "blocks.0.attn.weight");
//! // The same name gives the same stream, whatever was drawn elsewhere before.
//! assert_eq!(Seed::new(7).fork("dare/a"), Seed::new(7).fork("dare/a"));
//! assert_ne!(Seed::new(7).fork("dare/a"), Seed::new(7).fork("dare/b"));
//! ```

mod access;
mod adapter;
mod dtype;
mod error;
mod half;
mod outcome;
mod panic;
mod path;
mod progress;
mod seed;
mod stream;
mod tensor;
mod words;

pub use access::{Access, AccessError, Area, Card, DataAccess, ModelAccess};
pub use adapter::{Adapter, AdapterTensor, Change, FactorError, LowRank, Placement};
pub use dtype::DType;
pub use error::{ConfigError, Hint, Valid, nearest};
pub use half::{bf16_to_f32, f16_to_f32};
pub use outcome::{Budget, StopReason};
pub use panic::without_panic;
pub use path::ParamPath;
pub use progress::{Cancel, Progress, Silent, Unwatched};
pub use seed::Seed;
pub use stream::{ReadError, TensorRead, TensorWrite, WriteError};
pub use tensor::{LastingBytes, Sink, Source, TensorMeta};
pub use words::wrong_value;
