//! Merging task vectors in the subspaces they use.
//!
//! A weight that multiplies from the left is a matrix, and so is what a task changed of it. The singular directions of
//! that change say more than its entries: [`tsv_m`] keeps the directions apart, [`iso_c`] and [`iso_cts`] give each
//! the same strength, [`wudi`] disturbs no task in the inputs it uses. [`consensus`] and [`emr`] work entry by entry,
//! [`Knots`] on the factors of adapters.
//!
//! Matrices hold what was learned, `tau_k = theta_k - theta_0`, and the result is to be added to the base. As rules of
//! recipes ([`RecipeMethod`](crate::recipe::RecipeMethod)) the methods read convolutions `[out, in, height, width]` as
//! `[out, in height width]`, and average what is no matrix.

mod consensus;
mod emr;
mod iso;
mod knots;
mod matrices;
mod tsv_m;
mod wudi;

pub use consensus::consensus;
pub use emr::{Emr, EmrTask, emr};
pub use iso::{iso_c, iso_cts};
pub use knots::{Factors, Knots};
pub use tsv_m::{Components, tsv_m};
pub use wudi::{WudiConfig, wudi};

pub(crate) use consensus::Consensus;
pub(crate) use emr::EmrUnified;
pub(crate) use iso::{IsoC, IsoCts};
pub(crate) use tsv_m::TsvM;
pub(crate) use wudi::Wudi;

#[cfg(test)]
mod testing;
