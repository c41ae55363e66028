//! Development only: what the tests of several crates share.
//!
//! - **Inputs** from a seed, as host vectors ([`normal_vec`], [`uniform_vec`], [`integers_vec`]) or, with the feature
//!   `tensors`, as tensors of the engine.
//! - **Tolerances** that say where two results part: [`close`] (entry by entry), [`close_in_norm`].
//! - **References** in `f64` that are too slow and too plain to be wrong: [`mod@reference`].
//! - **Finite differences** to check derivatives against: [`differences`].
//! - **Surroundings**: a server on the loopback address ([`http`]), a number of threads ([`with_threads`]), a tokenizer ([`tiny_tokenizer`]), memory asked for ([`Counting`]) and files of real data ([`real_data`], [`real_folder`]).
//!
//! ```
//! use refit_testkit::{close, differences};
//! // The slope of sin at 1 along the direction 2.
//! let slope = differences::directional(|x| vec![x[0].sin()], &[1.0], &[2.0]);
//! close(slope, vec![2.0 * 1.0f64.cos()], 1e-9, 0.0)?;
//! # Ok::<(), refit_testkit::Mismatch>(())
//! ```

pub mod differences;
pub mod http;
pub mod reference;

mod allocation;
mod close;
mod data;
mod inputs;
#[cfg(feature = "tensors")]
mod tensors;
mod text;
mod threads;

pub use allocation::Counting;
pub use close::{Mismatch, Values, close, close_in_norm, norm};
pub use data::{real_data, real_folder};
pub use inputs::{integers_vec, normal_vec, uniform_vec};
#[cfg(feature = "tensors")]
pub use tensors::{integers, normal, normal_f64, tensor, tensor_f64, uniform, uniform_f64};
pub use text::{TINY_WORDS, tiny_tokenizer};
pub use threads::with_threads;
