//! Settings of a linear model.

use crate::objective::{Loss, Penalty};
use serde::{Deserialize, Serialize};

/// Settings of a [`LinearModel`](super::LinearModel).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LinearConfig {
    /// Loss of one row (source: sigmoid and square).
    pub loss: Loss,
    /// Penalty on the weights (source: none).
    pub penalty: Penalty,
    /// Whether a bias is fitted, the last parameter, which is not penalised (ours: yes).
    pub bias: bool,
}

impl Default for LinearConfig {
    fn default() -> Self {
        Self {
            loss: Loss::SigmoidSquare,
            penalty: Penalty::default(),
            bias: true,
        }
    }
}
