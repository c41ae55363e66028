//! The loop as its users meet it.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

mod first_order;
mod objectives;
mod optimisers;
mod resume;
mod second;
