//! Merging a tensor that is never whole in memory.
//!
//! A [`StreamRule`] sees its operands in [`Block`]s: first it may survey them, as often as it needs (norms, thresholds),
//! then it merges them, block by block and from several threads. Memory is a few blocks, whatever the models weigh.

mod block;
mod rule;
mod tally;

pub use block::{Block, Look, Span};
pub use rule::{StreamRule, merge_values};
pub use tally::Tally;
