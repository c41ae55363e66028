//! Integration tests of `refit-io`, in one binary.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod ckpt_atomic;
mod ckpt_hostile;
mod ckpt_real;
mod ckpt_roundtrip;
mod ckpt_support;
mod data_models;
mod data_suite;
