//! Integration tests of `refit-merge`.

mod adamerging;
mod battery;
mod dual;
mod exact_gradient;
mod memory;
mod recipes;
mod sources;
mod support;
