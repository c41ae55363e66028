//! Models as their users meet them.

mod derivatives;
mod real_checkpoints;
mod weights;
