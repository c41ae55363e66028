//! Integration tests of `refit-merge`.

#![expect(clippy::unwrap_used, reason = "a test fails where its assumptions do")]
#![expect(
    clippy::float_cmp,
    reason = "results are the same bits or they are wrong"
)]
#![expect(clippy::needless_range_loop, reason = "indices as in the formulas")]

mod adamerging;
mod battery;
mod dual;
mod exact_gradient;
mod memory;
mod recipe_methods;
mod recipes;
mod sources;
mod support;
