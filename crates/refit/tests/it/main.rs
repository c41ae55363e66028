//! One binary for all integration tests: each of them links the whole program.

mod report;
mod sample;
