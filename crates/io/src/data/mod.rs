//! Labelled images: sets and tasks held as bytes, readers for the usual files, generated suites, transforms,
//! corruptions, and a loader that prepares batches ahead of the training step.
//!
//! ```
//! use refit_core::Seed;
//! use refit_io::data::{Batch, Normalise, suite};
//! let tasks = suite::generate(Seed::new(0), suite::Sizes { train: 20, val: 10, test: 10 });
//! assert_eq!(tasks.len(), 8);
//! let train = tasks[0].train();
//! let batch = Batch::collate(train, &[0, 3], &Normalise::unit(train.shape()));
//! assert_eq!(batch.shape, [2, 1, 28, 28]);
//! ```

mod batch;
mod draw;
mod error;
mod normalise;
mod npz_task;
mod set;
mod task;

pub mod npz;
pub mod suite;

pub use batch::Batch;
pub use error::DataError;
pub use normalise::Normalise;
pub use npz_task::{read_npz_task, task_from_npz};
pub use set::{ImageSet, ImageShape};
pub use task::Task;
