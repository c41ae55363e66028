//! Fitting a head, or a head and adapters, to labelled texts on an encoder that stays what it is.
//!
//! A [`Tuning`] turns texts into what a [`Fit`](crate::fitting::Fit) minimises: features and a linear head, for which
//! everything is known in closed form, or the encoder itself as a function of the factors of its adapters. Solvers,
//! traces, certificates and pages are those of `refit fit`.

mod error;
mod job;
mod kept;
mod lora;
mod output;
mod settings;

pub use error::TuneError;
pub use job::Tuning;
pub use lora::LoraRows;
pub use settings::{LoraConfig, TuneMethod, TuneSettings};
