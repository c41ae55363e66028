//! `refit` learns from models that already exist: the facade over its crates, and what the `refit` binary runs.

pub mod job;
pub mod outcome;
pub mod report;
pub mod run;
