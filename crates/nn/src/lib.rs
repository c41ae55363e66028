//! Models as functions of named weights.
//!
//! A model here owns no parameters. Its configuration *binds* a set of [`Weights`] (named tensors, in the names of
//! the public checkpoint) and gives a value with a `forward`. Binding costs microseconds, so whoever changes weights
//! between steps (a trainer, a merger, a federated site) binds again; weights that carry a tangent give
//! Jacobian-vector products through the same code ([`Dual`](refit_kernels::dual::Dual)).
//!
//! ```
//! use refit_core::Seed;
//! use refit_nn::{ImageConfig, Pass, Weights, zoo::MlpConfig};
//! use burn::tensor::{Device, Tensor};
//!
//! let config = ImageConfig::Mlp(MlpConfig { inputs: 4, hidden: vec![8], num_labels: 3 });
//! let weights = Weights::create(Seed::new(0), &Device::flex(), |scope| config.bind(scope))?;
//! let model = weights.bind(|scope| config.bind(scope))?;
//! let pixels = Tensor::<4>::ones([2, 1, 2, 2], &Device::flex());
//! assert_eq!(model.forward(pixels.into(), &mut Pass::eval()).dims(), [2, 3]);
//! # Ok::<(), refit_nn::NnError>(())
//! ```

pub mod blocks;
mod error;
mod pass;
mod weights;
pub mod zoo;

pub use error::NnError;
pub use pass::Pass;
pub use weights::{Addition, Init, ParamLayout, ParamSpec, Role, Scope, Weights, to_host};
pub use zoo::{ImageConfig, ImageModel};
