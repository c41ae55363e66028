//! Integration tests of `refit-io`, in one binary.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod adapter;
mod ckpt_atomic;
mod ckpt_gguf;
mod ckpt_hostile;
mod ckpt_packed;
mod ckpt_reader;
mod ckpt_real;
mod ckpt_roundtrip;
mod ckpt_support;
mod ckpt_torch;
mod data_corrupt;
mod data_files;
mod data_libsvm;
mod data_loader;
mod data_memory;
mod data_models;
mod data_npz;
mod data_readers;
mod data_real;
mod data_sets;
mod data_suite;
mod data_texts;
mod hub;
