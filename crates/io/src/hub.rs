//! Models of the Hugging Face hub: found in the local cache, and downloaded into it when asked for.
//!
//! [`resolve_model`] never makes a request. [`Hub::download`] and [`Hub::download_models`] are the only functions of
//! this crate that do; they send the token to the host of the hub and to no other, go on where an earlier download was
//! cut, and compare size and checksum before a file appears under its name. The environment comes in as a value,
//! [`HubEnv`].

mod cache;
mod client;
mod env;
mod error;
mod line;
mod name;
mod request;
mod select;
mod transfer;

pub use cache::resolve_model;
pub use client::{Brought, Hub};
pub use env::{HubEnv, Token};
pub use error::HubError;
