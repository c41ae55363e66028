//! Many models into one.
//!
//! Models are named weights of one common base ([`Weights`], read in place from any [`refit_core::Source`]); what each
//! expert learned is its task vector `tau_k = theta_k - theta_0` ([`TaskVectors`]). Three shapes of work:
//!
//! - a [`TensorRule`] treats one tensor after the other and needs no data: [`Average`], [`TaskArithmetic`], [`Ties`],
//!   [`Dare`]; [`merge`] applies it, [`MergeConfig`] names it;
//! - a [`stream::StreamRule`] does so for one tensor of a recipe, block by block: [`recipe`] names them, [`subspace`]
//!   holds those that work on singular directions;
//! - [`AdaMerging`] learns one coefficient per expert and group of tensors from unlabelled inputs; a [`Session`] runs
//!   it, the caller brings an [`EntropyModel`].
//!
//! [`align`] brings models that were trained apart into one order of units first, [`greedy_soup`] chooses which models
//! take part by held-out scores.
//!
//! Nothing here knows a file format or a model. Every result has the same bits for any number of threads.
//!
//! ```
//! use refit_core::Silent;
//! use refit_merge::{Checks, MergeConfig, TaskVectors, TensorSet, Weights};
//!
//! let model = |x: [f32; 3]| TensorSet::from_values([("head.weight", vec![3], x.to_vec())]).unwrap();
//! let (base, cars, dtd) = (model([0.0; 3]), model([2.0, -1.0, 0.1]), model([1.0, 3.0, -0.2]));
//! let experts = vec![Weights::from_set("cars", &cars), Weights::from_set("dtd", &dtd)];
//! let tasks = TaskVectors::between(Weights::from_set("base", &base), experts, &Checks::default())?;
//!
//! let ties: MergeConfig = serde_json::from_str(r#"{"method": "ties", "keep": 0.67}"#)?;
//! let merged = ties.check()?.merge(&tasks, &Silent)?;
//! assert_eq!(merged.get("head.weight").unwrap(), [1.5, 3.0, 0.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod adapter;
pub mod align;
mod average;
mod config;
pub mod engine;
mod error;
mod export;
#[cfg(test)]
mod held;
mod layout;
mod learned;
pub mod recipe;
mod rule;
mod select;
mod simd;
pub mod stream;
pub mod subspace;
mod task_vector;
mod tensor_set;
pub mod tokenizer;
mod transcendental;
mod values;
mod weights;

pub use average::{
    Average, AverageConfig, average,
    greedy_soup::{GreedySoup, Trial, greedy_soup},
};
pub use config::{MergeConfig, MergeMethod};
pub use error::{MergeError, ModelName, NameList, Shape};
pub use export::write_merged;
pub use layout::{Entry, Layout};
pub use learned::{
    AdaMerging, AdaMergingConfig, Clamp, Coefficients, Collapse, EntropyMeter, EntropyModel,
    EntropyReport, Gradient, Group, GroupCoefficients, Grouping, Outcome, Plus, Session,
    SessionState, StepRecord, TaskEntropy, Theta,
};
pub use rule::{Operand, TensorRule, merge};
pub use task_vector::{
    Checks, NotFinite, TaskVectors,
    dare::{Combine, Dare, DareConfig, drop_entries},
    task_arithmetic::{TaskArithmetic, TaskArithmeticConfig, task_arithmetic},
    ties::{Aggregate, Ties, TiesConfig, TrimScope, ties},
};
pub use tensor_set::TensorSet;
pub use weights::Weights;
