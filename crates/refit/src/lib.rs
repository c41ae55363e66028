//! `refit` learns from models that already exist: the facade over its crates, and what the `refit` binary runs.

pub mod classifier;
pub mod cli;
mod companions;
pub mod family;
pub mod fitting;
pub mod job;
pub mod merging;
pub mod outcome;
pub mod pictures;
pub mod recipe;
pub mod report;
pub mod run;
mod settings;
pub mod source;
pub mod text;
pub mod told;
mod trace;
pub mod tuning;
mod visible;
pub mod yaml;

pub use companions::CompanionError;
