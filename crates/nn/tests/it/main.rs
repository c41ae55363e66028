//! Models as their users meet them.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

mod derivatives;
mod families;
mod parts;
mod real_checkpoints;
mod weights;
mod zoo_parity;
