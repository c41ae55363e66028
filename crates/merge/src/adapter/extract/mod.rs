//! LoRA extraction: what a fine-tuned model learned beyond its base, as an adapter.
//!
//! The change of a linear layer is cut to its largest singular components, `tau = U S V^T ~ (U sqrt S)(sqrt S V^T)`:
//! by Eckart and Young no matrix of that rank is closer. What is no linear layer goes with the adapter as a whole, and
//! what did not change is left out, so base and adapter together are the fine-tuned model up to a residual that is
//! known for every tensor.

mod factors;
mod gather;
mod part;
mod plan;
mod result;
mod run;
mod tied;

pub(in crate::adapter) use factors::balanced;
pub use factors::{Cut, cut};
pub use part::Part;
pub use plan::{ExtractPlan, PlannedTensor};
pub use result::{ExtractedTensor, Extraction};

use refit_core::{Area, Card, ConfigError, DType, DataAccess, ModelAccess, Seed};
use serde::{Deserialize, Serialize};

/// Settings of [`Extract`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ExtractConfig {
    /// Most components of a matrix; at least 1 (default 32: ours).
    pub rank: usize,
    /// Share of the squared change that is kept, by as few components as that takes; in `(0, 1]`, and never beyond
    /// [`rank`](Self::rank). None for all components that the rank allows (default).
    pub energy: Option<f64>,
    /// What becomes of embeddings and heads (default: whole, as recipe tools have it).
    pub embeddings: Embeddings,
    /// What becomes of other tensors that are no linear layer, such as norms and convolutions (default: whole).
    pub others: Others,
    /// Beginnings of the names of tensors that are not looked at, such as heads of different tasks (default: none).
    pub skip: Vec<String>,
    /// Element type of factors and differences: F32, F16 or BF16 (default F32); whole tensors keep their own.
    pub dtype: DType,
    /// Where chance comes from: large matrices are looked at through a random subspace (default 0).
    pub seed: Seed,
}

impl Default for ExtractConfig {
    fn default() -> Self {
        Self {
            rank: 32,
            energy: None,
            embeddings: Embeddings::Whole,
            others: Others::Whole,
            skip: Vec::new(),
            dtype: DType::F32,
            seed: Seed::new(0),
        }
    }
}

/// What becomes of embeddings and heads that changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Embeddings {
    /// They go with the adapter as they are.
    #[default]
    Whole,
    /// They become factors as linear layers do.
    LowRank,
    /// They are not looked at.
    LeaveOut,
}

/// What becomes of tensors that changed and are neither linear layers nor embeddings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Others {
    /// They go with the adapter as they are; biases of layers with factors as differences.
    #[default]
    Whole,
    /// They are not looked at, nor are biases: the adapter is factors alone.
    LeaveOut,
    /// The first one is an error.
    Refuse,
}

/// A checked [`ExtractConfig`].
///
/// [`plan`](Self::plan) says from headers what becomes of every tensor, [`run`](Self::run) does it.
#[derive(Clone, Debug)]
pub struct Extract(ExtractConfig);

impl TryFrom<ExtractConfig> for Extract {
    type Error = ConfigError;

    fn try_from(config: ExtractConfig) -> Result<Self, ConfigError> {
        if !(1..=MAX_RANK).contains(&config.rank) {
            let expected = "1 to 65536";
            return Err(ConfigError::range("rank", config.rank, expected));
        }
        if !matches!(config.dtype, DType::F32 | DType::F16 | DType::BF16) {
            return Err(ConfigError::range(
                "dtype",
                config.dtype,
                "F32, F16 or BF16",
            ));
        }
        match config.energy {
            Some(energy) if !(energy > 0.0 && energy <= 1.0) => {
                Err(ConfigError::range("energy", energy, "a share in (0, 1]"))
            }
            _ => Ok(Self(config)),
        }
    }
}

/// Largest rank; no layer is wider.
const MAX_RANK: usize = 1 << 16;

impl Extract {
    /// What the method says about itself.
    pub const CARD: Card = Card {
        name: "extract-adapter",
        summary: "the difference of two models as a LoRA adapter of given rank",
        area: Area::Reuse,
        model: ModelAccess::ReadWeights,
        data: DataAccess::None,
        source: "arXiv:2106.09685",
    };

    /// The settings.
    pub const fn config(&self) -> &ExtractConfig {
        &self.0
    }
}

#[cfg(test)]
mod tests;
