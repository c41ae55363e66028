//! One binary for all integration tests: each of them links the whole program.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

mod adapters;
mod beside;
mod embed;
mod examples;
mod fit;
mod generate;
mod hostile;
mod hub;
mod interrupt;
mod job;
mod merge;
mod mutations;
mod pictures;
mod program;
mod real;
mod report;
mod resume;
mod sample;
mod sandbox;
mod snapshots;
mod streamed;
mod texts;
mod tune;
