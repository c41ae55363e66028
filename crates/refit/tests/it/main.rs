//! One binary for all integration tests: each of them links the whole program.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on should say where, and one that skips should say so"
)]

mod examples;
mod hostile;
mod interrupt;
mod job;
mod merge;
mod program;
mod real;
mod report;
mod resume;
mod sample;
mod sandbox;
mod snapshots;
