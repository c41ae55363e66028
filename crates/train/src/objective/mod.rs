//! Objectives that second-order methods minimise: means of losses over the rows of a table, with gradients and products
//! with Hessians in closed form.
//!
//! ```
//! use refit_io::data::{DenseRows, Features, Table};
//! use refit_train::{
//!     objective::{LinearConfig, LinearModel},
//!     optim::second::{FiniteSum, Sample},
//! };
//! let rows = DenseRows::new(vec![1.0, 0.0, 0.0, 2.0], 2)?;
//! let table = Table::new("toy", Features::Dense(rows), vec![-1.0, 1.0])?;
//! let sum = LinearModel::new(table, LinearConfig { bias: false, ..LinearConfig::default() })?;
//! let mut values = [0.0; 2];
//! sum.values(&[0.0, 0.0], Sample::All, &mut values);
//! assert_eq!(values, [0.25, 0.25]); // (b - 1/2)^2
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod classes;
mod dual;
mod error;
mod head;
mod linear;
mod loss;
mod network;
mod order;
mod parts;
mod penalty;
mod rows;
mod softmax;
#[cfg(test)]
mod testing;

pub use dual::{DualConfig, DualError, DualModel, DualState, Outputs};
pub use error::ObjectiveError;
pub use head::Head;
pub use linear::{LinearConfig, LinearModel, LinearState};
pub use loss::{Loss, LossAt};
pub use network::{Activation, NetworkConfig, NetworkModel, NetworkState};
pub use penalty::Penalty;
pub use softmax::{SoftmaxConfig, SoftmaxModel, SoftmaxState};
