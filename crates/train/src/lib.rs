//! One training loop, its losses and its optimisers.
//!
//! [`Trainer`] drives any [`Objective`]: it asks for a loss on tracked weights, differentiates it, clips, steps the
//! optimiser on the host, saves its state and continues bit for bit where it stopped.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use refit_core::{Seed, Silent};
//! use refit_nn::{Init, NnError, Pass, Weights};
//! use refit_train::{Objective, TrainConfig, Trainer};
//!
//! /// Distance of one weight to a target.
//! struct Reach(f32);
//! impl Objective for Reach {
//!     type Batch = ();
//!     type Error = NnError;
//!     fn loss(&mut self, at: &Weights, (): (), _: &mut Pass) -> Result<Tensor<1>, NnError> {
//!         Ok((at.values()[0].value().clone() - self.0).powf_scalar(2.0))
//!     }
//! }
//!
//! let start = Weights::create(Seed::new(0), &Device::flex(), |s| s.tensor("w", [1], Init::Zeros))?;
//! let config = TrainConfig { steps: 500, ..TrainConfig::default() };
//! let fit = Trainer::new(config)?.fit(start, &mut Reach(0.1), |_| (), &Silent)?;
//! assert!((fit.weights.to_host()[0][0] - 0.1).abs() < 1e-2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod gradient;
pub mod loss;
pub mod objective;
pub mod optim;
mod trainer;

pub use gradient::{Gradient, value_and_gradient};
pub use trainer::{
    Fit, Objective, SaveEvery, SaveResult, Step, TrainConfig, TrainError, TrainState, Trainer,
};
