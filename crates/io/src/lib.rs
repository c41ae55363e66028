//! Bytes: checkpoints, adapters and data sets on disk, read with every size checked before anything is allocated.

pub mod adapter;
pub mod atomic;
pub mod ckpt;
pub mod data;
pub mod file;
pub mod hub;
mod zip;
