//! Bringing the hidden units of separately trained models into one order.
//!
//! A network computes the same when the units of a hidden layer change places, so two models trained apart hardly ever
//! have them in the same order, and their mean is no model. A [`PermutationSpec`] says which axes of which tensors move
//! together; [`match_weights`] finds the order in which the second model is closest to the first; the [`Alignment`]
//! applies it; [`interpolate`] merges.
//!
//! ```
//! use refit_core::Seed;
//! use refit_merge::{TensorSet, align::{MatchConfig, PermutationSpec, match_weights}};
//! let model = |first: [f32; 4], second: [f32; 2]| TensorSet::from_values([
//!     ("layers.0.weight", vec![2, 2], first.to_vec()), ("layers.1.weight", vec![1, 2], second.to_vec())]);
//! let a = model([1.0, 0.0, 0.0, 2.0], [5.0, 6.0]).unwrap();
//! let b = model([0.0, 2.0, 1.0, 0.0], [6.0, 5.0]).unwrap(); // the same network, its two hidden units exchanged
//! let spec = PermutationSpec::mlp(2);
//! let found = match_weights(&a, &b, &spec, &MatchConfig::new(Seed::new(0)))?;
//! assert_eq!(found.apply(&b)?, a);
//! # Ok::<(), refit_merge::align::AlignError>(())
//! ```

mod error;
mod matching;
mod places;
mod spec;

pub use error::AlignError;
pub use matching::{Alignment, MatchConfig, interpolate, match_weights};
pub use spec::{Binding, PermutationSpec};
