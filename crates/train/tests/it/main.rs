//! The loop as its users meet it.

mod optimisers;
mod resume;
